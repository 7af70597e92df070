"""The judge of ``dysl chaos`` over hand-made recordings: what is unsafe, and what is not."""

from __future__ import annotations

from types import SimpleNamespace as Message

import numpy as np
import pytest

from dysl_vla_ros.errors import KinematicsError
from dysl_vla_ros.ros.chaos.curves import Curve
from dysl_vla_ros.ros.chaos.description import read_limits
from dysl_vla_ros.ros.chaos.judge import look, own_speed, time_to_rest
from dysl_vla_ros.ros.chaos.recording import Recording
from dysl_vla_ros.ros.chaos.windows import Window, read_window

URDF = """<robot name="r"><link name="a"/><link name="b"/><link name="c"/>
<joint name="one" type="revolute"><limit lower="-2" upper="2" velocity="3" effort="1"/></joint>
<joint name="two" type="continuous"><limit velocity="2" effort="1"/></joint>
<joint name="glued" type="fixed"/></robot>"""
LIMITS = read_limits(URDF)
NAMES = ('one', 'two')
PERIOD = 1.0 / 30.0
TAIL = 0.2
SPEED = 0.5


def path(instants, speed=SPEED):
    """Both joints on their way: position and velocity, shape (m, 2)."""
    positions = np.outer(np.asarray(instants) * speed, [1.0, -0.5])
    return positions, np.tile([speed, -0.5 * speed], (len(positions), 1))


def window(at, stamped, shift=0.0, speed=SPEED, late=0.0, braking=True):
    """A window of a node that follows ``path``: six periods ahead, then a braking tail."""
    times = (0 if stamped else 1) * PERIOD + PERIOD * np.arange(7)
    positions, velocities = path(at + times, speed)
    if braking:
        times = np.append(times, times[-1] + TAIL)
        positions = np.vstack((positions, positions[-1] + 0.5 * TAIL * velocities[-1]))
        velocities = np.vstack((velocities, np.zeros(2)))
    arrival = at + late
    return Window(arrival, at if stamped else arrival, NAMES, times, positions + shift, velocities)


def recorded(windows, until, speeds=None, where=None):
    recording = Recording()
    for one in windows:
        recording.add_window(one)
    for at in np.arange(-1.0, until, 0.01):
        positions, velocities = path([max(at, 0.0)])
        if where is not None:
            positions = np.array([where(at)])
        if speeds is not None:
            velocities = np.array([speeds(at)])
        recording.add_reading(float(at), NAMES, positions[0], velocities[0])
    return recording


def steady(stamped, count=45, **more):
    return [window(PERIOD * k, stamped, **more) for k in range(count)]


def problems(windows, since=0.5, until=1.5, **more):
    return look(recorded(windows, until, **more), LIMITS, since, until).problems


both = pytest.mark.parametrize('stamped', [True, False])


@both
def test_a_steady_motion_within_the_limits_is_safe(stamped):
    found = look(recorded(steady(stamped), 1.5), LIMITS, 0.5, 1.5)
    assert found.problems == {}
    assert found.windows == pytest.approx(30, abs=1)
    assert found.commanded == pytest.approx(SPEED, rel=0.1)
    assert found.jump < 1e-6 and found.step == pytest.approx(SPEED * PERIOD, rel=0.1)


def test_a_window_that_arrives_late_is_judged_by_its_stamp():
    """A busy machine is no fault of the node: 25 ms between the tick and us change nothing."""
    jittery = [window(PERIOD * k, True, late=0.025 * (k % 3 == 0)) for k in range(45)]
    assert problems(jittery) == {}


def test_a_stamped_window_that_comes_before_its_instant_hurries_nothing():
    """Clocks differ by a little; 1 ms to a first point that is 0.004 rad off is not 4 rad/s."""
    early = [window(PERIOD * k, True, late=-0.001, shift=0.004 * (k % 2)) for k in range(45)]
    assert problems(early) == {}


@both
def test_a_jump_between_two_windows_is_unsafe(stamped):
    windows = steady(stamped)
    windows[30:] = [window(PERIOD * k, stamped, shift=0.3) for k in range(30, 45)]
    found = problems(windows)
    assert 'jump' in found and '0.300 rad' in found['jump']
    # A controller hurries to the first point of an unstamped window; a stamped one is a step.
    assert ('commanded' in found) == (not stamped)


