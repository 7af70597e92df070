"""The real node with two stand-in arms: a topic, a controller and a gripper each, one stop."""

from __future__ import annotations

import time

import numpy as np
import pytest
from conftest import wait_for
from fakes import FakePass, FakePolicy, FakeRobot, desired_by
from motion_checks import LAG_S, MessageChecks
from two_arms import FLAT, JOINTS, LEFT, RIGHT, two_arm_manifest, two_arm_urdf

from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import LayerTrace

pytestmark = pytest.mark.ros

PARAMETERS = {name.replace('.', '__'): value for name, value in FLAT.items()}
TOPICS = {'left': '/left_arm/joint_trajectory', 'right': '/right/controller/joint_trajectory'}


class TwoPolicy(FakePolicy):
    """The first joint of each arm turns; the left gripper closes, the right one stays open."""

    def __init__(self):
        super().__init__()
        self.manifest = two_arm_manifest()

    def predict(self, observation, plan):
        self.observations.append(observation)
        time.sleep(self.latency)
        rows = np.tile([0.5, 0.0, 0.0, -0.5, 0.0, 1.0], (self.manifest.action.horizon, 1))
        trace = LayerTrace(tuple(range(6)), 6)
        return FakePass(observation.stamp, rows, 'full', trace, observation.instruction)


class TwoArms(FakeRobot):
    """Each arm follows its own topic alone, and refuses joints that are not its own."""

    def __init__(self, node):
        from rclpy.qos import QoSProfile
        from std_msgs.msg import Float64MultiArray
        from trajectory_msgs.msg import JointTrajectory

        super().__init__(node, JOINTS)
        self.fingers = {'left_finger': 0.02, 'right_finger': 0.5}
        self.quiet = ()
        self.taken = {'left': [], 'right': []}
        self.heard_shadow = {'left': [], 'right': []}
        self.told_left = []
        self._listeners = {}
        for arm, names in (('left', LEFT), ('right', RIGHT)):
            limits = MotionLimits(names, [-1.98] * 2, [1.98] * 2, [3.0] * 2, 10.0, 0.3)
            self.checks[arm] = MessageChecks(limits)
            expected = [*names, 'right_finger'] if arm == 'right' else list(names)

            def take(message, arm=arm, expected=expected):
                assert list(message.joint_names) == expected
                self._follow()
                self.checks[arm].on_message(message)
                self.taken[arm].append(message)

            self._listeners[arm] = node.create_subscription(
                JointTrajectory, TOPICS[arm], take, QoSProfile(depth=10)
            )
            node.create_subscription(
                JointTrajectory, f'vla_node/shadow{TOPICS[arm]}', self.heard_shadow[arm].append,
                QoSProfile(depth=10),
            )  # fmt: skip
        node.create_subscription(
            Float64MultiArray, 'left/gripper_command', self._on_left_gripper, QoSProfile(depth=10)
        )

    def describe(self, urdf=None):
        super().describe(two_arm_urdf() if urdf is None else urdf)

    def leave(self, arm):
        self.node.destroy_subscription(self._listeners[arm])

    def _on_left_gripper(self, message):
        self.told_left.append(message.data[0])
        self.fingers['left_finger'] = message.data[0]

    def publish_joints(self):
        from sensor_msgs.msg import JointState

        self._follow()
        values = dict(zip(JOINTS, self.position.tolist(), strict=True)) | self.fingers
        for arm, names in (('left', LEFT), ('right', RIGHT)):  # a driver each
            if arm in self.quiet:
                continue
            message = JointState()
            message.header.stamp = self.node.get_clock().now().to_msg()
            message.name = [*names, f'{arm}_finger']
            message.position = [values[name] for name in message.name]
            self.states.publish(message)

    def _follow(self):
        now = time.monotonic()
        elapsed, self._followed_at = now - self._followed_at, now
        share = 1.0 - np.exp(-elapsed / LAG_S)
        for arm, first in (('left', 0), ('right', 2)):
            if not self.taken[arm]:
                continue
            desired = desired_by(self.taken[arm][-1], self.node)
            own = slice(first, first + 2)
            self.position[own] += share * (desired[:2] - self.position[own])
            if arm == 'right':
                self.fingers['right_finger'] = float(desired[2])


