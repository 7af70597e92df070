"""Listens to a running node for the demo: diagnostics, chunks, episodes, commands."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Float64
from trajectory_msgs.msg import JointTrajectory

from dysl_vla_ros.demo.figures import Picture
from dysl_vla_ros.errors import DyslError, InputError
from dysl_vla_ros.pictures.messages import rgb_of
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.lifecycle_guard import RCLError
from dysl_vla_ros.ros.view_requests import ViewRequests


class Watch:
    """A context manager around a listening node; call ``spin`` often."""

    def __init__(self, env: Mapping[str, str], namespace: str = '') -> None:
        """Take the domain of the graph from ``env``; listen in the namespace of the nodes."""
        self._namespace = namespace
        self.picture = Picture(heard_at=time.monotonic())
        # The middleware reads its settings from the process when the context is made.
        os.environ.update({k: v for k, v in env.items() if k.startswith(('ROS_', 'FAST'))})

    def __enter__(self) -> Watch:
        """Join the graph."""
        try:
            rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        except RCLError as error:
            raise DyslError(
                f'ROS 2 does not start: {error}: its log goes to a folder of HOME, or to '
                'ROS_LOG_DIR: one of them must be one to write in'
            ) from None
        self._node = Node('dysl_demo', namespace=self._namespace)
        self.requests = ViewRequests(self._node, self._node.resolve_topic_name('vla_node'))
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        listen = self._node.create_subscription
        listen(DiagnosticArray, '/diagnostics', self._on_diagnostics, qos.REPORT)
        listen(DiagnosticStatus, 'vla_node/chunk_info', self._on_chunk, qos.REPORT)
        listen(Float64, 'vla_node/continuity', self._on_continuity, qos.REPORT)
        listen(Float64, 'vla_node/skip_ratio_pass', self._on_skip_ratio, qos.REPORT)
        listen(DiagnosticStatus, 'sim_arm/episode', self._on_episode, qos.REPORT)
        listen(JointTrajectory, 'joint_trajectory', self._on_command, qos.REPORT)
        listen(Image, 'image', self._on_image, qos.SENSOR)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def spin(self, seconds: float) -> None:
        """Handle what arrives in the next ``seconds``."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def _on_diagnostics(self, message: Any) -> None:
        self.picture.heard_at = time.monotonic()
        for status in message.status:
            self.picture.note_status(status.name, _values(status), time.monotonic())

    def _on_chunk(self, message: Any) -> None:
        self.picture.heard_at = time.monotonic()
        self.picture.note_pass(_values(message))

    def _on_continuity(self, message: Any) -> None:
        self.picture.continuity.append(message.data)

    def _on_skip_ratio(self, message: Any) -> None:
        self.picture.skip_ratio.append(message.data)

    def _on_episode(self, message: Any) -> None:
        self.picture.note_episode(_values(message))

    def _on_image(self, message: Any) -> None:
        try:
            self.picture.frame = rgb_of('image', message)
        except InputError:  # the node says so
            return

    def _on_command(self, message: Any) -> None:
        self.picture.received.append(time.monotonic())


def _values(status: Any) -> dict[str, str]:
    return {item.key: item.value for item in status.values}