@both
def test_a_stale_resume_that_begins_elsewhere_is_unsafe(stamped):
    """0.4 s of silence, then on from 0.2 rad away, while the arm stands where it was left."""
    windows = steady(stamped, 20)
    left = windows[-1].positions[-1].copy()
    back = windows[-1].end + 0.4
    positions, _ = path([back])
    windows += [
        window(back + PERIOD * k, stamped, shift=left - positions[0] + 0.2) for k in range(10)
    ]
    found = problems(windows, until=back + 0.3, where=lambda at: left)
    assert 'jump' in found


@both
def test_a_resume_where_someone_left_the_arm_is_safe(stamped):
    """The same way away from the last window, but the arm was moved there."""
    windows = steady(stamped, 20)
    back = windows[-1].end + 0.4
    positions, _ = path([back])
    moved = windows[-1].positions[-1] + 0.4
    windows += [
        window(back + PERIOD * k, stamped, shift=moved - positions[0], speed=SPEED)
        for k in range(3)
    ]
    found = problems(
        windows, until=back + 0.2,
        where=lambda at: moved if at > back - 0.3 else path([max(at, 0.0)])[0][0],
    )  # fmt: skip
    assert found == {}


@both
def test_a_curve_that_is_too_fast_between_slow_points_is_unsafe(stamped):
    """Each point states 0.5 rad/s or less; the cubic between two of them needs 4.5 rad/s."""
    bad = window(PERIOD * 25, stamped)
    positions, velocities = bad.positions.copy(), bad.velocities.copy()
    positions[3:, 0] += 0.1
    windows = steady(stamped, 25)
    windows.append(Window(bad.arrival, bad.start, NAMES, bad.times, positions, velocities))
    found = problems(windows, until=1.3)
    assert np.abs(velocities).max() <= SPEED
    assert 'commanded' in found and 'one was commanded at' in found['commanded']
    assert 'stated' not in found and 'jump' not in found


def test_a_point_that_states_more_than_the_limit_is_unsafe():
    assert 'stated' in problems(steady(True, speed=4.5))


def test_the_limits_of_velocity_scale_are_the_limits():
    recording = recorded(steady(True), 1.5)
    assert look(recording, LIMITS.scaled(0.2), 0.5, 1.5).problems == {}
    assert 'commanded' in look(recording, LIMITS.scaled(0.1), 0.5, 1.5).problems


@both
def test_a_window_that_ends_in_motion_is_unsafe(stamped):
    windows = steady(stamped)
    windows[30] = window(PERIOD * 30, stamped, braking=False)
    assert 'not at rest' in problems(windows)['rest']


def test_a_window_that_lasts_too_long_is_unsafe():
    windows = steady(True)
    long = windows[30]
    times = np.append(long.times[:-1], long.times[-1] + 0.2)
    windows[30] = Window(long.arrival, long.start, NAMES, times, long.positions, long.velocities)
    assert '0.600 s' in problems(windows)['long']


def test_a_position_beyond_the_limits_is_unsafe():
    windows = steady(True)
    out = windows[30].positions.copy()
    out[-1, 0] = 2.5
    windows[30] = Window(
        windows[30].arrival, windows[30].start, NAMES, windows[30].times, out,
        windows[30].velocities,
    )  # fmt: skip
    assert 'one was sent 0.500 rad beyond its limit' in problems(windows)['position']


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_unsafe(value):
    windows = steady(True)
    windows[30].velocities[2, 1] = value
    assert any('not finite' in sentence for sentence in problems(windows).values())


def test_times_that_do_not_increase_are_unsafe():
    windows = steady(True)
    windows[30].times[3] = windows[30].times[2]
    assert any('does not increase' in sentence for sentence in problems(windows).values())


def test_an_arm_that_moves_too_fast_is_unsafe_whatever_was_sent():
    fast = problems(steady(True), speeds=lambda at: [4.0 if 0.9 < at < 0.95 else 0.5, 0.1])
    assert 'one moved at 4.00 rad/s: limit 3.00' in fast['measured']


