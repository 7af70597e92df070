"""How fast the receiver's time passes: its speed override, and the simulation's clock."""

from __future__ import annotations

import time
from typing import Any, cast

from rclpy.node import Node
from std_msgs.msg import Float64

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.pace import SLOWEST, Override, Pace
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.ros import qos

STATE = 'controller_state'
"""Beside the command topic, where a trajectory controller publishes its state."""
FACTOR = 'speed_scaling_factor'
"""The field of that state; not every release has it."""
_STAMPED_FROM = 0.5
"""At a smaller factor windows begin on arrival: a step of the arrival's jitter is smaller then."""


class Speed:
    """Asked once per tick by the command thread; callbacks only keep the newest factor."""

    def __init__(self, node: Node, config: NodeConfig, command_topic: str) -> None:
        """Subscribe to the source, if there is one.

        Args:
            node: Owner of the subscription and of ROS time.
            config: Validated parameters.
            command_topic: Resolved name of the topic that moves the arm.

        Raises:
            ConfigError: The controller's state cannot be read: control_msgs is missing or old.
        """
        speed = config.speed
        self.scale = speed.scale
        self._node = node
        self._clock: Any = node.get_clock()
        self._override: Override | None = None
        self._obeyed = speed.obeyed and config.action.command_type == 'joint_trajectory'
        self._subscription: Any = None
        self._before: float | None = None
        self.ros_now: float | None = None
        """ROS time of the newest tick, where it is simulated [s]; else None."""
        self.factor = 1.0
        """Of the receiver, at the newest tick."""
        self.problem = ''
        if speed.source != 'none':
            self._subscribe(speed.source, speed.topic, speed.unit, command_topic)

    @property
    def stamped(self) -> bool:
        """Whether windows should carry the stamp of their tick."""
        return not self._obeyed or self.factor >= _STAMPED_FROM

    @property
    def is_slowed(self) -> bool:
        """Whether the receiver's clock runs slower than time, by its override."""
        return self._obeyed and self.factor < 1.0

    @property
    def report(self) -> str:
        """For people: what is in force."""
        source = 'no override' if self._override is None else self._override.source
        return f'{100 * self.factor * self.scale:.0f} % (speed.scale {self.scale:g}, {source})'

    def pace(self, now: float) -> Pace:
        """What this tick has to know.

        Args:
            now: Steady time of the tick [s].
        """
        factor, problem = (1.0, '') if self._override is None else self._override.factor(now)
        scale = self.scale if self._obeyed else self.scale * factor
        if not problem and self.scale < SLOWEST:
            problem = f'speed.scale = {self.scale:g}'
        passed = self._passed(now, factor if self._obeyed else 1.0)
        self.factor, self.problem = factor, problem
        return Pace(passed, scale, self._obeyed and factor == 0.0, problem)

    def destroy(self) -> None:
        """Drop the subscription."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _passed(self, now: float, factor: float) -> float | None:
        """Seconds that passed for the receiver; None where its time is ours."""
        before, self._before = self._before, now
        if self._clock.ros_time_is_active:
            now = 1e-9 * self._clock.now().nanoseconds
            before, self.ros_now = self.ros_now, now
        else:
            self.ros_now = None
            if factor == 1.0:
                return None
        return 0.0 if before is None else max(now - before, 0.0) * factor

    def _subscribe(self, source: str, topic: str, unit: str, command_topic: str) -> None:
        kind, field = cast(Any, Float64), 'data'
        name = topic or f'{command_topic.rpartition("/")[0]}/{STATE}'
        if source == 'controller_state':
            kind, field, unit = controller_state_type(), FACTOR, 'fraction'

        def on_message(message: Any) -> None:
            override.take(getattr(message, field), time.monotonic())

        self._subscription = self._node.create_subscription(kind, name, on_message, qos.SENSOR)
        per_unit = 100.0 if unit == 'percent' else 1.0
        override = Override(str(self._subscription.topic_name), per_unit)
        self._override = override


def controller_state_type() -> Any:
    """The message in which a trajectory controller tells its speed factor.

    Raises:
        ConfigError: control_msgs is not installed, or is older than that field.
    """
    try:
        from control_msgs.msg import JointTrajectoryControllerState
    except ImportError:
        raise ConfigError(
            'speed.source',
            'controller_state',
            "'topic' or 'none', or control_msgs installed (ros-<distro>-control-msgs)",
        ) from None
    if not hasattr(JointTrajectoryControllerState(), FACTOR):
        raise ConfigError(
            'speed.source',
            'controller_state',
            f"'topic' or 'none': the state of this control_msgs has no {FACTOR}",
        )
    return JointTrajectoryControllerState
