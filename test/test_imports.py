"""Imports point one way, heavy libraries stay at home, and the README knows every part."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = 'dysl_vla_ros'
ROOT = Path(__file__).resolve().parents[1] / PACKAGE

# What each part of the package may import of the package; 'x' covers 'x' and everything below.
ALLOWED = {
    'errors': set(),
    'data_types': {'errors'},
    'targets': {'errors'},
    'config': {'data_types', 'errors'},
    'core': {'config', 'data_types', 'errors', 'core'},
    'engines': {'data_types', 'errors', 'config', 'engines', 'targets'},
    'kinematics': {'data_types', 'errors'},
    'collision_shapes': {'data_types'},
    'collision': {'collision_shapes', 'data_types', 'errors', 'kinematics'},
    'hardware': {'hardware'},
    'policy': {'config', 'core', 'data_types', 'engines', 'errors'},
    'policy_process': {
        'config', 'data_types', 'engines', 'errors', 'policy', 'policy_process',
    },
    'motion': {'collision', 'config', 'core', 'data_types', 'engines', 'errors', 'kinematics'},
    'loop_status': {'core', 'data_types'},
    'loop_settings': {'config', 'core', 'engines'},
    'playback': {'config', 'core', 'data_types', 'loop_settings', 'motion'},
    'contract': {'config', 'engines', 'errors'},
    'control_loop': {
        'config', 'core', 'data_types', 'engines', 'errors', 'kinematics', 'loop_settings',
        'loop_status', 'motion', 'playback', 'policy',
    },
    'sim': {'data_types', 'errors', 'sim'},
    'parameter_file': {'errors'},
    'bringup': {'data_types', 'errors', 'parameter_file'},
    'demo': {'bringup', 'demo', 'errors'},
    'ros': {
        'collision', 'config', 'contract', 'control_loop', 'core', 'data_types', 'demo', 'engines',
        'errors', 'hardware', 'kinematics', 'loop_status', 'motion', 'policy', 'policy_process',
        'ros', 'sim', 'targets',
    },
    'evaluation': {
        'collision', 'config', 'contract', 'control_loop', 'core', 'data_types', 'engines',
        'errors', 'evaluation', 'hardware', 'kinematics', 'loop_settings', 'loop_status', 'motion',
        'policy', 'sim', 'targets',
    },
    'model': {'core', 'data_types', 'engines', 'errors', 'model', 'targets'},
    'training': {
        'config', 'core', 'data_types', 'engines', 'errors', 'export', 'model', 'sim', 'targets',
        'training',
    },
    'export': {'core', 'data_types', 'engines', 'errors', 'export', 'model', 'targets'},
    'cli': None,  # joins everything; imports a subcommand only when it is called
    '__init__': set(),
}  # fmt: skip

# Libraries that only some parts may import.
HOMES = {
    'rclpy': {'ros'},
    'sensor_msgs': {'ros'},
    'trajectory_msgs': {'ros'},
    'mujoco': {'sim'},
    'onnxruntime': {'engines', 'export'},
    'tensorrt': {'engines'},
    'torch': {
        'model', 'training', 'export', 'engines.cuda_engine', 'engines.cuda_stream',
        'engines.cuda_bundle', 'engines.onnx_torch', 'engines.onnx_torch_ops',
    },
    'pinocchio': {'collision', 'collision_shapes', 'kinematics'},
    'coal': {'collision_shapes'},
    'hppfcl': {'collision_shapes'},
    'transforms3d': {'core', 'kinematics', 'ros'},
    'onnx': {'export', 'engines.onnx_torch'},
}

# The simulated robot is the only part of ros/ that may know the simulation.
SIM_USERS = {'ros.sim_arm', 'ros.sim_node'}


def modules(root):
    """Dotted name below the package -> path."""
    found = {}
    for path in sorted(root.rglob('*.py')):
        parts = path.relative_to(root).with_suffix('').parts
        found['.'.join(part for part in parts if part != '__init__') or '__init__'] = path
    return found


def imports(path, when_called=True):
    """Full names that a module imports: all, or without those inside functions."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for node in ast.walk(tree) if when_called else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield f'{PACKAGE}.<relative import>'


def below(name, part):
    return name == part or name.startswith(f'{part}.')


def violations(root):
    """Sentences, one per wrong import."""
    wrong = []
    known = modules(root)
    for module, path in known.items():
        part = module.split('.')[0]
        if part not in ALLOWED:
            wrong.append(f'{module}: {part} is not listed in ALLOWED')
            continue
        for name in imports(path):
            if name.startswith(f'{PACKAGE}.'):
                target = name[len(PACKAGE) + 1 :]
                allowed = ALLOWED[part]
                if allowed is not None and target.split('.')[0] not in allowed:
                    wrong.append(f'{module} imports {target}')
                if part == 'ros' and below(target, 'sim') and module not in SIM_USERS:
                    wrong.append(f'{module} imports {target}: only the simulated robot may')
                if part == 'sim' and below(target, 'ros'):
                    wrong.append(f'{module} imports {target}')
            library = name.split('.')[0]
            homes = HOMES.get(library)
            if homes is not None and part != 'cli' and not any(below(module, h) for h in homes):
                wrong.append(f'{module} imports {library}: only {sorted(homes)} may')
    return wrong


