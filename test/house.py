"""What each part of the package may import, and the walk that finds what it does import.

A part may import what is listed here and nothing else: of the package, of the standard library, of
other libraries. So a new library, a pickle, a socket or a dynamic import in a part that has no
business with it is an edit of this table, and is seen.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = 'dysl_vla_ros'
ROOT = Path(__file__).resolve().parents[1] / PACKAGE


@dataclass(frozen=True)
class May:
    """What a part may import; 'x' covers 'x.y'.

    Attributes:
        own: Of the package; None is everything. A part may always import itself.
        std: Of the standard library, beyond ``PURE``.
        libraries: Others.
    """

    own: str | None = ''
    std: str = ''
    libraries: str = ''


# Neither files nor clocks, threads, processes or the network.
_PURE_NAMES = (
    '__future__ array bisect collections copy dataclasses difflib functools itertools json '
    'logging math re reprlib types typing'
)
PURE = set(_PURE_NAMES.split())
# Of a module that is allowed, these are not: they are listed by their full name or not at all.
APART = ('multiprocessing.connection', 'multiprocessing.managers', 'importlib')

# Robot and simulation first, in the order of the layers; then what stands on top; then lab.
MESSAGES = (
    'builtin_interfaces diagnostic_msgs lifecycle_msgs sensor_msgs std_msgs std_srvs '
    'trajectory_msgs'
)
PARTS = {
    '__init__': May(),
    'errors': May(),
    'data_types': May('errors', '', 'numpy'),
    'targets': May('errors', 'os pathlib'),
    'config': May('data_types errors', 'pathlib', 'yaml'),
    'parameter_file': May('errors', 'pathlib', 'yaml'),
    'bundle': May('data_types errors targets', 'contextlib hashlib mmap pathlib'),
    'rotations': May('data_types', '', 'numpy transforms3d'),
    'core': May('config data_types errors rotations', '', 'numpy'),
    'kinematics': May('data_types errors', 'threading', 'numpy pinocchio'),
    'collision_shapes': May('data_types', 'os pathlib xml', 'numpy pinocchio coal hppfcl'),
    'collision': May(
        'collision_shapes data_types errors kinematics', 'threading', 'numpy pinocchio'
    ),
    'engines': May('bundle data_types errors', 'os pathlib', 'numpy'),
    'engines.onnxruntime': May(
        'bundle data_types errors', '', 'numpy onnxruntime'
    ),
    'engines.tensorrt': May(
        'bundle data_types errors targets',
        'ctypes hashlib pathlib shlex threading time weakref', 'numpy',
    ),
    'engines.cuda': May(
        'bundle data_types errors', 'pathlib', 'numpy onnx torch'
    ),
    'engines.fake': May('bundle data_types errors', 'hashlib', 'numpy'),
    'hardware': May('', 'ctypes os pathlib platform resource shutil subprocess threading'),
    'policy': May(
        'bundle config core data_types engines errors', 'time', 'numpy tokenizers'
    ),
    'policy_process': May(
        'bundle config data_types errors policy',
        'concurrent contextlib ctypes faulthandler fcntl mmap os resource signal socket struct '
        'subprocess sys threading time', 'numpy',
    ),
    'motion': May(
        'bundle collision config core data_types errors kinematics rotations', '', 'numpy'
    ),
    'contract': May('bundle config engines.fake errors'),
    'loop_status': May('core data_types'),
    'loop_settings': May('bundle config core', '', 'numpy'),
    'playback': May('config core data_types loop_settings motion', '', 'numpy'),
    'chunk_desk': May(
        'bundle config core data_types loop_settings loop_status motion playback policy'
    ),
    'control_loop': May(
        'chunk_desk config core data_types errors loop_status motion playback policy',
        'threading', 'numpy',
    ),
    'sim': May('data_types errors rotations', 'xml', 'numpy mujoco'),
    'bringup': May('data_types errors parameter_file', 'pathlib'),
    'demo': May(
        'bringup errors', 'fcntl os pathlib signal subprocess sys tempfile time',
        'numpy rich',
    ),
    'ros': May(
        'bundle collision config contract control_loop core data_types demo engines errors '
        'hardware kinematics loop_status motion policy policy_process sim',
        'errno io os pathlib secrets signal stat sys threading time '
        'traceback',
        f'numpy PIL control_msgs controller_manager_msgs cv_bridge geometry_msgs rcl_interfaces '
        f'rclpy transforms3d {MESSAGES}',
    ),
    # ``dysl chaos`` also runs against another environment: it knows no more of the package.
    'ros.chaos': May(
        'data_types demo errors ros.qos',
        'contextlib os pathlib random shutil signal subprocess sys tempfile textwrap threading '
        'time xml', f'numpy rclpy {MESSAGES}',
    ),
    'cli': May(
        None,
        'argparse importlib.metadata importlib.util os pathlib platform shlex signal sys '
        'threading time', 'accelerate matplotlib numpy rich tokenizers torch',
    ),
    'lab': May(),
    'lab.workspace': May('errors targets', 'pathlib', 'accelerate torch'),
    'lab.plots': May('bundle data_types lab.guidance targets', 'pathlib', 'matplotlib numpy'),
    'lab.recipe': May(
        'errors sim targets lab.data lab.export lab.guidance lab.learn lab.model lab.workspace '
        'lab.worlds', 'contextlib pathlib shutil time', 'torch',
    ),
    'lab.worlds': May('data_types errors sim lab.model.shapes', 'multiprocessing os xml', 'numpy'),
    'lab.data': May(
        'bundle core errors sim targets lab.learn lab.model lab.worlds',
        'io multiprocessing os pathlib time',
        'PIL numpy pyarrow tokenizers torch',
    ),
    'lab.learn': May(
        'data_types errors sim lab.data lab.guidance lab.model lab.plots lab.workspace lab.worlds',
        'pathlib time', 'accelerate numpy tokenizers torch',
    ),
    'lab.guidance': May(
        'bundle core data_types errors lab.learn lab.model lab.plots lab.workspace',
        'pathlib', 'numpy rosbags torch',
    ),
    'lab.model': May(
        'bundle data_types errors targets', 'pathlib', 'numpy safetensors torch'
    ),
    'lab.export': May(
        'bundle data_types engines.engine engines.inspection engines.tensorrt.plans errors '
        'targets lab.model',
        'contextlib fcntl hashlib io os pathlib shutil tempfile warnings',
        'numpy onnx onnx_ir torch',
    ),
    'lab.evaluation': May(
        'bundle collision config contract control_loop core data_types engines errors kinematics '
        'loop_settings loop_status motion policy sim targets',
        'multiprocessing os pathlib time', 'matplotlib numpy rich',
    ),
}  # fmt: skip

# Where a part may, but only one file of it does: an optional library, or a second world.
ONLY = {
    'control_msgs': {'ros.gripper_action'},
    'controller_manager_msgs': {'ros.controller_watch'},
    'cv_bridge': {'ros.images'},
    'PIL': {'ros.compressed', 'lab.data.dataset_format'},
    f'{PACKAGE}.sim': {'ros.sim_node'},  # of ros
}
# Imported where they are used, or where ImportError is caught: the rest runs without them.
OPTIONAL = ('control_msgs', 'controller_manager_msgs', 'cv_bridge')
# Of the command line too, so that every command says in a second what it takes.
LATER = ('torch', 'accelerate', 'matplotlib')

# Modules that import by a name that they compute; with literals, the names are listed.
DYNAMIC = {
    'cli.main': None,  # the command that was called
    'engines.tensorrt.api': {'tensorrt'},
}
COMPUTED = ('__import__', 'exec', 'eval', 'compile')


@dataclass(frozen=True)
class Found:
    """An import.

    Attributes:
        name: In full.
        typing_only: Only a type checker sees it.
        guarded: Something else is done where it is not installed.
    """

    name: str
    typing_only: bool = False
    guarded: bool = False


def modules(root: Path) -> dict[str, Path]:
    """Dotted name below the package -> path."""
    found = {}
    for path in sorted(root.rglob('*.py')):
        parts = path.relative_to(root).with_suffix('').parts
        found['.'.join(part for part in parts if part != '__init__') or '__init__'] = path
    return found


def below(name: str, part: str) -> bool:
    return name == part or name.startswith(f'{part}.')


def part_of(module: str) -> str:
    """The part of the table that a module belongs to; '' if there is none."""
    fitting = [part for part in PARTS if below(module, part)]
    return max(fitting, key=len, default='')


@cache
def imports(path: Path, when_called: bool = True) -> list[Found]:
    """What a module imports: all, or what it does when it is itself imported."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    hidden, guarded = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
            hidden |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, ast.Try) and any(
            handler.type is not None and 'ImportError' in ast.unparse(handler.type)
            for handler in node.handlers
        ):
            guarded |= {id(inner) for inner in ast.walk(node)}
    found = []
    for node in ast.walk(tree) if when_called else _outside_functions(tree):
        places = (id(node) in hidden, id(node) in guarded)
        found += [Found(name, *places) for name in _names(node)]
    return found


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _outside_functions(node)


