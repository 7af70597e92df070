"""What runs while the node is active: the command thread and the inference worker."""

from __future__ import annotations

import logging
import time

from dysl_vla_ros.ros.command_thread import CommandThread
from dysl_vla_ros.ros.inference_worker import InferenceWorker, OnDelivery
from dysl_vla_ros.ros.session import Session

_LOG = logging.getLogger(__name__)
_REST_PATIENCE_S = 1.0
_PASS_PATIENCE_S = 5.0


class Active:
    """Two threads; made by activate, ended by deactivate."""

    def __init__(self, session: Session, on_delivery: OnDelivery) -> None:
        """Start both.

        Args:
            session: What they work on.
            on_delivery: Called by the worker with every delivery.
        """
        self._session = session
        self._commands = CommandThread(
            session.tick, session.tick_failed, 1.0 / session.config.timing.command_rate_hz
        )
        self._worker = InferenceWorker(
            lambda: session.loop, session.inputs.observation, on_delivery
        )
        self._commands.start()
        self._worker.start()

    @property
    def alive(self) -> bool:
        """Whether one of the threads still runs."""
        return self._commands.alive or self._worker.alive

    def stop(self, reason: str) -> bool:
        """The one stop path: brake along the path, then end both threads.

        Args:
            reason: Reported as why the arm stopped.

        Returns:
            Whether the worker ended, so that its engine may be closed.
        """
        if self._session.loop is not None:
            self._session.loop.stop(time.monotonic(), reason)
        if not self._commands.finish(_REST_PATIENCE_S):
            _LOG.warning('not at rest in %.0f s; the last window ends at rest', _REST_PATIENCE_S)
        if self._worker.stop(_PASS_PATIENCE_S):
            return True
        _LOG.error('the pass in flight does not end; its engine stays open')
        return False
