"""What a machine lacks to compile pieces for its GPU is said at once, and all of it."""

from __future__ import annotations

import subprocess

import pytest

torch = pytest.importorskip('torch', reason='needs torch (make test-all)')
cpp_extension = pytest.importorskip('torch.utils.cpp_extension', reason='needs setuptools')
pytestmark = pytest.mark.slow

from compiled import shared_library
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.engines.cuda import build
from dysl_vla_ros.engines.cuda.build import build_compiled
from dysl_vla_ros.engines.cuda.toolchain import lacking
from dysl_vla_ros.engines.tensorrt.plans import plans_root
from dysl_vla_ros.errors import EngineError


@pytest.fixture
def toolkit(tmp_path, monkeypatch):
    """A folder that looks like one, and a triton."""
    home = tmp_path / 'cuda'
    (home / 'include').mkdir(parents=True)
    for name in ('cuda.h', 'cuda_runtime_api.h'):
        (home / 'include' / name).touch()
    (tmp_path / 'empty.c').touch()
    shared_library(tmp_path / 'empty.c', home / 'lib64' / 'libcuda.so')
    monkeypatch.setattr(cpp_extension, 'CUDA_HOME', str(home))
    (tmp_path / 'site').mkdir()
    (tmp_path / 'site' / 'triton.py').touch()
    monkeypatch.syspath_prepend(tmp_path / 'site')
    for name in ('CXX', 'CPATH', 'LIBRARY_PATH', 'CPLUS_INCLUDE_PATH'):
        monkeypatch.delenv(name, raising=False)
    return home


def test_where_all_is_there_nothing_is_lacking(toolkit):
    assert lacking() == []
    (toolkit / 'lib64' / 'stubs').mkdir()
    (toolkit / 'lib64' / 'libcuda.so').rename(toolkit / 'lib64' / 'stubs' / 'libcuda.so')
    assert lacking() == []


def test_each_thing_that_is_not_there_is_named_with_where_it_is_looked_for(toolkit, monkeypatch):
    (toolkit / 'include' / 'cuda.h').unlink()
    (toolkit / 'lib64' / 'libcuda.so').unlink()
    said = lacking()
    assert [words.split(' ')[0] for words in said] == ['cuda.h', 'libcuda.so']
    assert str(toolkit) in said[0] and 'LIBRARY_PATH' in said[1]
    monkeypatch.setenv('CXX', '/no/such/compiler')
    monkeypatch.setattr(cpp_extension, 'CUDA_HOME', None)
    said = lacking()
    assert 'C++ compiler' in said[0] and 'CUDA toolkit' in said[-1] and 'CUDA_HOME' in said[-1]


def test_a_build_for_a_gpu_says_so_before_it_loads_a_weight(tmp_path, monkeypatch):
    bundle = open_bundle(write_tiny_bundle(tmp_path / 'tiny', layers=3, width=16))
    monkeypatch.setattr(build, 'lacking', lambda: ['a CUDA toolkit', 'triton'])
    monkeypatch.setattr(build, 'BundleParts', None)
    with pytest.raises(EngineError, match='for want of a CUDA toolkit; triton$'):
        build_compiled(bundle, plans_root(bundle), torch.device('cuda'))
    assert not plans_root(bundle).exists()


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (OSError('CUDA_HOME environment variable is not set.'),
         'vision.*cannot compile it.*a CUDA toolkit.*CUDA_HOME environment variable'),
        (OSError(28, 'No space left on device'), 'No space left on device; name another folder'),
        (subprocess.CalledProcessError(1, 'g++'), 'cannot compile it.*g\\+\\+'),
    ],
)  # fmt: skip
def test_what_the_compiler_lacks_is_not_taken_for_a_full_disk(tmp_path, monkeypatch, error, words):
    bundle = open_bundle(write_tiny_bundle(tmp_path / 'tiny', layers=3, width=16))

    def fail(*_):
        raise error

    monkeypatch.setattr(build, 'compile_run', fail)
    with pytest.raises(EngineError, match=words):
        build_compiled(bundle, plans_root(bundle), torch.device('cpu'))
