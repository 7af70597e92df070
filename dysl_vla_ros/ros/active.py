"""What runs while the node is active: the command thread and the inference worker."""

from __future__ import annotations

import logging
import time

from dysl_vla_ros.core.run_state import LATCHED
from dysl_vla_ros.ros.command_thread import CommandThread
from dysl_vla_ros.ros.inference_worker import InferenceWorker, OnDelivery
from dysl_vla_ros.ros.restarts import Restartable
from dysl_vla_ros.ros.session import Session

_LOG = logging.getLogger(__name__)
_REST_MARGIN_S = 1.0
"""Beyond `stop.rest_s`, within which every brake ends: for the command thread to see it."""
_PASS_PATIENCE_S = 0.4
"""From the request to stop on; then the model's process is killed."""
_KILL_PATIENCE_S = 0.1
_IN_PROCESS_PATIENCE_S = 5.0


class Active:
    """Two threads; made by activate, ended by deactivate.

    Attributes:
        commands: The command thread, with what it obtained of the system.
        worker: The inference worker, with its counts.
    """

    def __init__(self, session: Session, on_delivery: OnDelivery) -> None:
        """Start both.

        Args:
            session: What they work on.
            on_delivery: Called by the worker with every delivery.
        """
        timing, policy = session.config.timing, session.policy
        self._session = session
        self._process = policy if isinstance(policy, Restartable) else None
        self.commands = CommandThread(
            session.tick, session.tick_failed, 1.0 / timing.command_rate_hz, timing.realtime
        )
        self.worker = InferenceWorker(
            lambda: session.loop,
            session.inputs.observation,
            on_delivery,
            self._process,
            session.config.engine.restarts,
            self._learn,
        )
        self.commands.start()
        try:
            self.worker.start()
        except BaseException:
            self.commands.finish(0.0)  # nothing of it is left to tick beside the next one
            raise

    @property
    def alive(self) -> bool:
        """Whether one of the threads still runs."""
        return self.commands.alive or self.worker.alive

    def _learn(self) -> None:
        """Let the policy see a new instruction before it is asked for a pass of it.

        Not while a stop is latched: what latched it may be that this fails.
        """
        session, loop = self._session, self._session.loop
        learn = getattr(session.policy, 'learn', None)
        text = session.inputs.instruction
        if learn is not None and text and loop is not None and loop.state not in LATCHED:
            learn(text)

    def stop(self, reason: str) -> bool:
        """The one stop path: brake along the path, then end both threads.

        Braking takes what it takes; a pass that hangs adds nothing to half a second, where the
        model has a process of its own.

        Args:
            reason: Reported as why the arm stopped.

        Returns:
            Whether both ended, so that the engine may be closed and others may begin.
        """
        begun = time.monotonic()
        self.worker.finish()
        if self._session.loop is not None:
            self._session.loop.stop(begun, reason)
        patience = self._session.config.safety.rest_s + _REST_MARGIN_S
        if not self.commands.finish(patience):
            _LOG.warning('not at rest in %.1f s: nothing is commanded any more', patience)
        self._session.end(time.monotonic())
        return self._worker_ends(begun) and not self.commands.alive

    def _worker_ends(self, begun: float) -> bool:
        """Wait for the pass in flight; where the model has a process of its own, not for long."""
        spent = time.monotonic() - begun
        if self._process is None:
            if self.worker.join(_IN_PROCESS_PATIENCE_S):
                return True
            _LOG.error('the pass in flight does not end; its engine stays open')
            return False
        if self.worker.join(max(0.0, _PASS_PATIENCE_S - spent)):
            return True
        _LOG.warning('the pass in flight does not end: its process is killed')
        while not self.worker.join(0.01):
            # Again and again: the worker may just have been starting another one.
            self._process.kill('was killed by a deactivation')
            if time.monotonic() - begun > spent + _PASS_PATIENCE_S + _KILL_PATIENCE_S:
                _LOG.error('the worker does not end')
                return False
        return True