def test_imports_point_one_way_and_libraries_stay_at_home():
    assert violations(ROOT) == []


def reachable(start, when_called=True):
    """Modules of the package that importing ``start`` brings in, then or when it is used."""
    known = modules(ROOT)
    seen, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        if module in seen or module not in known:
            continue
        seen.add(module)
        for name in imports(known[module], when_called):
            if name.startswith(f'{PACKAGE}.'):
                waiting.append(name[len(PACKAGE) + 1 :])
    return seen


# ``dysl chaos`` also runs against another environment: it knows no more of the package than this.
CHAOS_MAY_KNOW = ('data_types', 'demo', 'errors', 'ros.chaos', 'ros.qos')
CHAOS_WITH_ROS = {'ros.chaos.relay', 'ros.chaos.services', 'ros.chaos.listener'}


def test_the_fault_campaign_knows_nothing_of_what_it_tests():
    found = {m: list(imports(path)) for m, path in modules(ROOT).items() if below(m, 'ros.chaos')}
    assert len(found) > 10
    for module, names in found.items():
        own = {name[len(PACKAGE) + 1 :] for name in names if name.startswith(f'{PACKAGE}.')}
        own -= {'ros'}  # of ``from dysl_vla_ros.ros import qos``
        assert [n for n in own if not any(below(n, part) for part in CHAOS_MAY_KNOW)] == []
        if module not in CHAOS_WITH_ROS:
            assert [n for n in names if n.split('.')[0] == 'rclpy' or '_msgs' in n] == [], module
    for module in ('judge', 'verdict', 'endurance'):  # what judges runs without ROS
        assert not reachable(f'ros.chaos.{module}', when_called=False) & CHAOS_WITH_ROS


def test_nothing_that_the_robot_imports_reaches_the_offline_parts():
    offline = ('model', 'training', 'export', 'evaluation')
    for start in ('ros.vla_node', 'ros.lifecycle_node', 'control_loop', 'ros.sim_node'):
        found = reachable(start)
        assert len(found) > 5, f'{start} reaches only {found}: is the walk broken?'
        assert [module for module in found if any(below(module, o) for o in offline)] == []


def test_the_models_process_knows_nothing_of_ros_and_is_sure_to_end_before_it_loads_anything():
    found = reachable('policy_process.server')
    assert 'policy' in found
    assert [module for module in found if below(module, 'ros')] == []
    assert reachable('policy_process.server', when_called=False) == {'policy_process.server'}


def test_the_node_brings_in_the_model_only_where_it_runs_in_the_node():
    found = reachable('ros.lifecycle_node', when_called=False)
    assert 'policy_process.client' in found
    assert [module for module in found if below(module, 'engines.onnx_engine')] == []


def test_the_robots_side_loads_torch_only_when_the_cuda_back_end_is_asked_for():
    for start in ('ros.vla_node', 'ros.lifecycle_node', 'engines.open_engine', 'cli.main'):
        found = reachable(start, when_called=False)
        assert [m for m in found if any(below(m, home) for home in HOMES['torch'])] == []
    assert 'engines.cuda_engine' in reachable('engines.open_engine')


@pytest.mark.parametrize(
    ('place', 'code', 'message'),
    [
        ('core/x.py', 'from dysl_vla_ros.engines import bundle', 'core.x imports engines'),
        ('engines/x.py', 'import dysl_vla_ros.core.safety', 'engines.x imports core.safety'),
        ('core/x.py', 'import torch', 'core.x imports torch'),
        ('engines/x.py', 'import rclpy.node', 'engines.x imports rclpy'),
        ('sim/x.py', 'from dysl_vla_ros.ros import qos', 'sim.x imports ros'),
        ('ros/x.py', 'from dysl_vla_ros.sim.world import World', 'only the simulated robot may'),
        ('policy.py', 'from dysl_vla_ros.control_loop import ControlLoop', 'policy imports'),
        ('policy_process/x.py', 'from dysl_vla_ros.ros import qos', 'process.x imports ros'),
        ('policy_process/x.py', 'import rclpy', 'policy_process.x imports rclpy'),
        ('plugins/x.py', 'import os', 'plugins is not listed'),
        ('core/x.py', 'from . import y', 'core.x imports <relative import>'),
    ],
)
def test_a_wrong_import_is_found(tmp_path, place, code, message):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding='utf-8')
    found = violations(tmp_path)
    assert any(message in sentence for sentence in found), found


def test_the_readme_names_every_part_of_the_package():
    readme = (ROOT.parent / 'README.md').read_text(encoding='utf-8')
    parts = sorted({module.split('.')[0] for module in modules(ROOT)} - {'__init__'})
    assert [part for part in parts if part not in readme] == []