def own_imports(path: Path, when_called: bool = True) -> list[str]:
    """The same, of the package alone, without its name; what only a type checker sees is out."""
    names = [entry.name for entry in imports(path, when_called) if not entry.typing_only]
    return [name[len(PACKAGE) + 1 :] for name in names if below(name, PACKAGE)]


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if node.level or not node.module:
        return [f'{PACKAGE}.<relative import>']
    if ROOT.parent.joinpath(*node.module.split('.')).is_dir():  # a package: modules of it
        return [f'{node.module}.{alias.name}' for alias in node.names]
    apart = [f'{node.module}.{alias.name}' for alias in node.names]
    return [name for name in apart if name in APART] or [node.module]


def violations(root: Path) -> list[str]:
    """Sentences, one per wrong import."""
    wrong: list[str] = []
    for module, path in modules(root).items():
        part = part_of(module)
        if not part:
            wrong.append(f'{module}: {module.split(".")[0]} is not listed in PARTS')
            continue
        for entry in imports(path):
            wrong += _wrong(module, part, entry)
        late = OPTIONAL + (LATER if part == 'cli' else ())
        for found in imports(path, when_called=False):
            library = found.name.split('.')[0]
            spared = found.typing_only or (found.guarded and library in OPTIONAL)
            if library in late and not spared:
                wrong.append(f'{module} imports {found.name} at its top: only when it is used')
        wrong += _computed(module, path)
    return wrong


