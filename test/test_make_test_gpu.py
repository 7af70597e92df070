"""Which Python ``make test-gpu`` takes, and with what environment: stubs say what they have."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STUB = """#!/bin/bash
case "$*" in
  *what_it_has.py) [ -n "{has}" ] && echo "{has}" ;;
  *) echo "ran {name}: $* LIBRARIES=$LD_LIBRARY_PATH PYTHONPATH=$PYTHONPATH THREADS=$OMP_NUM_THREADS"
     if [ "$2" = venv ]; then exit 7; fi ;;
esac
"""  # noqa: E501


def stub(path, has):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STUB.format(has=has, name=path))
    path.chmod(0o755)


@pytest.fixture
def make(tmp_path):
    """Runs it where .venv and python3 are stubs; None = there is no such Python."""

    def run(venv, system, **environment):
        if venv is not None:
            stub(tmp_path / 'venv' / 'bin' / 'python', venv)
        stub(tmp_path / 'bin' / 'python3', system)
        path = f'{tmp_path / "bin"}:{os.environ["PATH"]}'
        return subprocess.run(
            ['make', '-s', 'test-gpu', f'VENV={tmp_path / "venv"}',
             f'PYTHON={tmp_path / "bin" / "python3"}', 'ARGS=--co'],
            cwd=ROOT, capture_output=True, text=True, check=False,
            env={'PATH': path, 'HOME': str(tmp_path), **environment},
        )  # fmt: skip

    return run


@pytest.mark.parametrize(
    ('venv', 'system', 'taken'),
    [
        ('gpu', 'gpu', 'venv/bin/python'),
        ('cpu', 'gpu', 'bin/python3'),
        ('gpu onnx', 'gpu', 'bin/python3'),
        ('cpu', 'cpu', 'venv/bin/python'),
        (None, 'gpu', 'bin/python3'),
        ('cpu onnx', 'cpu', 'bin/python3'),
    ],
)
def test_it_takes_the_python_whose_torch_sees_the_gpu_before_any_other(
    make, tmp_path, venv, system, taken
):
    done = make(venv, system)
    assert done.returncode == 0, done.stderr
    assert f'ran {tmp_path / taken}: -m pytest -m gpu -q test/gpu --co' in done.stdout
    assert done.stdout.count('ran ') == 1


@pytest.mark.parametrize('venv', [None, 'cpu', 'cpu onnx', ''])
def test_a_python_that_sees_the_gpu_and_lacks_a_library_is_named_and_nothing_is_installed(
    make, venv
):
    done = make(venv, 'gpu onnx safetensors')
    assert done.returncode != 0 and 'ran ' not in done.stdout
    assert 'python3 has torch but lacks onnx safetensors' in done.stderr
    assert 'python3 -m pip install onnx safetensors' in done.stderr


def test_without_any_torch_an_environment_is_made(make):
    done = make(None, '')
    assert done.returncode != 0 and '-m venv' in done.stdout


def test_driver_and_torch_may_be_reachable_by_the_paths_of_the_shell_alone(make):
    given = {'LD_LIBRARY_PATH': '/opt/driver', 'PYTHONPATH': '/opt/torch:/opt/more'}
    said = make(None, 'gpu', **given).stdout
    assert 'LIBRARIES=/opt/driver PYTHONPATH=/opt/torch:/opt/more THREADS=\n' in said
    # An environment of our own brings all it needs, but no driver.
    said = make('gpu', 'gpu', **given).stdout
    assert 'LIBRARIES=/opt/driver PYTHONPATH= THREADS=\n' in said
