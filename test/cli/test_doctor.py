"""The doctor tells what is there, what is not, and how to get it."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import fake_gpu
import pytest
import tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli import doctor, doctor_modules, doctor_tensorrt
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.engines.tensorrt.build import build_plans
from dysl_vla_ros.engines.tensorrt.cuda_driver import Driver
from dysl_vla_ros.engines.tensorrt.plans import plans_root, target_of
from dysl_vla_ros.errors import EngineError


def by_part(findings):
    return {item.part: item for item in findings}


def no_library(name, *arguments, **options):
    raise OSError(f'{name}: cannot open shared object file')


@pytest.fixture
def no_driver(monkeypatch):
    monkeypatch.setattr(ctypes, 'CDLL', no_library)


@pytest.fixture
def board(monkeypatch):
    """As if this were an Orin with TensorRT 10.3."""
    trt = fake_gpu.fake_tensorrt(fake_gpu.FakeDevice())
    monkeypatch.setattr(doctor_tensorrt, 'open_driver', lambda: Driver(None, fake_gpu.GPU))
    monkeypatch.setattr(doctor_tensorrt, 'load_tensorrt', lambda: trt)
    return trt


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A bundle with plans."""
    folder = tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('built') / 'tiny', layers=5)
    bundle = open_bundle(folder)
    trt = fake_gpu.fake_tensorrt(fake_gpu.FakeDevice())
    target = target_of(fake_gpu.GPU, trt.__version__, bundle.manifest)
    build_plans(bundle, plans_root(bundle), target, trt)
    return folder


@pytest.fixture
def folder(built, tmp_path):
    return shutil.copytree(built, tmp_path / 'tiny')


def plans_of(folder):
    return by_part(doctor.findings(str(folder)))['TensorRT plans']


def test_an_installed_part_is_ok_with_its_version():
    item = by_part(doctor.findings())['numpy']
    assert item.state == 'ok' and item.found[0].isdigit()


@pytest.mark.parametrize('allowed', [True, False])
def test_it_tells_whether_commands_may_be_real_time_and_how_to_allow_it(monkeypatch, allowed):
    problems = () if allowed else ('SCHED_FIFO 40 is refused (no)', 'memory is not locked: no')
    monkeypatch.setattr(
        doctor.realtime, 'claim', lambda: doctor.realtime.Realtime(allowed, False, problems)
    )
    item = by_part(doctor.findings())['real-time commands']
    assert item.state == ('ok' if allowed else 'missing')
    assert ('SCHED_FIFO 40' in item.found) and (('is refused' in item.found) is not allowed)
    assert ('rtprio 99' in item.fix and 'memlock unlimited' in item.fix) is not allowed


