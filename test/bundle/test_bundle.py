from __future__ import annotations

import copy
import json
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.bundle import folder as bundle_folder
from dysl_vla_ros.bundle.folder import open_bundle, write_manifest
from dysl_vla_ros.bundle.manifest import manifest_from_dict, manifest_to_dict
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.engines.open_engine import bundled_model
from dysl_vla_ros.errors import BundleError


@pytest.fixture(scope='module')
def original(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp('bundle'), layers=4)


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / 'bundle')


@pytest.fixture
def document(original):
    return json.loads((original / 'manifest.json').read_text())


def test_a_manifest_survives_json(folder):
    manifest = open_bundle(folder).manifest
    text = json.dumps(manifest_to_dict(manifest))
    assert manifest_from_dict(json.loads(text)) == manifest


def test_a_manifest_is_written_whole_and_leaves_nothing_behind(folder):
    before = sorted(path.name for path in folder.iterdir())
    manifest = open_bundle(folder).manifest
    write_manifest(folder, manifest)
    assert open_bundle(folder).manifest == manifest
    assert sorted(path.name for path in folder.iterdir()) == before


@given(st.data())
def test_any_flipped_byte_is_noticed(original, data):
    files = sorted(path for path in original.rglob('*') if path.is_file())
    path = data.draw(st.sampled_from([p for p in files if p.name != 'manifest.json']))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    altered = bytearray(whole)
    altered[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(altered)
    try:
        with pytest.raises(BundleError) as caught:
            open_bundle(original)
    finally:
        path.write_bytes(whole)
    assert path.name in str(caught.value) and 'altered' in str(caught.value)


def test_a_missing_file_is_named(folder):
    (folder / 'segments/layer_02.onnx').unlink()
    with pytest.raises(BundleError, match=r'layer_02\.onnx: listed in manifest\.json but missing'):
        open_bundle(folder)


def test_a_shortened_file_is_named_with_both_lengths(folder):
    path = folder / 'segments/head.onnx'
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert f'head.onnx: {len(whole) - 1} bytes, expected {len(whole)}' in str(caught.value)


@pytest.mark.parametrize(
    'name', ['../outside.onnx', '/etc/hostname', 'a/../../b', 'a\\..\\b', 'C:/x', '', '..']
)
def test_a_path_that_leaves_the_bundle_is_refused(folder, document, name):
    document['files'][name] = {'sha256': '0' * 64, 'bytes': 1}
    (folder / 'manifest.json').write_text(json.dumps(document))
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert repr(name) in str(caught.value) and 'inside the bundle' in str(caught.value)


def test_files_may_be_links_as_colcon_installs_them(folder, tmp_path):
    """Every file a link into the source, the manifest too."""
    installed = tmp_path / 'share' / 'bundle'
    for path in folder.rglob('*'):
        if path.is_file():
            link = installed / path.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    assert open_bundle(installed).path('segments/head.onnx').read_bytes()


@pytest.mark.parametrize('whole', [False, True])
def test_a_link_out_of_the_bundle_is_refused_though_its_content_is_right(folder, tmp_path, whole):
    inside = folder / ('segments' if whole else 'segments/head.onnx')
    moved = shutil.move(inside, tmp_path / 'elsewhere')
    inside.symlink_to(moved)
    with pytest.raises(BundleError, match=r'\.onnx: a link to .*elsewhere.*inside the bundle'):
        open_bundle(folder)


def test_links_in_a_ring_are_refused(folder):
    path = folder / 'segments/head.onnx'
    path.unlink()
    path.symlink_to('head.onnx')
    with pytest.raises(BundleError, match='head.onnx'):
        open_bundle(folder)


def test_a_link_from_file_to_file_inside_the_bundle_is_read(folder):
    path = folder / 'segments/head.onnx'
    path.rename(folder / 'segments/other')
    path.symlink_to('other')
    assert open_bundle(folder)


def test_a_file_that_is_not_listed_cannot_be_read_through_the_bundle(folder):
    with pytest.raises(BundleError, match="'notes.txt' is not listed"):
        open_bundle(folder).path('notes.txt')


def test_a_folder_without_a_manifest_is_named(tmp_path):
    with pytest.raises(BundleError, match=r'no manifest\.json; expected a folder written by dysl'):
        open_bundle(tmp_path)


def test_a_manifest_that_is_not_json_says_where(folder):
    (folder / 'manifest.json').write_text('{"format": }')
    with pytest.raises(BundleError, match='not valid JSON: .*line 1 column 12'):
        open_bundle(folder)


def test_a_name_that_would_speak_to_the_terminal_is_refused(document):
    with pytest.raises(BundleError, match=r"name = 'a\\x1b\]0;mine': expected letters that can"):
        manifest_from_dict({**document, 'name': 'a\x1b]0;mine'})


def test_a_newer_version_is_named_before_its_unknown_keys(document):
    document |= {'version': 2, 'something_new': 1}
    with pytest.raises(
        BundleError, match='version = 2: expected 1, .*newer release .*dysl export CHECKPOINT'
    ):
        manifest_from_dict(document)


@pytest.mark.parametrize('version', [0, -1, True, 1.5, '1', None])
def test_another_version_is_refused_with_the_command_that_converts(document, version):
    document['version'] = version
    with pytest.raises(BundleError, match='write the bundle again: dysl export CHECKPOINT FOLDER'):
        manifest_from_dict(document)


def test_a_bundle_that_was_written_before_a_key_came_opens_as_it_was_meant(document):
    # Keys that came after the first bundles, and what those without them meant.
    before = {
        'calibration': {'rule': 'ceil', 'level_low': -1.0, 'level_high': 0.0},
        'action': {'gripper_threshold': None},
        'proprioception': {'clip': False},
        'instruction': {'end_id': None},
    }
    for part, keys in before.items():
        for key in keys:
            del document[part][key]
    for segment in document['segments'].values():
        del segment['data']
    for camera in document['cameras']:
        del camera['recipe']
    old = manifest_to_dict(manifest_from_dict(document))
    assert {p: {k: old[p][k] for k in keys} for p, keys in before.items()} == before
    assert {segment['data'] for segment in old['segments'].values()} == {''}
    assert {camera['recipe'] for camera in old['cameras']} == {'crop_resize'}


def test_whatever_decides_inputs_or_the_meaning_of_actions_makes_another_digest(document):
    first = manifest_from_dict(document).digest
    range_of_x = {'low': -0.09, 'high': 0.09}
    changes = {
        'wider actions': lambda new: [
            new['action']['normalisation'][side].__setitem__(0, value)
            for side, value in range_of_x.items()
        ],
        'another tip': lambda new: new['action'].update(tip_link='wrist_3_link'),
        'another frame': lambda new: new['action'].update(frame_id='world'),
        'other joints': lambda new: new['action']['joint_names'].reverse(),
        'another time per action': lambda new: new['action'].update(period_s=0.1),
        'another reference': lambda new: new['action'].update(delta_reference='measured'),
        'a threshold': lambda new: new['action'].update(gripper_threshold=0.3),
        'a turned camera': lambda new: new['cameras'][0].update(rotate_180=True),
        'another fit': lambda new: new['cameras'][0].update(fit='pad'),
        'a template': lambda new: new['instruction'].update(template='not {instruction}'),
        'fingers': lambda new: new['proprioception'].update(fingers=[[0.0, 0.04]]),
        'the files of two layers, changed over': lambda new: [
            new['segments'][f'layer_0{one}'].update(file=f'segments/layer_0{3 - one}.onnx')
            for one in (1, 2)
        ],
    }
    for name, change in changes.items():
        new = copy.deepcopy(document)
        change(new)
        assert manifest_from_dict(new).digest != first, name


def test_a_calibration_a_note_and_a_default_that_is_written_out_leave_the_digest(document):
    first = manifest_from_dict(document).digest
    document['calibration']['eta'] *= 2
    document['card'] = {'note': 'measured on Monday'}
    document['cameras'][0].setdefault('crop_area', 1.0)
    document['cameras'][0].pop('reference', None)
    assert manifest_from_dict(document).digest == first


def set_in(document, path, value):
    changed = copy.deepcopy(document)
    *parents, last = path.split('/')
    place = changed
    for part in parents:
        place = place[int(part) if isinstance(place, list) else part]
    if value is DELETE:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return changed


DELETE = object()


@pytest.mark.parametrize(
    ('path', 'value', 'words'),
    [
        ('format', 'zip', "format = 'zip': expected 'dysl_vla_bundle'"),
        ('version', '1', "version = '1'"),
        ('extra', 1, "manifest = ['extra']: expected only the keys format, version"),
        ('action/extra', 1, "manifest.action = ['extra']: expected only the keys space"),
        ('action/space', 'wheel', "manifest.action.space = 'wheel': expected one of"),
        ('action/horizon', DELETE, "manifest.action = ['horizon']: expected these keys too"),
        ('action/horizon', 8.5, 'manifest.action.horizon = 8.5: expected a int'),
        ('action/horizon', True, 'manifest.action.horizon = True: expected a int'),
        ('action/horizon', 0, 'action.horizon = 0: expected at least 1'),
        ('action/period_s', float('nan'), 'action.period_s = nan: expected a finite number'),
        ('action/period_s', 0, 'action.period_s = 0.0: expected within (0, 1]'),
        ('action/dim', 8, 'action.dim = 8: expected 6 for eef_delta, and 1 for a gripper'),
        ('action/normalisation/low', [0.0], 'action.normalisation.low = 1: expected 7 values'),
        ('action/displacement/high', [-1.0] * 7, 'action.displacement.high = [0, 1, 2, 3, 4, 5]'),
        ('action/joint_names', 'elbow', "manifest.action.joint_names = 'elbow': expected a list"),
        ('proprioception/normalisation/mask', [], 'normalisation.mask = 0: expected 7 values'),
        ('cameras/0/mean', [0.5], 'manifest.cameras[0].mean = [0.5]: expected 3 values'),
        ('cameras/0/std', [0.5, 0.5, 0.0], 'cameras.image.std'),
        ('cameras/0/crop_area', 1.5, 'cameras.image.crop_area = 1.5: expected in [0.01, 1]'),
        ('cameras/0/height', 0, 'cameras.image.height, width = (0, 96): expected at least 1'),
        ('instruction/template', 'go', "instruction.template = 'go'"),
        ('instruction/tokens', 0, 'instruction.tokens = 0: expected at least 1'),
        ('instruction/tokenizer', 'x.json', "instruction.tokenizer = 'x.json': expected a file"),
        ('calibration/eta', 0.0, 'calibration.eta = 0.0: expected more than 0'),
        ('calibration/window', 0, 'calibration.window = 0: expected at least 1'),
        ('calibration/threshold', 0, 'calibration.threshold = 0.0: expected more than 0'),
        ('calibration/hysteresis', 9, 'calibration.hysteresis = 9.0: expected within [0, thresh'),
        ('calibration/weights', [1.0], 'calibration.weights = (1.0,): expected 7 values'),
        ('calibration/level_low', 1, 'calibration.level_low = 1.0: expected less than level_high'),
        ('calibration/mode', 'fixed', 'calibration.exit_layer = 0: expected within [1, '),
        ('calibration/exit_layer', 999, 'calibration.exit_layer = 999: expected within [1, '),
        ('calibration/exit_layer', -1, 'calibration.exit_layer = -1: expected within [1, '),
        ('calibration/mode', 'by_instruction', 'calibration.exit_by_instruction = {}: expected'),
        ('calibration/exit_by_instruction', {'go': 3}, 'exit_by_instruction = 3: expected exits'),
        ('calibration/exit_by_instruction', {' ': 1}, "exit_by_instruction = ' ': expected"),
        ('calibration/exit_by_instruction', {'go': 1, 'Go ': 0}, 'each instruction once'),
        ('calibration/mode', 'fast', "calibration.mode = 'fast': expected one of"),
        ('static_layers', [0, 2], 'end with 3'),
        ('segments/layer_01', DELETE, "segments = ['layer_01']"),
        ('segments/vision', DELETE, "segments = ['vision']"),
        ('segments/head/file', 'h.onnx', "segments.head.file = 'h.onnx': expected a file listed"),
        (
            'segments/layer_01/file',
            'segments/layer_02.onnx',
            "segments.layer_02.file = 'segments/layer_02.onnx': expected a file of its own",
        ),
        ('instruction/template', '{instruction} {0}', 'no braces but those of {instruction}'),
        ('instruction/template', '{instruction!r:>9} {instruction}', 'no braces but those of'),
        ('proprioception/gripper', False, 'proprioception.dim = 7: expected 6, one per name'),
        ('calibration/weights', [0] * 7, 'calibration.weights = (0.0, 0.0, 0.0'),
        ('calibration/window', 101, 'calibration.window = 101: expected at most 100'),
        ('proprioception/fingers', [[0.04, 0.04]], 'fingers = (0.04, 0.04): expected closed and'),
        ('files', [], "manifest.files = 'list': expected an object"),
    ],
)
def test_a_wrong_manifest_is_refused_with_field_value_and_what_would_be_right(
    document, path, value, words
):
    with pytest.raises(BundleError) as caught:
        manifest_from_dict(set_in(document, path, value))
    assert words in str(caught.value)


def test_two_cameras_may_not_share_a_name(document):
    document['cameras'] *= 2
    with pytest.raises(BundleError, match='cameras = .*every name once'):
        manifest_from_dict(document)


def test_the_fake_manifest_is_a_legal_one():
    manifest = fake_manifest()
    assert manifest_from_dict(json.loads(json.dumps(manifest_to_dict(manifest)))) == manifest


# ---- reference pictures ------------------------------------------------------------------------


def test_the_bundled_model_brings_a_picture_of_what_each_camera_saw():
    image = pytest.importorskip('PIL.Image', reason='Pillow reads the picture')
    bundle = open_bundle(bundled_model())
    for camera in bundle.manifest.cameras:
        data = bundle.read(camera.reference, 1 << 20)
        assert data.startswith(b'\x89PNG')
        with image.open(bundle.path(camera.reference)) as picture:
            assert (picture.height, picture.width) == (camera.height, camera.width)


def test_a_file_is_read_only_as_the_manifest_lists_it(folder):
    bundle = open_bundle(folder)
    name = bundle.manifest.instruction.tokenizer
    text = (folder / name).read_bytes()
    assert bundle.read(name, len(text)) == text
    with pytest.raises(BundleError, match=f'bytes = {len(text)}: expected at most 9'):
        bundle.read(name, 9)
    (folder / name).write_bytes(text[:-1] + b'x')
    with pytest.raises(BundleError, match='was altered'):
        bundle.read(name, 1 << 20)
    (folder / name).unlink()
    with pytest.raises(BundleError, match='cannot be read'):
        bundle.read(name, 1 << 20)


def test_a_reference_must_be_a_listed_file_and_a_fit_one_of_three(original, document):
    assert 'fit' in document['cameras'][0]
    for key, value, words in (
        ('reference', 'reference/image.png', 'expected a file listed in files'),
        ('fit', 'stretch', "one of '', 'squash', 'crop', 'pad'"),
    ):
        changed = json.loads(json.dumps(document))
        changed['cameras'][0][key] = value
        with pytest.raises(BundleError, match=words):
            manifest_from_dict(changed)
    for key in ('fit', 'reference'):  # as in bundles that were written before
        del document['cameras'][0][key]
    assert manifest_from_dict(document).cameras[0].fitting == 'crop'


def test_of_several_files_that_were_altered_the_first_of_the_list_is_named(folder):
    names = list(open_bundle(folder).manifest.files)
    for name in names[2:]:
        data = bytearray((folder / name).read_bytes())
        data[-1] ^= 1
        (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=f'^{re.escape(names[2])}: SHA-256.*altered'):
        open_bundle(folder)


def test_a_file_that_cannot_be_read_is_named_with_the_reason(folder, monkeypatch):
    names = list(open_bundle(folder).manifest.files)
    read = bundle_folder.sha256_of

    def fail(path):
        if path == folder / names[1]:
            raise OSError(5, 'Input/output error')
        return read(path)

    monkeypatch.setattr(bundle_folder, 'sha256_of', fail)
    with pytest.raises(BundleError, match=f'^{re.escape(names[1])}: cannot be read: Input/output'):
        open_bundle(folder)


@pytest.mark.parametrize(('processors', 'threads'), [(None, 1), (1, 1), (2, 1), (12, 6), (64, 8)])
def test_checksums_leave_half_of_the_processors_free(folder, monkeypatch, processors, threads):
    used, pool = [], bundle_folder.ThreadPoolExecutor
    monkeypatch.setattr(bundle_folder.os, 'cpu_count', lambda: processors)
    monkeypatch.setattr(
        bundle_folder, 'ThreadPoolExecutor', lambda most: used.append(most) or pool(most)
    )
    open_bundle(folder)
    assert used == [threads]


def test_a_policy_of_joints_has_a_number_for_each_that_is_named(document):
    document['action'] |= {'space': 'joint_position', 'gripper': False}
    with pytest.raises(BundleError, match=r'action.dim = 7: expected 6, one per name of action.j'):
        manifest_from_dict(document)
    document['action']['gripper'] = True
    assert manifest_from_dict(document).action.dim == 7
