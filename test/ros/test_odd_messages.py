"""Messages that nobody means: refused with a reason; no exception leaves a callback."""

from __future__ import annotations

import time

import pytest
from conftest import wait_for

pytestmark = pytest.mark.ros
BOOK = 'x' * 1_000_000


def publish(rig, kind, topic, profile, *messages):
    node = rig.robot.node
    publisher = node.create_publisher(kind, topic, profile)
    wait_for(publisher.get_subscription_count, what=f'{topic} subscriber')
    for message in messages:
        publisher.publish(message)
        time.sleep(0.02)  # the node keeps the newest message alone
    rig.graph.call(lambda: node.destroy_publisher(publisher))


def odd_joints(node):
    from sensor_msgs.msg import JointState

    stamp = node.get_clock().now().to_msg()
    nan, names = float('nan'), ['shoulder', 'elbow', 'wrist', 'gripper_joint']
    messages = [
        JointState(), JointState(name=names), JointState(position=[1.0] * 4),
        JointState(name=names, position=[0.5, nan, 0.0, 0.0]),
        JointState(name=names, position=[float('inf')] * 4),
        JointState(name=[*names, 'elbow'], position=[0.5, 0.0, 0.0, 0.0, 1.0]),
        JointState(name=['elbow'] * 1000, position=[0.5] * 1000),
        JointState(name=[BOOK], position=[0.5]), JointState(name=[''] * 9, position=[0.5] * 9),
    ]  # fmt: skip
    for message in messages:
        message.header.stamp = stamp
    for sec, nanosec in ((0, 2**32 - 1), (2**31 - 1, 0), (-(2**31), 0)):
        message = JointState(name=names, position=[0.5] * 4)
        message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
        messages.append(message)
    return messages


def odd_images(node):
    from sensor_msgs.msg import Image

    messages = [
        Image(), Image(height=2**32 - 1, width=2**32 - 1, step=2**32 - 1, encoding='rgb8'),
        Image(height=1, width=1, step=2**32 - 1, encoding='rgb8', data=bytes(3)),
        Image(height=96, width=96, step=288, encoding=BOOK),
        Image(height=96, width=96, step=0, encoding='mono16'),
    ]  # fmt: skip
    for message in messages:
        message.header.stamp = node.get_clock().now().to_msg()
    return messages


def test_odd_messages_change_nothing_but_the_count_of_refusals(rig):
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image, JointState
    from std_msgs.msg import String

    from dysl_vla_ros.ros import qos

    rig = rig().up()
    rig.wait_state('ready')
    streams = {stream.name: stream for stream in rig.session.inputs.streams}
    publish(rig, JointState, 'joint_states', qos_profile_sensor_data, *odd_joints(rig.robot.node))
    publish(rig, Image, 'image', qos_profile_sensor_data, *odd_images(rig.robot.node))
    texts = (BOOK, '', '\x00', '<robot/>', '<robot><joint' * 600)
    messages = [String(data=text) for text in texts]
    publish(rig, String, 'robot_description', qos.LATCHED, *messages)
    assert streams['joint_states'].refused >= 5 and streams['image'].refused >= 2
    assert len(streams['joint_states'].last_refusal) < 2000
    rig.wait_state('ready')
    assert abs(rig.session.inputs.measured()).max() < 0.1  # no part of an odd message was taken


def test_an_instruction_of_a_megabyte_stops_and_is_cut_before_it_is_looked_at(rig):
    rig = rig().run()
    rig.instruct('go ' * 400_000)
    rig.wait_state('ready')
    rig.wait_reason('16384 bytes or more', 'expected at most 4096')


def test_a_compressed_image_is_refused_on_arrival(rig):
    from sensor_msgs.msg import CompressedImage

    rig = rig()
    rig.up()
    camera = rig.session.inputs.cameras['image']
    for data, words in ((b'GIF89a', 'expected a JPEG or PNG'), (b'', '0 bytes')):
        message = CompressedImage(format='jpeg', data=data)
        message.header.stamp = rig.robot.node.get_clock().now().to_msg()
        before = camera.stream.refused
        rig.graph.call(lambda message=message: camera._on_compressed(message))
        assert camera.stream.refused > before
        assert words in camera.stream.last_refusal or camera.stream.newest is not None


def test_half_a_character_is_no_instruction():
    from fakes import FakePolicy

    from dysl_vla_ros.errors import InputError

    with pytest.raises(InputError, match='expected UTF-8'):
        FakePolicy().tokens('pick \ud800')


def test_a_silent_gripper_is_reported_and_makes_nothing_stale(rig):
    from diagnostic_msgs.msg import DiagnosticArray

    from dysl_vla_ros.ros import qos

    rig = rig(timeout__gripper_s=0.3).up()
    rig.wait_state('ready')
    heard = rig.listen('/diagnostics', DiagnosticArray, qos.REPORT)
    rig.robot.names[3] = 'another_joint'
    wait_for(
        lambda: any('the gripper is' in status.message and 'timeout.gripper_s = 0.3'
                    in status.message for array in heard for status in array.status),
        what='a report',
    )  # fmt: skip
    assert rig.session.state == 'ready'
