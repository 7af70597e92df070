"""The node around the simulated world: topics, parameters, and the physics thread."""

from __future__ import annotations

import threading
import time
import traceback
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from dysl_vla_ros.errors import BundleError, ConfigError, InputError
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.images import rgb_message
from dysl_vla_ros.ros.sim_cameras import SimCamera, cameras_of
from dysl_vla_ros.ros.sim_guard import SimGuard
from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.camera import CAMERAS
from dysl_vla_ros.sim.director import Director, DirectorSettings
from dysl_vla_ros.sim.request import find_episode
from dysl_vla_ros.sim.robot_description import urdf
from dysl_vla_ros.sim.world import World

NODE_NAME = 'sim_arm'
GRIPPER_JOINT = 'gripper_joint'
STEP_S = 0.01
"""Physics advance, and joint states are published, in steps of this [s]."""
_REPEAT_S = 1.0
"""Instruction and episode are repeated this often, for those who come late."""
_UNDER_WAY = ('running', 'verifying', 'holding', 'homing', 'stale', 'paused')
"""States of the policy's node in which it will move the arm without being told again."""
_LATE_S = 0.25
"""Farther behind real time than this, the simulation gives up catching up."""

PARAMETERS: tuple[tuple[str, Any, str], ...] = (
    ('episodes.auto', True, 'Give instructions, judge them, lay out the next scene'),
    ('episodes.families', ['pick', 'bin', 'place', 'push'], 'Task families, taken in turn'),
    ('episodes.split', 'train', 'Scenes and phrasings: train or heldout'),
    ('episodes.instruction', '', 'What a person asks for: tried once, in a scene that holds it; '
     'also after ~/reset'),
    ('episodes.time_limit_s', 30.0, 'Longest episode [s]'),
    ('seed', 0, 'Of the first episode, and of the next after ~/reset'),
    ('cameras', ['image'], 'Cameras to publish: image, wrist_image'),
    ('engine', '', 'Folder of a bundle, or fake: publish the cameras that it lists, as large as '
     'it asks for; empty = those of the parameter cameras'),
    ('camera_rate_hz', 25.0, 'Pictures per second and camera [Hz]'),
    ('controller.interpolate_from_desired_state', True,
     'As the joint_trajectory_controller\'s parameter of that name'),
    ('beside_others', False,
     'Start although somebody else publishes joints, description or pictures on its topics'),
)  # fmt: skip


