"""The lifecycle node: each state owns its resources, and drops them on the way back.

    unconfigured   parameters only
    inactive       policy, subscriptions, publishers, services, diagnostics    on_configure
    active         + command thread, inference worker                          on_activate

rclpy swallows exceptions raised in transition callbacks; they are caught and logged here.
"""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logging_directory
from rclpy.parameter import Parameter
from std_msgs.msg import String

from dysl_vla_ros.control_loop import Delivery
from dysl_vla_ros.errors import DyslError
from dysl_vla_ros.policy import open_policy
from dysl_vla_ros.ros import chunk_messages, parameters, qos
from dysl_vla_ros.ros.arm import joint_names
from dysl_vla_ros.ros.command_publishers import CommandPublishers
from dysl_vla_ros.ros.command_thread import CommandThread
from dysl_vla_ros.ros.controller_check import ControllerCheck
from dysl_vla_ros.ros.flight_recorder import FlightRecorder
from dysl_vla_ros.ros.inference_worker import InferenceWorker
from dysl_vla_ros.ros.inputs import Inputs
from dysl_vla_ros.ros.lifecycle_guard import answer_invalid_transitions
from dysl_vla_ros.ros.log_bridge import LogBridge
from dysl_vla_ros.ros.reports import Reports
from dysl_vla_ros.ros.requests import Requests
from dysl_vla_ros.ros.services import Services
from dysl_vla_ros.ros.session import Session

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR

