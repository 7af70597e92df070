"""A robot whose controllers obey their vendor's file and the rules of ros2_controllers.

What a `joint_trajectory_controller` refuses, a forward controller and the gripper's server too,
is refused here with the same reason, and counted. Where control_msgs is not installed, the
gripper's goals reach the server without the wire: see ``without_control_msgs``.
"""

from __future__ import annotations

import math
import time
from array import array
from types import SimpleNamespace
from typing import Any

import numpy as np
from motion_checks import MessageChecks
from preset_facts import Arm, Controller

LAG_S = 0.05
_END_SPEED = 1.2e-7
_STROKE_S = 0.5
_JOINTS_HZ, _GRIPPER_HZ, _IMAGE_HZ = 100.0, 10.0, 20.0


class StandIn:
    """Driver, controller and gripper of one arm.

    Attributes:
        refused: Why commands were refused, arm and gripper.
        taken: Commands that were taken.
        goals: Positions that the gripper was told and accepted.
    """

    def __init__(self, graph: Any, arm: Arm, controller: Controller, image_topic: str) -> None:
        from rclpy.node import Node
        from rclpy.qos import QoSProfile, qos_profile_sensor_data
        from sensor_msgs.msg import Image, JointState
        from std_msgs.msg import Float64MultiArray, String
        from trajectory_msgs.msg import JointTrajectory

        from dysl_vla_ros.ros import qos

        self.arm, self.controller = arm, controller
        self.refused: list[str] = []
        self.taken = 0
        self.goals: list[float] = []
        self.checks: MessageChecks | None = None
        self.joints = list(controller.joints or arm.names)
        self.partial = bool(controller.parameters.get('allow_partial_joints_goal'))
        self.to_the_end = not controller.parameters.get('allow_nonzero_velocity_at_trajectory_end')
        opened = arm.gripper.upper if arm.gripper.open_at_upper else arm.gripper.lower
        self.q = dict(zip(arm.names, arm.home, strict=True)) | {arm.gripper.joint: opened}
        self._desired: Any = None
        self._target: float | None = None
        self._at = time.monotonic()
        namespace, name = controller.name.rsplit('/', 1)
        place = {'context': graph.context, 'namespace': namespace}
        self.node = graph.add(Node('driver', **place))
        self.description = self.node.create_publisher(String, 'robot_description', qos.LATCHED)
        self.states = self.node.create_publisher(
            JointState, arm.joint_states, qos_profile_sensor_data
        )
        self.images = self.node.create_publisher(Image, image_topic, qos_profile_sensor_data)
        self.node.create_timer(1 / _JOINTS_HZ, self.move)
        self.node.create_timer(1 / _GRIPPER_HZ, lambda: self._publish([arm.gripper.joint]))
        self.node.create_timer(1 / _IMAGE_HZ, self.shoot)
        self.control = graph.add(Node(name, **place))
        for parameter, value in controller.parameters.items():
            self.control.declare_parameter(parameter, value)
        self.control.declare_parameter('joints', self.joints)
        kind, take = JointTrajectory, self.on_trajectory
        if controller.command_type == 'joint_commands':
            kind, take = Float64MultiArray, self.on_values
        self.control.create_subscription(kind, controller.topic, take, QoSProfile(depth=10))
        self.node.create_subscription(
            Float64MultiArray, 'gripper_command', lambda m: self.take_goal(m.data[0]), 10
        )
        self.description.publish(String(data=describe(arm)))

    # ---- the driver ----------------------------------------------------------------------------

    def move(self) -> None:
        """Follow what was commanded, as the joints of an arm do: a little late."""
        now, before = time.monotonic(), self._at
        self._at = now
        share = 1.0 - math.exp(-(now - before) / LAG_S)
        for name, desired in self._wanted().items():
            self.q[name] += share * (desired - self.q[name])
        if self._target is not None:
            gripper = self.arm.gripper
            reach = (gripper.upper - gripper.lower) * (now - before) / _STROKE_S
            step = self._target - self.q[gripper.joint]
            self.q[gripper.joint] += float(np.clip(step, -reach, reach))
        self._publish(list(self.arm.names))

    def shoot(self) -> None:
        from sensor_msgs.msg import Image

        message = Image(height=96, width=96, encoding='rgb8', step=3 * 96)
        message.header.stamp = self.node.get_clock().now().to_msg()
        message.data = array('B', bytes(3 * 96 * 96))
        self.images.publish(message)

    def _publish(self, names: list[str]) -> None:
        from sensor_msgs.msg import JointState

        message = JointState(name=names, position=[self.q[name] for name in names])
        message.header.stamp = self.node.get_clock().now().to_msg()
        self.states.publish(message)

    def _wanted(self) -> dict[str, float]:
        if self._desired is None:
            return {}
        if isinstance(self._desired, dict):
            return self._desired
        message = self._desired
        due = self._now() - _seconds(message.header.stamp)
        times = [_seconds(point.time_from_start) for point in message.points]
        rows = np.array([list(point.positions) for point in message.points])
        columns = zip(message.joint_names, rows.T, strict=True)
        return {name: float(np.interp(due, times, column)) for name, column in columns}

    def _now(self) -> float:
        return 1e-9 * self.node.get_clock().now().nanoseconds

    # ---- the arm's controller ------------------------------------------------------------------

    def on_trajectory(self, message: Any) -> None:
        """As `joint_trajectory_controller` validates a message of its topic."""
        reason = self._refusal(message)
        if reason:
            self.refused.append(reason)
            return
        self.taken += 1
        self._desired = message
        if self.checks is not None:
            self.checks.on_message(message)

    def on_values(self, message: Any) -> None:
        """As a forward controller takes a command."""
        values = list(message.data)
        if len(values) != len(self.joints):
            self.refused.append(
                f'command size ({len(values)}) does not match number of interfaces '
                f'({len(self.joints)})'
            )
        elif not np.isfinite(values).all():
            self.refused.append('non-finite value')
        else:
            self.taken += 1
            self._desired = dict(zip(self.joints, values, strict=True))

    def _refusal(self, message: Any) -> str:
        names, points = list(message.joint_names), list(message.points)
        if not self.partial and len(names) != len(self.joints):
            return f'joints {names} do not match the controller joints {self.joints}'
        if not names or not points:
            return 'empty joint names or trajectory'
        unknown = [name for name in names if name not in self.joints]
        if unknown:
            return f'incoming joints {unknown} do not match the controller joints'
        fastest = max(map(abs, points[-1].velocities), default=0.0)
        if self.to_the_end and fastest > _END_SPEED:
            return f'velocity of the last point is not zero: {fastest}'
        start, end = _seconds(message.header.stamp), _seconds(points[-1].time_from_start)
        if start and start + end < self._now():
            return 'trajectory ends in the past'
        times = [_seconds(point.time_from_start) for point in points]
        if any(later <= sooner for sooner, later in zip(times, times[1:], strict=False)):
            return f'time between points is not strictly increasing: {times}'
        sizes = {len(point.positions) for point in points}
        sizes |= {len(point.velocities) for point in points if len(point.velocities)}
        return '' if sizes == {len(names)} else f'{sizes} values for {len(names)} joints'

    # ---- the gripper's server ------------------------------------------------------------------

    def take_goal(self, position: float) -> bool:
        """Whether a goal is accepted; beyond the joint's limits it is not."""
        gripper = self.arm.gripper
        if not gripper.lower <= position <= gripper.upper:
            limits = f'[{gripper.lower}, {gripper.upper}]'
            self.refused.append(f'gripper: {position} is out of {limits}')
            return False
        self.goals.append(position)
        self._target = position
        return True