def test_how_fast_a_hand_turned_the_arm_is_not_the_nodes_fault():
    def looked_at(hand):
        recording = recorded(
            steady(True), 1.5, speeds=lambda at: [4.0 if 0.9 < at < 0.95 else 0.5, 0.1]
        )
        recording.add_hand(*hand)
        return look(recording, LIMITS, 0.2, 1.4)

    by_hand, before = looked_at((0.85, 1.0)), looked_at((0.7, 0.9))
    assert 'measured' not in by_hand.problems and by_hand.measured == 4.0
    assert 'one moved at 4.00 rad/s' in before.problems['measured']


def test_a_command_that_runs_away_from_the_arm_is_unsafe():
    """A blocked arm: it stands at 0 while the command goes on."""
    found = problems(
        steady(True), since=0.2, where=lambda at: [0.0, 0.0], speeds=lambda at: [0.0, 0.0]
    )
    assert 'one stood' in found['lead']


def test_an_arm_that_is_moved_away_from_a_command_at_rest_is_not_the_nodes_fault():
    times = np.append(PERIOD * np.arange(7), 0.4)
    windows = [
        Window(PERIOD * k, PERIOD * k, NAMES, times, np.zeros((8, 2)), np.zeros((8, 2)))
        for k in range(45)
    ]
    moved = look(
        recorded(windows, 1.5, where=lambda at: [min(max(at - 0.5, 0.0), 0.6), 0.0]),
        LIMITS, 0.5, 1.5,
    )  # fmt: skip
    assert moved.problems == {} and moved.lead == pytest.approx(0.6, abs=0.02)


def test_what_a_second_commander_sends_is_not_the_nodes():
    windows = steady(True)
    other = window(PERIOD * 30, True, shift=1.0)
    windows.insert(30, Window(
        other.arrival, other.start, NAMES, other.times, other.positions, other.velocities, True,
    ))  # fmt: skip
    assert problems(windows) == {}


def test_an_old_fault_is_not_this_trials():
    windows = steady(True)
    windows[5] = window(PERIOD * 5, True, braking=False)
    assert problems(windows) == {}


def test_the_time_to_rest_is_the_last_motion_before_a_pause_of_rest():
    def speeds(at):
        return [0.5 if at < 0.8 else 0.0, 0.0]

    recording = recorded([], 2.0, speeds=speeds)
    assert time_to_rest(recording, NAMES, 0.5, 1.9) == pytest.approx(0.3, abs=0.02)
    assert time_to_rest(recording, NAMES, 0.5, 0.9) is None
    assert time_to_rest(recording, NAMES, 1.0, 1.9) == 0.0


def trembling(where=0.5, commands=30):
    """A hand that trembles at a place, and slips at 1.4 s, long after its last command."""

    def speeds(at):
        return [0.57 if 1.4 <= at < 1.43 else 0.03, 0.0]

    windows = [window(PERIOD * k, True) for k in range(commands)]
    return recorded(windows, 2.5, speeds=speeds, where=lambda at: [where, -0.5 * where])


def test_an_arm_that_trembles_on_what_it_touches_rests_once_its_command_does():
    """Commands end at 0.97 s; the last window plays until 1.37 s."""
    end = 29 * PERIOD + 6 * PERIOD + TAIL
    place = float(path([29 * PERIOD + 6 * PERIOD + 0.5 * TAIL])[0][0, 0])
    recording = trembling(where=place)
    assert time_to_rest(recording, NAMES, 0.5, 2.4) == pytest.approx(end + 0.3 - 0.5, abs=0.03)
    at, speeds = own_speed(recording, NAMES, 1.8, 2.4)
    assert len(at) > 50 and speeds.max() == 0.0
    # The command it still keeps may be old.
    assert time_to_rest(recording, NAMES, 2.0, 2.4) == 0.0


def test_an_arm_that_moves_far_from_its_command_or_before_that_rests_is_moved_by_the_node():
    recording = trembling(where=0.0)  # it was held, and may spring to where the command is
    assert time_to_rest(recording, NAMES, 0.5, 2.4) is None
    under_way = trembling(where=0.3)
    assert own_speed(under_way, NAMES, 0.5, 0.6)[1].min() == pytest.approx(0.03)
    untold = trembling(commands=0)
    assert time_to_rest(untold, NAMES, 0.5, 2.4) is None


