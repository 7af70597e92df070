"""Imports point one way, libraries stay at home, and the README knows every part."""

from __future__ import annotations

from graphlib import TopologicalSorter

import pytest
from house import ONLY, PACKAGE, PARTS, ROOT
from import_walk import below, imports, modules, own_imports, part_of, violations


def test_no_part_imports_what_is_not_listed_for_it():
    assert violations(ROOT) == []


def test_the_rules_themselves_have_no_circle_and_the_robot_never_needs_the_laboratory():
    graph = {}
    for part, may in PARTS.items():
        if not below(part, 'cli') and may.own is not None:
            top = part.split('.')[0]
            graph.setdefault(top, set()).update(own.split('.')[0] for own in may.own.split())
    for top, needed in graph.items():
        needed.discard(top)
        assert top == 'lab' or 'lab' not in needed, top
    assert len(list(TopologicalSorter(graph).static_order())) > 20


def test_every_rule_is_used():
    """What nothing needs any more would let something else in."""
    found = modules(ROOT)
    for part, may in PARTS.items():
        within = [path for module, path in found.items() if part_of(module) == part]
        names = {entry.name for path in within for entry in imports(path)}
        wanted = [f'{PACKAGE}.{own}' for own in (may.own or '').split()]
        wanted += [*may.std.split(), *may.libraries.split()]
        unused = [want for want in wanted if not any(below(name, want) for name in names)]
        assert unused == [], part


def reachable(start, when_called=True):
    """Modules of the package that importing ``start`` brings in, then or when it is used."""
    known = modules(ROOT)
    seen, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        while module and module not in known:  # a name out of a module
            module = module.rpartition('.')[0]
        if module and module not in seen:
            seen.add(module)
            waiting += own_imports(known[module], when_called)
    return seen


def torch_users():
    return {
        module
        for module, path in modules(ROOT).items()
        if any(entry.name.split('.')[0] in ('torch', 'accelerate')
               for entry in imports(path, when_called=False))
    }  # fmt: skip


CHAOS_WITH_ROS = {'ros.chaos.relay', 'ros.chaos.services', 'ros.chaos.listener'}


def test_what_judges_the_fault_campaign_runs_without_ros():
    found = {module: path for module, path in modules(ROOT).items() if below(module, 'ros.chaos')}
    assert len(found) > 10
    for module, path in found.items():
        names = [entry.name for entry in imports(path)]
        if module not in CHAOS_WITH_ROS:
            assert [n for n in names if n.split('.')[0] == 'rclpy' or '_msgs' in n] == [], module
    for module in ('judge', 'verdict', 'endurance'):
        assert not reachable(f'ros.chaos.{module}', when_called=False) & CHAOS_WITH_ROS


def test_nothing_that_the_robot_imports_reaches_the_laboratory():
    for start in ('ros.vla_node', 'ros.lifecycle_node', 'control_loop', 'ros.sim_node',
                  'policy_process.serve', 'bringup'):  # fmt: skip
        found = reachable(start)
        assert len(found) > 2, f'{start} reaches only {found}: is the walk broken?'
        assert [module for module in found if below(module, 'lab')] == []


def test_the_models_process_knows_nothing_of_ros_and_is_sure_to_end_before_it_loads_anything():
    found = reachable('policy_process.server')
    assert 'policy' in found
    assert [module for module in found if below(module, 'ros')] == []
    first = reachable('policy_process.server', when_called=False)
    assert first == {'policy_process.server'}


def test_the_node_brings_in_the_model_only_where_it_runs_in_the_node():
    found = reachable('ros.lifecycle_node', when_called=False)
    assert 'policy_process.client' in found
    assert [module for module in found if below(module, 'engines.onnxruntime.engine')] == []


def test_torch_is_loaded_only_when_a_command_or_the_cuda_back_end_needs_it():
    users = torch_users()
    assert len(users) > 20
    commands = [module for module in modules(ROOT) if below(module, 'cli')]
    assert len(commands) > 15
    for start in ('ros.vla_node', 'ros.lifecycle_node', 'engines.open_engine', *commands):
        assert reachable(start, when_called=False) & users == set(), start
    assert 'engines.cuda.engine' in reachable('engines.open_engine')
    at_home = ('lab', 'engines.cuda')
    assert [user for user in users if not any(below(user, home) for home in at_home)] == []


def test_what_is_measured_or_built_on_a_robot_runs_without_torch():
    for command in ('build', 'bench', 'doctor', 'evaluate', 'demo'):
        assert reachable(f'cli.{command}') & torch_users() <= {
            user for user in torch_users() if below(user, 'engines.cuda')
        }, command


