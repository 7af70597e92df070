"""The lifecycle node: each state owns its resources, and drops them on the way back.

    unconfigured   parameters                                            self.config
    inactive       + policy, subscriptions, publishers, services         self._configured
    active         + command thread, inference worker                    self._active

rclpy swallows exceptions raised in transition callbacks; they are caught and logged here.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any, cast

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_msgs.msg import Bool

from dysl_vla_ros.config import NodeConfig, changed
from dysl_vla_ros.contract import engine_of, joint_doubt
from dysl_vla_ros.errors import DyslError, EngineError
from dysl_vla_ros.policy import Policy
from dysl_vla_ros.policy_process.open_policy import open_policy
from dysl_vla_ros.ros import parameters, qos
from dysl_vla_ros.ros.active import Active
from dysl_vla_ros.ros.configured import Configured
from dysl_vla_ros.ros.lifecycle_guard import answer_invalid_transitions
from dysl_vla_ros.ros.log_bridge import LogBridge
from dysl_vla_ros.ros.requests import Remembered

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR

NODE_NAME = 'vla_node'

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
    """Follows the life cycle; decides nothing itself."""

    def __init__(self, settle: Callable[[], object] = lambda: None, **options: Any) -> None:
        """Declare and check the parameters.

        Args:
            settle: Called before each activation, while the arm cannot move.
            options: Of ``rclpy.node.Node`` (``context``, ``namespace``, ...).

        Raises:
            ConfigError: A parameter is unknown or wrong.
        """
        super().__init__(
            NODE_NAME, automatically_declare_parameters_from_overrides=True, **options
        )
        self.config = parameters.declare(self)
        self.failed = False
        self._settle = settle
        self._showing = False
        self._remembered = Remembered()
        self._to_say_first = str(self.get_parameter('instruction').value)
        self._configured: Configured | None = None
        self._active: Active | None = None
        self._hanging: Active | None = None
        self._log_bridge = LogBridge(self.get_logger())
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._autostart: Any = None
        # For the whole life of the node: what is pressed before it is configured is not lost.
        # Reliable and best-effort publishers both reach it; twice the same is no harm.
        for profile in (qos.STOP, qos.STOP_BEST_EFFORT):
            self.create_subscription(Bool, 'estop', self._on_estop, profile)
        self.add_on_set_parameters_callback(self._on_parameters)
        answer_invalid_transitions(self)
        if self.get_parameter('autostart').value:
            self._autostart = self.create_timer(0.0, self._on_autostart, clock=self._steady)

    # ---- transitions -------------------------------------------------------------------------

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the policy, then create everything but motion."""
        # One of the twins: they have the same calls.
        self.config = parameters.read(self)
        policy = cast(Policy, open_policy(engine_of(self.config)))
        try:
            self._configured = Configured(
                self, self.config, policy, self._steady, self._remembered
            )
        except BaseException:
            policy.engine.close()
            raise
        self._show(self._configured.session.config)
        self._log_summary(policy)
        return SUCCESS

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to tick and to predict."""
        assert self._configured is not None
        if self._hanging is not None and self._hanging.alive:
            raise EngineError(
                'a pass or a command of the last activation has not ended, and one thread alone '
                'may use an engine: try again later, or restart the node (engine.in_process = '
                'false for passes that hang)'
            )
        self._settle()
        self._active = Active(self._configured.session, self._configured.on_delivery)
        self._configured.requests.active = True
        first, self._to_say_first = self._to_say_first, ''
        if first:  # of the parameter, once: a later activation is no new instruction
            self._configured.services.instruct(first)
        self._configured.reports.state(self._configured.session.state)
        return SUCCESS

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Brake to rest, then end both threads."""
        self._stop('deactivated')
        return SUCCESS

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop everything that configure made."""
        self._release()
        return SUCCESS

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From any state: brake to rest, drop everything."""
        self.close('shut down')
        return SUCCESS

    @_logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a bug: brake to rest, drop everything; the node can be configured again."""
        self.close('error in a transition')
        return SUCCESS

    def close(self, reason: str) -> None:
        """Brake to rest and drop everything; a second call does nothing."""
        self._stop(reason)
        self._release()

    def destroy_node(self) -> None:
        """Stop, drop everything, and leave the logger as it was."""
        self.close('destroyed')
        self._log_bridge.close()
        super().destroy_node()

    # ---- resources ---------------------------------------------------------------------------

    def _stop(self, reason: str) -> None:
        active, self._active = self._active, None
        if self._configured is not None:
            self._configured.requests.active = False
        if active is not None:
            self._hanging = None if active.stop(reason) else active
        if self._configured is not None:
            self._configured.reports.state('inactive')

    def _release(self) -> None:
        configured, self._configured = self._configured, None
        if configured is not None:
            hangs = self._hanging is not None and self._hanging.alive
            configured.destroy(close_engine=not hangs)
            self._show(self.config)  # what was left to the bundle is open again

    def _show(self, config: NodeConfig) -> None:
        self._showing = True
        try:
            parameters.show(self, config)
        finally:
            self._showing = False

    def _log_summary(self, policy: Policy) -> None:
        config, manifest, log = self.config, policy.manifest, self.get_logger()
        place = 'in this process' if config.engine.in_process else 'in a process of its own'
        armed = 'armed' if config.safety.armed else 'not armed, commands go to ~/shadow'
        log.info(
            f'{manifest.name} on {policy.engine.device}, {place}: {manifest.layers_total} layers, '
            f'{config.timing.command_rate_hz:g} commands per second, {armed}'
        )
        doubt = joint_doubt(config, manifest)
        if doubt:
            log.warning(doubt)
        if config.action.command_type == 'joint_commands':
            log.warning(
                'command_type = joint_commands: forward controllers have no timeout; the arm '
                'keeps its last command when this node dies'
            )

    # ---- callbacks of the executor -------------------------------------------------------------

    def _on_autostart(self) -> None:
        self.destroy_timer(self._autostart)
        self._autostart = None
        if self.trigger_configure() != SUCCESS or self.trigger_activate() != SUCCESS:
            self.failed = True

    def _on_estop(self, message: Any) -> None:
        if self._configured is None:
            self._remembered.press(message.data)
        else:
            self._configured.requests.estop(message.data)

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        if self._showing:
            return SetParametersResult(successful=True)
        if self._active is not None and any(item.name == 'use_sim_time' for item in changes):
            return SetParametersResult(
                successful=False, reason='use_sim_time: not while the node is active'
            )
        result = parameters.validate(changes, self._configured is not None, self.config.arms.names)
        if not result.successful or self._configured is None:
            return result
        live = {item.name: item.value for item in changes}
        try:
            self._configured.session.change(live)
        except DyslError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.config = changed(self.config, live)
        return result
