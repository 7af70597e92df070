"""Recorded topics become the episodes that were recorded: numbers, pictures, labels, words."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / 'bags'))
from bag_files import SECOND, STORE, write

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.bag_import import BagChoice, BagEpisodes
from dysl_vla_ros.lab.data.lerobot import open_lerobot
from dysl_vla_ros.lab.data.lerobot_frames import read_pictures, read_rows
from dysl_vla_ros.pictures.messages import rgb_of

IMAGE, JOINTS = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/JointState'
TRAJECTORY, TEXT = 'trajectory_msgs/msg/JointTrajectory', 'std_msgs/msg/String'
START = 1_700_000_000 * SECOND
NAMES = ('waist', 'elbow', 'gripper')


def stamp(time_ns):
    return STORE.types['builtin_interfaces/msg/Time'](sec=time_ns // SECOND,
                                                      nanosec=time_ns % SECOND)  # fmt: skip


def header(time_ns):
    return STORE.types['std_msgs/msg/Header'](stamp=stamp(time_ns), frame_id='')


def picture(number, time_ns, encoding='rgb8'):
    """A picture whose red says its number."""
    data = np.zeros((32, 48, 3), np.uint8)
    data[..., 0] = number
    data[..., 2] = 200
    data = data if encoding == 'rgb8' else data[..., ::-1]
    return STORE.types[IMAGE](header=header(time_ns), height=32, width=48, encoding=encoding,
                              is_bigendian=0, step=144,
                              data=np.ascontiguousarray(data).reshape(-1))  # fmt: skip


def joints(values, time_ns, names=NAMES):
    return STORE.types[JOINTS](header=header(time_ns), name=list(names),
                               position=np.array(values, np.float64), velocity=np.zeros(0),
                               effort=np.zeros(0))  # fmt: skip


def command(values, time_ns, names=NAMES):
    point = STORE.types['trajectory_msgs/msg/JointTrajectoryPoint'](
        positions=np.array(values, np.float64), velocities=np.zeros(0),
        accelerations=np.zeros(0), effort=np.zeros(0),
        time_from_start=STORE.types['builtin_interfaces/msg/Duration'](sec=0, nanosec=0),
    )  # fmt: skip
    return STORE.types[TRAJECTORY](header=header(time_ns), joint_names=list(names),
                                   points=[point])  # fmt: skip


def recorded(seconds=3, labels=(), late_ns=2_000_000, encoding='rgb8', silent=(), shift=0):
    """Joints at 100 Hz, commands at 50 Hz, a camera at 30 Hz; recorded a little late."""
    found = []
    for number in range(seconds * 100):
        time_ns = START + number * SECOND // 100
        if not (silent and silent[0] <= number / 100 < silent[1]):
            found.append(
                (
                    time_ns,
                    '/joint_states',
                    JOINTS,
                    joints((number / 100, -number / 100, 0.5), time_ns + shift),
                )
            )
        if number % 2 == 0:
            # Another order of names than the joints'.
            found.append((time_ns, '/arm/joint_trajectory', TRAJECTORY,
                          command((0.0, number / 100 + 0.1, -number / 100), time_ns,
                                  ('gripper', 'waist', 'elbow'))))  # fmt: skip
    for number in range(seconds * 30):
        time_ns = START + number * SECOND // 30
        found.append(
            (time_ns, '/wrist/color/image_raw', IMAGE, picture(number, time_ns, encoding))
        )
    found.append((START, '/instruction', TEXT, STORE.types[TEXT](data='pick up the cup')))
    found += [(START + int(at * SECOND), '/vla_node/label', TEXT, STORE.types[TEXT](data=text))
              for at, text in labels]  # fmt: skip
    found.sort(key=lambda entry: entry[0])
    return [(topic, kind, at + late_ns, message) for at, topic, kind, message in found]


def episodes(folder, **choice):
    bag = BagEpisodes(folder, BagChoice(**{'fps': 10, **choice}))
    return list(bag.episodes()), bag


def test_frames_are_equally_spaced_and_hold_the_newest_of_every_stream(tmp_path):
    (episode,), bag = episodes(write(tmp_path / 'rec', recorded()))
    assert bag.topics.cameras == {'wrist': '/wrist/color/image_raw'}
    assert bag.topics.action == '/arm/joint_trajectory'
    assert (bag.state_names, bag.names_of_actions) == (NAMES, ('gripper', 'waist', 'elbow'))
    assert episode.instruction == 'pick up the cup'
    steps = np.diff(episode.state[:, 0])
    np.testing.assert_allclose(steps, 0.1, atol=1e-6)
    # The command in force when the frame was taken, not a later one.
    ahead = episode.action[:, 1] - episode.state[:, 0]
    assert (ahead > 0.07).all()
    assert (ahead < 0.11).all()
    shown = [int(rgb_of(*entry)[0, 0, 0]) for entry in episode.pictures['wrist']]
    expected = np.floor((episode.state[:, 0] - episode.state[0, 0]) * 30 + 1e-3)
    np.testing.assert_allclose(shown, expected + shown[0], atol=1)


def test_pictures_wait_on_the_disk_and_not_in_memory(tmp_path):
    (episode,), _ = episodes(write(tmp_path / 'rec', recorded()))
    message = episode.pictures['wrist'][3][1]
    assert not any(isinstance(value, np.ndarray) for value in vars(message).values())
    assert message.data.size == 32 * 48 * 3


def test_without_commands_the_next_state_is_the_action(tmp_path):
    messages = [m for m in recorded() if m[0] != '/arm/joint_trajectory']
    (episode,), bag = episodes(write(tmp_path / 'rec', messages))
    assert bag.topics.action == 'next'
    np.testing.assert_array_equal(episode.action[:-1], episode.state[1:])


def test_labels_cut_episodes_and_failures_are_left_out(tmp_path):
    labels = [(0.2, 'start'), (0.9, 'success'), (1.0, 'start'), (1.6, 'end'), (1.8, 'failure'),
              (2.0, 'start: again'), (2.7, 'success: fine')]  # fmt: skip
    folder = write(tmp_path / 'rec', recorded(labels=labels))
    kept, _ = episodes(folder)
    assert [e.result for e in kept] == ['success', 'success']
    assert [round(float(e.state[0, 0]), 1) for e in kept] == [0.2, 2.0]
    assert [e.result for e in episodes(folder, keep_failures=True)[0]] == [
        'success',
        'failure',
        'success',
    ]


def test_a_silent_stream_cuts_the_episode(tmp_path):
    found, _ = episodes(write(tmp_path / 'rec', recorded(silent=(1.0, 2.0))), most_silent_s=0.3)
    assert len(found) == 2
    assert found[1].state[0, 0] >= 2.0


def test_stamps_of_another_clock_are_not_believed(tmp_path):
    (episode,), bag = episodes(write(tmp_path / 'rec', recorded(shift=-(10**9) * SECOND)))
    assert len(episode.state) > 25
    assert any("off the recorder's clock" in note for note in bag.notes)


def with_joints(messages):
    """What was recorded, with other joints: (1/100 s, stamp, names, values)."""
    kept = [m for m in recorded() if m[1] != JOINTS and m[1] != TRAJECTORY]
    for number, shift, names, values in messages:
        at = START + number * SECOND // 100
        kept.append(('/joint_states', JOINTS, at + 2_000_000, joints(values, at + shift, names)))
    return sorted(kept, key=lambda m: m[2])


ARM, GRIP = ('waist', 'elbow'), ('gripper',)


def arm_and_gripper(first=0, every=10, grip=lambda number: number / 100, arm=lambda number: True):
    """The arm at 100 Hz, the gripper in messages of its own."""
    found = [(n, 0, ARM, (n / 100, -n / 100)) for n in range(300) if arm(n)]
    found += [(n, 0, GRIP, (grip(n),)) for n in range(first, 300, every)]
    return sorted(found, key=lambda entry: entry[0])


def test_arm_and_gripper_that_speak_apart_are_put_together(tmp_path):
    (episode,), bag = episodes(write(tmp_path / 'rec', with_joints(arm_and_gripper(first=5))))
    assert bag.state_names == (*ARM, *GRIP)
    assert '/joint_states: joints waist, elbow, gripper' in bag.notes
    # The newest of each, and no row before the gripper was known.
    assert episode.state[0, 0] == pytest.approx(0.1, abs=0.021)
    late = episode.state[:, 0] - episode.state[:, 2]
    assert ((late >= -1e-6) & (late < 0.101)).all()
    assert late.max() > 0.03


def test_the_order_of_joints_is_that_in_which_they_were_first_seen(tmp_path):
    messages = [(0, 0, GRIP, (0.5,)), *arm_and_gripper(first=5)]
    _, bag = episodes(write(tmp_path / 'rec', with_joints(messages)))
    assert bag.state_names == (*GRIP, *ARM)


def test_joints_of_several_messages_can_be_asked_for_and_the_others_are_told(tmp_path):
    folder = write(tmp_path / 'rec', with_joints(arm_and_gripper()))
    (episode,), bag = episodes(folder, joint_names=('gripper', 'elbow'))
    assert episode.state.shape[1] == 2 and (episode.state[:, 1] <= 0).all()
    assert '/joint_states: joints gripper, elbow; left out: waist' in bag.notes
    with pytest.raises(ConfigError, match=r"'hip'.*names in /joint_states: .*; not hip"):
        episodes(folder, joint_names=('waist', 'hip'))


def test_a_gripper_may_be_silent_and_an_arm_may_not(tmp_path):
    quiet = arm_and_gripper(every=200)  # it speaks twice
    (episode,), _ = episodes(write(tmp_path / 'quiet', with_joints(quiet)))
    assert len(episode.state) > 27
    still = arm_and_gripper(every=1, arm=lambda number: not 100 <= number < 200)
    found, bag = episodes(write(tmp_path / 'still', with_joints(still)), most_silent_s=0.3)
    assert len(found) == 2
    assert found[0].state[-1, 0] < 1.0 and found[1].state[0, 0] >= 2.0


def test_what_keeps_frames_out_is_told_by_the_joint(tmp_path):
    late = with_joints(arm_and_gripper(first=200))
    _, bag = episodes(write(tmp_path / 'late', late))
    assert any('the first 2.0 s are left out: gripper had not been said' in n for n in bag.notes)
    seldom = [*arm_and_gripper(), *((n, 0, ('pan',), (0.0,)) for n in range(0, 300, 100))]
    folder = write(tmp_path / 'seldom', with_joints(seldom))
    _, bag = episodes(folder)
    assert any('pan: silent for up to 1.0 s' in note for note in bag.notes)
    assert len(episodes(folder, joint_names=('waist', 'gripper'))[0]) == 1


@pytest.mark.parametrize(
    ('wrong', 'note'),
    [
        (((), ()), '1 empty'),
        ((ARM, ()), '1 empty'),
        ((ARM, (float('nan'), 0.0)), '1 not finite'),
        (((), (0.0, 0.0)), '1 without names'),
        ((ARM, (0.0,)), '1 with more or fewer numbers than names'),
        ((('waist', 'waist'), (0.0, 1.0)), '1 with a name twice'),
    ],
)
def test_joints_that_cannot_be_used_are_left_out_and_counted(tmp_path, wrong, note):
    messages = [(0, 0, *wrong), *[(n, 0, ARM, (n / 100, 0.0)) for n in range(1, 300)]]
    (episode,), bag = episodes(write(tmp_path / 'rec', with_joints(messages)))
    assert np.isfinite(episode.state).all() and len(episode.state) > 27
    assert bag.state_names == ARM
    assert f'/joint_states: of 300 messages are left out: {note}' in bag.notes


def test_a_joint_that_is_never_finite_is_not_taken(tmp_path):
    messages = arm_and_gripper(grip=lambda number: float('nan'))
    (episode,), bag = episodes(write(tmp_path / 'rec', with_joints(messages)))
    assert bag.state_names == ARM and np.isfinite(episode.state).all()
    assert '/joint_states: joints waist, elbow; left out: gripper' in bag.notes


def test_joints_without_names_are_taken_in_the_order_that_is_asked_for(tmp_path):
    folder = write(tmp_path / 'rec', with_joints([(n, 0, (), (n, 0.0)) for n in range(300)]))
    (episode,), _ = episodes(folder, joint_names=ARM)
    assert episode.state[0, 1] == 0.0
    with pytest.raises(ConfigError, match='names for the 2 joints of /joint_states'):
        episodes(folder)


def test_recordings_of_one_robot_agree_whoever_speaks_first(tmp_path, capsys):
    first = write(tmp_path / 'a', with_joints(arm_and_gripper(first=5)))
    second = write(tmp_path / 'b', with_joints([(0, 0, GRIP, (0.5,)), *arm_and_gripper(first=5)]))
    out = tmp_path / 'set'
    assert main(['import', str(first), str(second), str(out), '--pictures', 'png']) == 0
    assert open_lerobot(out).columns['observation.state'].names == (*ARM, *GRIP)
    said = ' '.join(capsys.readouterr().out.split())
    assert said.count('/joint_states: joints waist, elbow, gripper') == 2


@pytest.mark.parametrize('shift', [-START + 5 * SECOND, -60 * 86400 * SECOND, 3 * SECOND, -START])
def test_a_single_stamp_that_is_far_off_is_not_believed(tmp_path, shift):
    right = [(n, 0, ARM, (n / 100, 0.0)) for n in range(300)]
    right[150] = (150, shift, ARM, (9.0, 9.0))
    (episode,), bag = episodes(write(tmp_path / 'rec', with_joints(right)))
    assert len(episode.state) == 30 and episode.state.max() < 3.0
    assert any('/joint_states: 1 of 300 messages are left out' in note for note in bag.notes)


def test_each_driver_of_a_topic_has_its_clock(tmp_path):
    messages = [(n, -START if names == GRIP else 0, names, values)
                for n, _, names, values in arm_and_gripper()]  # fmt: skip
    messages[1] = (messages[1][0], 1, *messages[1][2:])
    since_boot = [(n, shift + SECOND * (names == GRIP), names, values)
                  for n, shift, names, values in messages]  # fmt: skip
    (episode,), bag = episodes(write(tmp_path / 'rec', with_joints(since_boot)))
    assert len(episode.state) > 27 and bag.state_names == (*ARM, *GRIP)
    assert any('(gripper): its stamps are' in note for note in bag.notes)
    assert not any('messages are left out' in note for note in bag.notes)


def test_many_stamps_that_are_far_off_make_the_recorded_times_count(tmp_path):
    messages = [(n, -START if n % 5 == 0 else 0, ARM, (n / 100, 0.0)) for n in range(300)]
    (episode,), bag = episodes(write(tmp_path / 'rec', with_joints(messages)))
    assert len(episode.state) > 27
    assert any('60 of 300 stamps are more than 2 s off' in note for note in bag.notes)


def test_a_clock_that_is_set_by_days_ends_the_episode_and_costs_no_memory(tmp_path):
    days = 4000 * 86400 * SECOND
    messages = [(t, kind, at + days * (at > START + 2 * SECOND), message)
                for t, kind, at, message in recorded()]  # fmt: skip
    for _, _, at, message in messages:
        if hasattr(message, 'header'):
            message.header = header(at)
    found, _ = episodes(write(tmp_path / 'rec', messages))
    assert [len(episode.state) for episode in found] == [25, 10]
    np.testing.assert_allclose(np.diff(found[1].state[:, 0]), 0.1, atol=1e-6)


def test_all_that_is_missing_is_one_list(tmp_path):
    messages = [m for m in recorded() if m[0] in ('/joint_states',)]
    messages += [(f'/{arm}/joint_trajectory', TRAJECTORY, START, command((0, 0, 0), START))
                 for arm in ('left', 'right')]  # fmt: skip
    folder = write(tmp_path / 'rec', messages)
    with pytest.raises(ConfigError) as caught:
        BagEpisodes(folder, BagChoice(joints='/joint_stats'))
    text = str(caught.value)
    for words in (
        '4 missing',
        '--cameras NAME=TOPIC',
        'perhaps /joint_states',
        '/left/joint_trajectory, /right/joint_trajectory; --action TOPIC',
        '--text WORDS',
        '/joint_states (sensor_msgs/msg/JointState, 300)',
    ):
        assert words in text, text


def test_cameras_that_would_share_a_name_are_named_with_the_option(tmp_path):
    messages = recorded()
    messages += [('/wrist/rgb/image_raw', IMAGE, at, picture(1, at))
                 for topic, kind, at, _ in messages if kind == IMAGE]  # fmt: skip
    folder = write(tmp_path / 'rec', messages)
    with pytest.raises(ConfigError) as caught:
        BagEpisodes(folder, BagChoice())
    text = str(caught.value)
    assert '/wrist/color/image_raw, /wrist/rgb/image_raw would share a name; --cameras' in text
    words = ['import', str(folder), str(tmp_path / 'out'), '--cameras']
    assert main([*words, 'a=/wrist/color/image_raw', 'a=/wrist/rgb/image_raw']) == 2


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8'])
def test_the_command_writes_a_set_that_reads_as_it_was_recorded(tmp_path, encoding, capsys):
    folder = write(tmp_path / 'rec', recorded(encoding=encoding))
    out = tmp_path / 'set'
    assert (
        main(['import', str(folder), str(folder), str(out), '--fps', '10', '--pictures', 'png'])
        == 0
    )
    assert '2 episodes' in ' '.join(capsys.readouterr().out.split())  # lines are cut at 80
    data = open_lerobot(out)
    assert (data.fps, len(data.episodes), list(data.cameras)) == (10.0, 2, ['wrist'])
    assert data.columns['action'].names == ('gripper', 'waist', 'elbow')
    rows = list(read_rows(data, ['observation.state', 'action']))
    assert rows[1].instruction[0] == 'pick up the cup'
    np.testing.assert_allclose(np.diff(rows[1].numbers['observation.state'][:, 0]), 0.1,
                               atol=1e-6)  # fmt: skip
    (first,) = read_pictures(data, rows[1], 'observation.images.wrist', [3])
    assert first[0, 0].tolist() == [first[0, 0, 0], 0, 200]
    assert abs(int(first[0, 0, 0]) - 9) <= 1
    assert json.loads((out / 'meta/dysl.json').read_text())['format'] == 'dysl_robot_1'
    # A second time into the same folder: nothing is replaced.
    assert main(['import', str(folder), str(out), '--pictures', 'png']) == 2
    assert len(open_lerobot(out).episodes) == 2


def test_commands_in_another_order_than_the_joints_are_trained_as_what_they_are(tmp_path):
    from dysl_vla_ros.lab.data.robot_samples import read_set
    from dysl_vla_ros.lab.data.set_choice import SetChoice

    folder, out = write(tmp_path / 'rec', recorded()), tmp_path / 'set'
    words = ['import', str(folder), str(folder), str(out), '--fps', '10', '--pictures', 'png']
    assert main(words) == 0
    _, reading, rows = read_set(str(out), SetChoice(image_size=32, gripper_range=(0.0, 1.0)))
    assert reading.state.names == reading.action.names == NAMES
    state, action = (side.read(rows[0].numbers) for side in (reading.state, reading.action))
    np.testing.assert_allclose(action[:, :2], state[:, :2], atol=0.13)
    assert np.abs(action[:, 0] - action[:, 1]).max() > 2.0


def test_a_set_of_videos_is_read_back(tmp_path):
    pytest.importorskip('av')
    folder, out = write(tmp_path / 'rec', recorded(seconds=2)), tmp_path / 'set'
    assert main(['import', str(folder), str(out), '--fps', '10']) == 0
    data = open_lerobot(out)
    assert data.columns['observation.images.wrist'].dtype == 'video'
    (rows,) = read_rows(data, ['observation.state'])
    shown = [p[0, 0, 0] for p in read_pictures(data, rows, 'observation.images.wrist', [2, 9])]
    assert abs(int(shown[1]) - int(shown[0]) - 21) <= 12


def test_nothing_is_left_of_an_import_that_fails(tmp_path):
    messages = recorded()
    for _, kind, at, message in messages:
        if kind == IMAGE and at > START + 2 * SECOND:
            message.height = 16  # a camera that changes its size
    folder = write(tmp_path / 'rec', messages)
    assert main(['import', str(folder), str(tmp_path / 'set'), '--fps', '30']) == 2
    assert [path.name for path in tmp_path.iterdir()] == ['rec']


@pytest.mark.parametrize(('words', 'told'), [
    (['import', 'NOWHERE', 'OUT'], 'there is nothing of this name'),
    (['import', 'REC', 'REC'], 'a set is not replaced'),
    (['import', 'REC', 'OUT', '--cameras', 'wrist'], 'NAME=TOPIC'),
    (['import', 'REC', 'OUT', '--joints', '/say'], 'no topic /say'),
    (['import', 'REC', 'OUT', '--gripper-topic', '/joint_states'], "is the joints' topic"),
    (['import', 'REC', 'OUT', '--gripper-topic', '/arm/joint_trajectory'], 'of one number'),
    (['import', 'REC', 'OUT', '--joint-names', 'waist', 'hip'], "names in /joint_states"),
    (['train', 'REC'], 'this is a recording; first dysl import'),
])  # fmt: skip
def test_a_wrong_call_says_what_would_be_right(tmp_path, capsys, words, told):
    folder = write(tmp_path / 'rec', recorded(seconds=1))
    places = {'REC': str(folder), 'OUT': str(tmp_path / 'out'), 'NOWHERE': str(tmp_path / 'no')}
    assert main([places.get(word, word) for word in words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count('\n') == 1
    assert not (tmp_path / 'out').exists()
