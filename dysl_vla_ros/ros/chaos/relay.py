"""Between the arm and the node: passes topics on, spoils them, and keeps what is said."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import DyslError
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.chaos.graph import NODE, SPOILT
from dysl_vla_ros.ros.chaos.recording import Level, Recording
from dysl_vla_ros.ros.chaos.services import Services
from dysl_vla_ros.ros.chaos.spoil import Filter
from dysl_vla_ros.ros.chaos.windows import FOREIGN, read_window

_LOG = logging.getLogger(__name__)

_DEEP = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=200, reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)  # fmt: skip
_BEAT_S = 0.01
_LET_GO_S = 2.0
_ENABLE_S = 0.05
_HAND_SETTLES_S = 0.3
"""An arm that was pushed comes to rest within this [s]."""


class Relay:
    """A node with its executor's thread; as a context manager it joins and leaves the graph.

    Attributes:
        recording: What is said.
        urdf: The arm's description, '' before it came.
        spoil: Topic -> filter; what is not named passes.
        enable: What the dead-man switch says 20 times a second; None: nothing.
        delivers: Whether the arm hears the node; False while a hand holds it.
    """

    def __init__(self, env: Mapping[str, str], recording: Recording) -> None:
        """Take the domain of the graph from ``env``."""
        # The middleware reads its settings from the process when the context is made.
        os.environ.update({k: v for k, v in env.items() if k.startswith(('ROS_', 'FAST'))})
        self.recording = recording
        self.urdf = ''
        self.spoil: dict[str, Filter] = {}
        self.enable: bool | None = None
        self.delivers = True
        self._late: list[tuple[float, float]] = []
        self._end = threading.Event()
        self._intruder: Any = None

    def __enter__(self) -> Relay:
        """Join the graph."""
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        node = self.node = Node('dysl_chaos')
        node.create_subscription(JointState, '/joint_states', self._on_joints, qos.SENSOR)
        node.create_subscription(Image, '/image', self._on_image, qos.SENSOR)
        node.create_subscription(String, '/robot_description', self._on_description, qos.LATCHED)
        node.create_subscription(String, f'/{NODE}/state', self._on_state, qos.LATCHED)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, _DEEP)
        self._publishers = {
            'joint_states': node.create_publisher(
                JointState, f'{SPOILT}/joint_states', qos.SENSOR
            ),
            'image': node.create_publisher(Image, f'{SPOILT}/image', qos.SENSOR),
            'robot_description': node.create_publisher(
                String, f'{SPOILT}/robot_description', qos.LATCHED
            ),
        }
        self._to_arm = node.create_publisher(
            JointTrajectory, f'{SPOILT}/joint_trajectory', qos.COMMAND
        )
        self._says = {
            'instruction': node.create_publisher(String, '/instruction', qos.REQUEST),
            'estop': node.create_publisher(Bool, '/estop', qos.REQUEST),
            'enable': node.create_publisher(Bool, '/enable', qos.REQUEST),
        }
        self._services = Services(node)
        self._commands: Any = None
        self.listen(True)
        node.create_timer(_ENABLE_S, self._on_enable_timer)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._threads = [
            threading.Thread(target=self._spin, name='relay', daemon=True),
            threading.Thread(target=self._beat, name='beat', daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        """Leave the graph."""
        self._end.set()
        for thread in self._threads:
            thread.join(2.0)
        self._executor.shutdown(timeout_sec=1)
        self.node.destroy_node()
        rclpy.try_shutdown()

    # ---- what a trial does -------------------------------------------------------------------

    def clean(self) -> None:
        """No fault of this relay is left."""
        self.spoil.clear()
        self.delivers = True
        self.intrude(False)
        self.listen(True)

    def instruct(self, text: str) -> None:
        """Give an instruction."""
        self._says['instruction'].publish(String(data=text))

    def estop(self, pressed: bool) -> None:
        """Press or release the software e-stop."""
        self._says['estop'].publish(Bool(data=pressed))

    def say_enable(self, pressed: bool) -> None:
        """One message of the dead-man switch."""
        self._says['enable'].publish(Bool(data=pressed))

    def ask(self, service: str, data: bool | None = None, timeout: float = 3.0) -> bool | None:
        """Call ``<node>/<service>``; whether it was granted, None without an answer."""
        return self._services.ask(service, data, timeout)

    def change_state(self, transition: int, timeout: float = 5.0) -> bool | None:
        """Ask for a transition of the node's life cycle."""
        return self._services.change_state(transition, timeout)

    def listen(self, on: bool) -> None:
        """Whether anybody subscribes to the command topic."""
        if on and self._commands is None:
            self._commands = self.node.create_subscription(
                JointTrajectory, '/joint_trajectory', self._on_command, _DEEP
            )
        elif not on and self._commands is not None:
            subscription, self._commands = self._commands, None
            self._let_go(self.node.destroy_subscription, subscription)

    def intrude(self, on: bool) -> None:
        """Whether a second commander has a publisher on the command topic."""
        if on and self._intruder is None:
            self._intruder = self.node.create_publisher(
                JointTrajectory, '/joint_trajectory', qos.COMMAND
            )
        elif not on and self._intruder is not None:
            publisher, self._intruder = self._intruder, None
            self._let_go(self.node.destroy_publisher, publisher)

    def intruder_says(self, offset: float, seconds: float, index: int = 0) -> None:
        """The second commander sends one trajectory, from where the arm is."""
        if self._intruder is not None:
            self._intruder.publish(self._way(offset, seconds, index))

    def hand(self, offset: float, seconds: float, index: int = 0) -> None:
        """Take the arm out of the node's hand and turn one joint of it."""
        self.delivers = False
        now = time.monotonic()
        self.recording.add_hand(now, now + seconds + _HAND_SETTLES_S)
        self._to_arm.publish(self._way(offset, seconds, index))

    def _way(self, offset: float, seconds: float, index: int) -> Any:
        reading = self.recording.reading
        windows = self.recording.windows(time.monotonic() - 60.0, time.monotonic())
        if reading is None or not windows:
            raise DyslError('no joint states or no command yet: a hand has nothing to begin from')
        names = windows[-1].names
        target = reading.positions[[reading.names.index(name) for name in names]]
        target[index] += offset
        message = JointTrajectory(joint_names=list(names))
        message.header.frame_id = FOREIGN
        whole, part = divmod(round(seconds * 1e9), 10**9)
        message.points = [
            JointTrajectoryPoint(
                positions=target.tolist(), velocities=[0.0] * len(names),
                time_from_start=Duration(sec=whole, nanosec=part),
            )
        ]  # fmt: skip
        return message

    # ---- what it knows -----------------------------------------------------------------------

    def lateness(self, since: float) -> float:
        """How late this process woke at worst [s]: what the machine's load does to any of us."""
        return max((late for at, late in self._late if at >= since), default=0.0)

    def speed(self) -> float:
        """Of the fastest joint now [rad/s]; 0 when nothing is heard."""
        reading = self.recording.reading
        if reading is None or time.monotonic() - reading.at > 0.5:
            return 0.0
        return float(np.abs(reading.velocities).max())

    # ---- callbacks ---------------------------------------------------------------------------

    def _on_joints(self, message: Any) -> None:
        velocity: FloatArray = np.array(message.velocity)
        self.recording.add_reading(
            time.monotonic(), message.name, np.array(message.position), velocity
        )
        self._pass_on('joint_states', message)

    def _on_image(self, message: Any) -> None:
        self._pass_on('image', message)

    def _on_description(self, message: Any) -> None:
        self.urdf = message.data
        self._pass_on('robot_description', message)

    def _on_state(self, message: Any) -> None:
        self.recording.add_state(time.monotonic(), message.data)

    def _on_diagnostics(self, message: Any) -> None:
        at = time.monotonic()
        for status in message.status:
            level = status.level if isinstance(status.level, int) else status.level[0]
            self.recording.add_level(Level(at, status.name, level, status.message))

    def _on_command(self, message: Any) -> None:
        arrival, wall = time.monotonic(), time.time()
        if self.delivers:
            self._to_arm.publish(message)
        self.recording.add_window(read_window(message, arrival, wall))

    def _on_enable_timer(self) -> None:
        if self.enable is not None:
            self.say_enable(self.enable)

    def _pass_on(self, topic: str, message: Any) -> None:
        spoil = self.spoil.get(topic)
        for item in [message] if spoil is None else spoil(message):
            self._publishers[topic].publish(item)

    def _let_go(self, destroy: Callable[[Any], bool], entity: Any) -> None:
        """Destroy it in the executor's thread, which else may be about to wait on it and fails."""
        task, until = self._executor.create_task(destroy, entity), time.monotonic() + _LET_GO_S
        while not task.done() and time.monotonic() < until:
            time.sleep(0.001)

    # ---- threads -----------------------------------------------------------------------------

    def _spin(self) -> None:
        while not self._end.is_set():
            try:
                self._executor.spin_once(timeout_sec=0.05)
            except Exception:
                _LOG.exception('a callback of the relay failed')

    def _beat(self) -> None:
        due = time.monotonic()
        while not self._end.is_set():
            due += _BEAT_S
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            if now - due > _BEAT_S:
                self._late.append((now, now - due))
                del self._late[:-500]
                due = now