@pytest.fixture
def two(rig, monkeypatch):
    import fakes

    monkeypatch.setattr(fakes, 'FakeRobot', TwoArms)

    def make(**parameters):
        return rig(TwoPolicy(), **{**PARAMETERS, **parameters})

    return make


def test_both_arms_move_each_on_its_topic_with_its_gripper(two):
    # After a pause of the joints, which a loaded machine makes, the gripper would be told again.
    rig = two(timeout__joint_states_s=1.0).run()
    wait_for(lambda: rig.robot.position[0] > 0.1, what='the left arm')
    wait_for(lambda: rig.robot.position[2] < -0.1, what='the right arm')
    wait_for(lambda: rig.robot.told_left == [0.0], what='a closed left gripper')
    wait_for(lambda: rig.robot.fingers['right_finger'] > 0.9, what='an open right one')
    assert np.abs(rig.robot.position[[1, 3]]).max() < 0.02
    seen = rig.policy.observations[0]
    assert seen.joints[[0, 1, 3, 4]] == pytest.approx([0.0] * 4, abs=0.01)
    assert (seen.joints[2], seen.gripper) == (pytest.approx(0.5), pytest.approx(0.5))
    later = rig.policy.observations[-1].joints
    assert later[0] > 0.05 and later[3] < -0.05 and abs(later[[1, 4]]).max() < 0.02
    assert rig.session.publishers.gripper_report() == (
        'left: 0 % open sent, right: 100 % open sent'
    )
    assert rig.session.inputs.opening() == '0.00 measured, 1.00 measured'
    assert rig.node.get_parameter('arms.right.gripper.joint').value == 'right_finger'


def test_what_comes_next_is_named_by_arm(two):
    from trajectory_msgs.msg import JointTrajectory

    from dysl_vla_ros.ros import qos

    rig = two()
    heard = rig.listen('vla_node/action_chunk', JointTrajectory, qos.REPORT)
    rig.run()
    wait_for(lambda: heard, what='a chunk')
    assert heard[0].joint_names == [*LEFT, 'left_gripper', *RIGHT, 'right_gripper']


@pytest.mark.parametrize('how', ['stop', 'estop', 'a silent right arm', 'a deaf right controller'])
def test_they_stop_together(two, how):
    rig = two().run()
    wait_for(lambda: rig.robot.position[0] > 0.05, what='motion')
    told = list(rig.robot.told_left)
    if how == 'stop':
        assert rig.ask('stop').success
    elif how == 'estop':
        rig.publish_bool('estop', True)
    elif how == 'a silent right arm':
        rig.robot.quiet = ('right',)
    else:
        rig.graph.call(lambda: rig.robot.leave('right'))
    state = {'stop': 'ready', 'estop': 'e-stop', 'a silent right arm': 'stale'}.get(how, 'ready')
    rig.wait_state(state)
    wait_for(rig.at_rest, what='rest of both')
    if how == 'a deaf right controller':
        assert 'nobody subscribes to /right/controller/joint_trajectory' in rig.session.reason
    assert rig.robot.told_left == told


def test_the_joints_of_the_arm_that_is_silent_are_named(two):
    rig = two().run()
    rig.robot.quiet = ('right',)
    rig.wait_state('stale')
    rig.wait_reason('joint_states: newest is', 'old', ': of right_a, right_b, not of the others')
    wait_for(lambda: rig.session.inputs.joints.gripper_problem(time.monotonic()).startswith(
        'joint_states: the gripper of right_finger is '), what='its gripper')  # fmt: skip
    rig.robot.quiet = ('left', 'right')
    wait_for(lambda: 'left_a' not in rig.session.reason and 'right_a' not in rig.session.reason,
             what='all are silent')  # fmt: skip
    assert 'newest is' in rig.session.reason


