"""All that exists while the node is configured, and what happens in one tick."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from dysl_vla_ros.config import NodeConfig, changed
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.control_loop import ControlLoop
from dysl_vla_ros.core.resend import Resend
from dysl_vla_ros.core.run_state import LATCHED, PLAYING, InputStatus
from dysl_vla_ros.data_types import Command
from dysl_vla_ros.description import says_the_same
from dysl_vla_ros.engines.fake.bundle import is_fake
from dysl_vla_ros.errors import ConfigError, DyslError, KinematicsError
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.policy import Policy
from dysl_vla_ros.ros.arm import build_loop, check_rest, tightened
from dysl_vla_ros.ros.around import Around, contact
from dysl_vla_ros.ros.chunk_stats import ChunkStats
from dysl_vla_ros.ros.command_publishers import CommandPublishers
from dysl_vla_ros.ros.flight_recorder import Cycle, FlightRecorder
from dysl_vla_ros.ros.inputs import Inputs
from dysl_vla_ros.ros.rate_meter import RateMeter
from dysl_vla_ros.ros.speed import Speed
from dysl_vla_ros.ros.stamps import clock_problem
from dysl_vla_ros.ros.streams import JointSample
from dysl_vla_ros.state_source import pose_state
from dysl_vla_ros.training_range import outside_training, pose_outside_training

NO_DESCRIPTION = 'robot_description: not received yet; it gives joint limits and kinematics'


def _redescribed(before: str, now: str) -> str:
    """What is wrong with a description that comes after the first; '' for nothing."""
    ask = 'clean up and configure again to use it'
    try:
        return '' if says_the_same(before, now) else f'robot_description changed: {ask}'
    except KinematicsError as error:
        return f'robot_description changed: {error}; {ask}'


class Session:
    """Policy, arm, inputs and outputs; made by configure, dropped by cleanup."""

    def __init__(
        self,
        config: NodeConfig,
        policy: Policy,
        inputs: Inputs,
        publishers: CommandPublishers,
        recorder: FlightRecorder,
        around: Around,
        speed: Speed,
        on_state: Callable[[str, str, str], None],
    ) -> None:
        """Join the parts; the control loop follows with the robot description.

        Args:
            config: Validated parameters.
            policy: Opened and warmed up.
            inputs: Subscriptions.
            publishers: Where commands go.
            recorder: Keeps the last cycles.
            around: Who else commands the arm, and whether its controller runs.
            speed: How fast the receiver's time passes.
            on_state: Called by the command thread with the old state, the new one, its reason.
        """
        self.config = config
        self.policy = policy
        self.inputs = inputs
        self.publishers = publishers
        self.recorder = recorder
        self.around = around
        self.speed = speed
        self.playing_since = 0.0
        self.meter = RateMeter(1.0 / config.timing.command_rate_hz)
        self._resend = Resend(config.chunk.command_window_s)
        self.stats = ChunkStats(config.skip.window_chunks)
        self.loop: ControlLoop | None = None
        self.kinematics: ArmKinematics | None = None
        self.robot_name = ''
        self.last_command: Command | None = None
        self.state = 'waiting'
        self.reason = NO_DESCRIPTION
        self.before_tick: Callable[[ControlLoop, float], None] = lambda loop, now: None
        self.watch: Callable[[Policy], Any] = lambda policy: policy
        self._description = self._refused_description = self.redescribed = ''
        self._description_problem = NO_DESCRIPTION
        self._early_estop = self._early_stop = ''
        self._disarmed = False
        self._evidence_of = ''
        self._on_state = on_state

    # ---- the robot ---------------------------------------------------------------------------

    def describe_robot(self, urdf: str) -> str:
        """Build the control loop from a robot description; returns what is wrong, else ''.

        A later one that says something else changes no limit, and until the first is back, or the
        node configured anew, the arm is not moved by what was built from that.
        """
        if self.loop is not None:
            self.redescribed = _redescribed(self._description, urdf)
            return self.redescribed
        try:
            watched = self.watch(self.policy)
            loop, self.kinematics = build_loop(watched, self.config, urdf)
        except (DyslError, ValueError, RuntimeError) as error:  # the last two of libraries
            self._description_problem = f'robot_description: {error}'
            self._refused_description = urdf
            return self._description_problem
        if self._disarmed:
            loop.armed = False
        if self._early_stop:
            loop.explain(self._early_stop)
        if self._early_estop:
            loop.estop(time.monotonic(), self._early_estop)
        self._description, self._description_problem = urdf, ''
        self.robot_name = self.kinematics.robot_name
        self.loop = loop
        return ''

    def remember(self, latched: str, disarmed: bool) -> None:
        """What the control loop begins with: a latch, and whether an operator disarmed it."""
        self._early_estop, self._disarmed = latched, disarmed

    def estop(self, now: float, reason: str) -> None:
        """Latch the e-stop, also when there is no control loop yet."""
        if self.loop is None:
            self._early_estop = self._early_estop or reason
        else:
            self.loop.estop(now, reason)

    def stop(self, now: float, reason: str) -> None:
        """Brake and go back to ready; the reason stands also when there is no control loop yet."""
        if self.loop is None:
            self._early_stop = reason
        else:
            self.loop.stop(now, reason)

    @property
    def latched(self) -> str:
        """Why a stop is latched, also where no control loop is there yet; '' when none is."""
        return self._early_estop if self.loop is None else self.loop.latched

    def input_status(self, now: float) -> InputStatus:
        """Whether everything needed to move is there and fresh."""
        if self._description_problem:
            return InputStatus(False, self._description_problem)
        return self.inputs.status(now)

    def unseen(self) -> str:
        """Where the arm stands outside what training saw, in a sentence; '' where it does not."""
        sample, loop, manifest = self.inputs.joints.newest, self.loop, self.policy.manifest
        if sample is None or loop is None or is_fake(manifest):
            return ''
        spec, limits, config = manifest.proprioception, loop.limits, self.config
        if spec.source != 'joints' and self.kinematics is not None:
            state = pose_state(spec, *self.kinematics.forward(sample.positions))
            tip = f'{config.action.tip_link} in {config.action.frame_id}'
            return pose_outside_training(spec, state, tip)
        return outside_training(
            spec, limits.names, sample.positions, limits.endless, config.arms.sizes
        )

    def clock_problem(self, now: float) -> tuple[str, bool]:
        """As ``stamps.clock_problem``, where trajectories are stamped."""
        stamped = self.config.action.command_type == 'joint_trajectory'
        stream = self.inputs.joints.stream
        if not (stamped and self.config.safety.stamped) or stream.problem(now):
            return '', False  # who is silent shows nothing of its clock
        return clock_problem(stream.least_age(now), 1.0 / self.config.timing.command_rate_hz)

    # ---- the command thread --------------------------------------------------------------------

    def tick(self, now: float) -> bool:
        """Command the arm once; returns whether it is still in motion."""
        loop = self.loop
        status = self.input_status(now)
        pace = self.speed.pace(now)
        command: Command | None = None
        if loop is None:
            self._note('waiting', status.reason)
        else:
            self.before_tick(loop, now)
            sample = self.inputs.joints.newest
            if sample is None:
                command = loop.tick(now, None, status, pace=pace)
            else:
                self._feel(loop, sample, now)
                command = loop.tick(now, sample.positions, status, sample.stamp, pace)
            if command is not None and command.armed != loop.armed:
                command = None  # it was armed or disarmed meanwhile: nothing of before counts
            self._send(loop, command)
            self._note(loop.state, loop.reason)
        self.recorder.note(Cycle(now, self.state, self.reason, self.inputs.measured(), command))
        return command is not None and not command.hold

    def _feel(self, loop: ControlLoop, sample: JointSample, now: float) -> None:
        touched = contact(sample, self.config.safety.contact_effort, loop.limits.names)
        if touched and loop.armed and loop.state in PLAYING:
            loop.fault(now, touched)

    def tick_failed(self, now: float, reason: str) -> None:
        """The tick raised: stop, and say so."""
        self.estop(now, reason)
        if self.loop is not None:
            self._note('e-stop', reason)
        self.publishers.finish()

    def _send(self, loop: ControlLoop, command: Command | None) -> None:
        if command is None:
            self._silent()
            return
        self.last_command = command
        sample = self.inputs.joints.newest
        opening = None if sample is None else sample.gripper
        more = () if sample is None else sample.more_grippers
        own, news = loop.receiver_time(command.stamp), True
        if self.speed.is_slowed:
            news = self._resend.is_due(own, command)
        to_another = command.armed and self.around.not_simulated()
        sent = not to_another and self.publishers.publish(
            command, self.kinematics, opening, more,
            self.speed.ros_now, self.speed.stamped, news, own,
        )  # fmt: skip
        if not sent:
            loop.unsent()
        elif news:
            self._resend.sent(own, command)
        else:
            loop.kept_back()
        self.meter.note(time.monotonic())

    def end(self, now: float) -> None:
        """The command thread has ended: from now on nobody tells the place."""
        if self.loop is not None:
            self.loop.silence(now)
        self._silent()

    def _silent(self) -> None:
        self.last_command = None
        self.publishers.finish()
        self._resend.forget()
        self.meter.pause()

    def _note(self, state: str, reason: str) -> None:
        before, self.state, self.reason = self.state, state, reason
        if state in PLAYING and before not in PLAYING:
            self.playing_since = time.monotonic()
        if state != before:
            if state in LATCHED:
                self._evidence_of = f'{state}: {reason}'
            self._on_state(before, state, reason)

    # ---- the executor's thread -----------------------------------------------------------------

    def take_evidence_reason(self) -> str:
        """Why the flight recorder should write, once per fault; else ''."""
        reason, self._evidence_of = self._evidence_of, ''
        return reason

    def change(self, values: Mapping[str, Any]) -> None:
        """Take parameters that may change while the node is active.

        Args:
            values: Full parameter name -> value.

        Raises:
            ConfigError: They do not fit the arm; nothing was changed.
        """
        if values.get('skip.mode') == '':
            mode = self.policy.manifest.calibration.mode
            raise ConfigError('skip.mode', '', f'a mode by name; that of the bundle is {mode}')
        config = with_bundle(changed(self.config, values), self.policy.manifest)
        if self.loop is not None and self.kinematics is not None:
            limits = tightened(self.kinematics, config)
            check_rest(limits, config)
            if (limits.velocity != self.loop.limits.velocity).any():
                self.loop.limits = limits
            self.loop.skip_mode = config.skip.mode  # type: ignore[assignment]
        self.speed.scale = config.speed.scale
        self.config = config
        if self.loop is None and self._refused_description:
            self.describe_robot(self._refused_description)  # what it lacked may be there now

    def destroy(self) -> None:
        """Drop subscriptions and publishers."""
        self.around.destroy()
        self.speed.destroy()
        self.inputs.destroy()
        self.publishers.destroy()