def _seconds(stamp: Any) -> float:
    return float(stamp.sec + 1e-9 * (stamp.nanosec))


def describe(arm: Arm) -> str:
    """A made-up chain with the joints and limits of the published description."""
    links = [arm.base, *(f'{name}_link' for name in arm.names)]
    text = ['<robot name="stand_in">']
    text += [f'<link name="{link}"/>' for link in (*links, arm.tip, 'jaw')]
    for number, joint in enumerate(arm.joints):
        endless = math.isinf(joint.lower)
        bounds = '' if endless else f'lower="{joint.lower}" upper="{joint.upper}" '
        text.append(
            f'<joint name="{joint.name}" type="{"continuous" if endless else "revolute"}">'
            f'<parent link="{links[number]}"/><child link="{links[number + 1]}"/>'
            f'<origin xyz="0.05 0 0.15"/><axis xyz="{("0 0 1", "0 1 0")[number % 2]}"/>'
            f'<limit {bounds}velocity="{joint.velocity}" effort="50"/></joint>'
        )
    gripper = arm.gripper
    text.append(
        f'<joint name="at_the_tip" type="fixed"><parent link="{links[-1]}"/>'
        f'<child link="{arm.tip}"/></joint>'
        f'<joint name="{gripper.joint}" type="revolute"><parent link="{links[-1]}"/>'
        f'<child link="jaw"/><axis xyz="0 0 1"/><limit lower="{gripper.lower}" '
        f'upper="{gripper.upper}" velocity="2" effort="10"/></joint></robot>'
    )
    return ''.join(text)