class SimNode(Node):
    """Publishes what a real arm's drivers publish; simulator state stays inside."""

    def __init__(self, **options: Any) -> None:
        """Declare parameters, build the world.

        Args:
            options: Of ``rclpy.node.Node``.

        Raises:
            ConfigError: A parameter is wrong, or another arm is on its topics.
        """
        super().__init__(NODE_NAME, **options)
        for name, default, text in PARAMETERS:
            self.declare_parameter(name, default, ParameterDescriptor(description=text))
        self.failed = False
        self._cameras = self._checked_cameras()
        self._camera_period = 1.0 / self._checked_rate()
        settings = DirectorSettings(
            first_seed=self._value('seed'),
            families=tuple(self._value('episodes.families')),
            split=self._value('episodes.split'),
            time_limit=self._value('episodes.time_limit_s'),
            instruction=self._value('episodes.instruction'),
        )
        self._guard = None if self._value('beside_others') else self._looked_around()
        self._world = World(self._value('controller.interpolate_from_desired_state'))
        self._director = Director(self._world, settings)
        self._auto = bool(self._value('episodes.auto'))
        self._lock = threading.Lock()
        self._last_command: float | None = None
        self._said: tuple[str, str] = ('', '')
        self._said_at = float('-inf')
        self._policy_state = ''
        self._phase = ''
        self._finish = threading.Event()
        self._thread = threading.Thread(target=self._run, name='physics', daemon=True)
        self._make_topics()

    def start(self) -> None:
        """Begin to simulate."""
        self._thread.start()

    def finish(self) -> None:
        """End the physics thread."""
        self._finish.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    # ---- parameters --------------------------------------------------------------------------

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _checked_cameras(self) -> tuple[SimCamera, ...]:
        if self._value('engine'):
            try:
                return cameras_of(self._value('engine'))
            except BundleError as error:  # the node says what is wrong with it, and stops
                self.get_logger().warning(f'the cameras are those of the parameter: {error}')
        cameras = tuple(self._value('cameras'))
        unknown = [camera for camera in cameras if camera not in CAMERAS]
        if unknown or not cameras:
            raise ConfigError('cameras', list(cameras), f'some of {list(CAMERAS)}')
        return tuple(SimCamera(name, name, CAMERAS[name], CAMERAS[name]) for name in cameras)

    def _checked_rate(self) -> float:
        rate = float(self._value('camera_rate_hz'))
        if not 1.0 <= rate <= 1.0 / STEP_S:
            raise ConfigError('camera_rate_hz', rate, f'within [1, {1.0 / STEP_S:g}]')
        return rate

    # ---- topics ------------------------------------------------------------------------------

    def _make_topics(self) -> None:
        self._images = {
            camera: self.create_publisher(Image, camera.name, qos.SOURCE)
            for camera in self._cameras
        }
        self._joints = self.create_publisher(JointState, 'joint_states', qos.SOURCE)
        self._instruction = self.create_publisher(String, 'instruction', qos.REQUEST)
        self._episode = self.create_publisher(DiagnosticStatus, '~/episode', qos.REPORT)
        self._description = self.create_publisher(String, 'robot_description', qos.LATCHED)
        self._description.publish(String(data=urdf()))
        self.create_subscription(
            JointTrajectory, 'joint_trajectory', self._on_trajectory, qos.COMMAND
        )
        self.create_subscription(
            Float64MultiArray, 'gripper_command', self._on_gripper, qos.COMMAND
        )
        self.create_subscription(String, 'vla_node/state', self._on_state, qos.LATCHED)
        self.create_service(Trigger, '~/reset', self._on_reset)
        if self._guard is not None:
            self.create_timer(_REPEAT_S, self._on_look_around)

    def _looked_around(self) -> SimGuard:
        cameras = (camera.name for camera in self._cameras)
        guard = SimGuard(self, ('joint_states', 'robot_description', *cameras))
        guard.wait()
        return guard

    def _on_look_around(self) -> None:
        try:
            if self._guard is not None:
                self._guard.check()
        except ConfigError as error:
            self.get_logger().fatal(str(error))
            self.failed = True

    def _on_trajectory(self, message: Any) -> None:
        try:
            times, positions, velocities = trajectory_arrays(message)
            with self._lock:
                self._last_command = time.monotonic()
                self._world.command_trajectory(
                    times, positions, velocities,
                    stamp=self._world_time(message.header.stamp),
                    joint_names=list(message.joint_names),
                )  # fmt: skip
        except InputError as error:
            self.get_logger().warning(f'joint_trajectory refused: {error}')

    def _world_time(self, stamp: Any) -> float:
        """A header stamp on the simulation's clock; 0 stays 0 = at once."""
        seconds = stamp.sec + 1e-9 * stamp.nanosec
        if seconds == 0.0:
            return 0.0
        now = 1e-9 * self.get_clock().now().nanoseconds
        return self._world.time + seconds - now

    def _on_gripper(self, message: Any) -> None:
        try:
            if len(message.data) != 1:
                raise InputError(f'data has {len(message.data)} numbers: expected one opening')
            with self._lock:
                self._world.command_gripper(float(message.data[0]))
        except InputError as error:
            self.get_logger().warning(f'gripper_command refused: {error}')

    def _on_state(self, message: Any) -> None:
        self._policy_state = message.data

    def _on_reset(self, request: Any, response: Any) -> Any:
        seed, text = int(self._value('seed')), str(self._value('episodes.instruction'))
        try:
            # Looked for before the lock is taken: the physics must not wait for it.
            seed = find_episode(text, seed).seed if text else seed
            with self._lock:
                if text or self._auto:
                    self._director.ask(text, seed, time.monotonic())
                    self._auto = True
                else:  # the policy is told by somebody else
                    self._director.skip_to(seed, time.monotonic())
        except ConfigError as error:
            response.success, response.message = False, str(error)
            return response
        what = repr(text) if text else f'the episode of seed {seed}'
        response.success, response.message = True, f'{what} follows'
        return response

    # ---- physics -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._simulate()
        except Exception:
            self.get_logger().fatal(f'the physics failed\n{traceback.format_exc()}')
            self.failed = True

    def _simulate(self) -> None:
        due = time.monotonic()
        picture_due = due
        while not self._finish.wait(max(0.0, due - time.monotonic())):
            with self._lock:
                self._world.advance(STEP_S)
                self._publish_joints()
                if due >= picture_due:
                    self._publish_images()
                    picture_due = max(picture_due + self._camera_period, due - STEP_S)
                if self._auto:
                    self._direct(time.monotonic())
            due += STEP_S
            behind = time.monotonic() - due
            if behind > _LATE_S:
                self.get_logger().warning(f'{behind:.2f} s behind real time; not catching up')
                due = picture_due = time.monotonic()

    def _publish_joints(self) -> None:
        message = JointState()
        message.header.stamp = self.get_clock().now().to_msg()
        message.name = [*arm.JOINT_NAMES, GRIPPER_JOINT]
        message.position = [*self._world.joint_positions.tolist(), self._world.gripper_opening]
        message.velocity = [*self._world.joint_velocities.tolist(), 0.0]
        self._joints.publish(message)

    def _publish_images(self) -> None:
        stamp = self.get_clock().now().to_msg()
        for camera, publisher in self._images.items():
            picture = camera.picture(self._world.render)
            publisher.publish(rgb_message(picture, camera.name, stamp))

    def _direct(self, now: float) -> None:
        director = self._director
        listening = self._instruction.get_subscription_count() > 0
        director.update(now, listening, self._last_command, self._policy_state in _UNDER_WAY)
        saying = (director.instruction, director.outcome)
        if saying == self._said and now - self._said_at < _REPEAT_S:
            phase = director.world.phase()
            if phase != self._phase:
                self._phase = phase
                self._episode.publish(episode_message(director))
            return
        self._said, self._said_at = saying, now
        self._instruction.publish(String(data=director.instruction))
        self._episode.publish(episode_message(director))


