"""Plans are compared with machine and bundle before TensorRT sees a byte of them."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
from fake_gpu import GPU, FakeDevice, fake_tensorrt
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.engines.tensorrt.build import build_plans
from dysl_vla_ros.engines.tensorrt.plans import (
    build_command,
    find_plans,
    has_plans,
    onnx_hash,
    plans_root,
    segment_hash,
    target_of,
)
from dysl_vla_ros.errors import EngineError

VERSION = '10.3.0'


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    folder = write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', layers=5)
    bundle = open_bundle(folder)
    target = target_of(GPU, VERSION, bundle.manifest)
    build_plans(bundle, plans_root(bundle), target, fake_tensorrt(FakeDevice()))
    return folder


@pytest.fixture
def bundle(original, tmp_path):
    return open_bundle(shutil.copytree(original, tmp_path / 'tiny'))


@pytest.fixture
def target(bundle):
    return target_of(GPU, VERSION, bundle.manifest)


def refusal(bundle, target, root=None):
    with pytest.raises(EngineError) as caught:
        find_plans(bundle, root or plans_root(bundle), target)
    text = str(caught.value)
    assert f'dysl build {bundle.folder}' in text, 'every refusal says how to go on'
    return text


def test_the_key_tells_what_the_plans_are_for(target):
    assert target.key == f'orin-sm87x16-trt10.3.0-cuda12.6-fp32-{target.onnx[:12]}'


def test_plans_built_for_this_machine_are_found_and_read(bundle, target):
    found = find_plans(bundle, plans_root(bundle), target)
    assert set(found.manifest.plans) == set(bundle.manifest.segments)
    found.verify()
    assert found.read('head').startswith(b'fake plan')


def test_without_plans_the_message_has_the_machine_and_the_command(tmp_path, target):
    bare = open_bundle(write_tiny_bundle(tmp_path / 'bare', layers=4))
    text = refusal(bare, target)
    assert 'no plans' in text and 'Orin, TensorRT 10.3.0' in text


def test_a_folder_with_a_blank_is_quoted_in_the_command(tmp_path):
    bundle = open_bundle(write_tiny_bundle(tmp_path / 'my bundle', layers=4))
    assert build_command(bundle) == f"dysl build '{tmp_path}/my bundle'"
    assert build_command(bundle, tmp_path / 'p') == (
        f"dysl build '{tmp_path}/my bundle' --plans {tmp_path}/p"
    )


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'tensorrt': '10.16.1.11'}, 'TensorRT 10.3.0, expected 10.16.1.11'),
        ({'gpu': 'NVIDIA Thor'}, 'GPU Orin, expected NVIDIA Thor'),
        ({'compute_capability': '11.0'}, 'compute capability 8.7, expected 11.0'),
        ({'multiprocessors': 8}, 'multiprocessors 16, expected 8'),
        ({'cuda': '13.2'}, 'CUDA 12.6, expected 13.2'),
        ({'precision': 'fp16'}, 'precision fp32, expected fp16'),
        ({'onnx': 'f' * 64}, 'expected ffffffffffff'),
    ],
)
def test_plans_of_something_else_are_refused_with_both_values(bundle, target, change, words):
    other = dataclasses.replace(target, **change)
    assert words in refusal(bundle, other)
    # The same when somebody renamed the folder to look right.
    (plans_root(bundle) / target.key).rename(plans_root(bundle) / other.key)
    assert words in refusal(bundle, other)


def test_another_export_of_the_model_does_not_take_the_old_plans(bundle, tmp_path):
    again = open_bundle(write_tiny_bundle(tmp_path / 'again', layers=4, seed=1))
    shutil.copytree(plans_root(bundle), plans_root(again))
    assert 'ONNX files' in refusal(again, target_of(GPU, VERSION, again.manifest))


def test_an_interrupted_build_is_named_with_the_count_and_the_first_that_is_missing(
    bundle, target
):
    path = plans_root(bundle) / target.key / 'plans.json'
    document = json.loads(path.read_text())
    del document['plans']['layer_02']
    path.write_text(json.dumps(document))
    total = len(bundle.manifest.segments)
    text = refusal(bundle, target)
    assert f'{total - 1} of {total} segments are built, layer_02 is not' in text


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        ('{', 'not valid JSON'),
        ('[]', "plans = 'list': expected an object"),
        ('{"format": "zip", "version": 1}', 'expected these keys too'),
    ],
)
def test_a_damaged_plans_json_is_refused(bundle, target, data, words):
    (plans_root(bundle) / target.key / 'plans.json').write_text(data)
    assert words in refusal(bundle, target)


@pytest.mark.parametrize(
    ('field', 'value', 'words'),
    [
        ('format', 'zip', "format = 'zip'"),
        ('version', 2, 'version = 2: expected 1'),
        ('extra', 1, "['extra']: expected only the keys"),
    ],
)
def test_a_plans_json_of_another_format_is_refused(bundle, target, field, value, words):
    path = plans_root(bundle) / target.key / 'plans.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    assert words in refusal(bundle, target)


@pytest.mark.parametrize('file', ['../../secret', '/etc/hostname', 'a/b.plan', '.plan', ''])
def test_a_plan_outside_the_folder_is_refused(bundle, target, file):
    path = plans_root(bundle) / target.key / 'plans.json'
    document = json.loads(path.read_text())
    document['plans']['head']['file'] = file
    path.write_text(json.dumps(document))
    assert 'expected a plain file name' in refusal(bundle, target)


def test_every_flipped_byte_of_a_plan_is_noticed(bundle, target):
    found = find_plans(bundle, plans_root(bundle), target)
    path = found.folder / 'layer_01.plan'
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(EngineError, match=r'plan of segment layer_01.*altered; run: dysl'):
            found.verify()


def test_a_missing_and_a_shortened_plan_are_named(bundle, target):
    found = find_plans(bundle, plans_root(bundle), target)
    path = found.folder / 'head.plan'
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(EngineError, match=f'{len(whole) - 1} bytes, expected {len(whole)}'):
        found.verify()
    path.unlink()
    with pytest.raises(EngineError, match='cannot be read .No such file'):
        found.verify()


def test_the_hash_of_a_segment_covers_the_weights_beside_its_graph(bundle):
    manifest = bundle.manifest
    spec = manifest.segments['head']
    weights = 'segments/head.onnx.data'
    entry = manifest.files[spec.file]

    def with_weights(sha256):
        return dataclasses.replace(
            manifest,
            segments={
                **manifest.segments,
                'head': dataclasses.replace(spec, data=weights),
            },
            files={**manifest.files, weights: dataclasses.replace(entry, sha256=sha256)},
        )

    one, two = with_weights('1' * 64), with_weights('2' * 64)
    assert len({segment_hash(m, 'head') for m in (manifest, one, two)}) == 3
    assert len({onnx_hash(m) for m in (manifest, one, two)}) == 3
    assert segment_hash(one, 'layer_00') == segment_hash(two, 'layer_00')


def test_the_tokenizer_is_no_part_of_the_plans(bundle):
    manifest = bundle.manifest
    name = manifest.instruction.tokenizer
    other = dataclasses.replace(manifest.files[name], sha256='0' * 64)
    assert onnx_hash(
        dataclasses.replace(manifest, files={**manifest.files, name: other})
    ) == onnx_hash(manifest)


def test_plans_may_lie_elsewhere(bundle, target, tmp_path):
    root = tmp_path / 'elsewhere'
    shutil.move(plans_root(bundle), root)
    assert has_plans(root) and not has_plans(plans_root(bundle))
    assert find_plans(bundle, plans_root(bundle, str(root)), target).command.endswith(str(root))
    assert f'--plans {root}' in refusal(bundle, dataclasses.replace(target, cuda='13.0'), root)


def test_plans_do_not_make_the_bundle_an_altered_one(bundle):
    assert open_bundle(bundle.folder).manifest == bundle.manifest