def test_a_missing_part_comes_with_the_command_that_gets_it(monkeypatch):
    monkeypatch.setattr(doctor_modules.importlib.util, 'find_spec', lambda name: None)
    found = by_part(doctor.findings())
    item = found['mujoco']
    of_this_python = 'mujoco-core>=4.0,<4.1' if sys.version_info >= (3, 11) else 'mujoco>=3.3,<4'
    assert item.state == 'missing' and f"pip install '{of_this_python}'" in item.fix
    item = found['yaml']  # without it the node does not run
    assert item.state == 'broken' and 'apt install python3-yaml' in item.fix
    assert found['rclpy'].state == 'broken' and 'source /opt/ros' in found['rclpy'].fix


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """Makes modules that can be found, and says what becomes of importing them."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))

    def make(**codes):
        for name, code in codes.items():
            (tmp_path / f'{name}.py').write_text(code, encoding='utf-8')
        made = [doctor_modules.Library(name, '', 'this test') for name in codes]
        monkeypatch.setattr(doctor_modules, 'LIBRARIES', tuple(made))
        return by_part(doctor_modules.library_findings())

    return make


def test_what_is_found_and_cannot_be_imported_is_broken_and_says_why(libraries):
    found = libraries(
        fine_one='',
        wrong_binary='raise ImportError("numpy.core failed\\nto import")',
        crashes='import ctypes; ctypes.string_at(0)', leaves='import sys; sys.exit(3)',
        fine_two='',
    )  # fmt: skip
    assert [found[name].state for name in found] == ['ok', *['broken'] * 3, 'ok']
    assert 'ImportError: numpy.core failed to import' in found['wrong_binary'].found
    assert 'ends the process with code -11' in found['crashes'].found
    assert 'SystemExit: 3' in found['leaves'].found


def test_a_version_that_does_not_fit_is_broken_with_the_bounds(monkeypatch):
    for version, state in (('1.23.9', 'broken'), ('1.26.4', 'ok'), ('3.0.0', 'broken')):
        metadata = doctor_modules.importlib.metadata
        monkeypatch.setattr(metadata, 'version', lambda name, number=version: number)
        item = by_part(doctor_modules.library_findings())['numpy']
        assert item.state == state and (state == 'ok' or 'numpy>=1.24,<3' in item.fix), version


def test_the_bounds_are_those_of_the_package():
    setup = (Path(doctor.__file__).parents[2] / 'setup.py').read_text(encoding='utf-8')
    checked = 0
    for library in doctor_modules.LIBRARIES:
        found = re.search(rf"'{library.distribution}>=([\d.]+)(?:,<([\d.]+))?'", setup)
        if library.distribution and found:
            high = '.'.join(map(str, library.high)) or None
            assert high == found[2], library.module
            checked += 1
    assert checked > 7


def test_a_folder_without_code_is_no_module(tmp_path, monkeypatch):
    (tmp_path / 'launch_like').mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor_modules._is_there('launch_like') is False


def test_it_runs_on_the_standard_library_alone_and_names_everything_that_is_missing(tmp_path):
    empty = tmp_path / 'empty'
    venv.create(empty, with_pip=False)
    root = Path(doctor.__file__).parents[2]
    words = [empty / 'bin' / 'python', '-m', 'dysl_vla_ros.cli.main', 'doctor']
    done = subprocess.run(
        [*words, '--json', tmp_path / 'out.json'], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={'PYTHONPATH': str(root), 'PATH': os.environ['PATH']},
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr == '', done.stderr
    found = {item['part']: item for item in json.loads((tmp_path / 'out.json').read_text())}
    required = [lib.module for lib in doctor_modules.LIBRARIES if lib.required]
    assert len(required) >= 5
    for part in (*required, 'rclpy', 'bundled model'):
        assert found[part]['state'] == 'broken' and found[part]['fix'], part
    for library in doctor_modules.LIBRARIES:
        assert found[library.module]['state'] != 'ok' and found[library.module]['needed_for']
        assert found[library.module]['fix'], library.module
    assert "python3 -m pip install 'onnxruntime>=1.17,<2'" in done.stdout


def test_a_command_that_lacks_a_library_points_to_the_doctor(tmp_path):
    empty = tmp_path / 'empty'
    venv.create(empty, with_pip=False)
    words = [empty / 'bin' / 'python', '-m', 'dysl_vla_ros.cli.main', 'demo']
    done = subprocess.run(
        words, cwd=tmp_path, text=True, capture_output=True, check=False,
        env={'PYTHONPATH': str(Path(doctor.__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'needs yaml, which is not installed; dysl doctor says how to get it' in done.stderr


def test_a_bundle_that_fits_its_checksums_is_ok(folder):
    item = by_part(doctor.findings(str(folder)))[f'bundle {folder}']
    assert item.state == 'ok' and 'checksums fit' in item.found


def test_an_altered_bundle_is_broken_and_the_file_is_named(folder):
    victim = next((folder / 'segments').glob('layer_00*'))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    item = by_part(doctor.findings(str(folder)))[f'bundle {folder}']
    assert item.state == 'broken' and victim.name in item.found


def test_without_a_driver_the_doctor_says_so_and_does_not_crash(no_driver):
    item = by_part(doctor.findings())['NVIDIA driver']
    assert item.state == 'missing' and 'JetPack' in item.fix
    assert 'libcuda.so.1 cannot be loaded' in item.found


def test_a_driver_that_does_not_answer_is_broken(monkeypatch):
    def silent():
        raise EngineError('the NVIDIA driver does not answer (cuInit: CUDA_ERROR_UNKNOWN (999))')

    monkeypatch.setattr(doctor_tensorrt, 'open_driver', silent)
    item = by_part(doctor.findings())['NVIDIA driver']
    assert item.state == 'broken' and 'CUDA_ERROR_UNKNOWN' in item.found and 'reboot' in item.fix


def test_a_gpu_is_named(board):
    item = by_part(doctor.findings())['NVIDIA driver']
    assert item.state == 'ok' and item.found == 'Orin, compute capability 8.7, CUDA 12.6'


def test_a_bundle_without_plans_comes_with_the_command_that_builds_them(tmp_path, no_driver):
    folder = tiny_bundle.write_tiny_bundle(tmp_path / 'a bundle', layers=4)
    item = plans_of(folder)
    assert item.state == 'missing' and f"dysl build '{folder}'" in item.fix
    assert 'auto runs on ONNX Runtime' in item.found


def test_plans_on_a_machine_without_a_gpu_are_broken_and_both_ways_out_are_named(
    folder, no_driver
):
    item = plans_of(folder)
    assert item.state == 'broken' and 'no GPU to run them' in item.found
    assert 'engine.backend: onnxruntime' in item.fix and 'driver' in item.fix


def test_plans_that_fit_are_ok(folder, board):
    item = plans_of(folder)
    assert item.state == 'ok' and item.found.startswith('orin-sm87x16-trt10.3.0-cuda12.6-fp32-')
    assert f'{len(list(folder.rglob("*.plan")))} plans' in item.found


def test_plans_of_another_tensorrt_are_broken_with_both_versions_and_the_command(folder, board):
    board.__version__ = '10.16.1.11'
    item = plans_of(folder)
    assert item.state == 'broken' and item.fix == f'dysl build {folder}'
    assert 'TensorRT 10.3.0, expected 10.16.1.11' in item.found


def test_an_altered_plan_is_broken_with_its_name_and_the_command(folder, board):
    victim = next(folder.rglob('layer_02.plan'))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    item = plans_of(folder)
    assert item.state == 'broken' and 'plan of segment layer_02' in item.found
    assert 'altered' in item.found and item.fix == f'dysl build {folder}'


def test_plans_without_tensorrt_are_broken(folder, monkeypatch):
    monkeypatch.setattr(doctor_tensorrt, 'open_driver', lambda: Driver(None, fake_gpu.GPU))
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    item = plans_of(folder)
    assert item.state == 'broken' and 'python3-libnvinfer' in item.fix


def test_the_report_is_written_as_json(tmp_path, no_driver):
    folder = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny', layers=5)
    code = main(['doctor', '--engine', str(folder), '--json', str(tmp_path / 'out.json')])
    document = json.loads((tmp_path / 'out.json').read_text())
    assert code == 0
    assert {'part', 'state', 'found', 'needed_for', 'fix'} == set(document[0])


def test_broken_plans_give_a_non_zero_exit_code(folder, no_driver):
    assert main(['doctor', '--engine', str(folder)]) == 1


@pytest.mark.parametrize(
    ('text', 'state', 'words'),
    [
        (None, 'broken', 'No such file'),
        ('vla_node: {ros__parameters: {limits.velocity_scal: 0.3}}', 'broken', 'velocity_scale'),
        ('vla_node: {ros__parameters: {engine: {threads: many}}}', 'broken', 'engine.threads'),
        ('vla_nod: {ros__parameters: {armed: true}}', 'broken', 'expected vla_node or /**'),
        ('sim_arm: {ros__parameters: {seed: 1}}', 'broken', 'a section vla_node'),
        ('vla_node: {ros__parameters: {instruction: 3}}', 'broken', 'instruction = 3'),
        ('vla_node: {ros__parameters: {image.fit: [crap]}}', 'broken', 'image.fit'),
        ('vla_node: {ros__parameters: {image.roi: ["image=0,0,2,1"]}}', 'broken', 'image.roi'),
        ('vla_node: {ros__parameters: [1, 2]}', 'broken', 'expected a mapping'),
        ('vla_node: 3', 'broken', 'ros__parameters'),
        ('[1]', 'broken', 'expected sections'),
        ('vla_node: {ros__parameters: {continuity.weights: [1, 2.0]}}', 'broken', 'of one kind'),
        ('vla_node: {ros__parameters: {continuity.weights: [[1.0]]}}', 'broken', 'without lists'),
        ('vla_node: {ros__parameters: {armed: }}', 'broken', 'a value'),
        ('x: &x {armed: true}\nvla_node: {ros__parameters: *x}', 'broken', 'no aliases'),
        ('vla_node: {ros__parameters: {<<: {armed: true}}}', 'broken', '<<.armed'),
        ('vla_node: {ros__parameters: {engine.path: /nowhere}}', 'broken', '/nowhere'),
        ('vla_node: {ros__parameters: {engine.path: fake, image.roi: ["hand=0,0,1,1"]}}',
         'broken', 'image.roi'),
        ('vla_node: {ros__parameters: {engine.path: fake}}', 'ok', 'fit for'),
        ('vla_node: {ros__parameters: {engine.backend: remote, remote.url: "ws://gpu:8000",'
         ' remote.contract: /nope.yaml}}', 'broken', '/nope.yaml'),
        ('vla_node: {ros__parameters: {engine.backend: remote, remote.url: "http://gpu"}}',
         'broken', 'remote.url'),
        ('vla_node: {ros__parameters: {engine.backend: remote, remote.url: "ws://gpu:8000"}}',
         'ok', 'fit for'),
        ('left: {vla_node: {ros__parameters: {limits.velocity_scale: 3e-1, use_sim_time: true,'
         ' instruction: go}}}', 'ok', '2 parameters'),
    ],
)  # fmt: skip
def test_a_parameter_file_is_judged_as_the_node_judges_it(tmp_path, text, state, words):
    from dysl_vla_ros.cli.doctor_parameters import judged

    path = tmp_path / 'arm.yaml'
    if text is not None:
        path.write_text(text)
    item = judged(path).finding
    assert (item.state, words in item.found) == (state, True), item.found


def test_a_parameter_file_has_its_line_and_a_wrong_one_a_non_zero_exit_code(tmp_path, no_driver):
    path, report = tmp_path / 'arm.yaml', tmp_path / 'found.json'
    path.write_text('vla_node: {ros__parameters: {engine.path: /nowhere}}')
    assert main(['doctor', '--params-file', str(path), '--json', str(report)]) == 1
    found = {item['part']: item for item in json.loads(report.read_text())}
    assert '/nowhere' in found['parameters arm.yaml']['found']
    assert found['bundled model']['state'] == 'ok'


def test_every_preset_is_a_parameter_file_that_the_doctor_takes():
    from dysl_vla_ros.cli.doctor_parameters import judged

    for path in sorted((Path(__file__).parents[2] / 'config' / 'robots').glob('*.yaml')):
        assert judged(path).finding.state == 'ok', judged(path).finding.found


def test_a_parameter_file_is_judged_against_the_bundle_that_it_or_the_call_names(folder, tmp_path):
    from dysl_vla_ros.cli.doctor_parameters import judged

    deep = 'skip.mode: fixed, skip.exit_layer: 30'
    path = tmp_path / 'arm.yaml'
    path.write_text(f'vla_node: {{ros__parameters: {{{deep}}}}}')
    assert judged(path).finding.state == 'ok'
    assert 'skip.exit_layer = 30' in judged(path, engine=str(folder)).finding.found
    path.write_text(f'vla_node: {{ros__parameters: {{{deep}, engine.path: {folder}}}}}')
    assert judged(path).finding.state == 'broken'
    path.write_text('vla_node: {ros__parameters: {engine.path: /nowhere}}')
    assert 'fit for tiny' in judged(path, engine=str(folder)).finding.found


def test_the_engine_for_the_wiring_is_told_as_what_it_is(no_driver):
    item = by_part(doctor.findings('fake'))['engine fake']
    assert item.state == 'ok' and 'test of the wiring' in item.found
