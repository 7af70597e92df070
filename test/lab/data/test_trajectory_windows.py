"""Trajectories of a recording become actions: where the arm is next, or the goal it was given."""

from __future__ import annotations

import numpy as np
import pytest
from test_bag_import import SECOND, START, STORE, TRAJECTORY, episodes, header, recorded, write

from dysl_vla_ros.lab.data.trajectory_windows import windows_of

MOVED = '/arm/joint_trajectory'
ARM = ('waist', 'elbow')
FPS = 20
POINT = 'trajectory_msgs/msg/JointTrajectoryPoint'


def way(seconds):
    """Where the arm is, and how fast, at times [s]."""
    seconds = np.asarray(seconds, np.float64)
    return (np.stack([np.sin(2 * seconds), 0.5 * np.cos(3 * seconds)], axis=-1),
            np.stack([2 * np.cos(2 * seconds), -1.5 * np.sin(3 * seconds)], axis=-1))  # fmt: skip


def trajectory(at, times, positions, velocities=None, names=ARM, stamped=True):
    made = []
    for place, seconds in enumerate(times):
        whole, rest = divmod(round(seconds * SECOND), SECOND)
        made.append(STORE.types[POINT](
            positions=np.array(positions[place], np.float64),
            velocities=np.zeros(0) if velocities is None else np.array(velocities[place]),
            accelerations=np.zeros(0), effort=np.zeros(0),
            time_from_start=STORE.types['builtin_interfaces/msg/Duration'](
                sec=whole, nanosec=rest)))  # fmt: skip
    return STORE.types[TRAJECTORY](header=header(at if stamped else 0), joint_names=list(names),
                                   points=made)  # fmt: skip


def window(seconds, ahead, order=(0, 1), brakes=True, speeds=True, **how):
    """What comes in the next time, then a tail in which the arm comes to rest."""
    positions, velocities = way(seconds + np.asarray(ahead))
    times = list(ahead)
    if brakes:
        times += [times[-1] + 0.02 * n for n in (1, 2, 3, 4)]
        slower = np.array([0.75, 0.5, 0.25, 0.0])[:, None] * velocities[-1]
        positions = np.concatenate([positions, positions[-1] + 0.02 * np.cumsum(slower, axis=0)])
        velocities = np.concatenate([velocities, slower])
    at = START + round(seconds * SECOND)
    names = how.pop('names', tuple(ARM[place] for place in order))
    return trajectory(at, times, positions[:, order], velocities[:, order] if speeds else None,
                      names, **how)  # fmt: skip


def moved(commands, seconds=4):
    """An arm that follows the way, and (time [s], trajectory) beside."""
    found = [m for m in recorded(seconds) if m[0] != MOVED]
    for topic, _, _, message in found:
        if topic == '/joint_states':
            at = message.header.stamp.sec * SECOND + message.header.stamp.nanosec - START
            message.position[:2] = way(at / SECOND)[0]
    found += [(MOVED, TRAJECTORY, START + round(at * SECOND) + 2_000_000, message)
              for at, message in commands]  # fmt: skip
    return sorted(found, key=lambda m: m[2])


def off(episode, frames):
    """Mean distance of the actions from where the arm stood some frames later [rad]."""
    return float(np.abs(episode.action[:-frames, :2] - episode.state[frames:, :2]).mean())


DENSE = np.arange(8) * 0.02
STREAMS = {
    'as the node sends them': (1 / 30, DENSE, {}),
    'of a node without stamps': (1 / 30, DENSE[1:], {'stamped': False}),
    'without velocities': (1 / 30, DENSE, {'speeds': False}),
    'in another order of joints': (1 / 30, DENSE, {'order': (1, 0)}),
    'of few points with velocities': (1 / 10, np.array([0.0, 0.15, 0.3]), {'brakes': False}),
    'that begin after the next one is sent': (1 / 10, np.array([0.2, 0.4]), {'brakes': False}),
    'of a commander that sends a second at once': (0.5, np.arange(26) * 0.04, {}),
}