def test_arming_names_the_controller_that_is_missing(two):
    rig = two(armed=False).up()
    rig.graph.call(lambda: rig.robot.leave('left'))
    rig.wait_state('ready')
    wait_for(lambda: not rig.node.count_subscribers(TOPICS['left']), what='nobody')
    answer = rig.ask('arm', True)
    assert not answer.success
    assert 'nobody subscribes to /left_arm/joint_trajectory: start' in answer.message


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'arms.left.command_topic': 'both', 'arms.right.command_topic': '/both'},
         "arms.right.command_topic = '/both': expected another one than arms.left.command_topic"),
        ({'arms.left.command_topic': 'left/gripper_command'},
         "arms.left.gripper = '/left/gripper_command': expected another one than "
         'arms.left.command_topic'),
    ],
)  # fmt: skip
def test_two_ways_that_are_one_in_this_namespace_are_refused(graph, changes, words):
    """Values without names, meant for one arm, would move the other."""
    from rclpy.node import Node

    from dysl_vla_ros.config import from_flat
    from dysl_vla_ros.errors import ConfigError
    from dysl_vla_ros.ros.command_publishers import CommandPublishers

    node = graph.add(Node('vla_node', context=graph.context))
    before = len(list(node.publishers))
    flat = {**FLAT, 'arms.right.gripper.interface': 'topic', 'command_type': 'joint_commands'}
    config = from_flat({**flat, **changes})

    def refused():
        with pytest.raises(ConfigError) as caught:
            CommandPublishers(node, config, JOINTS)
        return str(caught.value)

    assert words in graph.call(refused)
    assert len(list(node.publishers)) == before


def test_not_armed_both_go_to_the_shadow(two):
    rig = two(armed=False).run()
    wait_for(lambda: rig.robot.heard_shadow['left'] and rig.robot.heard_shadow['right'],
             what='both shadows')  # fmt: skip
    assert rig.robot.taken == {'left': [], 'right': []} and rig.robot.told_left == []


def test_parameters_of_an_arm_are_checked_when_they_are_set(two):
    from rclpy.parameter import Parameter

    rig = two()
    wrong = Parameter('arms.left.gripper.hysteresis', value=7.0)
    (answer,) = rig.graph.call(lambda: rig.node.set_parameters([wrong]))
    assert not answer.successful and 'arms.left.gripper.hysteresis' in answer.reason
    rig.up()
    late = Parameter('arms.left.gripper.dwell_s', value=1.0)
    (answer,) = rig.graph.call(lambda: rig.node.set_parameters([late]))
    assert not answer.successful and 'clean up first' in answer.reason


def test_each_arm_s_forward_command_ends_with_its_own_gripper(graph):
    from rclpy.node import Node
    from std_msgs.msg import Float64MultiArray

    from dysl_vla_ros.config import from_flat
    from dysl_vla_ros.data_types import Command
    from dysl_vla_ros.ros import qos
    from dysl_vla_ros.ros.command_publishers import CommandPublishers

    flat = {**FLAT, 'command_type': 'joint_commands', 'arms.left.gripper.interface': 'forward',
            'arms.right.gripper.interface': 'none'}  # fmt: skip
    node = graph.add(Node('vla_node', context=graph.context))
    publishers = CommandPublishers(node, from_flat(flat), JOINTS)
    ears, heard = graph.add(Node('ears', context=graph.context)), {'left': [], 'right': []}
    for arm, topic in TOPICS.items():
        ears.create_subscription(Float64MultiArray, topic, heard[arm].append, qos.COMMAND)
    wait_for(lambda: publishers.listeners == 1, what='both listeners')
    rows = np.array([[0.1, 0.2, 0.3, 0.4]] * 2)
    command = Command(
        stamp=time.monotonic(), positions=rows[0], velocities=0 * rows[0], gripper=0.0, hold=False,
        reason='', action_index=0, limited=(), window_times=np.array([0.0, 0.2]),
        window_positions=rows, window_velocities=0 * rows, more_grippers=(1.0,),
    )  # fmt: skip
    publishers.publish(command, None, 0.5, (0.25,))
    wait_for(lambda: heard['left'] and heard['right'], what='both commands')
    assert list(heard['left'][0].data) == [0.1, 0.2, pytest.approx(0.02)]  # where it was measured
    assert list(heard['right'][0].data) == [0.3, 0.4]
    assert publishers.commanded == (0.0, 1.0)