def _wrong(module: str, part: str, entry: Found) -> list[str]:
    may, name = PARTS[part], entry.name
    library = name.split('.')[0]
    known = f'{PACKAGE}.sim' if below(name, f'{PACKAGE}.sim') else library
    homes = ONLY.get(known)
    if homes is not None and (known == library or part == 'ros') and module not in homes:
        return [f'{module} imports {name}: only {sorted(homes)} may']
    if library == PACKAGE:
        target = name[len(PACKAGE) + 1 :]
        relative = target.startswith('<')
        if relative or (may.own is not None and not below(target, part)
                        and not any(below(target, own) for own in may.own.split())):  # fmt: skip
            return [f'{module} imports {target}']
        return []
    if entry.typing_only:
        return []
    if library in sys.stdlib_module_names:
        return [] if _of_the_standard_library(module, name, may) else [f'{module} imports {name}']
    return [] if library in may.libraries.split() else [f'{module} imports {name}']


def _of_the_standard_library(module: str, name: str, may: May) -> bool:
    if name.split('.')[0] in PURE or (below(name, 'importlib') and module in DYNAMIC):
        return True
    least = next((len(other) for other in APART if below(name, other)), 0)
    return any(below(name, std) and len(std) >= least for std in may.std.split())


def _computed(module: str, path: Path) -> list[str]:
    """Calls that import or run what only a value says."""
    wrong = []
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in COMPUTED:
            wrong.append(f'{module} calls {node.func.id}')
        called = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
        if called not in ('import_module', 'exec_module', 'load_module'):
            continue
        if module not in DYNAMIC:
            wrong.append(f'{module} calls {called}')
        names = DYNAMIC.get(module)
        given = [getattr(argument, 'value', None) for argument in node.args]
        if names is not None and not names.issuperset(given):
            wrong.append(f'{module} calls {called}({given}): only {sorted(names)} may be')
    return wrong
