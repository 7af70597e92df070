"""A policy without a model and a robot without physics, for tests of the node."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from motion_checks import LAG_S, MessageChecks

from dysl_vla_ros.bundle.manifest import (
    CameraSpec,
    Manifest,
    NormalisationSpec,
    ProprioceptionSpec,
)
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import Jump, LayerTrace
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.policy import Policy

JOINTS = ('shoulder', 'elbow', 'wrist')
HORIZON = 8
PERIOD = 0.05
STEP = 0.01
LAYERS = 6
_KEPT = 200
"""Commands that a starved executor owes the robot: one that is lost is judged as a jump."""


def unit(dim: int) -> NormalisationSpec:
    return NormalisationSpec((-1.0,) * dim, (1.0,) * dim, (True,) * dim)


def make_manifest(space: str = 'joint_delta') -> Manifest:
    """The fake bundle's contract, with three joints, two cameras and six layers."""
    dim = len(JOINTS) + 1
    scale = NormalisationSpec((-STEP,) * dim, (STEP,) * dim, (True,) * len(JOINTS) + (False,))
    base = fake_manifest(LAYERS, (0, 3, 5))
    return replace(
        base,
        name='test-policy',
        cameras=(CameraSpec('image', 96, 96), CameraSpec('wrist_image', 64, 64)),
        proprioception=ProprioceptionSpec(dim, True, unit(dim)),
        instruction=replace(base.instruction, tokens=16),
        action=replace(
            base.action, space=space, dim=dim, normalisation=scale, displacement=scale,
            joint_names=JOINTS,
        ),
        calibration=replace(base.calibration, weights=(1.0,) * dim),
    )  # fmt: skip


@dataclass(frozen=True)
class FakePass:
    stamp: float
    normalised: np.ndarray
    mode: str
    trace: LayerTrace
    instruction: str
    stage_seconds: dict[str, float] = field(default_factory=dict)
    changed: bool = False
    compared: Any = None


class Words:
    """One token per word."""

    def encode(self, text: str) -> Any:
        return SimpleNamespace(ids=[1] * len(text.split()))


class FakeEngine:
    device = 'test device'

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class FakePolicy:
    """Moves the first joint to and fro at a constant speed; the gripper closes on the way back.

    ``latency`` sleeps, ``busy`` computes in Python (keeps the interpreter lock), ``raises`` is
    raised by the next pass, ``nan`` poisons the next chunk.
    """

    def __init__(
        self, latency: float = 0.02, busy: float = 0.0, space: str = 'joint_delta'
    ) -> None:
        self.manifest = make_manifest(space)
        self._tokenizer = Words()
        self.engine = FakeEngine()
        self.latency = latency
        self.busy = busy
        self.raises: Exception | None = None
        self.nan = False
        self.observations: list[Any] = []
        self.reference = 0.0
        self.direction = 1.0

    tokens = Policy.tokens  # the real check of an instruction

    def predict(self, observation: Any, plan: Any) -> FakePass:
        self.observations.append(observation)
        if self.raises is not None:
            raise self.raises
        time.sleep(self.latency)
        until = time.monotonic() + self.busy
        while time.monotonic() < until:
            sum(range(100))
        if observation.joints[0] > 0.5:
            self.direction = -1.0
        elif observation.joints[0] < -0.5:
            self.direction = 1.0
        actions = np.zeros((HORIZON, len(JOINTS) + 1))
        actions[:, 0] = 0.5 * self.direction
        actions[:, -1] = 1.0 if self.direction > 0 else 0.0
        if self.nan:
            actions[0, 0] = np.nan
        jumps = (Jump(1, 3),) if plan.allow[0] == 1 else ()
        run = (0, 3, 4, 5) if jumps else tuple(range(LAYERS))
        trace = LayerTrace(run, LAYERS, jumps=jumps, resume_layer=1 if jumps else None)
        if plan.exit_layer is not None:
            jumps = (Jump(plan.exit_layer, LAYERS - 1),)
            trace = LayerTrace((*range(plan.exit_layer), LAYERS - 1), LAYERS, jumps=jumps)
        stages = {'preprocess': 0.001, 'encode': 0.002, 'backbone': 0.01, 'decode': 0.001}
        mode = 'skipped' if jumps else 'full'
        return FakePass(observation.stamp, actions, mode, trace, observation.instruction, stages)

    def rerun(self, first: FakePass) -> FakePass:
        return replace(first, mode='rerun')

    compare = predict


def make_urdf(joints: tuple[str, ...] = JOINTS) -> str:
    """A chain of revolute joints of 0.3 m links, with a fixed ``grasp_link``."""
    links = ['base_link', *(f'{name}_link' for name in joints)]
    text = ['<robot name="test_arm">']
    text += [f'<link name="{link}"/>' for link in (*links, 'grasp_link')]
    for parent, name in zip(links, joints, strict=False):
        text.append(
            f'<joint name="{name}" type="revolute"><parent link="{parent}"/>'
            f'<child link="{name}_link"/><origin xyz="0 0 0.3"/><axis xyz="0 1 0"/>'
            '<limit lower="-2.0" upper="2.0" velocity="3.0" effort="50"/></joint>'
        )
    text.append(
        f'<joint name="tip" type="fixed"><parent link="{links[-1]}"/><child link="grasp_link"/>'
        '<origin xyz="0 0 0.3"/></joint></robot>'
    )
    return ''.join(text)


