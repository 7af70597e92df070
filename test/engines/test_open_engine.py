from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.engines import open_engine as module
from dysl_vla_ros.engines.fake.engine import FakeEngine
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.engines.open_engine import bundled_model, open_engine
from dysl_vla_ros.engines.tensorrt import cuda_driver
from dysl_vla_ros.engines.tensorrt.device import Gpu
from dysl_vla_ros.errors import BundleError, EngineError


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp('bundle'), layers=4)


@pytest.mark.parametrize('backend', ['auto', 'onnxruntime'])
def test_a_bundle_opens_on_onnx_runtime(folder, backend):
    opened = open_engine(str(folder), backend)
    assert isinstance(opened.engine, OnnxEngine)
    assert opened.manifest.name == 'tiny' and opened.engine.layout == opened.manifest.layout
    assert '"WordLevel"' in opened.tokenizer


@pytest.mark.parametrize('arguments', [('fake', 'auto'), ('fake', 'fake'), ('', 'fake')])
def test_fake_needs_no_bundle(arguments):
    assert isinstance(open_engine(*arguments).engine, FakeEngine)


@pytest.mark.parametrize(
    ('backend', 'words'),
    [
        ('tpu', "engine.backend = 'tpu': expected 'auto', 'onnxruntime', 'tensorrt', 'cuda', "),
    ],
)
def test_a_back_end_that_cannot_run_is_refused_and_nothing_else_is_tried(folder, backend, words):
    with pytest.raises(EngineError) as caught:
        open_engine(str(folder), backend)
    assert words in str(caught.value)


def test_the_cuda_back_end_without_torch_says_how_to_get_it(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, 'dysl_vla_ros.engines.cuda.bundle', None)
    with pytest.raises(EngineError, match=r"engine.backend = 'cuda'.*pip install"):
        open_engine(str(folder), 'cuda')


def with_plans(folder, tmp_path):
    """A copy of the bundle that somebody built plans in, for whatever machine."""
    copy = shutil.copytree(folder, tmp_path / 'built')
    (copy / 'plans/orin').mkdir(parents=True)
    (copy / 'plans/orin/plans.json').write_text('{}')
    return copy


def test_auto_is_tensorrt_once_plans_were_built_and_never_onnx_runtime_instead(
    monkeypatch, folder, tmp_path
):
    monkeypatch.setattr(cuda_driver, 'LIBRARY', 'libcuda_that_is_not_there.so.1')
    copy = with_plans(folder, tmp_path)
    for arguments in ((str(copy), 'auto'), (str(folder), 'auto', 1, str(copy / 'plans'))):
        with pytest.raises(EngineError, match='no NVIDIA driver'):
            open_engine(*arguments)
    assert isinstance(open_engine(str(copy), 'onnxruntime').engine, OnnxEngine)


def test_auto_on_the_cpu_beside_a_gpu_warns_with_the_command_that_builds_plans(
    monkeypatch, caplog, folder
):
    gpu = Gpu('Orin', '8.7', 16, '12.6')
    monkeypatch.setattr(module, 'open_driver', lambda: cuda_driver.Driver(None, gpu))
    open_engine(str(folder), 'onnxruntime')
    assert caplog.messages == []
    open_engine(str(folder), 'auto')
    assert 'although there is a GPU (Orin)' in caplog.messages[0]
    assert f'dysl build {folder}' in caplog.messages[0]


def test_the_fake_engine_is_not_onnx_runtime():
    with pytest.raises(EngineError, match="expected 'auto' with the path 'fake'"):
        open_engine('fake', 'onnxruntime')


def test_a_path_without_a_bundle_is_named(tmp_path):
    with pytest.raises(BundleError, match=str(tmp_path)):
        open_engine(str(tmp_path))


def install(monkeypatch, place):
    """As if the package had been installed there."""
    file = place / 'dysl_vla_ros/engines/open_engine.py'
    file.parent.mkdir(parents=True)
    monkeypatch.setattr(module, '__file__', str(file))
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)


@pytest.mark.parametrize(
    ('package', 'models'),
    [
        ('src', 'src/resource/models'),
        ('.venv/lib/python3.11/site-packages', '.venv/share/dysl_vla_ros/models'),
        ('install/x/lib/python3.12/site-packages', 'install/x/share/dysl_vla_ros/models'),
        ('usr/local/lib/python3.10/dist-packages', 'usr/local/share/dysl_vla_ros/models'),
    ],
)
def test_an_empty_path_finds_the_bundled_model(monkeypatch, tmp_path, folder, package, models):
    install(monkeypatch, tmp_path / package)
    (tmp_path / models / 'a_file_that_is_no_bundle').mkdir(parents=True)
    shutil.copytree(folder, tmp_path / models / 'tabletop')
    assert bundled_model() == (tmp_path / models / 'tabletop').resolve()
    assert open_engine().manifest.name == 'tiny'


def test_a_sourced_prefix_is_searched_too(monkeypatch, tmp_path, folder):
    install(monkeypatch, tmp_path / 'elsewhere')
    prefix = tmp_path / 'install/dysl_vla_ros'
    shutil.copytree(folder, prefix / 'share/dysl_vla_ros/models/tabletop')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/opt/ros/none:{prefix}')
    assert bundled_model() == prefix / 'share/dysl_vla_ros/models/tabletop'


def test_without_a_bundled_model_the_message_lists_where_it_looked(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path)
    with pytest.raises(BundleError) as caught:
        open_engine()
    assert str(tmp_path.resolve() / 'resource/models') in str(caught.value)
    assert str(Path('share', 'dysl_vla_ros', 'models')) in str(caught.value)
