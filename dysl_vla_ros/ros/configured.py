"""What exists from configure to cleanup: the session, its inputs, outputs and reports."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from rclpy.clock import Clock
from rclpy.lifecycle import LifecycleNode
from rclpy.logging import get_logging_directory
from std_msgs.msg import String

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.core.run_state import LATCHED, PLAYING
from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.errors import ConfigError, DyslError
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.loop_status import Delivery
from dysl_vla_ros.policy import Pass, Policy
from dysl_vla_ros.ros import diagnostics, qos
from dysl_vla_ros.ros.arm import joint_names
from dysl_vla_ros.ros.around import PERIOD_S, Around
from dysl_vla_ros.ros.chunk_messages import dimension_names
from dysl_vla_ros.ros.command_publishers import CommandPublishers
from dysl_vla_ros.ros.controller_fit import Sent, sent_by
from dysl_vla_ros.ros.flight_recorder import FlightRecorder
from dysl_vla_ros.ros.inputs import Inputs
from dysl_vla_ros.ros.observer import Observer
from dysl_vla_ros.ros.only_simulated import OnlySimulated
from dysl_vla_ros.ros.pass_log import PassLog
from dysl_vla_ros.ros.path_view import PathView
from dysl_vla_ros.ros.references import read_references
from dysl_vla_ros.ros.reports import Reports
from dysl_vla_ros.ros.requests import Remembered, Requests
from dysl_vla_ros.ros.services import Services
from dysl_vla_ros.ros.session import Session
from dysl_vla_ros.ros.speed import Speed

_DIAGNOSTICS_PERIOD_S = 1.0
_HEADLINE_S = 10.0
_AGAIN_S = 10.0


class Configured:
    """Publishers, subscriptions, services and timers of a configured node."""

    def __init__(
        self,
        node: LifecycleNode,
        config: NodeConfig,
        policy: Policy,
        steady: Clock,
        remembered: Remembered,
    ) -> None:
        """Create everything but motion.

        Args:
            node: Owner of all that is created.
            config: Validated parameters.
            policy: Opened and warmed up.
            steady: Clock of the diagnostics timer; sim time may stand still, watchdogs may not.
            remembered: Stops that clean-up does not undo.

        Raises:
            ConfigError: A parameter does not fit the bundle or this machine.
        """
        # What may refuse comes first, so that nothing is left behind.
        config = with_bundle(config, policy.manifest)
        names = joint_names(policy.manifest, config)
        references = self._references(node, config, policy.manifest)
        publishers = CommandPublishers(node, config, names, policy.manifest.action.frame_id)
        try:
            speed = Speed(node, config, publishers.command_topic)
        except ConfigError:
            publishers.destroy()
            raise
        self._node = node
        self._remembered = remembered
        self._names = dimension_names(policy.manifest.action, names, config.arms)
        self._steady = steady
        self._logged, self._logged_at = 'inactive', time.monotonic()
        self.reports = Reports(node)
        self._view = PathView(node, config.action.frame_id or policy.manifest.action.frame_id)
        self.session = Session(
            config,
            policy,
            Inputs(
                node,
                policy.manifest,
                config,
                names,
                references,
                lambda: publishers.commanded,
            ),
            publishers,
            FlightRecorder(get_logging_directory(), config.timing.command_rate_hz),
            Around(
                node,
                _sent(config, publishers),
                config.safety,
                config.timing.command_rate_hz,
                _simulated(node, config, publishers),
            ),
            speed,
            Observer('the report of a state', self._on_state),
        )
        settings = skip_settings(config, policy.manifest.calibration)
        self.passes = PassLog(node, policy, settings)
        self.session.watch = self.passes.watch
        self.session.remember(remembered.latched, remembered.disarmed)
        self.requests = Requests(self.session, remembered=remembered)
        self.services = Services(node, self.requests)
        self._description = node.create_subscription(
            String, 'robot_description', self._on_description, qos.LATCHED
        )
        self._attention = node.create_guard_condition(self._on_attention)
        self._looks = node.create_timer(PERIOD_S, self.session.around.poll, clock=steady)
        self._timer = node.create_timer(_DIAGNOSTICS_PERIOD_S, self._on_timer, clock=steady)
        self.reports.metadata(policy.manifest, policy.engine.device, names)
        self.reports.state('inactive')

    def destroy(self, close_engine: bool) -> None:
        """Drop everything, in reverse.

        Args:
            close_engine: False while a pass hangs in it.
        """
        self._remembered.latched = self.session.latched
        with ExitStack() as parts:  # each of them, also when one of them raises
            if close_engine:
                parts.callback(self.session.policy.engine.close)
            for drop in (self.passes, self._view, self.reports, self.session, self.services):
                parts.callback(drop.destroy)
            parts.callback(self._node.destroy_subscription, self._description)
            parts.callback(self._node.destroy_guard_condition, self._attention)
            for timer in (self._looks, self._timer):
                parts.callback(self._node.destroy_timer, timer)

    @staticmethod
    def _references(
        node: LifecycleNode, config: NodeConfig, manifest: Manifest
    ) -> dict[str, ImageArray]:
        """Pictures to compare the cameras with: a help for people, nothing to fail on."""
        try:
            return read_references(config.engine.path, manifest)
        except DyslError as error:
            node.get_logger().warning(f'no camera is compared with training: {error}')
            return {}

    # ---- the executor's thread -----------------------------------------------------------------

    def _on_description(self, message: Any) -> None:
        problem = self.session.describe_robot(message.data)
        if problem:
            self._node.get_logger().error(problem, throttle_duration_sec=_AGAIN_S)

    def _on_timer(self) -> None:
        self.reports.diagnostics(self.session, self.requests.active)
        self._log_headline(time.monotonic())
        self.session.inputs.follow_cameras()
        problem, _ = self.session.clock_problem(time.monotonic())
        if problem:
            self._node.get_logger().warning(problem, throttle_duration_sec=_AGAIN_S)

    def _log_headline(self, now: float) -> None:
        """Every ten seconds what is going on; nothing while that is the same word for word."""
        if now - self._logged_at < _HEADLINE_S:
            return
        line = diagnostics.headline(self.session, self.requests.active, now)
        if line != self._logged:
            self._node.get_logger().info(line)
            self._logged, self._logged_at = line, now

    def _on_attention(self) -> None:
        """The state changed: report levels at once, and keep the evidence of a fault."""
        self.reports.diagnostics(self.session, self.requests.active, only_changes=True)
        reason = self.session.take_evidence_reason()
        if reason:
            self._write_flight(reason)

    def _write_flight(self, reason: str) -> None:
        about = {
            'bundle': self.session.policy.manifest.name,
            'config': repr(self.session.config),
        }
        try:
            path = self.session.recorder.write(reason, about)
            self._node.get_logger().error(f'the last cycles are in {path}')
        except OSError as error:
            self._node.get_logger().error(f'the flight recorder cannot write: {error}')

    # ---- the command thread and the worker -----------------------------------------------------

    def _on_state(self, before: str, state: str, reason: str) -> None:
        self.reports.state(state)
        log = self._node.get_logger()
        text = f'{before} -> {state}' + (f': {reason}' if reason else '')
        if state in LATCHED:
            log.error(text)
        elif state == 'stale':
            log.warning(text)
        elif before in PLAYING and state in PLAYING:
            log.debug(text)  # several times a second, when passes are verified
        else:
            log.info(text)
        self._attention.trigger()

    def on_delivery(self, delivery: Delivery, result: Pass, now: float) -> None:
        """Publish and keep what became of a pass."""
        loop = self.session.loop
        if loop is None:
            return
        self.session.stats.add(delivery, now)
        info = self.reports.chunk(
            delivery, result, self._names, loop.action_period, self.session, now
        )
        self.session.recorder.note_chunk({item.key: item.value for item in info.values})
        self._view.show(self.session.kinematics, loop.targets_ahead, loop.armed)
        self.passes.delivered(delivery, result, now, loop.skip_mode)


def _simulated(
    node: LifecycleNode, config: NodeConfig, publishers: CommandPublishers
) -> OnlySimulated | None:
    if not config.safety.simulator:
        return None
    return OnlySimulated(
        node, config.safety.simulator, publishers.command_topic, lambda: publishers.listeners
    )


def _sent(config: NodeConfig, publishers: CommandPublishers) -> dict[str, Sent]:
    """What each command topic carries."""
    arms = zip(publishers.arms, config.grippers, strict=True)
    return {arm.topic: sent_by(config, arm.joint_names, gripper) for arm, gripper in arms}
