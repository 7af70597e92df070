"""What a user sees when something is missing: one sentence and exit code 1, never a crash.

Every case runs in a process of its own, since TensorRT would take the process with it. The
driver is a stand-in compiled for the test; TensorRT is a trap that aborts the process at the first
use of it, so that an error can only have come before.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import pytest
from compiled import HERE, shared_library, with_libraries
from fake_gpu import GPU, FakeDevice, fake_tensorrt
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.engines.tensorrt.build import build_plans
from dysl_vla_ros.engines.tensorrt.plans import plans_root, target_of

TRAP = """
import os
__version__ = '10.3.0'
def __getattr__(name):
    if not name.startswith('__'):
        os.abort()
    raise AttributeError(name)
"""
OPEN = """
import sys
from dysl_vla_ros.engines.open_engine import open_engine
from dysl_vla_ros.errors import DyslError
try:
    open_engine(sys.argv[1], sys.argv[2])
except DyslError as error:
    sys.exit(f'{type(error).__name__}: {error}')
"""


@pytest.fixture(scope='module')
def machine(tmp_path_factory):
    """Folder with a driver, folder with a TensorRT that is a trap."""
    folder = tmp_path_factory.mktemp('machine')
    shared_library(HERE / 'fake_libcuda.c', folder / 'driver/libcuda.so.1')
    (folder / 'trap').mkdir()
    (folder / 'trap/tensorrt.py').write_text(TRAP)
    (folder / 'without').mkdir()
    (folder / 'without/tensorrt.py').write_text('raise ImportError("libnvinfer.so.10")')
    (folder / 'no_driver').mkdir()
    (folder / 'no_driver/libcuda.so.1').write_bytes(b'not a library')
    return folder


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp('built') / 'tiny'
    opened = open_bundle(write_tiny_bundle(folder, layers=5))
    target = target_of(GPU, '10.3.0', opened.manifest)
    build_plans(opened, plans_root(opened), target, fake_tensorrt(FakeDevice()))
    return folder


@pytest.fixture
def bundle(built, tmp_path):
    return open_bundle(shutil.copytree(built, tmp_path / 'tiny'))


def child(words, machine, driver='driver', tensorrt='trap', **variables):
    env = with_libraries(machine / driver, PYTHONPATH=str(machine / tensorrt), **variables)
    return subprocess.run(
        [sys.executable, *words], env=env, capture_output=True, text=True, timeout=60
    )


def refused(done):
    assert done.returncode == 1, done
    assert 'Traceback' not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    return done.stderr


def opened(bundle, machine, backend='tensorrt', **arguments):
    return child(['-c', OPEN, str(bundle.folder), backend], machine, **arguments)


def test_the_trap_works_with_plans_that_fit_the_process_dies_of_it(bundle, machine):
    assert opened(bundle, machine).returncode == -signal.SIGABRT


@pytest.mark.parametrize(
    ('backend', 'arguments', 'words'),
    [
        ('tensorrt', {'driver': 'no_driver'}, 'no NVIDIA driver'),
        ('auto', {'driver': 'no_driver'}, 'no NVIDIA driver'),
        ('tensorrt', {'FAKE_CUDA_INIT': '100'}, 'CUDA_ERROR_NO_DEVICE'),
        ('auto', {'FAKE_CUDA_DEVICES': '0'}, 'sees no device'),
        ('tensorrt', {'tensorrt': 'without'}, 'libnvinfer.so.10'),
    ],
)
def test_a_machine_that_cannot_run_the_plans_is_told_before_tensorrt_is_touched(
    bundle, machine, backend, arguments, words
):
    assert words in refused(opened(bundle, machine, backend, **arguments))


@pytest.mark.parametrize(
    'words', [['build', 'BUNDLE'], ['build', 'BUNDLE', '--force', '--plans', '/nowhere']]
)
def test_a_build_without_a_driver_ends_in_one_sentence(bundle, machine, words):
    words = [str(bundle.folder) if word == 'BUNDLE' else word for word in words]
    done = child(['-m', 'dysl_vla_ros.cli.main', *words], machine, driver='no_driver')
    assert 'dysl build: no NVIDIA driver' in refused(done)


def corrupt(folder):
    path = folder / 'layer_01.plan'
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ('damage', 'words'),
    [
        (corrupt, 'plan of segment layer_01'),
        (lambda folder: (folder / 'head.plan').write_bytes(b''), 'plan of segment head'),
        (lambda folder: (folder / 'head.plan').unlink(), 'plan of segment head'),
        (lambda folder: (folder / 'plans.json').write_text('{'), 'not valid JSON'),
        (lambda folder: (folder / 'plans.json').unlink(), 'no plans'),
        (lambda folder: folder.rename(folder.parent / 'x'), 'only plans that do not fit'),
    ],
)
def test_damaged_and_missing_plans_are_told_with_the_command_before_tensorrt_is_touched(
    bundle, machine, damage, words
):
    damage(plans_root(bundle) / target_of(GPU, '10.3.0', bundle.manifest).key)
    text = refused(opened(bundle, machine))
    assert words in text and f'dysl build {bundle.folder}' in text


def test_plans_of_another_version_of_tensorrt_are_told_before_it_is_touched(bundle, machine):
    newer = machine / 'newer'
    newer.mkdir(exist_ok=True)
    (newer / 'tensorrt.py').write_text(TRAP.replace('10.3.0', '10.16.1.11'))
    text = refused(opened(bundle, machine, tensorrt='newer'))
    assert 'TensorRT 10.3.0, expected 10.16.1.11' in text


def test_a_tensorrt_that_is_too_old_is_refused(bundle, machine):
    old = machine / 'old'
    old.mkdir(exist_ok=True)
    (old / 'tensorrt.py').write_text(TRAP.replace('10.3.0', '8.6.1'))
    assert 'TensorRT 8.6.1: expected 10.3' in refused(opened(bundle, machine, tensorrt='old'))


def test_the_doctor_survives_every_one_of_these_machines(bundle, machine):
    words = ['-m', 'dysl_vla_ros.cli.main', 'doctor', '--engine', str(bundle.folder)]
    for arguments in (
        {'driver': 'no_driver'}, {'FAKE_CUDA_INIT': '999'}, {'FAKE_CUDA_DEVICES': '0'},
        {'tensorrt': 'without'},
    ):  # fmt: skip
        done = child(words, machine, COLUMNS='300', **arguments)
        assert done.returncode == 1 and 'Traceback' not in done.stderr, done
        assert 'TensorRT plans' in done.stdout
    done = child(words, machine, COLUMNS='300')
    assert done.returncode == 0 and 'checksums fit' in done.stdout, done
