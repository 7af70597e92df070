"""Wrong messages: the state's reason names field, value and what is right; nothing moves."""

from __future__ import annotations

import pytest
from conftest import wait_for
from fakes import JOINTS, make_urdf

pytestmark = pytest.mark.ros


def test_an_unknown_encoding_is_named_with_the_list(rig):
    rig = rig()
    rig.robot.encoding = '32FC1'
    rig.up()
    reason = rig.wait_reason("image: encoding = '32FC1'", 'expected one of rgb8')
    assert 'mono16' in reason
    assert rig.session.state == 'waiting'


def test_an_encoding_that_turns_wrong_in_motion_is_stale_and_stops(rig):
    rig = rig().run()
    rig.robot.encoding = 'jpeg'
    rig.wait_state('stale')
    rig.wait_reason("encoding = 'jpeg'")
    wait_for(rig.at_rest, what='rest')


def test_missing_joints_are_named(rig):
    rig = rig()
    rig.robot.names[1] = 'knee'
    rig.up()
    rig.wait_reason("lacks ['elbow']", str(list(JOINTS))[:-1])


def test_a_gripper_that_was_never_measured_is_named_with_the_ways_out(rig):
    rig = rig()
    rig.robot.names[3] = 'hand'
    rig.up()
    reason = rig.wait_reason('gripper_joint was never there', 'gripper.opening_source: commanded')
    assert 'move it once' in reason and rig.session.state == 'waiting'
    rig.robot.names[3] = 'gripper_joint'  # it speaks, once
    rig.wait_state('ready')
    rig.robot.names[3] = 'hand'
    rig.instruct('go')
    wait_for(lambda: rig.ask('start').success, what='a start')
    rig.wait_state('running')


def test_a_bundle_may_read_the_opening_that_was_commanded_where_nothing_measures_it(rig):
    rig = rig(gripper__opening_source='commanded')
    rig.robot.names[3] = 'hand'
    rig.policy.direction = -1.0  # on its way back it closes
    rig.run()
    wait_for(lambda: any(seen.gripper == 0.0 for seen in rig.policy.observations), what='closed')
    assert rig.policy.observations[0].gripper == 1.0
    assert {seen.gripper for seen in rig.policy.observations} == {0.0, 1.0}
    assert rig.session.inputs.opening().endswith('commanded')


def test_joints_in_another_order_are_put_right(rig):
    rig = rig().run()  # the fake robot always reverses them, with one that is unrelated
    rig.robot.position = rig.robot.position + [0.0, 0.1, 0.2]
    wait_for(
        lambda: abs(rig.session.inputs.measured() - rig.robot.position).max() < 1e-2,
        what='the same joints',
    )


def test_an_image_of_another_shape_or_too_small_is_named(rig):
    rig = rig()
    publisher, size = rig.robot.images['wrist_image']
    rig.robot.images['wrist_image'] = (publisher, 32)
    rig.up()
    rig.wait_reason('wrist_image: 32x32 pixels', 'expected at least 64x64')
    rig.robot.images['wrist_image'] = (publisher, size)
    rig.wait_state('ready')


def test_an_instruction_with_too_many_words_is_refused_with_their_number(rig):
    rig = rig().run()
    rig.instruct('now ' * 17)
    rig.wait_state('ready')
    rig.wait_reason('instruction = ', '17 tokens', 'expected 1 to 16')


def test_an_instruction_of_ten_kilobytes_stops_with_its_size(rig):
    rig = rig().run()
    rig.instruct('pick ' * 2048)
    rig.wait_state('ready')
    rig.wait_reason('instruction = ', '10239 bytes', 'at most 4096')


def test_stamps_from_another_clock_are_refused_with_both_times(rig):
    rig = rig()
    clock = rig.robot.node.get_clock()

    class Late:
        def now(self):
            from rclpy.duration import Duration

            return clock.now() - Duration(seconds=100)

    rig.robot.node.get_clock = Late
    rig.up()
    rig.wait_reason('image: header.stamp = ', "older than the node's ROS time", 'at most 1 s')


def test_cameras_too_far_apart_are_refused(rig):
    rig = rig(max_camera_skew_s=0.01).up()
    rig.instruct('go')
    rig.wait_state('ready')
    rig.robot.images = dict(list(rig.robot.images.items())[:1])
    rig.wait_reason('were taken', 'max_camera_skew_s = 0.01')


def test_a_description_that_changes_stops_the_arm_and_nothing_starts_until_it_is_back(rig):
    """The limits that it was built with are no longer those of the robot."""
    rig = rig().run()
    slow = make_urdf().replace('velocity="3.0"', 'velocity="0.1"')
    rig.robot.describe(slow)
    rig.wait_state('ready')
    assert 'robot_description changed: clean up and configure' in rig.wait_reason('changed')
    refused = rig.ask('start')
    assert not refused.success and 'robot_description changed' in refused.message
    rig.robot.describe('<robot name="x"><link')
    assert 'not XML' in wait_for(lambda: 'XML' in rig.session.redescribed and
                                 rig.session.redescribed, what='the wrong one')  # fmt: skip
    spaced = make_urdf().replace('<joint', '\n  <!-- a joint -->\n  <joint')
    rig.robot.describe(spaced)
    wait_for(lambda: not rig.session.redescribed, what='the same robot, written otherwise')
    rig.start()
    rig.wait_state('running')