# ---- actions -----------------------------------------------------------------------------------


def serve_gripper(robot: StandIn, kind: str, name: str, monkeypatch: Any) -> None:
    """The gripper's action server: a real one where control_msgs is, else without the wire.

    Args:
        robot: Whose gripper it moves.
        kind: ``GripperCommand`` or ``ParallelGripperCommand``.
        name: Full name of the action.
        monkeypatch: For what is missing here.
    """
    try:
        import control_msgs.action as actions
    except ImportError:
        without_control_msgs(robot, kind, name, monkeypatch)
        return
    from rclpy.action import ActionServer, GoalResponse

    def judge(goal: Any) -> Any:
        taken = robot.take_goal(_position(goal))
        return GoalResponse.ACCEPT if taken else GoalResponse.REJECT

    def execute(handle: Any) -> Any:
        handle.succeed()
        result = getattr(actions, kind).Result()
        result.reached_goal = True
        return result

    server = ActionServer(robot.node, getattr(actions, kind), name, execute, goal_callback=judge)
    robot.node.close = lambda reason: server.destroy()  # the graph calls it; the node would not


def _position(goal: Any) -> float:
    position = goal.command.position
    return float(position if isinstance(position, float) else position[0])


class _Goal:
    """A message with the fields of both actions' goals."""

    def __init__(self) -> None:
        self.command = SimpleNamespace(position=0.0, max_effort=0.0)


def without_control_msgs(robot: StandIn, kind: str, name: str, monkeypatch: Any) -> None:
    """The node's client and the graph's entry of the server, joined in this process."""
    from rclpy.node import Node

    from dysl_vla_ros.ros import gripper_action, gripper_goals

    known = {full: SimpleNamespace(Goal=_Goal) for full in gripper_goals.TYPES.values()}
    entry = SimpleNamespace(
        topic_type=f'control_msgs/action/{kind}_FeedbackMessage', endpoint_gid=[7] * 24
    )
    real = Node.get_publishers_info_by_topic

    def publishers(node: Any, topic: str, *rest: Any) -> Any:
        where = topic if topic.startswith('/') else f'{node.get_namespace().rstrip("/")}/{topic}'
        return [entry] if where == f'{name}/_action/feedback' else real(node, topic, *rest)

    def answered(value: Any) -> Any:
        from rclpy.task import Future

        future = Future()
        future.set_result(value)
        return future

    def send(goal: Any) -> Any:
        accepted = robot.take_goal(_position(goal))
        state = SimpleNamespace(position=[])
        result = SimpleNamespace(
            position=robot.goals[-1] if robot.goals else 0.0, stalled=False, reached_goal=True,
            state=state,
        )  # fmt: skip
        done = SimpleNamespace(status=4, result=result)
        return answered(
            SimpleNamespace(
                accepted=accepted, get_result_async=lambda: answered(done),
                cancel_goal_async=lambda: answered(None),
            )
        )  # fmt: skip

    def client(node: Any, asked: Any, called: str) -> Any:
        where = called if called.startswith('/') else (
            f'{node.get_namespace().rstrip("/")}/{called}')  # fmt: skip
        assert asked is known[f'control_msgs/action/{kind}'] and where == name
        return SimpleNamespace(
            server_is_ready=lambda: True, send_goal_async=send, destroy=lambda: None
        )

    monkeypatch.setattr(gripper_goals, 'installed', lambda: known)
    monkeypatch.setattr(gripper_action, 'ActionClient', client)
    monkeypatch.setattr(Node, 'get_publishers_info_by_topic', publishers)
