"""Stamps, streams and joints: what arrives is timed once, and refused with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.config import GripperConfig
from dysl_vla_ros.errors import InputError

pytestmark = pytest.mark.ros
GRIPPER = GripperConfig(joint='finger', open_value=0.04, closed_value=0.0)


def joints(names, positions, effort=()):
    from sensor_msgs.msg import JointState

    values = [float(value) for value in positions]
    return JointState(name=list(names), position=values, effort=list(effort))


def test_a_stamp_becomes_steady_time_by_its_age():
    from dysl_vla_ros.ros.stamps import steady_stamp

    assert steady_stamp('image', 100.0, 100.25, 7.0, 1.0) == pytest.approx(6.75)


def test_a_stamp_a_little_in_the_future_counts_as_now():
    from dysl_vla_ros.ros.stamps import steady_stamp

    assert steady_stamp('image', 100.01, 100.0, 7.0, 1.0) == 7.0


def test_simulated_seconds_are_looked_up_not_counted():
    from dysl_vla_ros.ros.stamps import SimulatedTime

    times = SimulatedTime()
    assert times.steady_at(5.0, 3.0) == 3.0
    for index in range(11):  # at half speed, then a pause
        times.note(100.0 + 0.5 * index, 7.0 + index)
    times.note(105.0, 20.0)
    assert times.steady_at(102.5, 0.0) == pytest.approx(12.0)
    assert times.steady_at(102.75, 0.0) == pytest.approx(12.5)
    assert times.steady_at(105.0, 0.0) == pytest.approx(17.0)
    assert times.steady_at(99.0, 6.5) == 6.5
    times.note(1.0, 30.0)  # it began again
    assert times.steady_at(1.0, 0.0) == 30.0


@pytest.mark.parametrize(
    ('age', 'period', 'said', 'refused'),
    [(None, 0.02, False, False), (0.004, 0.02, False, False), (0.03, 0.02, True, False),
     (0.03, 0.05, False, False), (0.2, 0.02, True, True)],
)  # fmt: skip
def test_joint_states_that_are_old_at_best_tell_of_another_clock(age, period, said, refused):
    from dysl_vla_ros.ros.stamps import clock_problem

    text, refuses = clock_problem(age, period)
    assert bool(text) is said and refuses is refused
    if said:
        assert f'{age:.3f} s old at best' in text and 'synchronise the clocks' in text


def test_the_least_age_is_of_the_last_seconds_and_of_enough_messages():
    from dysl_vla_ros.ros.streams import Newest, Stream

    stream = Stream('joint_states', 0.5)
    for index in range(9):
        stream.accept(Newest(1.0 + 0.1 * index, None), 1.003 + 0.1 * index)
    assert stream.least_age(2.0) is None
    for index in range(20):
        stream.accept(Newest(3.0 + 0.1 * index, None), 3.08 + 0.1 * index + 0.01 * (index % 3))
    assert stream.least_age(5.1) == pytest.approx(0.08)


@pytest.mark.parametrize(('stamp', 'words'), [(100.5, 'after'), (98.0, '2.000 s older')])
def test_a_negative_or_too_old_age_is_refused_with_both_times(stamp, words):
    from dysl_vla_ros.ros.stamps import steady_stamp

    with pytest.raises(InputError) as caught:
        steady_stamp('image', stamp, 100.0, 7.0, 1.0)
    text = str(caught.value)
    assert text.startswith(f'image: header.stamp = {stamp:.3f} s')
    assert '100.000 s' in text
    assert words in text


def test_a_stream_says_never_received_then_fresh_then_its_age():
    from dysl_vla_ros.ros.streams import Newest, Stream

    stream = Stream('image', 0.5)
    assert stream.problem(1.0) == 'image: nothing received yet'
    assert stream.age(1.0) is None
    stream.accept(Newest(1.0, 'a'), 1.01)
    assert stream.problem(1.4) == ''
    assert stream.problem(1.6) == 'image: newest is 0.60 s old, expected at most 0.5 s'


def test_a_stream_keeps_the_newest_and_tells_the_last_refusal_once_it_is_stale():
    from dysl_vla_ros.ros.streams import Newest, Stream

    stream = Stream('image', 0.5)
    stream.accept(Newest(1.0, 'a'), 1.0)
    stream.accept(Newest(0.9, 'older'), 1.01)
    assert stream.newest.message == 'a'
    stream.refuse('image: encoding = ...')
    assert stream.problem(1.2) == ''
    assert stream.problem(1.6) == 'image: encoding = ...'
    assert stream.refused == 1


def test_joints_are_matched_by_name_in_any_order():
    from dysl_vla_ros.ros.joints import JointParts

    parts = JointParts(('shoulder', 'elbow'), GRIPPER)
    sample = parts.add(joints(('other', 'elbow', 'finger', 'shoulder'), (9, 2, 0.01, 1)), 5.0)
    assert sample.positions.tolist() == [1.0, 2.0]
    assert sample.gripper == pytest.approx(0.25)


def test_a_gripper_beyond_its_ends_is_told_as_it_stands_and_read_as_in_training():
    from types import SimpleNamespace

    from dysl_vla_ros.ros.inputs import Inputs
    from dysl_vla_ros.ros.joints import JointParts

    sample = JointParts(('shoulder',), GRIPPER).add(joints(('shoulder', 'finger'), (1, 0.05)), 5.0)
    assert sample.gripper == pytest.approx(1.25), 'or what moves it would begin where it is not'
    reads = SimpleNamespace(_told=[False], _commanded=lambda: [0.5])
    assert Inputs._openings(reads, sample) == [1.0]


def test_a_missing_joint_is_named_with_what_is_needed():
    from dysl_vla_ros.ros.joints import JointParts

    parts = JointParts(('shoulder', 'elbow'), None)
    with pytest.raises(InputError, match=r"lacks \['elbow'\]: expected all of \['shoulder'"):
        parts.add(joints(('shoulder', 'wrist'), (1, 2)), 5.0)


def test_of_a_joint_that_was_never_there_it_is_not_said_that_the_others_alone_are_silent():
    from types import SimpleNamespace

    from dysl_vla_ros.ros.joints import JointParts, Joints
    from dysl_vla_ros.ros.streams import Newest, Stream

    parts, stream = JointParts(('shoulder', 'elbow', 'wrist'), None), Stream('joint_states', 0.2)
    both = SimpleNamespace(stream=stream, _parts=parts)

    def say(names, positions, now):
        try:
            sample = parts.add(joints(names, positions), now)
            stream.accept(Newest(sample.stamp, sample), now)
        except InputError as error:
            stream.refuse(str(error))
        return Joints.problem(both, now)

    lacks = say(('shoulder', 'elbow'), (1, 2), 5.0)
    assert "lacks ['wrist']" in lacks and Joints.problem(both, 9.0) == lacks
    assert say(('wrist',), (3,), 9.0).endswith('of shoulder, elbow, not of the others')
    assert say(('shoulder', 'elbow'), (1, 2), 9.1) == ''
    say(('wrist',), (3,), 9.5)
    assert say(('elbow',), (float('nan'),), 9.5).endswith(
        'position of elbow = nan: expected finite'
    )


def test_arm_and_gripper_may_come_in_separate_messages_and_a_sample_ages_with_the_arm():
    from dysl_vla_ros.ros.joints import JointParts

    parts = JointParts(('shoulder',), GRIPPER)
    first = parts.add(joints(('shoulder',), (1,)), 5.0)
    assert (first.stamp, first.gripper) == (5.0, None) and parts.grippers_unseen == ['finger']
    assert parts.add(joints(('finger',), (0.04,)), 5.1).stamp == 5.0
    assert parts.grippers_unseen == []
    sample = parts.add(joints(('shoulder',), (2,)), 5.2)
    assert (sample.stamp, sample.positions.tolist(), sample.gripper) == (5.2, [2.0], 1.0)
    assert parts.gripper_stamp == 5.1


@pytest.mark.parametrize('gripper_hz', [500, 50, 10, 4, 0.1])
def test_a_slow_gripper_neither_spoils_nor_stales_the_joints_of_an_image(gripper_hz):
    from dysl_vla_ros.ros.joints import JointParts
    from dysl_vla_ros.ros.streams import JointHistory, Newest, Stream

    parts, history, stream = JointParts(('a',), GRIPPER), JointHistory(), Stream('joints', 0.2)
    period, due, wrong = 0.01, 0.0, []
    for index in range(200):
        now = index * period
        messages = [joints(('a',), (now,))]  # the arm's position is its time
        if now >= due:
            due += 1.0 / gripper_hz
            messages.insert(0, joints(('finger',), (0.02,)))
        for message in messages:
            try:
                sample = parts.add(message, now)
            except InputError:
                continue  # not complete yet
            history.append(sample)
            stream.accept(Newest(sample.stamp, sample), now)
        if now > 0.2:
            image = now - 0.034
            wrong.append(abs(history.nearest(image).positions[0] - image))
            assert stream.problem(now) == '' and stream.newest.message.gripper == 0.5
    assert max(wrong) <= period


@pytest.mark.parametrize('same_stamp', [True, False])
def test_an_arm_split_over_three_messages_is_put_together_within_a_period(same_stamp):
    from dysl_vla_ros.ros.joints import JointParts
    from dysl_vla_ros.ros.streams import JointHistory, Newest, Stream

    names = ('a', 'b', 'c')
    parts, history, stream = JointParts(names, GRIPPER), JointHistory(), Stream('joints', 0.2)
    period, wrong = 0.01, []
    for index in range(200):
        for offset, name in enumerate(names):
            now = (index + offset / 3) * period
            stamp = index * period if same_stamp else now
            extra = ('finger',) if index == 3 and name == 'b' else ()  # once, and latched
            values = (stamp, *([0.02] * len(extra)))
            try:
                sample = parts.add(joints((name, *extra), values), stamp)
            except InputError:
                assert index == 0  # not complete yet
                continue
            history.append(sample)
            stream.accept(Newest(sample.stamp, sample), now)
            if index > 20:
                image = now - 0.034
                wrong.append(np.abs(history.nearest(image).positions - image).max())
                assert stream.problem(now) == '' and stream.newest.message.gripper == 0.5
    assert parts.gripper_stamp == pytest.approx(0.03, abs=period)
    # Spread over a period, the youngest part is up to one older than the oldest, its stamp.
    assert max(wrong) <= (1.0 if same_stamp else 1.5) * period + 1e-9


def test_a_gripper_that_talks_hides_no_silent_arm():
    from dysl_vla_ros.ros.joints import JointParts
    from dysl_vla_ros.ros.streams import Newest, Stream

    parts, stream = JointParts(('a',), GRIPPER), Stream('joints', 0.2)
    for now in (1.0, 1.1, 1.2, 1.3):
        names = ('a', 'finger') if now == 1.0 else ('finger',)
        sample = parts.add(joints(names, (0.0,) * len(names)), now)
        stream.accept(Newest(sample.stamp, sample), now)
    assert 'newest is 0.30 s old' in stream.problem(1.3)


def test_a_gripper_that_reads_no_number_keeps_its_last_value_and_spoils_no_arm():
    from dysl_vla_ros.ros.joints import JointParts

    parts = JointParts(('a',), GRIPPER)
    parts.add(joints(('a', 'finger'), (1, 0.02)), 1.0)
    sample = parts.add(joints(('a', 'finger'), (2, float('nan'))), 2.0)
    assert (sample.stamp, sample.positions.tolist(), sample.gripper) == (2.0, [2.0], 0.5)
    assert parts.gripper_stamp == 1.0


def test_efforts_are_those_of_the_whole_arm_however_it_is_split():
    from dysl_vla_ros.ros.joints import JointParts

    parts = JointParts(('a', 'b'), None)
    parts.add(joints(('a', 'b'), (0, 0)), 1.0)
    assert parts.add(joints(('b',), (0,), effort=[7.0]), 1.1).efforts is None
    assert parts.add(joints(('a',), (0,), effort=[5.0]), 1.2).efforts.tolist() == [5.0, 7.0]
    assert parts.add(joints(('b',), (0,)), 1.3).efforts is None


def test_a_message_is_taken_whole_or_not_at_all():
    from dysl_vla_ros.ros.joints import JointParts

    parts = JointParts(('a', 'b'), None)
    parts.add(joints(('a', 'b'), (1, 2)), 1.0)
    for names, positions in (
        (('a', 'b'), (9, float('nan'))),
        (('a', 'b', 'b'), (9, 3, 4)),
        (('a', 'b'), (9,)),
    ):
        with pytest.raises(InputError):
            parts.add(joints(names, positions), 2.0)
    sample = parts.add(joints(('other',), (0,)), 3.0)
    assert (sample.stamp, sample.positions.tolist()) == (1.0, [1.0, 2.0])


def test_an_older_message_does_not_replace_a_newer_one():
    from dysl_vla_ros.ros.joints import JointParts

    parts = JointParts(('a',), GRIPPER)
    parts.add(joints(('a', 'finger'), (1, 0.04)), 2.0)
    sample = parts.add(joints(('a', 'finger'), (9, 0.0)), 1.9)
    assert (sample.stamp, sample.positions.tolist(), sample.gripper) == (2.0, [1.0], 1.0)


def test_a_joint_that_stands_twice_with_one_position_is_taken():
    from dysl_vla_ros.ros.joints import JointParts

    assert JointParts(('a',), None).add(joints(('a', 'a'), (1, 1)), 1.0).positions.tolist() == [1]


def test_a_thousand_names_are_refused_before_they_are_looked_at():
    from types import SimpleNamespace

    from dysl_vla_ros.ros.joints import JointParts

    class Untouchable(list):
        def __iter__(self):
            raise AssertionError('looped over')

    message = SimpleNamespace(name=Untouchable(['a'] * 1000), position=Untouchable([0.0] * 1000))
    with pytest.raises(InputError, match='1000 names and 1000 positions: expected at most 256'):
        JointParts(('a',), None).add(message, 1.0)


def test_names_as_long_as_books_are_cut_in_the_message():
    from dysl_vla_ros.ros.joints import JointParts

    with pytest.raises(InputError, match='lacks') as caught:
        JointParts(('a',), None).add(joints(['x' * 1_000_000] * 200, [0.0] * 200), 1.0)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ('sec', 'nanosec', 'words'),
    [
        (0, 1_000_000_000, 'nanosec = 1000000000'),
        (0, 2**32 - 1, 'nanosec = 4294967295'),
        (0, -1, 'nanosec = -1'),
        (float('nan'), 0, 'finite'),
        (float('inf'), 0, 'finite'),
        (-(2**31), 0, 'older'),
        (2**31 - 1, 0, 'after'),
    ],
)
def test_a_stamp_that_is_no_time_is_refused_and_counted(sec, nanosec, words):
    from types import SimpleNamespace

    from dysl_vla_ros.ros.arrival import Arrival
    from dysl_vla_ros.ros.streams import Newest, Stream

    said = []
    now = SimpleNamespace(nanoseconds=10**18)
    node = SimpleNamespace(
        get_clock=lambda: SimpleNamespace(now=lambda: now),
        get_logger=lambda: SimpleNamespace(warning=lambda text, **_: said.append(text)),
    )
    stream = Stream('image', 0.5)
    stamp = SimpleNamespace(sec=sec, nanosec=nanosec)
    Arrival(node, 1.0).take(stream, stamp, lambda when: Newest(when, 'kept'))
    assert stream.newest is None and stream.refused == 1
    assert words in said[0] and stream.last_refusal == said[0]


@pytest.mark.parametrize(
    ('names', 'positions', 'words'),
    [
        (('shoulder',), (), '1 names and 0 positions'),
        (('shoulder',), (float('nan'),), 'position of shoulder = nan: expected finite'),
    ],
)
def test_a_malformed_joint_message_is_refused(names, positions, words):
    from dysl_vla_ros.ros.joints import JointParts

    with pytest.raises(InputError, match=words):
        JointParts(('shoulder',), None).add(joints(names, positions), 1.0)


def test_the_joint_sample_nearest_to_an_image_is_found():
    from dysl_vla_ros.ros.streams import JointHistory, JointSample

    history = JointHistory()
    assert history.nearest(1.0) is None
    for stamp in (1.0, 1.1, 1.2, 3.0):
        history.append(JointSample(stamp, [stamp], None))
    assert history.nearest(2.0).stamp == 3.0  # what is older than a second is forgotten
    assert history.nearest(9.0).stamp == 3.0
