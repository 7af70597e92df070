"""A command that lacks an optional library ends in one line with the command that installs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from without_libraries import CALLS

from dysl_vla_ros.cli.failures import _EXTRAS, explain

ROOT = Path(__file__).resolve().parents[2]
SETUP = (ROOT / 'setup.py').read_text(encoding='utf-8')
# What pip calls a module, where it is not the module's own name.
DISTRIBUTIONS = {'PIL': 'Pillow', 'pinocchio': 'pin', 'coal': 'pin', 'mujoco': 'mujoco-core',
                 'onnx_ir': 'onnx-ir', 'rclpy': 'ros-jazzy-rclpy'}  # fmt: skip


def extra_brings(extra, module):
    """Whether an extra of setup.py names what holds a module."""
    body = re.search(rf"^        '{extra}': \[(.*?)\],", SETUP, re.DOTALL | re.MULTILINE)
    name = re.escape(DISTRIBUTIONS.get(module, module))
    return body is not None and re.search(rf"'{name}\b(?!-)", body[1]) is not None


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """What each call said."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name('without_libraries.py')], check=False,
        cwd=tmp_path_factory.mktemp('calls'), capture_output=True, text=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1',
             'PYTHONPATH': f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(CALLS, json.loads(done.stdout), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize('case', CALLS, ids=[f'{call} without {name}' for name, call in CALLS])
def test_a_missing_library_is_one_line_with_the_command_that_installs_it(case, made):
    code, out, err, left = made[case]
    missing = case[0]
    assert code in (1, 2) and len(err.splitlines()) == 1, err
    assert 'should not happen' not in err and not out.strip(), out
    assert left == []
    assert missing in err or DISTRIBUTIONS.get(missing, missing) in err or 'PyAV' in err, err
    assert re.search(r'pip install|apt install', err), err
    assert 'torch' not in missing or '-c constraints-cpu.txt' in err, err  # else CUDA comes along
    for extra in re.findall(r'\[([a-z-]+)\]', err):
        assert extra_brings(extra, missing), f'the extra {extra} does not bring {missing}: {err}'


@pytest.mark.parametrize(('module', 'extra'), _EXTRAS.items())
def test_the_extra_that_a_missing_module_names_brings_it(module, extra):
    assert extra_brings(extra, module)
    text, code = explain(ModuleNotFoundError(f'No module named {module!r}', name=module))
    assert f"-e '.[{extra}]'" in text and code == 1


def test_every_optional_library_of_setup_py_is_known_where_it_is_missing():
    named = {DISTRIBUTIONS.get(module, module) for module in _EXTRAS}
    block = SETUP[SETUP.index('extras_require') : SETUP.index("'vla':")]
    asked = set(re.findall(r"'([A-Za-z][\w-]*)(?:\[\w+\])?[><=]=", block))
    others = {'mujoco', *(name for name in asked if name.startswith('ros-jazzy-'))}
    assert asked - named - others == set()


def test_what_trains_a_policy_asks_for_nothing_that_only_a_robot_needs():
    """The extra ``train`` is enough from a set to a bundle: neither kinematics nor a simulator."""
    commands = ('import_set', 'train', 'distill', 'calibrate', 'export', 'verify', 'bench')
    lines = ['import sys', 'sys.modules.update(dict.fromkeys(("pinocchio", "mujoco", "rclpy")))',
             *(f'import dysl_vla_ros.cli.{name}' for name in commands)]  # fmt: skip
    done = subprocess.run([sys.executable, '-c', '\n'.join(lines)], check=False, text=True,
                          capture_output=True, cwd=ROOT)  # fmt: skip
    assert done.returncode == 0, done.stderr
