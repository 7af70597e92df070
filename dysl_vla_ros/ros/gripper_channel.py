"""The way to one gripper: which openings are sent, as what, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from dysl_vla_ros.config import CARRIES_GRIPPER, GripperConfig
from dysl_vla_ros.core.gripper_filter import GripperFilter, GripperRamp
from dysl_vla_ros.data_types import Command, FloatArray
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.gripper_action import GripperAction

TOPIC = 'gripper_command'
_MOVED = 0.05
"""So far from where a gripper was led while nothing was commanded: somebody moved it."""


@dataclass
class _Told:
    """What a gripper, or its shadow, was told.

    Attributes:
        filter: Which openings were sent.
        ramp: How one that is carried travels to them.
        found_at: Where that began; None before.
        left_at: Measured at the last command; None without.
    """

    filter: GripperFilter
    ramp: GripperRamp
    found_at: float | None = None
    left_at: float | None = None


class GripperChannel:
    """One gripper, by whichever interface; called by the command thread alone."""

    def __init__(
        self, node: Node, config: GripperConfig, topic: str = TOPIC, holds_points: bool = False
    ) -> None:
        """Create the publishers, or the action's client.

        Args:
            node: Their owner.
            config: Of this gripper.
            topic: Where a gripper with a topic listens, and the shadow of every gripper but one
                that is carried in the arm's messages.
            holds_points: Those messages are single points, of which the last one is held.

        Raises:
            ConfigError: The interface is an action, and control_msgs is not installed.
        """
        self._node = node
        self._config = config
        self._holds_points = holds_points
        self._told = self._nothing()
        self._aside: _Told | None = None
        self._armed: bool | None = None
        self._silent = True
        self._listeners = 0
        self._known_receiver: float | None = None
        self.receiver_since: float | None = None
        """When the controller of the arm was started again [s]; written by any thread."""
        self.commanded = 1.0
        """The opening commanded last; open before the first."""
        self._action: GripperAction | None = None
        if config.interface == 'action':
            self._action = GripperAction(node, config)  # may refuse, so it comes first
        self.live: Any = None
        self.shadow: Any = None
        if config.interface == 'topic':
            self.live = node.create_publisher(Float64MultiArray, topic, qos.COMMAND)
        if config.interface in ('topic', 'action'):
            self.shadow = node.create_publisher(
                Float64MultiArray, f'~/shadow/{topic.lstrip("/")}', qos.COMMAND
            )

    @property
    def is_carried(self) -> bool:
        """Whether its value travels in the messages of the arm."""
        return self._config.interface in CARRIES_GRIPPER

    @property
    def reaches(self) -> str:
        """Resolved name of what moves it, beside the messages of the arm; '' without."""
        if self._action is not None:
            return str(self._node.resolve_service_name(self._config.action_name))
        return '' if self.live is None else str(self.live.topic_name)

    def destroy(self) -> None:
        """Drop publishers and client."""
        for publisher in (self.live, self.shadow):
            if publisher is not None:
                self._node.destroy_publisher(publisher)
        if self._action is not None:
            self._action.destroy()

    def begin(self, armed: bool, measured: float | None) -> None:
        """Before each command: does what was sent still hold?

        What only the shadow was told, the gripper does not know; what it was told, it still does
        after a motion in shadow. After a silence a wish is sent anew; a gripper that is carried
        stays as it was told last, which may be what holds an object, until an action is played;
        where somebody moved it meanwhile, or the controller was started again, which holds what
        it then measured, it begins where it is.

        Args:
            armed: Whether commands reach the gripper.
            measured: Its opening; None without a measurement.
        """
        if self._armed is not None and armed != self._armed:
            before, self._aside = self._aside, self._told
            self._told = before if armed and before is not None else self._nothing()
            self._silent = True
        if self.receiver_since != self._known_receiver and self.is_carried:
            self._told, self._aside = self._nothing(), None
        self._known_receiver = self.receiver_since
        moved = measured is not None and self._was_moved(measured)
        if self._silent and (moved or not self.is_carried):
            self._told = self._nothing()
            if self._action is not None:
                self._action.forget()
        elif self._silent:
            stands = self._told.ramp.stop()
            if stands is not None:
                self._told.filter.stopped_at(self._told.filter.opening_at(stands))
        self._armed, self._silent, self._told.left_at = armed, False, measured

    def _nothing(self) -> _Told:
        return _Told(GripperFilter(self._config), GripperRamp(self._config, self._holds_points))

    def _was_moved(self, measured: float) -> bool:
        """Whether the opening lies where nothing led it: neither left there, nor on the way told.

        A gripper goes on after the last command, until it closes on something or is where it was
        told to be.
        """
        left, led = self._told.left_at, self._told.ramp.told
        if left is None:
            return False
        ends = (left, left if led is None else self._told.filter.opening_at(led))
        return not min(ends) - _MOVED <= measured <= max(ends) + _MOVED

    def carried(
        self, command: Command, measured: float | None, at: float
    ) -> tuple[str, FloatArray] | None:
        """The gripper as one more joint of the arm's message: on its way to what was sent.

        Called after ``send``: until then a run of before says what that is.

        Args:
            command: That is sent.
            measured: Opening; None without a measurement.
            at: Time of the command for whoever receives it [s]: at half its speed it has come
                half as far along the window before.

        Returns:
            Its joint's name, and its values at the points of the window, shape (k,); None where
            it is not carried, or was neither measured nor sent.
        """
        if not self.is_carried:
            return None
        told = self._told
        if told.found_at is None:
            told.found_at = measured  # once: whoever follows a measurement creeps with it
        if told.found_at is not None:
            told.ramp.begin(told.filter.joint_value(told.found_at))
        opening = told.found_at if told.filter.sent is None else told.filter.sent
        if opening is None:
            return None
        value, plays = told.filter.joint_value(opening), command.gripper is not None
        column = told.ramp.column(at, value, command.window_times, plays)
        if told.ramp.goal != value:  # it was to open further, and no action is played
            told.filter.stopped_at(told.filter.opening_at(told.ramp.goal))
        return self._config.joint, column

    def send(self, command: Command) -> None:
        """With each command: what the policy wants of the gripper now."""
        plays = command.gripper is not None and not command.hold
        if self._action is not None:
            self._action.go(plays)
        wanted = self._told.filter.update(command.gripper, plays, command.stamp)
        if plays and self._newly_heard() and wanted is None:
            wanted = self._told.filter.sent
        if wanted is not None:
            self._tell(wanted)

    def finish(self) -> None:
        """Nothing is commanded any more; the gripper keeps what it was told."""
        self._silent = True
        if self._action is not None:
            self._action.go(False)

    def report(self) -> str:
        """What became of what was sent, for people; any thread."""
        if self._action is not None:
            return self._action.report
        sent = self._told.filter.sent
        return 'nothing sent' if sent is None else f'{100 * sent:.0f} % open sent'

    def problem(self) -> str:
        """Why the gripper does not do what is wanted; '' when it does, or nobody can know."""
        if self._action is not None:
            return self._action.problem
        if self.live is None or not self._armed or self._silent or self._told.filter.sent is None:
            return ''
        heard = self.live.get_subscription_count()
        return '' if heard else f'nobody subscribes to {self.live.topic_name}, the gripper'

    def _tell(self, opening: float) -> None:
        value = self._told.filter.joint_value(opening)
        if self._armed:
            self.commanded = opening
        if self._armed and self._action is not None:
            self._action.send(opening, value)
            return
        publisher = self.live if self._armed else self.shadow
        if publisher is not None:
            publisher.publish(Float64MultiArray(data=[value]))

    def _newly_heard(self) -> bool:
        """Whether a listener appeared, which does not know what stands."""
        if self.live is None or not self._armed:
            return False
        before, self._listeners = self._listeners, int(self.live.get_subscription_count())
        return self._listeners > before