def desired_by(message: Any, node: Any) -> np.ndarray:
    """Where a stamped trajectory has its joints at the node's time, shape (n,) [rad]."""
    stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
    due = 1e-9 * node.get_clock().now().nanoseconds - stamp
    times = [p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in message.points]
    rows = np.array([list(p.positions) for p in message.points])
    return np.array([np.interp(due, times, column) for column in rows.T])


class FakeRobot:
    """Publishes cameras, joints and a robot description; follows joint trajectories.

    It plays the newest trajectory by its time stamps, as a controller does, and so comes to
    rest by itself when no further one arrives; its joints trail by ``LAG_S``. Every trajectory
    is checked, armed or shadow: see ``wrong``.
    """

    def __init__(self, node: Any, joints: tuple[str, ...] = JOINTS) -> None:
        from rclpy.qos import QoSProfile, qos_profile_sensor_data
        from sensor_msgs.msg import Image, JointState
        from std_msgs.msg import Float64MultiArray, String
        from trajectory_msgs.msg import JointTrajectory

        from dysl_vla_ros.ros import qos

        self.node = node
        self.names = [*joints, 'gripper_joint', 'unrelated_joint']
        self.position = np.zeros(len(joints))
        self.gripper = 1.0
        self.cameras_on = True
        self.joints_on = True
        self.encoding = 'rgb8'
        self.efforts: list[float] | None = None
        self.trajectories: list[tuple[float, Any]] = []
        self.shadow: list[tuple[float, Any]] = []
        self.grippers: list[float] = []
        self._followed_at = time.monotonic()
        low, high, speed = np.full(len(joints), -1.98), np.full(len(joints), 1.98), 3.0
        limits = MotionLimits(joints, low, high, np.full(len(joints), speed), 10.0, 0.3)
        self.checks = {kind: MessageChecks(limits) for kind in ('live', 'shadow')}
        self.images = {
            name: (node.create_publisher(Image, name, qos_profile_sensor_data), size)
            for name, size in (('image', 96), ('wrist_image', 64))
        }
        self.states = node.create_publisher(JointState, 'joint_states', qos_profile_sensor_data)
        self.description = node.create_publisher(String, 'robot_description', qos.LATCHED)
        self._commands = node.create_subscription(
            JointTrajectory, 'joint_trajectory', self._on_trajectory, QoSProfile(depth=_KEPT)
        )
        node.create_subscription(
            JointTrajectory,
            'vla_node/shadow/joint_trajectory',
            self._on_shadow,
            QoSProfile(depth=_KEPT),
        )
        node.create_subscription(
            Float64MultiArray, 'gripper_command', self._on_gripper, QoSProfile(depth=_KEPT)
        )
        node.create_timer(0.05, self.publish_images)
        node.create_timer(0.02, self.publish_joints)

    def describe(self, urdf: str | None = None) -> None:
        from std_msgs.msg import String

        self.description.publish(String(data=make_urdf() if urdf is None else urdf))

    def publish_images(self) -> None:
        from sensor_msgs.msg import Image

        if not self.cameras_on:
            return
        stamp = self.node.get_clock().now().to_msg()
        for name, (publisher, size) in self.images.items():
            message = Image(height=size, width=size, encoding=self.encoding, step=3 * size)
            message.header.stamp = stamp
            data = array('B')
            data.frombytes(bytes(3 * size * size))
            message.data = data
            message.header.frame_id = name
            publisher.publish(message)

    def publish_joints(self) -> None:
        from sensor_msgs.msg import JointState

        self._follow()
        if not self.joints_on:
            return
        message = JointState()
        message.header.stamp = self.node.get_clock().now().to_msg()
        values = [*self.position.tolist(), self.gripper, 0.0]
        order = list(reversed(range(len(self.names))))  # never the policy's order
        message.name = [self.names[i] for i in order]
        message.position = [values[i] for i in order]
        if self.efforts is not None:
            message.effort = [[*self.efforts, 0.0, 0.0][i] for i in order]
        self.states.publish(message)

    @property
    def wrong(self) -> list[str]:
        """What was wrong with the trajectories so far."""
        return [text for checks in self.checks.values() for text in checks.wrong]

    def move(self, offset: Any) -> None:
        """Somebody moves the arm: the controller goes on from there."""
        self.trajectories.clear()
        self.position = self.position + np.asarray(offset)

    def deafen(self) -> None:
        """The controller is gone."""
        self.node.destroy_subscription(self._commands)

    def _follow(self) -> None:
        now = time.monotonic()
        elapsed, self._followed_at = now - self._followed_at, now
        if not self.trajectories:
            return
        desired = desired_by(self.trajectories[-1][1], self.node)
        share = 1.0 - np.exp(-elapsed / LAG_S)
        self.position = self.position + share * (desired - self.position)

    def _on_trajectory(self, message: Any) -> None:
        self._follow()
        self.trajectories.append((time.monotonic(), message))
        self.checks['live'].on_message(message)

    def _on_shadow(self, message: Any) -> None:
        self.shadow.append((time.monotonic(), message))
        self.checks['shadow'].on_message(message)

    def _on_gripper(self, message: Any) -> None:
        self.gripper = message.data[0]
        self.grippers.append(message.data[0])