@pytest.mark.parametrize(
    ('place', 'code', 'message'),
    [
        ('core/x.py', 'from dysl_vla_ros.engines import engine', 'core.x imports engines.engine'),
        ('core/x.py', 'from dysl_vla_ros import engines', 'core.x imports engines'),
        ('core/x.py', 'import torch', 'core.x imports torch'),
        ('core/x.py', 'import scipy.signal', 'core.x imports scipy'),
        ('core/x.py', 'import pickle', 'core.x imports pickle'),
        ('core/x.py', 'import time', 'core.x imports time'),
        ('core/x.py', 'import socket', 'core.x imports socket'),
        ('core/x.py', 'import importlib', 'core.x imports importlib'),
        ('core/x.py', 'from importlib import import_module', 'core.x imports importlib'),
        ('core/x.py', 'numpy = __import__("numpy")', 'core.x calls __import__'),
        ('core/x.py', 'def f():\n    exec("import torch")', 'core.x calls exec'),
        ('core/x.py', 'y = eval("1")', 'core.x calls eval'),
        ('core/x.py', 'from . import y', 'core.x imports <relative import>'),
        ('core/x.py', 'def f():\n    import rclpy', 'core.x imports rclpy'),
        ('bundle/x.py', 'from dysl_vla_ros.engines.engine import forward', 'imports engines'),
        ('bundle/x.py', 'import marshal', 'bundle.x imports marshal'),
        ('engines/x.py', 'import dysl_vla_ros.core.safety', 'engines.x imports core.safety'),
        ('engines/x.py', 'import rclpy.node', 'engines.x imports rclpy'),
        ('engines/x.py', 'import urllib.request', 'engines.x imports urllib'),
        ('engines/x.py', 'import torch', 'engines.x imports torch'),
        ('engines/tensorrt/x.py', 'import torch', 'engines.tensorrt.x imports torch'),
        ('engines/tensorrt/api.py', 'import importlib\nimportlib.import_module("torch")',
         "only ['tensorrt'] may be"),
        ('engines/cuda/x.py', 'from dysl_vla_ros.lab.model import llama', 'x imports lab.model'),
        ('cli/x.py', 'import http.client', 'cli.x imports http'),
        ('cli/x.py', 'import importlib', 'cli.x imports importlib'),
        ('cli/x.py', 'import importlib.util\nimportlib.import_module("x")', 'import_module'),
        ('cli/x.py', 'import shelve', 'cli.x imports shelve'),
        ('sim/x.py', 'from dysl_vla_ros.ros import qos', 'sim.x imports ros'),
        ('ros/x.py', 'from dysl_vla_ros.sim.world import World', 'only'),
        ('ros/x.py', 'def f():\n    import control_msgs', "only ['ros.gripper_goals', "),
        ('ros/x.py', 'from controller_manager_msgs.srv import ListControllers', 'watch'),
        ('ros/gripper_goals.py', 'from control_msgs.action import GripperCommand', 'at its top'),
        ('ros/images.py', 'try:\n    import cv_bridge\nfinally:\n    pass', 'at its top'),
        ('cli/x.py', 'import torch', 'cli.x imports torch at its top'),
        ('cli/x.py', 'from torch import nn', 'cli.x imports torch at its top'),
        ('cli/x.py', 'class A:\n    import torch', 'cli.x imports torch at its top'),
        ('ros/x.py', 'from dysl_vla_ros.lab.data import words', 'ros.x imports lab.data'),
        ('ros/chaos/x.py', 'from dysl_vla_ros.ros import session', 'imports ros.session'),
        ('policy.py', 'from dysl_vla_ros.control_loop import ControlLoop', 'policy imports'),
        ('policy_process/x.py', 'from dysl_vla_ros.ros import qos', 'process.x imports ros'),
        ('policy_process/x.py', 'import rclpy', 'policy_process.x imports rclpy'),
        ('lab/worlds/x.py', 'from multiprocessing.connection import Client', 'connection'),
        ('lab/worlds/x.py', 'from multiprocessing import connection', 'connection'),
        ('lab/model/x.py', 'from dysl_vla_ros.lab.learn import train', 'imports lab.learn'),
        ('lab/model/x.py', 'import cloudpickle', 'imports cloudpickle'),
        ('plugins/x.py', 'import os', 'plugins is not listed'),
    ],
)  # fmt: skip
def test_a_wrong_import_is_found(tmp_path, place, code, message):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding='utf-8')
    found = violations(tmp_path)
    assert any(message in sentence for sentence in found), found


def test_what_only_one_file_may_import_is_imported_there():
    known = modules(ROOT)
    for name, homes in ONLY.items():
        for home in homes:
            assert any(below(entry.name, name) for entry in imports(known[home])), (name, home)


def test_the_readme_names_every_part_of_the_package():
    readme = (ROOT.parent / 'README.md').read_text(encoding='utf-8')
    parts = sorted({module.split('.')[0] for module in modules(ROOT)} - {'__init__'})
    inside = sorted(path.name for path in (ROOT / 'lab').iterdir() if path.is_dir()
                    and (path / '__init__.py').is_file())  # fmt: skip
    assert [part for part in (*parts, *inside) if f'`{part}`' not in readme] == []
