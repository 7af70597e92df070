"""Recordings in which a policy's node spoke too: what it says of itself is no demonstration."""

from __future__ import annotations

import numpy as np
import pytest
from test_bag_import import (
    IMAGE,
    JOINTS,
    SECOND,
    START,
    STORE,
    TEXT,
    TRAJECTORY,
    command,
    episodes,
    joints,
    picture,
    recorded,
    write,
)

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.ros.bag_files import BagFiles, Kind

MOVED = '/arm/joint_trajectory'


def with_node(executed, also=()):
    """The arm as ever, and a node beside that predicts, and would send, something else."""
    found = [m for m in recorded() if executed or m[0] != MOVED]
    for number in range(15):
        at = START + number * 200_000_000
        found.append(('/vla_node/action_chunk', TRAJECTORY, at, command((9, 9, 9), at)))
        found += [(topic, kind, at, make(at)) for topic, kind, make in also]
    return sorted(found, key=lambda m: m[2])


def shadow(at):
    return command((8, 8, 8), at)


@pytest.mark.parametrize('also', [(), [('/vla_node/shadow/joint_trajectory', TRAJECTORY, shadow)]])
def test_what_a_policy_predicted_and_nobody_executed_is_no_action(tmp_path, also):
    (episode,), bag = episodes(write(tmp_path / 'rec', with_node(False, also)))
    assert bag.topics.action == 'next'
    np.testing.assert_array_equal(episode.action[:-1], episode.state[1:])


def test_of_an_armed_recording_the_trajectory_that_was_sent_is_taken_without_asking(tmp_path):
    also = [('/vla_node/shadow/joint_trajectory', TRAJECTORY, shadow)]
    (episode,), bag = episodes(write(tmp_path / 'rec', with_node(True, also)))
    assert bag.topics.action == MOVED
    assert episode.action.max() < 4


def test_a_joint_state_that_a_node_in_shadow_would_have_sent_is_not_where_the_joints_are(tmp_path):
    also = [('/vla_node/shadow/joint_command', JOINTS, lambda at: joints((7, 7, 7), at))]
    (episode,), bag = episodes(write(tmp_path / 'rec', with_node(False, also)))
    assert bag.topics.joints == '/joint_states' and episode.state.max() < 4


def test_joint_states_are_where_the_joints_are_also_beside_commands_of_the_same_type(tmp_path):
    also = [('/joint_command', JOINTS, lambda at: joints((7, 7, 7), at))]
    (episode,), bag = episodes(write(tmp_path / 'rec', with_node(False, also)))
    assert bag.topics.joints == '/joint_states' and episode.state.max() < 4


def test_a_prediction_that_is_named_as_the_action_is_refused_with_what_would_be_right(tmp_path):
    folder = write(tmp_path / 'rec', with_node(True))
    with pytest.raises(ConfigError, match='/vla_node/action_chunk is what a policy predicted'):
        episodes(folder, action='/vla_node/action_chunk')


def test_what_a_node_in_shadow_would_have_sent_can_be_named(tmp_path):
    also = [('/vla_node/shadow/joint_trajectory', TRAJECTORY, shadow)]
    folder = write(tmp_path / 'rec', with_node(False, also))
    (episode,), _ = episodes(folder, action='/vla_node/shadow/joint_trajectory')
    assert (episode.action == 8).all()


def seen(at):
    return picture(200, at)


OWN = [('/vla_node/seen/image', IMAGE, seen), ('/vla_node/layers', IMAGE, seen),
       ('/vla_node/camera_check/image', IMAGE, seen)]  # fmt: skip
CAMERA = '/wrist/color/image_raw'


def test_what_the_model_saw_and_what_the_node_drew_are_no_cameras(tmp_path):
    (episode,), bag = episodes(write(tmp_path / 'rec', with_node(True, OWN)))
    assert bag.topics.cameras == {'wrist': CAMERA} and set(episode.pictures) == {'wrist'}


def test_a_picture_of_the_node_can_be_named_as_a_camera(tmp_path):
    folder = write(tmp_path / 'rec', with_node(True, OWN))
    (episode,), _ = episodes(folder, cameras={'front': '/vla_node/seen/image', 'wrist': CAMERA})
    assert set(episode.pictures) == {'front', 'wrist'}


def test_where_no_camera_was_recorded_what_the_model_saw_is_taken_and_told(tmp_path):
    messages = [m for m in with_node(True, OWN) if m[0] != CAMERA]
    _, bag = episodes(write(tmp_path / 'rec', messages))
    assert list(bag.topics.cameras.values()) == ['/vla_node/seen/image']
    assert any('/vla_node/seen/image: what the policy saw' in note for note in bag.notes)


def test_a_recording_with_no_picture_but_what_the_node_drew_lacks_pictures(tmp_path):
    messages = [m for m in with_node(True, OWN[1:]) if m[0] != CAMERA]
    with pytest.raises(ConfigError, match='pictures: no topic of'):
        episodes(write(tmp_path / 'rec', messages))


def test_a_recorder_that_writes_no_metadata_by_design_is_not_said_to_have_been_ended(tmp_path):
    sent = with_node(True, OWN)
    files = BagFiles(tmp_path / 'rec', 1 << 30, spare_bytes=0)
    for topic, kind, at, message in sent:
        own = Kind(kind, STORE.generate_msgdef(kind)[0])
        files.write(topic, own, bytes(STORE.serialize_cdr(message, kind)), at)
    files.close()
    _, bag = episodes(tmp_path / 'rec')
    assert not any('metadata' in note or 'ended' in note for note in bag.notes)
    files.path.write_bytes(files.path.read_bytes()[: files.path.stat().st_size // 2])
    _, bag = episodes(tmp_path / 'rec')
    assert any('the recorder was ended or the copy is cut off' in note for note in bag.notes)
    assert not any('metadata' in note for note in bag.notes)


def test_a_recording_whose_metadata_is_missing_is_told_as_before(tmp_path):
    folder = write(tmp_path / 'rec', with_node(True))
    (folder / 'metadata.yaml').unlink()
    _, bag = episodes(folder)
    assert any('no metadata.yaml' in note for note in bag.notes)


def said(*texts):
    """The recording, with these instructions (at [s], words) in place of its own."""
    found = [m for m in recorded() if m[0] != '/instruction']
    found += [('/instruction', TEXT, START + round(at * SECOND), STORE.types[TEXT](data=text))
              for at, text in texts]  # fmt: skip
    return sorted(found, key=lambda m: m[2])


@pytest.mark.parametrize(('texts', 'wanted'), [
    ([(0, 'pick'), *((at / 10, 'pick') for at in range(5, 30, 5))], [('pick', 30)]),
    ([(0, 'pick'), (0.5, ' pick '), (1, 'place'), (1.5, 'place'), (2, 'pick')],
     [('pick', 10), ('place', 10), ('pick', 10)]),
    ([(0, 'pick'), (1, ''), (2, 'pick')], [('pick', 10), ('pick', 10)]),
])  # fmt: skip
def test_the_same_instruction_said_again_begins_nothing(tmp_path, texts, wanted):
    found, _ = episodes(write(tmp_path / 'rec', said(*texts)))
    assert [episode.instruction for episode in found] == [text for text, _ in wanted]
    for episode, (_, frames) in zip(found, wanted, strict=True):
        assert abs(len(episode.state) - frames) <= 1
