"""What the modules of the package import, held against the rules of ``house``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from house import (
    APART,
    COMPUTED,
    DYNAMIC,
    LATER,
    ONLY,
    OPTIONAL,
    PACKAGE,
    PARTS,
    PURE,
    ROOT,
    May,
)  # fmt: skip


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
def parsed(path: Path) -> tuple[ast.AST, list[ast.AST]]:
    """A module, and all that is in it: read and walked through once for every rule."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    return tree, list(ast.walk(tree))


@cache
def imports(path: Path, when_called: bool = True) -> list[Found]:
    """What a module imports: all, or what it does when it is itself imported."""
    tree, nodes = parsed(path)
    hidden, guarded = set(), set()
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
            hidden |= {id(inner) for inner in ast.walk(node)}
        if isinstance(node, ast.Try) and any(
            handler.type is not None and 'ImportError' in ast.unparse(handler.type)
            for handler in node.handlers
        ):
            guarded |= {id(inner) for inner in ast.walk(node)}
    found = []
    for node in nodes if when_called else _outside_functions(tree):
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
    for node in parsed(path)[1]:
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