def test_an_arm_that_is_not_heard_does_not_rest():
    """A starved arm: silent from 0.55 s to 0.95 s in its braking, which it then ends."""
    recording = Recording()
    for at in np.arange(0.0, 2.0, 0.01):
        if not 0.55 < at < 0.95:
            speed = 0.5 if at < 1.0 else 0.0
            recording.add_reading(float(at), NAMES, np.zeros(2), np.array([speed, 0.0]))
    assert time_to_rest(recording, NAMES, 0.5, 1.9) == pytest.approx(0.5, abs=0.02)
    silent = Recording()
    for at in np.append(np.arange(0.0, 0.5, 0.01), [1.22, 1.3]):
        silent.add_reading(float(at), NAMES, np.zeros(2), np.zeros(2))
    assert time_to_rest(silent, NAMES, 0.5, 1.3) is None
    for at in np.arange(1.31, 1.9, 0.01):
        silent.add_reading(float(at), NAMES, np.zeros(2), np.zeros(2))
    assert time_to_rest(silent, NAMES, 0.5, 1.9) == pytest.approx(0.72, abs=0.02)


def test_the_peak_of_a_cubic_is_solved_not_sampled():
    """From rest to rest over 1 rad in 1 s: 1.5 rad/s in the middle."""
    curve = Curve(np.array([0.0, 1.0]), np.array([[0.0], [1.0]]), np.zeros((2, 1)))
    assert curve.peak_speed(0.0, 1.0) == pytest.approx([1.5])
    assert curve.peak_speed(0.0, 0.25) == pytest.approx([1.125])
    assert curve.at(np.array([-1.0, 0.5, 2.0]))[:, 0] == pytest.approx([0.0, 0.5, 1.0])


def test_the_description_gives_limits_by_name_and_none_to_a_joint_without():
    assert LIMITS.names == ('one', 'two')
    assert LIMITS.of(['two', 'nobody', 'one']).velocity.tolist() == [2.0, np.inf, 3.0]
    assert LIMITS.of(['two']).upper.tolist() == [np.inf]
    with pytest.raises(KinematicsError, match='no moving joint'):
        read_limits('<robot/>')
    with pytest.raises(KinematicsError, match='expected URDF'):
        read_limits('nonsense')


def trajectory(stamp, sizes=(2, 2), frame=''):
    point = Message(
        positions=[0.1] * sizes[0], velocities=[0.0] * sizes[1],
        time_from_start=Message(sec=0, nanosec=100_000_000),
    )  # fmt: skip
    header = Message(stamp=Message(sec=int(stamp), nanosec=0), frame_id=frame)
    return Message(joint_names=list(NAMES), header=header, points=[point])


def test_a_stamp_is_read_on_the_watchers_clock_and_0_is_the_arrival():
    assert read_window(trajectory(990), arrival=50.0, wall=1000.0).start == pytest.approx(40.0)
    now = read_window(trajectory(0), arrival=50.0, wall=1000.0)
    assert (now.start, now.end, now.defect) == (50.0, pytest.approx(50.1), '')


def test_a_point_with_too_few_numbers_is_a_defect_and_a_fault():
    broken = read_window(trajectory(0, (2, 1)), arrival=1.0, wall=1000.0)
    assert '1 velocities for 2 joints' in broken.defect
    assert any('1 velocities' in s for s in problems([*steady(True), broken]).values())


def test_a_campaign_goes_on_where_the_same_one_was_broken_off():
    from dataclasses import replace

    from dysl_vla_ros.ros.chaos import campaign
    from dysl_vla_ros.ros.chaos.case import Case

    options = campaign.Options(only=('camera',), seed=3)
    faults = campaign.chosen(options)
    cases = [Case(one.name, one.kind, 'holds', verdict='safe') for one in faults[:2]]
    left = campaign.report(cases, options)
    assert [case.name for case in campaign.broken_off(left, options)] == [
        one.name for one in faults[:2]
    ]
    for other in (replace(options, seed=4), replace(options, only=('joints',)),
                  replace(options, engine='')):  # fmt: skip
        assert campaign.broken_off(left, other) == []
    assert campaign.broken_off(campaign.report(cases, options, complete=True), options) == []
    assert campaign.broken_off({**left, 'cases': [{'nonsense': 1}]}, options) == []
    assert campaign.broken_off([1], options) == []