NODE_NAME = 'vla_node'
_DIAGNOSTICS_PERIOD_S = 1.0
_STOP_PATIENCE_S = 1.0
_WORKER_PATIENCE_S = 5.0

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def _logged(transition: Transition) -> Transition:
    """A transition whose exceptions are logged: FAILURE for a known error, ERROR for a bug."""

    @functools.wraps(transition)
    def call(node: VlaNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except DyslError as error:
            node.get_logger().error(f'{transition.__name__}: {error}')
            return FAILURE
        except Exception:
            node.get_logger().error(f'{transition.__name__} raised\n{traceback.format_exc()}')
            return ERROR

    return call


class VlaNode(LifecycleNode):
    """Wires policy, arm and ROS together; decides nothing itself."""

    def __init__(self, **options: Any) -> None:
        """Declare and check the parameters.

        Args:
            options: Of ``rclpy.node.Node`` (``context``, ``namespace``, ...).

        Raises:
            ConfigError: A parameter is unknown or wrong.
        """
        super().__init__(
            NODE_NAME, automatically_declare_parameters_from_overrides=True, **options
        )
        self.config = parameters.declare(self)
        self.failed = False
        self._session: Session | None = None
        self._reports: Reports | None = None
        self._request_services: Services | None = None
        self._requests: Requests | None = None
        self._commands: CommandThread | None = None
        self._worker: InferenceWorker | None = None
        self._controller_check: ControllerCheck | None = None
        self._description: Any = None
        self._timer: Any = None
        self._attention: Any = None
        self._log_bridge: LogBridge | None = None
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.add_on_set_parameters_callback(self._on_parameters)
        answer_invalid_transitions(self)
        self._autostart: Any = None
        if self.get_parameter('autostart').value:
            self._autostart = self.create_timer(0.0, self._on_autostart, clock=self._steady)

    # ---- transitions -------------------------------------------------------------------------

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the policy, then create everything but motion."""
        self._log_bridge = LogBridge(self.get_logger())
        try:
            self._configure()
        except BaseException:
            self.release()
            raise
        return SUCCESS

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to tick and to predict."""
        assert self._session is not None and self._requests is not None
        session = self._session
        self._requests.active = True
        self._commands = CommandThread(
            session.tick, session.tick_failed, 1.0 / self.config.timing.command_rate_hz
        )
        self._worker = InferenceWorker(
            lambda: session.loop, session.inputs.observation, self._on_delivery
        )
        self._commands.start()
        self._worker.start()
        self._publish_state(session.state)
        return SUCCESS

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Brake to rest, then end both threads."""
        self._stop_threads('deactivated')
        return SUCCESS

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop everything that configure made."""
        self.release()
        return SUCCESS

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state: brake to rest, drop everything."""
        self._stop_threads('shut down')
        self.release()
        return SUCCESS

    @_logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a bug: brake to rest, drop everything; the node can be configured again."""
        self._stop_threads('error in a transition')
        self.release()
        return SUCCESS

    # ---- resources ---------------------------------------------------------------------------

    def _configure(self) -> None:
        config = self.config
        policy = open_policy(config.engine)
        names = joint_names(policy.manifest, config)
        recorder = FlightRecorder(get_logging_directory(), config.timing.command_rate_hz)
        self._reports = Reports(self)
        self._session = session = Session(
            config,
            policy,
            Inputs(self, policy.manifest, config, names),
            CommandPublishers(self, config, names),
            recorder,
            self._on_state,
        )
        self._requests = Requests(session)
        self._request_services = Services(self, self._requests)
        self._description = self.create_subscription(
            String, 'robot_description', self._on_description, qos.LATCHED
        )
        if config.action.command_type == 'joint_trajectory':
            self._controller_check = ControllerCheck(self, session.publishers.command_topic)
        elif config.action.command_type == 'joint_commands':
            self.get_logger().warning(
                'command_type joint_commands: forward controllers have no timeout; the arm keeps '
                'its last command if this node dies'
            )
        self._attention = self.create_guard_condition(self._on_attention)
        self._timer = self.create_timer(
            _DIAGNOSTICS_PERIOD_S, self._on_timer, clock=self._steady
        )
        self._reports.metadata(policy.manifest, policy.engine.device, names)
        instruction = self.get_parameter('instruction').value
        if instruction:
            self._request_services.instruct(str(instruction))
        self.get_logger().info(
            f'{policy.manifest.name} on {policy.engine.device}; '
            f'{policy.manifest.layers_total} layers, '
            f'commands at {config.timing.command_rate_hz:g} Hz, '
            f'{"armed" if config.safety.armed else "not armed: commands go to ~/shadow"}'
        )

    def _stop_threads(self, reason: str) -> None:
        """The one stop path: brake along the path, let the last window end at rest."""
        session = self._session
        if self._requests is not None:
            self._requests.active = False
        if session is not None and session.loop is not None:
            session.loop.stop(time.monotonic(), reason)
        if self._commands is not None and not self._commands.finish(_STOP_PATIENCE_S):
            self.get_logger().warning('not at rest in time; the last window ends at rest')
        self._commands = None
        if self._worker is not None and not self._worker.stop(_WORKER_PATIENCE_S):
            self.get_logger().error('the pass in flight does not end; its engine is not closed')
            if session is not None:
                session.policy_in_use = True
        self._worker = None
        if session is not None:
            self._publish_state('inactive')

    def release(self) -> None:
        """Destroy what configure made, in reverse; what is not there is skipped."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
        if self._attention is not None:
            self.destroy_guard_condition(self._attention)
        if self._description is not None:
            self.destroy_subscription(self._description)
        for part in (self._controller_check, self._request_services, self._session, self._reports):
            if part is not None:
                part.destroy()
        if self._log_bridge is not None:
            self._log_bridge.close()
        self._timer = self._attention = self._description = None
        self._controller_check = self._request_services = self._session = self._reports = None
        self._requests = self._log_bridge = None

    # ---- callbacks of the executor -------------------------------------------------------------

    def _on_autostart(self) -> None:
        self.destroy_timer(self._autostart)
        self._autostart = None
        if self.trigger_configure() != SUCCESS or self.trigger_activate() != SUCCESS:
            self.failed = True

    def _on_description(self, message: Any) -> None:
        assert self._session is not None
        problem = self._session.describe_robot(message.data)
        if problem:
            self.get_logger().error(problem)

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        result = parameters.validate(changes)
        if result.successful:
            for change in changes:
                if change.name == 'skip.mode':
                    self._set_skip_mode(change.value)
        return result

    def _set_skip_mode(self, mode: Any) -> None:
        self.config = replace(self.config, skip=replace(self.config.skip, mode=mode))
        if self._session is not None:
            self._session.config = self.config
            if self._session.loop is not None:
                self._session.loop.skip_mode = mode

    def _on_timer(self) -> None:
        if self._session is None or self._reports is None:
            return
        self._reports.diagnostics(self._session, self._commands is not None)
        self._session.inputs.choose_transports()
        if self._controller_check is not None:
            self._controller_check.poll()

    def _on_attention(self) -> None:
        """The state changed: report levels at once, and keep the evidence of a fault."""
        if self._session is None or self._reports is None:
            return
        self._reports.diagnostics(self._session, self._commands is not None, only_changes=True)
        reason = self._session.take_evidence_reason()
        if reason:
            self._write_flight(reason)

    def _write_flight(self, reason: str) -> None:
        assert self._session is not None
        about = {'bundle': self._session.policy.manifest.name, 'config': repr(self.config)}
        try:
            path = self._session.recorder.write(reason, about)
            self.get_logger().error(f'{reason}; the last cycles are in {path}')
        except OSError as error:
            self.get_logger().error(f'{reason}; the flight recorder cannot write: {error}')

    # ---- callbacks of the two threads ----------------------------------------------------------

    def _on_state(self, before: str, state: str, reason: str) -> None:
        self._publish_state(state)
        text = f'{before} -> {state}' + (f': {reason}' if reason else '')
        self.get_logger().info(text)
        if self._attention is not None:
            self._attention.trigger()

    def _publish_state(self, state: str) -> None:
        if self._reports is not None:
            self._reports.state(state)

    def _on_delivery(self, delivery: Delivery, now: float) -> None:
        session, reports = self._session, self._reports
        if session is None or reports is None or session.loop is None:
            return
        session.deliver(delivery, now)
        action = session.policy.manifest.action
        names = chunk_messages.dimension_names(action, session.loop.limits.names)
        info = reports.chunk(delivery, names, session.loop.action_period, session, now)
        session.recorder.note_chunk({item.key: item.value for item in info.values})
