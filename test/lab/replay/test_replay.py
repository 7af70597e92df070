"""``dysl replay``: the same passes again to the bit, other settings, what-ifs, others' bags."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tiny_bundle
import yaml

pytest.importorskip('rosbags', reason="pip install 'dysl_vla_ros[bags]'")
pytest.importorskip('mcap', reason="pip install 'dysl_vla_ros[bags]'")

import made_recording
from rosbags.rosbag2 import StoragePlugin

from dysl_vla_ros.bundle.folder import open_bundle, write_manifest
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab.evaluation.bench_observations import load_observed
from dysl_vla_ros.pass_record import to_text

LAYERS = 8


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bundle')
    return tiny_bundle.write_tiny_bundle(folder, layers=LAYERS, static_layers=(0, 3, 7))


@pytest.fixture(scope='module')
def passes(bundle):
    return list(made_recording.records(bundle))


@pytest.fixture(scope='module')
def recording(tmp_path_factory, passes):
    return made_recording.write(tmp_path_factory.mktemp('bags') / 'bag', passes)


@pytest.fixture
def replay(bundle, tmp_path, capsys, monkeypatch):
    """Runs the command; gives code, text and report."""
    monkeypatch.setenv('COLUMNS', '80')

    def run(bag, *words, engine=bundle):
        path = tmp_path / 'out.json'
        path.unlink(missing_ok=True)
        code = main(['replay', str(bag), '--engine', str(engine), '--json', str(path), *words])
        said = capsys.readouterr()
        document = json.loads(path.read_text()) if path.exists() else None
        return code, ' '.join((said.out + said.err).split()), document

    return run


def test_the_made_up_recording_skips_and_runs_again(passes):
    """Else the tests below would compare dense passes with dense passes."""
    modes = {record.result.mode for record, _ in passes}
    assert 'skipped' in modes and len({r.result.trace.layers_run for r, _ in passes}) > 2
    assert any((values - np.rint(values)).any() for values in (
        made_recording.seen_values(made_recording.observation(k).images['image'], camera)
        for k in range(2) for camera in [tiny_bundle.CameraSpec('image', 96, 96)]))  # fmt: skip


def test_the_same_bundle_reproduces_layers_actions_and_rules(replay, recording, passes):
    code, text, document = replay(recording)
    found = document['summary']
    assert code == 0 and 'reproduced: the layers of all 12 chunks' in text
    assert found['verified'] and found['same_layers'] == found['chunks'] == 12
    assert found['difference']['max'] == 0.0
    assert found['rules_agree'] == [12, 12]
    masks = [one['replayed']['passes'][0]['layer_mask'] for one in document['chunks']]
    firsts = [record for record, _ in passes if record.first is None]
    assert masks == [record.result.trace.layer_mask for record in firsts]


def test_a_recording_of_compare_mode_has_both_passes_reproduced(replay, bundle, tmp_path):
    both = list(made_recording.records(bundle, 6, mode='compare'))
    assert any(record.result.compared.trace.jumps for record, _ in both)
    code, text, document = replay(made_recording.write(tmp_path / 'bag', both))
    assert code == 0 and 'reproduced' in text
    for one in document['chunks']:
        modes = [found['mode'] for found in one['replayed']['passes']]
        assert len(modes) == 2 and modes[1] == 'full'


def changed(number, **changes):
    """Writes one pass otherwise."""

    def spoil(record):
        if record.number != number:
            return to_text(record)
        return to_text(
            dataclasses.replace(record, result=dataclasses.replace(record.result, **changes))
        )

    return spoil


def test_the_first_chunk_whose_actions_differ_is_named(replay, passes, tmp_path):
    chosen = passes[5][0]
    actions = chosen.result.normalised.copy()
    actions[2, 3] += 0.01
    bag = made_recording.write(
        tmp_path / 'bag', passes, spoil=changed(chosen.number, normalised=actions)
    )
    code, text, _ = replay(bag)
    assert code == 1
    assert f'(pass {chosen.number})' in text and 'action 2, dimension 3' in text


def test_the_first_chunk_whose_layers_differ_is_named_with_its_scores(replay, passes, tmp_path):
    chosen = next(r for r, _ in passes if r.result.mode == 'skipped' and r.number > 3)
    other = dataclasses.replace(chosen.result.trace, layers_run=(0, 3, 7))
    if other.layers_run == chosen.result.trace.layers_run:
        other = dataclasses.replace(other, layers_run=(0, 1, 2, 3, 7))
    bag = made_recording.write(tmp_path / 'bag', passes, spoil=changed(chosen.number, trace=other))
    code, text, document = replay(bag)
    assert code == 1 and f'(pass {chosen.number})' in text and 'skipped pass: layers' in text
    assert document['summary']['first_difference'].startswith('chunk ')


def test_a_picture_that_is_another_by_a_rounding_is_noticed(replay, passes, tmp_path):
    """Not only the eight bits that a viewer shows are compared."""
    from dysl_vla_ros.lossless_picture import decode, encode

    spoiled = []
    for record, pictures in passes:
        if record.number == passes[4][0].number:
            pictures = {k: encode(np.rint(decode(v))) for k, v in pictures.items()}
        spoiled.append((record, pictures))
    _, _, document = replay(made_recording.write(tmp_path / 'bag', spoiled))
    differences = [one['difference_max'] for one in document['chunks']]
    assert max(differences) > 0 and differences.count(0.0) >= 10


@pytest.mark.parametrize('layout', ['file', 'sqlite3', 'no metadata', 'cut'])
def test_however_it_was_stored_it_is_the_same_recording(replay, passes, tmp_path, layout):
    plugin = StoragePlugin.SQLITE3 if layout == 'sqlite3' else StoragePlugin.MCAP
    bag = made_recording.write(tmp_path / 'bag', passes, plugin)
    if layout in ('file', 'cut'):
        bag = next(bag.glob('*.mcap'))
    if layout == 'cut':  # the recorder was killed
        bag.write_bytes(bag.read_bytes()[: -bag.stat().st_size // 10])
    if layout == 'no metadata':
        (bag / 'metadata.yaml').unlink()
    code, text, document = replay(bag)
    assert code == 0 and 'reproduced' in text
    assert document['summary']['chunks'] == 12 or layout == 'cut'


# ---- otherwise ---------------------------------------------------------------------------------


def test_another_mode_runs_all_layers_and_says_how_far_the_actions_go_apart(replay, recording):
    code, text, document = replay(recording, '--mode', 'full')
    found = document['summary']
    assert code == 0 and not found['verified'] and 'reproduced' not in text
    assert found['replayed']['layers_run_mean'] == LAYERS
    assert found['compared']['layers_run_mean'] < LAYERS
    assert found['difference']['rms_mean'] > 0


def test_a_fixed_exit_leaves_where_it_is_told(replay, recording):
    _, _, document = replay(recording, '--mode', 'fixed', '--exit-layer', '2')
    assert document['summary']['replayed']['layers_run_mean'] == 3
    assert replay(recording, '--mode', 'fixed')[0] == 2
    assert replay(recording, '--mode', 'full', '--exit-layer', '2')[0] == 2


def test_options_about_controllers_are_told_to_change_nothing_where_none_was_asked(
    replay, recording, bundle, tmp_path
):
    bag = made_recording.write(tmp_path / 'bag', list(made_recording.records(bundle, 3, 'full')))
    options = ('--rule', 'level', '--tau', '0.4', '--layer-on', '2')
    note = 'no controller was asked in any of these passes: --rule, --tau or --layer-on changed'
    assert note in replay(bag, *options)[1]
    assert 'no controller' not in replay(bag)[1]
    assert 'no controller' not in replay(recording, *options)[1]


def test_an_exit_that_was_recorded_is_asked_for_anew_where_another_bundle_names_none(
    replay, bundle, tmp_path
):
    deep = shutil.copytree(bundle, tmp_path / 'deep')
    manifest = open_bundle(deep).manifest
    own = dataclasses.replace(manifest.calibration, exit_layer=5, mode='fixed')
    write_manifest(deep, dataclasses.replace(manifest, calibration=own))
    bag = made_recording.write(tmp_path / 'bag', list(made_recording.records(deep, 3, 'fixed')))
    assert replay(bag, engine=deep)[0] == 0
    shallow = tiny_bundle.write_tiny_bundle(tmp_path / 'shallow', layers=4, static_layers=(0, 3))
    code, text, _ = replay(bag, engine=shallow)
    assert code == 2 and "--mode = 'fixed, as recorded'" in text
    assert '--exit-layer within [1, 2]' in text and 'another --mode' in text
    code, _, document = replay(bag, '--mode', 'fixed', '--exit-layer', '2', engine=shallow)
    assert code == 0 and document['summary']['replayed']['layers_run_mean'] == 3


def test_another_calibration_finds_other_drops(replay, recording, tmp_path):
    path = tmp_path / 'calibration.json'
    path.write_text(json.dumps({'threshold': 1e-6, 'hysteresis': 0.0}))
    _, _, document = replay(recording, '--calibration', str(path))
    assert document['summary']['replayed']['chunks_with_a_drop'] > (
        document['summary']['compared']['chunks_with_a_drop'])  # fmt: skip
    path.write_text(json.dumps({'threshold': -1}))
    code, text, _ = replay(recording, '--calibration', str(path))
    assert code == 2 and 'calibration.threshold' in text


def test_the_recorded_settings_given_as_a_calibration_change_nothing(replay, recording, bundle):
    """Plans and re-runs found by the rules, from the recorded motion, are the recorded ones."""
    _, _, document = replay(recording, '--calibration', str(bundle))
    assert document['summary']['same_layers'] == 12
    assert document['summary']['difference']['max'] == 0.0


def test_another_bundle_is_compared_and_named_but_not_expected_to_be_the_same(
    replay, recording, tmp_path
):
    other = tiny_bundle.write_tiny_bundle(tmp_path / 'other', layers=6, seed=1)
    code, _, document = replay(recording, engine=other)
    assert code == 0 and not document['summary']['verified']
    assert document['summary']['difference']['max'] > 0
    large = tiny_bundle.write_tiny_bundle(tmp_path / 'large', cameras=(('image', 128, 128),))
    assert replay(recording, engine=large)[0] == 0
    blind = tiny_bundle.write_tiny_bundle(tmp_path / 'wrist', cameras=(('wrist', 96, 96),))
    code, text, _ = replay(recording, engine=blind)
    assert code == 2 and "expected 'wrist' too" in text


# ---- what if -----------------------------------------------------------------------------------


def test_a_layer_that_is_off_did_not_run_and_the_change_is_compared_with_none(replay, recording):
    code, text, document = replay(recording, '--layer-off', '3')
    assert code == 0 and 'without the change' in text
    for one in document['chunks']:
        assert one['replayed']['passes'][0]['layer_mask'][3] == '0'
        assert one['compared']['passes'][0]['layer_mask'][3] == '1'
    assert document['summary']['difference']['rms_mean'] > 0


def test_a_layer_that_is_on_ran_in_every_pass(replay, recording):
    _, _, plain = replay(recording)
    masks = [one['replayed']['passes'][0]['layer_mask'] for one in plain['chunks']]
    jumped = next(k for k in range(LAYERS) if any(mask[k] == '0' for mask in masks))
    _, _, document = replay(recording, '--layer-on', str(jumped))
    assert all(one['replayed']['passes'][0]['layer_mask'][jumped] == '1'
               for one in document['chunks'])  # fmt: skip


def test_another_word_and_a_blank_camera_change_the_actions(replay, recording):
    for words in (['--word', 'red=blue'], ['--blank', 'image']):
        code, _, document = replay(recording, *words)
        assert code == 0 and document['summary']['compared_with'] == 'unchanged'
        assert document['summary']['difference']['rms_mean'] > 1e-6


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--layer-on', '99'], '--layer-on = 99: expected within [0, 7]'),
        (['--layer-on', '2', '--layer-off', '2'], 'another layer than --layer-off'),
        (['--blank', 'wrist'], 'a camera of the bundle: image'),
        (['--word', 'red'], 'WORD=OTHER'),
        (['--word', 'violet=blue'], f'a word of an instruction: {made_recording.SENTENCE}'),
        (['--topic', '/other/pass'], 'a topic of passes: /vla_node/pass'),
        (['--tau', '2'], "--tau = '2': expected a number within"),
        (['--chunks', '-1'], "--chunks = '-1': expected a whole number, at least 0"),
        (['--calibration', '/no/such'], 'the folder of a bundle, or a JSON file'),
        (['--camera', 'image'], 'NAME=TOPIC'),
    ],
)
def test_a_wish_that_cannot_be_fulfilled_is_refused_in_words(replay, recording, words, message):
    code, text, document = replay(recording, *words)
    assert code == 2 and message in text and document is None


# ---- what is missing ---------------------------------------------------------------------------


def test_passes_that_were_missed_are_counted_and_the_rest_is_reproduced(replay, passes, tmp_path):
    gone = {passes[3][0].number, passes[4][0].number}
    bag = made_recording.write(
        tmp_path / 'bag', passes, spoil=lambda r: None if r.number in gone else to_text(r)
    )
    code, _, document = replay(bag)
    assert code == 0 and document['summary']['missing'] == 2


def test_a_pass_without_its_picture_is_left_out_and_said(replay, passes, tmp_path):
    without = [(r, {} if r.number == passes[2][0].number else p) for r, p in passes]
    code, text, document = replay(made_recording.write(tmp_path / 'bag', without))
    assert code == 0 and '1 passes without their pictures are left out (image: missing)' in text
    assert document['summary']['chunks'] == 11


def test_a_recording_of_nothing_of_ours_says_what_is_there(replay, tmp_path):
    bag = made_recording.write(tmp_path / 'bag', [])
    code, text, _ = replay(bag)
    assert code == 2 and 'Traceback' not in text


# ---- recordings of others ----------------------------------------------------------------------


@pytest.fixture
def parameters(tmp_path):
    path = tmp_path / 'robot.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': {
        'gripper.joint': 'gripper_finger', 'gripper.open_value': 1.0, 'gripper.closed_value': 0.0,
    }}}))  # fmt: skip
    return path


@pytest.mark.parametrize('plugin', [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_camera_joints_and_instruction_are_enough(replay, tmp_path, parameters, plugin):
    bag = made_recording.write_topics(tmp_path / 'bag', plugin=plugin)
    code, text, document = replay(bag, '--params-file', str(parameters), '--every', '0.2')
    assert code == 0 and 'nothing to compare with' in text
    assert document['summary']['chunks'] == 5
    # What the camera took, and the joints by their names, is what the policy is given.
    from dysl_vla_ros.bundle.folder import open_bundle
    from dysl_vla_ros.lab.data.bags.bag import open_bag
    from dysl_vla_ros.lab.replay.topics import TopicSteps, Wishes
    from dysl_vla_ros.node_parameters import load_yaml

    manifest = open_bundle(tiny_bundle.write_tiny_bundle(tmp_path / 'b', layers=6)).manifest
    with open_bag(bag) as opened:
        first = next(iter(TopicSteps(opened, manifest, load_yaml(parameters), Wishes({}))))
    wanted = made_recording.observation(0)
    assert (first.observation.images['image'] == wanted.images['image']).all()
    assert np.allclose(first.observation.joints, wanted.joints)
    assert first.observation.gripper == 0.5


def test_a_recording_of_others_can_be_asked_what_if(replay, tmp_path, parameters):
    bag = made_recording.write_topics(tmp_path / 'bag')
    _, _, document = replay(bag, '--params-file', str(parameters), '--word', 'red=blue')
    assert document['summary']['compared_with'] == 'unchanged'
    assert document['summary']['difference']['rms_mean'] > 0


def test_what_a_recording_of_others_lacks_is_named(replay, tmp_path, parameters):
    bag = made_recording.write_topics(tmp_path / 'bag', instruction='')
    given = ['--params-file', str(parameters)]
    code, text, _ = replay(bag, *given)
    assert code == 2 and '--instruction' in text
    assert replay(bag, *given, '--instruction', 'pick up the red cube')[0] == 0
    code, text, _ = replay(bag, '--instruction', 'pick up the red cube')
    assert code == 2 and 'joints = ' in text and '--params-file' in text
    code, text, _ = replay(bag, *given, '--camera', 'image=/nowhere')
    assert code == 2 and 'a topic with pictures: /camera/color/image' in text


# ---- motion only -------------------------------------------------------------------------------


def test_a_flight_file_is_replayed_for_its_motion(replay, bundle, passes, tmp_path):
    flight = tmp_path / 'flight.json'
    chunks = []
    for record, _ in passes:
        judged, rows = record.judged, record.judged.displacements
        chunks.append({
            'outcome': 'accepted' if judged.accepted else 're-run', 'epoch': '1',
            'mode': record.result.mode, 'layer_mask': record.result.trace.layer_mask,
            'displacements': '; '.join(' '.join(f'{v:.5f}' for v in row) for row in rows),
            'continuity': ' '.join('n/a' if c is None else f'{c:.4f}' for c in judged.continuity),
            'drop_index': 'n/a' if judged.drop_index is None else str(judged.drop_index),
            'actions_played': str(judged.actions_played),
        })  # fmt: skip
    flight.write_text(json.dumps({'reason': 'a test', 'chunks': chunks, 'cycles': []}))
    code, text, document = replay(flight)
    assert code == 0 and 'motion only: no picture was recorded' in text
    for row in document['chunks']:
        if row['least_then'] is not None and row['least_now'] is not None:
            assert row['least_now'] == pytest.approx(row['least_then'], abs=2e-3)
    sensitive = tmp_path / 'sensitive.json'
    sensitive.write_text(json.dumps({'threshold': 1e-6, 'hysteresis': 0.0}))
    _, _, other = replay(flight, '--calibration', str(sensitive))
    assert sum(row['drops'][1] is not None for row in other['chunks']) > (
        sum(row['drops'][1] is not None for row in document['chunks']))  # fmt: skip
    code, text, _ = replay(flight, '--blank', 'image')
    assert code == 2 and 'this one holds motion only' in text


def test_a_flight_of_the_policy_without_a_model_is_replayed_with_the_arm_of_its_parameters(
    replay, tmp_path
):
    flight, file = tmp_path / 'flight.json', tmp_path / 'arm.yaml'
    names = '[rail, lift, turn]'
    file.write_text(f'vla_node: {{ros__parameters: {{action.joint_names: {names}}}}}')

    def flown(numbers, *words):
        told = {'outcome': 'accepted', 'epoch': '1', 'mode': 'full', 'layer_mask': '1' * 24,
                'displacements': '; '.join([' '.join(['0.005'] * numbers)] * 8),
                'continuity': ' '.join(['n/a'] * 8), 'drop_index': 'n/a',
                'actions_played': '0'}  # fmt: skip
        flight.write_text(json.dumps({'reason': 'a test', 'chunks': [told], 'cycles': []}))
        return replay(flight, *words, engine='fake')

    code, text, document = flown(4, '--params-file', str(file))
    assert code == 0 and len(document['chunks']) == 1, text
    assert flown(7)[0] == 0, 'six joints and a gripper, as it pretends to be by itself'
    code, text, _ = flown(4)
    assert code == 2 and '7 numbers per action, as fake has' in text and '--params-file' in text


@pytest.mark.parametrize(
    'text', ['', '{}', '{"chunks": []}', '{"chunks": [{"outcome": "accepted"}]}']
)
def test_what_is_no_flight_file_is_refused(replay, tmp_path, text):
    path = tmp_path / 'flight.json'
    path.write_text(text)
    code, said, document = replay(path)
    assert code == 2 and document is None and 'expected' in said


# ---- what it draws, and who else takes recordings ----------------------------------------------


@pytest.mark.slow
def test_it_draws_one_picture_and_replaces_nobody_elses(replay, recording, tmp_path):
    pytest.importorskip('matplotlib', reason='make test-all')
    target = tmp_path / 'replay.png'
    assert replay(recording, '--plot', str(target))[0] == 0
    assert target.read_bytes().startswith(b'\x89PNG')
    assert replay(recording, '--mode', 'full', '--plot', str(target))[0] == 0
    target.write_bytes(b'mine')
    code, text, _ = replay(recording, '--plot', str(target))
    assert code == 2 and '--plot' in text and target.read_bytes() == b'mine'


def test_a_table_fits_a_terminal_and_says_how_many_rows_are_left_out(replay, recording, capsys):
    _, text, _ = replay(recording, '--rows', '3')
    assert '... and 9 more' in text


def test_headroom_takes_a_recording(recording, bundle, tmp_path):
    path = tmp_path / 'out.json'
    call = ['headroom', '--engine', str(bundle), '--observations', str(recording)]
    assert main([*call, '--json', str(path)]) == 0
    assert json.loads(path.read_text())['offline']['states'] == 12


def test_bench_takes_a_recording(recording, bundle, tmp_path, capsys):
    path = tmp_path / 'out.json'
    call = ['bench', '--engine', str(bundle), '--observations', str(recording), '--runs', '1']
    assert main([*call, '--warm-up', '0', '--json', str(path)]) == 0
    assert json.loads(path.read_text())['observations'] == {'source': 'recorded', 'count': 12}


def test_of_a_recording_it_is_known_where_the_node_began_at_rest_and_which_passes_are_missing(
    passes, bundle, tmp_path
):
    manifest = open_bundle(bundle).manifest
    by_stamp = list(dict.fromkeys(record.stamp_ns for record, _ in passes))

    def spoil(record):
        place = by_stamp.index(record.stamp_ns)
        if place == 3 and record.first is None:  # it held before this pass
            record = dataclasses.replace(
                record, plan=dataclasses.replace(record.plan, since=(None,))
            )
        told = dataclasses.replace(record.judged, epoch=1 + (place >= 9))
        return None if place == 6 else to_text(dataclasses.replace(record, judged=told))

    bag = made_recording.write(tmp_path / 'bag', passes, spoil=spoil)
    found = load_observed(bag, manifest)
    anew = [place for place, follows in enumerate(found.follows) if not follows]
    assert anew == [0, 3, 6, 8], 'the first; after a hold; after the missing one; another epoch'
    assert found.episodes == (0,) * 8 + (1,) * 3 and not found.why_not_guided


def test_a_bag_of_others_is_no_list_of_observations(bundle, tmp_path, capsys):
    bag = made_recording.write_topics(tmp_path / 'bag')
    assert main(['headroom', '--engine', str(bundle), '--observations', str(bag)]) == 2
    assert 'record:=true' in capsys.readouterr().err
    shutil.rmtree(bag)
