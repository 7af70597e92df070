"""The build, over a TensorRT that copies: keys, resuming, what is written and when."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest
from fake_gpu import GPU, MAGIC, FakeDevice, fake_tensorrt
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli import build as cli
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.engines.tensorrt import build as tensorrt_build
from dysl_vla_ros.engines.tensorrt.build import BuildOptions, build_plans
from dysl_vla_ros.engines.tensorrt.cuda_driver import Driver
from dysl_vla_ros.engines.tensorrt.plans import find_plans, plans_root, read_plans, target_of
from dysl_vla_ros.errors import ConfigError, EngineError


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', layers=5)


@pytest.fixture
def bundle(original, tmp_path):
    return open_bundle(shutil.copytree(original, tmp_path / 'tiny'))


@pytest.fixture
def trt():
    return fake_tensorrt(FakeDevice())


def build(bundle, trt, options=None, progress=None):
    target = target_of(GPU, trt.__version__, bundle.manifest)
    return build_plans(bundle, plans_root(bundle), target, trt, options, progress)


def test_every_segment_becomes_a_plan_and_the_folder_fits_this_machine(bundle, trt):
    report = build(bundle, trt)
    segments = set(bundle.manifest.segments)
    assert set(report.built) == segments and report.kept == ()
    target = target_of(GPU, trt.__version__, bundle.manifest)
    found = find_plans(bundle, plans_root(bundle), target)
    found.verify()
    assert set(found.manifest.plans) == segments
    onnx = bundle.graph('layer_01').read_bytes()
    assert found.read('layer_01') == MAGIC + onnx


def test_progress_is_told_before_and_after_each_segment(bundle, trt):
    told = []
    build(bundle, trt, progress=lambda *event: told.append(event))
    names = list(bundle.manifest.segments)
    assert [event[2:] for event in told[:2]] == [(names[0], 'building'), (names[0], 'built')]
    assert [event[0] for event in told[::2]] == list(range(1, len(names) + 1))
    assert {event[1] for event in told} == {len(names)}


def test_a_second_build_keeps_everything(bundle, trt):
    first = build(bundle, trt)
    before = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    second = build(bundle, trt)
    assert second.built == () and set(second.kept) == set(first.built)
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before


def test_force_builds_everything_again(bundle, trt):
    first = build(bundle, trt)
    assert build(bundle, trt, BuildOptions(force=True)).built == first.built


def test_an_interrupted_build_goes_on_where_it_stopped(bundle, trt):
    def stop(number, total, name, event):
        if (number, event) == (3, 'building'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(bundle, trt, progress=stop)
    names = list(bundle.manifest.segments)
    report = build(bundle, trt)
    assert list(report.kept) == names[:2] and list(report.built) == names[2:]


def test_a_build_killed_while_writing_leaves_nothing_half_done(bundle, trt, monkeypatch):
    writes = []
    real = os.replace

    def dies(source, target):
        writes.append(target)
        if len(writes) == 5:
            raise SystemExit('killed')
        real(source, target)

    monkeypatch.setattr(os, 'replace', dies)
    with pytest.raises(SystemExit):
        build(bundle, trt)
    monkeypatch.undo()
    folder = plans_root(bundle) / target_of(GPU, trt.__version__, bundle.manifest).key
    assert all(not path.name.startswith('.') for path in folder.iterdir())
    entries = read_plans(folder).plans
    assert list(entries) == list(bundle.manifest.segments)[:1]
    assert list(build(bundle, trt).kept) == list(entries)


def test_only_a_damaged_plan_is_built_again(bundle, trt):
    folder = build(bundle, trt).folder
    (folder / 'layer_02.plan').write_bytes(b'damaged')
    (folder / 'head.plan').unlink()
    assert set(build(bundle, trt).built) == {'layer_02', 'head'}


def test_a_damaged_plans_json_is_begun_anew(bundle, trt):
    folder = build(bundle, trt).folder
    (folder / 'plans.json').write_text('{')
    assert set(build(bundle, trt).built) == set(bundle.manifest.segments)


def test_another_version_of_tensorrt_gets_a_folder_of_its_own(bundle, trt):
    first = build(bundle, trt).folder
    second = build(bundle, fake_tensorrt(FakeDevice(), version='10.16.1.11')).folder
    assert first != second and (first / 'plans.json').is_file()
    for version in ('10.3.0', '10.16.1.11'):
        find_plans(bundle, plans_root(bundle), target_of(GPU, version, bundle.manifest))


def test_the_timing_cache_grows_and_is_used_by_the_next_build(bundle, trt):
    folder = build(bundle, trt).folder
    cache = folder / tensorrt_build.TIMING_CACHE
    count = len(bundle.manifest.segments)
    assert cache.read_bytes() == b'.' * count
    (folder / 'head.plan').unlink()
    build(bundle, trt)
    assert cache.read_bytes() == b'.' * (count + 1)


def test_a_damaged_timing_cache_is_begun_anew(bundle, trt):
    folder = build(bundle, trt).folder
    (folder / tensorrt_build.TIMING_CACHE).write_bytes(b'damaged')
    (folder / 'head.plan').unlink()
    build(bundle, trt)
    assert (folder / tensorrt_build.TIMING_CACHE).read_bytes() == b'.'


def test_an_operator_that_tensorrt_does_not_know_is_named_and_what_was_built_stays(bundle):
    trt = fake_tensorrt(FakeDevice(), refuse=('Sigmoid',))
    with pytest.raises(EngineError) as caught:
        build(bundle, trt)
    for words in ('segment layer_01', 'layer_01.onnx', 'TensorRT 10.3.0', 'Sigmoid', 'importer'):
        assert words in str(caught.value)
    folder = plans_root(bundle) / target_of(GPU, '10.3.0', bundle.manifest).key
    assert set(read_plans(folder).plans) == {'vision', 'embed', 'layer_00'}


def test_a_graph_of_another_opset_than_the_manifest_says_is_refused(bundle, trt):
    other = replace(bundle, manifest=replace(bundle.manifest, opset=17))
    with pytest.raises(EngineError, match='segment vision .*: opset 18: expected 17'):
        build(other, trt)


def test_a_graph_with_other_outputs_than_the_manifest_says_is_refused(bundle, trt):
    head = bundle.manifest.segments['head']
    wrong = replace(head, outputs=(replace(head.outputs[0], shape=(1, 8, 6)),))
    segments = {**bundle.manifest.segments, 'head': wrong}
    other = replace(bundle, manifest=replace(bundle.manifest, segments=segments))
    with pytest.raises(EngineError, match=r'outputs actions .*8, 7\]: expected .*8, 6\]'):
        build(other, trt)


def test_a_full_disk_is_told_with_the_way_out(bundle, trt, monkeypatch):
    def full(path, data):
        raise OSError(28, 'No space left on device', str(path))

    monkeypatch.setattr(tensorrt_build, 'write_whole', full)
    with pytest.raises(EngineError, match='vision.plan: No space left on device.*--plans'):
        build(bundle, trt)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'optimization_level': 6}, r'optimization-level = 6: expected within \[0, 5\]'),
        ({'workspace_bytes': -1}, 'workspace = -1: expected at least 0'),
    ],
)
def test_a_wrong_option_is_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        BuildOptions(**arguments)


def test_dysl_build_builds_and_a_second_call_keeps(bundle, trt, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli, 'open_driver', lambda: Driver(None, GPU))
    monkeypatch.setattr(cli, 'load_tensorrt', lambda: trt)
    words = ['build', str(bundle.folder), '--plans', str(tmp_path / 'plans'),
             '--workspace-mib', '64', '--json', str(tmp_path / 'out.json')]  # fmt: skip
    assert main(words) == 0
    document = json.loads((tmp_path / 'out.json').read_text())
    assert document['target']['gpu'] == 'Orin' and 'head' in document['built']
    target = target_of(GPU, trt.__version__, bundle.manifest)
    find_plans(bundle, tmp_path / 'plans', target).verify()
    assert main(words) == 0
    count = len(bundle.manifest.segments)
    assert f'0 built, {count} kept' in capsys.readouterr().out
