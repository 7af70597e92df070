"""Commands as messages, the rate meter, the recorder."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dysl_vla_ros.data_types import Command

pytestmark = pytest.mark.ros


def make_command(**changes):
    values = dict(
        stamp=1.0, positions=np.array([0.1, 0.2]), velocities=np.array([1.0, 0.0]), gripper=1.0,
        hold=False, reason='', action_index=0, limited=(),
        window_times=np.array([0.0, 0.06, 1.5]),
        window_positions=np.array([[0.1, 0.2], [0.2, 0.2], [0.3, 0.2]]),
        window_velocities=np.array([[1.0, 0.0], [0.5, 0.0], [0.0, 0.0]]),
    )  # fmt: skip
    return Command(**{**values, **changes})


def test_a_stamped_trajectory_begins_at_time_0_and_ends_at_rest():
    from dysl_vla_ros.ros.command_messages import joint_trajectory, ros_time

    message = joint_trajectory(make_command(), ('a', 'b'), stamp=ros_time(7.5))
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (7, 500_000_000)
    assert message.joint_names == ['a', 'b']
    first = message.points[0].time_from_start
    assert (first.sec, first.nanosec) == (0, 0)
    assert [list(point.positions) for point in message.points][1] == [0.2, 0.2]
    assert list(message.points[-1].velocities) == [0.0, 0.0]
    last = message.points[-1].time_from_start
    assert (last.sec, last.nanosec) == (1, 500_000_000)


def test_without_a_stamp_a_trajectory_begins_on_arrival_with_the_next_point():
    from dysl_vla_ros.ros.command_messages import joint_trajectory

    message = joint_trajectory(make_command(), ('a', 'b'))
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (0, 0)
    assert [list(point.positions) for point in message.points] == [[0.2, 0.2], [0.3, 0.2]]


def test_a_gripper_joint_becomes_a_column_of_the_trajectory():
    from dysl_vla_ros.ros.command_messages import joint_trajectory, ros_time

    message = joint_trajectory(
        make_command(), ('a', 'b'), ('finger', np.array([0.04, 0.02, 0.0])), ros_time(1.0)
    )
    assert message.joint_names == ['a', 'b', 'finger']
    assert list(message.points[0].positions) == [0.1, 0.2, 0.04]
    assert [point.positions[2] for point in message.points] == [0.04, 0.02, 0.0]
    assert list(message.points[0].velocities) == [1.0, 0.0, 0.0]


def test_a_pose_and_a_twist_carry_frame_units_and_direction():
    from dysl_vla_ros.ros.command_messages import pose_target, ros_time, twist

    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # 90 degrees about z
    pose = pose_target(np.array([1.0, 2.0, 3.0]), quarter, 'base_link', ros_time(5.25))
    assert pose.header.frame_id == 'base_link'
    assert pose.pose.position.z == 3.0
    assert pose.pose.orientation.z == pytest.approx(np.sqrt(0.5))
    assert pose.header.stamp.nanosec == 250_000_000
    still = np.eye(3)
    message = twist((np.zeros(3), still), (np.array([0.1, 0, 0]), quarter), 0.5, 'b', ros_time(0))
    assert message.twist.linear.x == pytest.approx(0.2)
    assert message.twist.angular.z == pytest.approx(np.pi / 2 / 0.5)


def test_the_rate_meter_sees_rate_gap_and_jitter_but_no_gap_across_a_pause():
    from dysl_vla_ros.ros.rate_meter import RateMeter

    meter = RateMeter(0.1)
    assert meter.report(0.0).rate_hz is None
    for index in range(12):
        meter.note(0.1 * index + (0.05 if index == 6 else 0.0))
    report = meter.report(1.1)
    assert report.rate_hz == pytest.approx(10.0)
    assert report.gap_max == pytest.approx(0.15)
    assert report.jitter_p99 == pytest.approx(0.05, abs=1e-6)
    meter.pause()
    meter.note(9.0)
    assert meter.report(9.1).gap_max == pytest.approx(0.15)
    assert meter.report(9.1).rate_hz is None


def test_the_flight_recorder_writes_one_file_with_cycles_and_chunks(tmp_path):
    from dysl_vla_ros.ros.flight_recorder import Cycle, FlightRecorder

    recorder = FlightRecorder(tmp_path / 'new', 30.0)
    for index in range(400):
        recorder.note(Cycle(index / 30, 'running', '', np.zeros(2), make_command()))
    recorder.note(Cycle(99.0, 'fault', 'engine', None, None))
    recorder.note_chunk({'chunk_id': '7'})
    path = recorder.write('fault: engine', {'bundle': 'b'})
    document = json.loads(path.read_text())
    assert document['reason'] == 'fault: engine'
    assert len(document['cycles']) == 300
    assert document['cycles'][-1]['state'] == 'fault'
    assert document['cycles'][0]['positions'] == [0.1, 0.2]
    assert document['chunks'] == [{'chunk_id': '7'}]
    assert list(path.parent.glob('*.tmp')) == []