@pytest.mark.parametrize('kind', STREAMS)
def test_the_action_of_a_stream_is_where_the_arm_is_one_frame_later(tmp_path, kind):
    period, ahead, how = STREAMS[kind]
    sent = [(at, window(at, ahead, **how)) for at in np.arange(0, 4, period)]
    (episode,), bag = episodes(write(tmp_path / 'rec', moved(sent)), fps=FPS)
    if how.get('order'):
        assert bag.names_of_actions == ('elbow', 'waist')
        episode.action[:, :2] = episode.action[:, 1::-1]
    # Joints are published every 0.01 s: up to 0.02 rad of this way.
    assert off(episode, 1) < 0.01
    assert off(episode, 5) > 0.1
    (said,) = [note for note in bag.notes if note.startswith(f'{MOVED}: a stream')]
    assert f'{len(sent)} windows' in said and 'one frame later' in said


def test_two_arms_that_stream_on_one_topic_are_followed_each_by_its_own_windows(tmp_path):
    sent = []
    for number, at in enumerate(np.arange(0, 4, 1 / 60)):
        order = (number % 2,)
        sent.append((at, window(at, DENSE, order)))
    (episode,), bag = episodes(write(tmp_path / 'rec', moved(sent)), fps=FPS)
    assert bag.names_of_actions == ARM
    assert off(episode, 1) < 0.01 < 0.1 < off(episode, 5)


def test_a_stream_that_ends_is_held_where_it_comes_to_rest(tmp_path):
    sent = [(at, window(at, DENSE)) for at in np.arange(0, 2, 1 / 30)]
    (episode,), _ = episodes(write(tmp_path / 'rec', moved(sent)), fps=FPS)
    rest = sent[-1][1].points[-1].positions
    np.testing.assert_allclose(episode.action[-20:, :2], np.tile(rest, (20, 1)), atol=1e-6)


def test_goals_that_are_far_apart_are_the_actions_themselves(tmp_path):
    sent = [(at, window(at, np.arange(11) * 0.1, brakes=False)) for at in np.arange(0, 7, 1.5)]
    (episode,), bag = episodes(write(tmp_path / 'rec', moved(sent, 8)), fps=FPS)
    goals = np.array([message.points[-1].positions for _, message in sent])
    assert {tuple(row) for row in episode.action[:, :2]} == {
        tuple(row) for row in goals.astype(np.float32)}  # fmt: skip
    assert any('the action of a frame is the last point of the newest' in n for n in bag.notes)


def test_single_points_that_are_sent_often_are_goals(tmp_path):
    sent = [(at, window(at, [0.3], brakes=False)) for at in np.arange(0, 4, 1 / 30)]
    (episode,), _ = episodes(write(tmp_path / 'rec', moved(sent)), fps=FPS)
    assert off(episode, 6) < 0.05 < off(episode, 1)


def test_a_plan_that_is_replaced_once_makes_no_stream(tmp_path):
    sent = [(at, window(at, np.arange(11) * 0.1, brakes=False)) for at in (0, 0.8, 2.5, 4.5, 6.5)]
    (_,), bag = episodes(write(tmp_path / 'rec', moved(sent, 8)), fps=FPS)
    assert any('goals' in note for note in bag.notes)


@pytest.mark.parametrize('fault', ['not finite', 'times'])
def test_a_window_that_cannot_be_followed_is_left_out_and_told(tmp_path, fault):
    sent = [(at, window(at, DENSE)) for at in np.arange(0, 4, 1 / 30)]
    points = sent[30][1].points
    if fault == 'times':
        points[3].time_from_start = points[1].time_from_start
    else:
        points[3].positions = np.full(2, np.nan)
    (episode,), bag = episodes(write(tmp_path / 'rec', moved(sent)), fps=FPS)
    assert np.isfinite(episode.action).all() and off(episode, 1) < 0.01
    assert any('1 windows are left out' in note for note in bag.notes)


def test_between_points_with_velocities_the_way_is_a_cubic():
    message = trajectory(START, [0.0, 2.0], [[0.0, 0.0], [8.0, 2.0]], [[0.0, 1.0], [12.0, 1.0]])
    (one,) = windows_of([(START, message)]).drivers[ARM]
    seconds = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, 9.0])
    positions, velocities = one.at(seconds)
    inside = np.clip(seconds, 0, 2)
    np.testing.assert_allclose(positions, np.stack([inside**3, inside], axis=1), atol=1e-12)
    np.testing.assert_allclose(velocities[1:5, 0], 3 * inside[1:5] ** 2, atol=1e-12)
    assert not velocities[[0, 5]].any()
