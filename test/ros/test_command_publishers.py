"""Which message goes where: each command type, armed and in shadow, and how commands end."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from conftest import wait_for
from fakes import JOINTS, make_urdf

from dysl_vla_ros.config import from_flat
from dysl_vla_ros.data_types import Command
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.rotations import rotation_vector

pytestmark = pytest.mark.ros

START = np.array([0.1, 0.4, -0.3])
SPEED = np.array([0.3, -0.2, 0.1])


def command(**changes):
    rows = np.array([START, START + 0.05 * SPEED, START + 0.1 * SPEED])
    values = dict(
        stamp=time.monotonic(), positions=START, velocities=SPEED, gripper=None, hold=False,
        reason='', action_index=0, limited=(), window_times=np.array([0.0, 0.1, 0.5]),
        window_positions=rows, window_velocities=np.array([SPEED, 0.5 * SPEED, 0.0 * SPEED]),
    )  # fmt: skip
    return Command(**{**values, **changes})


class Wire:
    """Publishers of a node, and what arrives of them."""

    def __init__(self, graph, frame_id='base_link', **flat):
        from rclpy.node import Node

        from dysl_vla_ros.data_types import COMMAND_TOPICS
        from dysl_vla_ros.ros import qos
        from dysl_vla_ros.ros.command_publishers import MESSAGES, CommandPublishers
        from dysl_vla_ros.ros.gripper_channel import TOPIC as GRIPPER_TOPIC

        self.node = graph.add(Node('vla_node', context=graph.context))
        config = from_flat(flat)
        self.publishers = CommandPublishers(self.node, config, JOINTS, frame_id)
        topic = COMMAND_TOPICS[config.action.command_type]
        kind = MESSAGES[config.action.command_type]
        ears = graph.add(Node('ears', context=graph.context))
        self.live, self.shadow, self.gripper, self.gripper_shadow = [], [], [], []
        from std_msgs.msg import Float64MultiArray

        for heard, name, sort in (
            (self.live, topic, kind), (self.shadow, f'/vla_node/shadow/{topic}', kind),
            (self.gripper, GRIPPER_TOPIC, Float64MultiArray),
            (self.gripper_shadow, f'/vla_node/shadow/{GRIPPER_TOPIC}', Float64MultiArray),
        ):  # fmt: skip
            ears.create_subscription(sort, name, heard.append, qos.COMMAND)
            of_arm = heard is self.live or heard is self.shadow
            if of_arm or self.publishers.arms[0].gripper.live is not None:
                wait_for(lambda name=name: ears.count_publishers(name), what=name)
        wait_for(lambda: self.publishers.listeners == 1, what='the listener')
        arm = self.publishers.arms[0]
        wait_for(arm.shadow.get_subscription_count, what="the shadow's listener")
        if self.publishers.arms[0].gripper.live is not None:
            wait_for(self.publishers.arms[0].gripper.live.get_subscription_count, what='gripper')
            wait_for(self.publishers.arms[0].gripper.shadow.get_subscription_count, what='gripper')
        self.kinematics = ArmKinematics(make_urdf(), JOINTS, 'grasp_link', 'base_link')

    def send(self, item=None, armed=True, opening=None):
        """Publish, and wait for it: the publishers keep one message."""
        heard = self.live if armed else self.shadow
        before = len(heard)
        item = replace(item or command(), armed=armed)
        self.publishers.publish(item, self.kinematics, opening)
        if not self.publishers.overdue:
            wait_for(lambda: len(heard) > before, what='the message')

    def one(self, heard):
        wait_for(lambda: heard, what='a message')
        return heard[-1]


def since(wire, stamp):
    """Seconds that a stamp lies back."""
    return 1e-9 * wire.node.get_clock().now().nanoseconds - stamp.sec - 1e-9 * stamp.nanosec


def test_a_trajectory_is_stamped_with_the_instant_of_its_tick(graph):
    wire = Wire(graph)
    assert wire.publishers.command_topic == '/joint_trajectory'
    wire.send(command(stamp=time.monotonic() - 0.3))
    message = wire.one(wire.live)
    assert 0.3 <= since(wire, message.header.stamp) < 2.0
    assert message.joint_names == list(JOINTS)
    assert list(message.points[0].positions) == START.tolist()
    assert wire.shadow == []


def test_without_a_stamp_it_begins_on_arrival(graph):
    wire = Wire(graph, **{'trajectory.stamped': False})
    wire.send()
    message = wire.one(wire.live)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (0, 0)
    assert len(message.points) == 2


def test_single_positions_are_those_of_the_command(graph):
    wire = Wire(graph, command_type='joint_commands')
    assert wire.publishers.command_topic == '/joint_commands'
    wire.send()
    assert list(wire.one(wire.live).data) == START.tolist()


def test_a_joint_state_names_its_positions_and_carries_nothing_else(graph):
    wire = Wire(graph, command_type='joint_state')
    assert wire.publishers.command_topic == '/joint_command'
    wire.send(command(stamp=time.monotonic() - 0.3))
    message = wire.one(wire.live)
    assert message.name == list(JOINTS)
    assert list(message.position) == START.tolist()
    assert len(message.velocity) == len(message.effort) == 0
    assert 0.3 <= since(wire, message.header.stamp) < 2.0


def test_a_joint_state_takes_a_gripper_along_as_one_more_joint(graph):
    wire = Wire(graph, **{'command_type': 'joint_state', 'gripper.interface': 'joint',
                          'gripper.joint': 'finger', 'gripper.open_value': 0.04})  # fmt: skip
    wire.send(opening=1.0)
    message = wire.one(wire.live)
    assert message.name == [*JOINTS, 'finger']
    assert list(message.position) == pytest.approx([*START.tolist(), 0.04])


@pytest.mark.parametrize(
    'rules', [['joint_command:=joint_states'], ['joint_command:=/js', 'joint_states:=/js']]
)
def test_what_is_commanded_never_goes_where_the_joints_are_measured(graph, rules):
    from rclpy.node import Node

    from dysl_vla_ros.errors import ConfigError
    from dysl_vla_ros.ros.command_publishers import CommandPublishers

    words = [word for rule in rules for word in ('-r', rule)]
    node = graph.add(Node('vla_node', context=graph.context, cli_args=['--ros-args', *words]))
    before = len(list(node.publishers))
    config = from_flat({'command_type': 'joint_state'})

    def refused():
        with pytest.raises(ConfigError, match='another topic than /js|another topic than /joint_'):
            CommandPublishers(node, config, JOINTS)

    graph.call(refused)
    assert len(list(node.publishers)) == before


def test_a_trajectory_that_begins_on_arrival_for_its_receivers_clock_is_whole(graph):
    wire = Wire(graph)
    wire.publishers.publish(command(), wire.kinematics, None, stamped=False)
    message = wire.one(wire.live)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (0, 0)
    assert list(message.points[0].positions) == START.tolist()


def test_in_a_simulation_the_stamp_is_the_simulations_time_of_the_tick(graph):
    wire = Wire(graph)
    wire.publishers.publish(command(), wire.kinematics, None, ros_now=12.25)
    stamp = wire.one(wire.live).header.stamp
    assert (stamp.sec, stamp.nanosec) == (12, 250_000_000)


def test_a_pose_is_where_the_tip_is_told_to_be(graph):
    wire = Wire(graph, command_type='pose', frame_id='base_link')
    wire.send()
    message = wire.one(wire.live)
    position, _ = wire.kinematics.forward(START)
    point = message.pose.position
    assert [point.x, point.y, point.z] == pytest.approx(position.tolist())
    turn = message.pose.orientation
    assert 2 * np.arctan2(turn.y, turn.w) == pytest.approx(START.sum())
    assert message.header.frame_id == 'base_link' and since(wire, message.header.stamp) < 2.0


def test_a_twist_is_the_tip_s_velocity_and_the_last_one_is_zero(graph):
    wire = Wire(graph, command_type='twist', frame_id='base', command_rate_hz=50.0)
    wire.send()
    message = wire.one(wire.live)
    here, turned = wire.kinematics.forward(START)
    there, more = wire.kinematics.forward(START + 0.02 * SPEED)
    linear, angular = message.twist.linear, message.twist.angular
    assert [linear.x, linear.y, linear.z] == pytest.approx(((there - here) / 0.02).tolist())
    assert [angular.x, angular.y, angular.z] == pytest.approx(
        (rotation_vector(more @ turned.T) / 0.02).tolist()
    )
    assert message.header.frame_id == 'base'
    wire.publishers.finish()
    wait_for(lambda: len(wire.live) == 2, what='the zero')
    last = wire.live[-1]
    assert last.header.frame_id == 'base' and since(wire, last.header.stamp) < 2.0
    assert not any((last.twist.linear.x, last.twist.linear.z, last.twist.angular.y))
    wire.publishers.finish()  # once is enough
    wire.send()
    wait_for(lambda: len(wire.live) == 3, what='the next motion')
    assert wire.live[-1].twist.linear.x != 0.0


def test_a_twist_ends_with_zero_in_the_shadow_when_it_was_sent_there(graph):
    wire = Wire(graph, command_type='twist')
    wire.send(armed=False)
    wire.publishers.finish()
    wait_for(lambda: len(wire.shadow) == 2, what='the zero')
    assert wire.shadow[-1].twist.linear.x == 0.0 and wire.live == []


@pytest.mark.parametrize('kind', ['joint_trajectory', 'joint_commands', 'pose'])
def test_other_commands_end_by_themselves(graph, kind):
    wire = Wire(graph, command_type=kind)
    wire.send()
    wire.one(wire.live)
    wire.publishers.finish()
    wire.send()
    wait_for(lambda: len(wire.live) == 2, what='the second')
    time.sleep(0.05)
    assert len(wire.live) == 2


def test_not_armed_everything_goes_to_the_shadow(graph):
    wire = Wire(graph)
    wire.send(command(gripper=0.0), armed=False)
    wire.one(wire.shadow)
    wire.one(wire.gripper_shadow)
    time.sleep(0.05)
    assert wire.live == [] and wire.gripper == []


def test_a_window_that_lies_wholly_in_the_past_is_not_sent(graph):
    wire = Wire(graph)
    late = command(stamp=time.monotonic() - 0.6)
    assert not wire.publishers.publish(late, wire.kinematics, None)
    assert wire.publishers.overdue == 1
    wire.send(command(stamp=time.monotonic() - 0.4))
    wire.one(wire.live)
    assert wire.publishers.overdue == 1 and len(wire.live) == 1


def test_a_window_that_begins_on_arrival_is_not_sent_late(graph):
    """It would lead the arm back to where it was told to be at the tick."""
    wire = Wire(graph, **{'trajectory.stamped': False})
    late = command(stamp=time.monotonic() - 0.2)
    assert not wire.publishers.publish(late, wire.kinematics, None)
    assert wire.publishers.publish(command(), wire.kinematics, None)
    wire.one(wire.live)
    time.sleep(0.05)
    assert len(wire.live) == 1 and wire.publishers.overdue == 1
    assert not wire.publishers.publish(late, wire.kinematics, None, stamped=False)


def test_the_gripper_is_sent_on_change_with_its_joint_s_value_and_not_while_holding(graph):
    wire = Wire(graph, **{'gripper.open_value': 0.04, 'gripper.closed_value': 0.0,
                          'gripper.dwell_s': 0.0})  # fmt: skip
    wire.send(command(gripper=1.0, hold=True))
    for opening, count in ((1.0, 1), (1.0, 1), (0.5, 2)):
        wire.send(command(gripper=opening))
        wait_for(lambda count=count: len(wire.gripper) == count, what='the gripper')
    assert [list(message.data) for message in wire.gripper] == [[0.04], [0.02]]


def test_what_only_the_shadow_was_told_the_gripper_is_told_again_when_armed(graph):
    wire = Wire(graph)
    wire.send(command(gripper=0.0), armed=False)
    wire.one(wire.gripper_shadow)
    wire.send(command(gripper=0.0))
    assert list(wire.one(wire.gripper).data) == [0.0]


def test_a_gripper_that_is_a_joint_of_the_trajectory_stays_where_it_is_until_it_was_sent(graph):
    wire = Wire(graph, **{'gripper.interface': 'joint', 'gripper.joint': 'finger',
                          'gripper.open_value': 0.04, 'gripper.closed_value': 0.0})  # fmt: skip
    wire.send()
    assert wire.one(wire.live).joint_names == list(JOINTS)  # neither sent nor measured
    wire.send(opening=0.5)
    wait_for(lambda: len(wire.live) == 2, what='the second')
    assert wire.live[-1].joint_names == [*JOINTS, 'finger']
    assert wire.live[-1].points[0].positions[-1] == pytest.approx(0.02)
    wire.send(command(gripper=0.0), opening=0.5)
    wire.send(opening=0.5)
    wait_for(lambda: len(wire.live) == 4, what='the fourth')
    assert wire.live[-1].points[-1].positions[-1] == 0.0
    assert wire.publishers.arms[0].gripper.live is None


FORWARD = {'command_type': 'joint_commands', 'gripper.interface': 'forward',
           'gripper.joint': 'finger', 'gripper.open_value': 1.74, 'gripper.closed_value': -0.17,
           'gripper.stroke_s': 1.0, 'gripper.dwell_s': 0.0}  # fmt: skip


def test_a_forward_command_carries_the_gripper_last_and_never_lets_it_jump(graph):
    wire = Wire(graph, **FORWARD)
    begun = time.monotonic()
    rate = 1.91 / 1.0 / 1.5
    for tick in range(12):  # the policy wants it closed from the first action on
        stamp = begun + tick / 30
        wire.send(command(gripper=0.0, stamp=stamp), opening=0.5)
    wire.one(wire.live)
    wait_for(lambda: len(wire.live) == 12, what='every command')
    told = [list(message.data) for message in wire.live]
    assert all(values[:3] == START.tolist() for values in told)
    last = np.array([values[3] for values in told])
    assert last[0] == pytest.approx(-0.17 + 0.5 * 1.91)  # where it was measured
    assert np.diff(last).max() <= 0.0 and -np.diff(last).min() <= rate / 30 + 1e-9
    assert last[-1] < last[0] - 0.2
    assert wire.publishers.arms[0].gripper.live is None and wire.gripper == []


@pytest.mark.parametrize('opening', [1.2, -0.3])
def test_a_gripper_that_stands_beyond_its_ends_begins_there_and_travels_in_its_time(
    graph, opening
):
    """The description allows more than the ends that the parameters call open and closed."""
    wire = Wire(graph, **FORWARD)
    begun, rate = time.monotonic(), 1.91 / 1.0 / 1.5
    for tick in range(8):
        wire.send(command(gripper=1.0, stamp=begun + tick / 30), opening=opening)
    wait_for(lambda: len(wire.live) == 8, what='every command')
    told = np.array([message.data[3] for message in wire.live])
    assert told[0] == pytest.approx(-0.17 + opening * 1.91)
    assert np.abs(np.diff(told)).max() <= rate / 30 + 1e-9
    assert abs(told[-1] - 1.74) < abs(told[0] - 1.74)


def test_a_forward_gripper_goes_on_holding_after_a_silence_unless_somebody_moved_it(graph):
    wire = Wire(graph, **FORWARD)
    stamp = time.monotonic()
    for tick in range(60):
        wire.send(command(gripper=0.0, stamp=stamp + tick / 30), opening=0.3)  # on an object
    held = wire.live[-1].data[3]
    assert held == pytest.approx(-0.17)
    wire.publishers.finish()
    wire.send(command(stamp=stamp + 5.0), opening=0.31)
    assert wire.live[-1].data[3] == pytest.approx(held)  # letting go of it would be a motion
    wire.publishers.finish()
    wire.send(command(stamp=stamp + 9.0), opening=0.8)
    assert wire.live[-1].data[3] == pytest.approx(-0.17 + 0.8 * 1.91)  # where it was put
    wire.send(command(stamp=stamp + 9.1, hold=True, gripper=0.0), opening=0.8)
    assert wire.live[-1].data[3] == pytest.approx(-0.17 + 0.8 * 1.91)  # and no hold closes it
    for later in (9.2, 9.4):
        wire.send(command(stamp=stamp + later), opening=0.7)  # it sags
    assert wire.live[-1].data[3] == pytest.approx(-0.17 + 0.8 * 1.91)  # and is not crept after


JOINT = {**FORWARD, 'command_type': 'joint_trajectory', 'gripper.interface': 'joint'}


@pytest.mark.parametrize('carried', [FORWARD, JOINT])
@pytest.mark.parametrize('flipped', [False, True])
def test_a_gripper_that_went_on_closing_on_an_object_after_a_stop_goes_on_holding_it(
    graph, carried, flipped
):
    ends = {'gripper.open_value': -0.17, 'gripper.closed_value': 1.74} if flipped else {}
    wire, stamp = Wire(graph, **{**carried, **ends}), time.monotonic()
    for tick in range(60):
        opening = max(1.0 - 0.01 * tick, 0.45)  # it lags
        wire.send(command(gripper=0.0, stamp=stamp + tick / 30), opening=opening)
    wire.publishers.finish()
    told = closing_told(wire)
    assert told == pytest.approx(1.74 if flipped else -0.17)
    wire.send(command(stamp=stamp + 5.0), opening=0.3)  # there it met the object
    assert closing_told(wire) == told
    wire.publishers.finish()
    for moved in (0.4, -0.1):  # opened by a hand; and beyond where it was told to be
        wire.send(command(stamp=stamp + 9.0), opening=moved)
        there = -0.17 + (1.0 - moved if flipped else moved) * 1.91
        assert closing_told(wire) == pytest.approx(there)
        wire.publishers.finish()


@pytest.mark.parametrize('carried', [FORWARD, JOINT])
def test_where_the_controller_was_started_again_a_gripper_begins_where_it_stands(graph, carried):
    """It holds what it measured then: what it was told before, it does not know."""
    wire, stamp = Wire(graph, **carried), time.monotonic()
    for tick in range(10):
        wire.send(command(gripper=0.0, stamp=stamp + tick / 30), opening=1.0 - 0.005 * tick)
    wire.publishers.finish()
    topic = wire.publishers.arms[0].topic
    wire.publishers.restarted([('/another_controller/joint_trajectory', 1.0)])
    wire.send(command(stamp=stamp + 1.0), opening=0.95)
    assert closing_told(wire) < -0.17 + 0.94 * 1.91, 'it goes on to where it was told to be'
    wire.publishers.finish()
    wire.publishers.restarted([(topic, 7.5)])
    for tick in range(3):  # one restart, not one per command
        wire.send(command(stamp=stamp + 3.0 + tick / 30), opening=0.95)
        assert closing_told(wire) == pytest.approx(-0.17 + 0.95 * 1.91)


@pytest.mark.parametrize('carried', [FORWARD, JOINT])
def test_what_a_gripper_that_travels_with_the_arm_holds_is_held_after_a_motion_in_shadow(
    graph, carried
):
    wire, stamp = Wire(graph, **carried), time.monotonic()
    for tick in range(60):
        wire.send(command(gripper=0.0, stamp=stamp + tick / 30), opening=0.3)  # on an object
    wire.publishers.finish()
    for tick in range(30):  # disarmed: the shadow opens
        wire.send(command(gripper=1.0, stamp=stamp + 5.0 + tick / 30), armed=False, opening=0.3)
    assert wire.shadow[0] and wire.gripper == []
    wire.publishers.finish()
    wire.send(command(stamp=stamp + 9.0), opening=0.3)
    assert closing_told(wire) == pytest.approx(-0.17)
    wire.publishers.finish()
    wire.send(command(stamp=stamp + 12.0), armed=False, opening=0.3)
    wire.publishers.finish()
    wire.send(command(stamp=stamp + 15.0), opening=0.8)  # somebody took the object out
    assert closing_told(wire) == pytest.approx(-0.17 + 0.8 * 1.91)


@pytest.mark.parametrize('dwell', [0.0, 5.0])
@pytest.mark.parametrize('carried', [FORWARD, JOINT])
def test_the_first_action_of_a_run_opens_no_gripper_as_far_as_a_run_of_before_wanted(
    graph, carried, dwell
):
    wire, stamp = Wire(graph, **{**carried, 'gripper.dwell_s': dwell}), time.monotonic()
    wire.send(command(gripper=0.1, stamp=stamp), opening=0.1)
    for tick in range(1, 10):  # it opens, and is stopped on the way
        wire.send(command(gripper=1.0, stamp=stamp + tick / 30), opening=0.1)
    wire.send(command(stamp=stamp + 10 / 30), opening=0.1)
    wire.publishers.finish()
    held = closing_told(wire)
    assert held < 1.0
    wire.send(command(stamp=stamp + 1.0), opening=0.1)
    for tick in range(1, 6):  # the run that begins wants it closed
        wire.send(command(gripper=0.0, stamp=stamp + 1.0 + tick / 30), opening=0.1)
        assert closing_told(wire) <= held + 1e-9
        held = closing_told(wire)
    assert held < -0.17 + 0.25 * 1.91


@pytest.mark.parametrize('carried', [FORWARD, JOINT])
@pytest.mark.parametrize('wanted', [0.0, 1.0])
def test_after_a_silence_a_gripper_that_was_stopped_on_its_way_goes_on_only_for_an_action(
    graph, carried, wanted
):
    """It may have been stopped for a hand between its fingers."""
    slow = {**carried, 'gripper.stroke_s': 5.0}
    wire, stamp = Wire(graph, **slow), time.monotonic()
    for tick in range(10):
        wire.send(command(gripper=wanted, stamp=stamp + tick / 30), opening=0.5)
    wire.publishers.finish()
    held = closing_told(wire)
    assert 0.1 < (held + 0.17) / 1.91 < 0.9
    for tick in range(30):  # a start that waits for its first chunk, or a way home
        wire.send(command(stamp=stamp + 5.0 + tick / 30), opening=0.5)
    assert closing_told(wire) == pytest.approx(held)
    for tick in range(30, 60):
        wire.send(command(gripper=wanted, stamp=stamp + 5.0 + tick / 30), opening=0.5)
    assert abs(closing_told(wire) - held) > 0.1


@pytest.mark.parametrize('dwell', [0.0, 5.0])
@pytest.mark.parametrize('carried', [FORWARD, JOINT])
def test_the_first_action_after_a_hold_opens_no_gripper_as_far_as_one_before_it_wanted(
    graph, carried, dwell
):
    slow = {**carried, 'gripper.dwell_s': dwell, 'gripper.stroke_s': 2.0}
    wire, stamp = Wire(graph, **slow), time.monotonic()
    wire.send(command(gripper=0.1, stamp=stamp), opening=0.1)
    for tick in range(1, 10):  # it opens, until no action is left
        wire.send(command(gripper=1.0, stamp=stamp + tick / 30), opening=0.1)
    for tick in range(10, 15):
        wire.send(command(stamp=stamp + tick / 30), opening=0.1)
    held = closing_told(wire)
    for tick in range(15, 20):
        wire.send(command(gripper=0.0, stamp=stamp + tick / 30), opening=0.1)
        assert closing_told(wire) <= held + 1e-9
        held = closing_told(wire)


@pytest.mark.parametrize('carried', [FORWARD, JOINT])
def test_a_gripper_that_was_stopped_just_short_of_its_place_goes_on_to_it_for_an_action(
    graph, carried
):
    """Nearer than the hysteresis: what it did not reach was no command that holds."""
    slow = {**carried, 'gripper.stroke_s': 5.0}
    wire, stamp = Wire(graph, **slow), time.monotonic()
    for tick in range(5):
        wire.send(command(gripper=0.45, stamp=stamp + tick / 30), opening=0.55)
    wire.publishers.finish()
    assert closing_told(wire) > -0.17 + 0.451 * 1.91
    for tick in range(40):
        wire.send(command(gripper=0.45, stamp=stamp + 5.0 + tick / 30), opening=0.53)
    assert closing_told(wire) == pytest.approx(-0.17 + 0.45 * 1.91)


def closing_told(wire):
    """Where the newest command leads the gripper."""
    message = wire.live[-1]
    return message.points[-1].positions[-1] if hasattr(message, 'points') else message.data[-1]


@pytest.mark.parametrize('kind', ['joint_commands', 'joint_state'])
def test_a_gripper_told_single_values_goes_on_from_the_last_one_after_a_silence(graph, kind):
    carried = {**FORWARD, 'command_type': kind}
    if kind == 'joint_state':
        carried['gripper.interface'] = 'joint'
    wire, stamp = Wire(graph, **carried), time.monotonic()
    for tick in range(6):  # on its way to closed
        wire.send(command(gripper=0.0, stamp=stamp + tick / 30), opening=1.0)
    wire.publishers.finish()
    wire.send(command(stamp=stamp + 5.0), opening=1.0)
    told = [
        list(message.data if kind == 'joint_commands' else message.position)[3]
        for message in wire.live
    ]
    longest = 0.1 * 1.91 / 1.0 / 1.5  # of a tenth of a second
    assert abs(told[-1] - told[-2]) <= longest + 1e-9


def test_a_gripper_that_listens_late_is_told_what_stands_but_not_by_a_hold(graph):
    from rclpy.node import Node
    from std_msgs.msg import Float64MultiArray

    from dysl_vla_ros.ros import qos

    wire = Wire(graph)
    wire.send(command(gripper=0.0))
    wait_for(lambda: len(wire.gripper) == 1, what='the first')
    late, heard = graph.add(Node('late', context=graph.context)), []
    late.create_subscription(Float64MultiArray, 'gripper_command', heard.append, qos.COMMAND)
    wait_for(lambda: wire.publishers.arms[0].gripper.live.get_subscription_count() == 2, what='it')
    wire.send(command(gripper=1.0, hold=True))
    time.sleep(0.05)
    assert heard == []
    late.create_subscription(Float64MultiArray, 'gripper_command', heard.append, qos.COMMAND)
    wait_for(lambda: wire.publishers.arms[0].gripper.live.get_subscription_count() == 3, what='it')
    wire.send(command(gripper=0.0))
    wait_for(lambda: heard, what='what stands')
    assert list(heard[0].data) == [0.0]


def test_after_a_silence_the_first_wish_is_sent_anew(graph):
    wire = Wire(graph)
    wire.send(command(gripper=0.0))
    wait_for(lambda: len(wire.gripper) == 1, what='the first')
    wire.publishers.finish()
    wire.send(command(gripper=0.0))
    wait_for(lambda: len(wire.gripper) == 2, what='the second')
    assert list(wire.gripper[-1].data) == [0.0]


def test_a_gripper_that_nobody_hears_is_a_problem_once_it_was_told_something(graph):
    from rclpy.node import Node

    from dysl_vla_ros.ros.command_publishers import CommandPublishers

    node = graph.add(Node('vla_node', context=graph.context))
    publishers = CommandPublishers(node, from_flat({'armed': True}), JOINTS)
    assert publishers.gripper_problem() == ''
    publishers.publish(command(gripper=1.0), None, None)
    assert publishers.gripper_problem() == 'nobody subscribes to /gripper_command, the gripper'
    assert publishers.gripper_report() == '100 % open sent'
    publishers.finish()
    assert publishers.gripper_problem() == ''


def test_the_opening_commanded_last_is_the_one_that_reached_the_gripper(graph):
    wire = Wire(graph)
    assert wire.publishers.arms[0].gripper.commanded == 1.0
    wire.send(command(gripper=0.0), armed=False)
    assert wire.publishers.arms[0].gripper.commanded == 1.0  # the shadow closed it, nobody else
    wire.send(command(gripper=0.25))
    assert wire.publishers.arms[0].gripper.commanded == 0.25


def test_the_frame_of_the_parameters_outranks_the_given_one(graph):
    wire = Wire(graph, command_type='pose', frame_id='given', **{'action.frame_id': 'own'})
    wire.send()
    assert wire.one(wire.live).header.frame_id == 'own'


def test_destroyed_publishers_are_gone(graph):
    wire = Wire(graph)
    graph.call(wire.publishers.destroy)
    wait_for(lambda: not wire.node.count_publishers('/joint_trajectory'), what='gone')
    assert wire.node.count_publishers('/gripper_command') == 0


def test_a_command_is_not_changed_by_being_sent(graph):
    item = command()
    before = replace(item)
    Wire(graph, command_type='twist').send(item)
    assert np.array_equal(item.positions, before.positions)
