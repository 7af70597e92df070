"""Counts commands and states of a graph that runs by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.chaos.endurance import Run


class Listener:
    """A context manager around a listening node; call ``spin`` often."""

    def __init__(self, env: Mapping[str, str], run: Run) -> None:
        """Take the domain of the graph from ``env``; what is heard goes into ``run``."""
        os.environ.update({k: v for k, v in env.items() if k.startswith(('ROS_', 'FAST'))})
        self._run = run
        self._began = time.monotonic()

    def __enter__(self) -> Listener:
        """Join the graph."""
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node('dysl_soak')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._node.create_subscription(
            JointTrajectory, 'joint_trajectory', self._on_command, qos.REPORT
        )
        self._node.create_subscription(String, 'vla_node/state', self._on_state, qos.LATCHED)
        return self

    def __exit__(self, *unused: object) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def spin(self, seconds: float) -> None:
        """Handle what arrives in the next ``seconds``."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def _on_command(self, message: Any) -> None:
        self._run.arrivals.append(self.seconds)

    def _on_state(self, message: Any) -> None:
        self._run.states.append((self.seconds, message.data))