def trajectory_arrays(message: Any) -> tuple[Any, Any, Any]:
    """Times (k,), positions (k, n) and velocities (k, n) of a JointTrajectory.

    Raises:
        InputError: A point lacks positions or velocities, or has too few.
    """
    count = len(message.joint_names)
    if not message.points:
        raise InputError('points is empty: expected at least one')
    for index, point in enumerate(message.points):
        for field in ('positions', 'velocities'):
            size = len(getattr(point, field))
            if size != count:
                raise InputError(
                    f'points[{index}].{field} has {size} numbers: expected {count}, one per joint'
                )
    times = np.array(
        [p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in message.points]
    )
    positions = np.array([point.positions for point in message.points], dtype=np.float64)
    velocities = np.array([point.velocities for point in message.points], dtype=np.float64)
    return times, positions, velocities


def episode_message(director: Director) -> Any:
    """How the episodes stand, for people and for the demo."""
    values = {
        'seed': director.seed,
        'instruction': director.instruction,
        'family': director.episode.family,
        'outcome': director.outcome,
        'phase': director.world.phase() if director.instruction else '',
        'episodes': director.episodes,
        'successes': director.successes,
    }
    return DiagnosticStatus(
        level=DiagnosticStatus.OK,
        name='sim_arm: episode',
        message=str(director.outcome),
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
