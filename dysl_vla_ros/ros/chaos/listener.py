"""Counts commands and states of a graph that runs by itself; resets its faults, as people do."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.chaos.endurance import Run

_LOOK_S = 0.5
_PATIENCE_S = 2.0
"""Before a fault is reset, and between two tries."""
_REPEATS_S = 3.0
"""Diagnostics say a standing fault again within this."""


class Listener:
    """A context manager around a listening node; call ``spin`` often."""

    def __init__(self, env: Mapping[str, str], run: Run) -> None:
        """Take the domain of the graph from ``env``; what is heard goes into ``run``."""
        os.environ.update({k: v for k, v in env.items() if k.startswith(('ROS_', 'FAST'))})
        self._run = run
        self._began = time.monotonic()
        self._asked_at = 0.0

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
        self._node.create_subscription(
            DiagnosticArray, '/diagnostics', self._on_diagnostics, qos.REPORT
        )
        self._reset = self._node.create_client(Trigger, 'vla_node/estop_reset')
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
            self._executor.spin_once(timeout_sec=min(left, _LOOK_S))
            self._reset_a_fault()

    def _reset_a_fault(self) -> None:
        """Some seconds after it latched, again until it is released; the reason is kept."""
        state = self._run.states[-1][1] if self._run.states else ''
        since = max(self._asked_at, self._run.states[-1][0] if state else 0.0)
        if state == 'fault' and self.seconds - since > _PATIENCE_S:
            self._asked_at = self.seconds
            self._reset.call_async(Trigger.Request())

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            said = status.message
            if status.name.endswith(': commands') and said.startswith('fault'):
                if self._run.faults and self.seconds - self._run.faults[-1][0] <= _REPEATS_S:
                    self._run.faults.pop()  # the same one, said again
                self._run.faults.append((self.seconds, said))

    def _on_command(self, message: Any) -> None:
        self._run.arrivals.append(self.seconds)

    def _on_state(self, message: Any) -> None:
        self._run.states.append((self.seconds, message.data))
