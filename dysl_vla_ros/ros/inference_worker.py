"""The thread that runs the policy: one pass at a time, with the newest observation."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from dysl_vla_ros.control_loop import ControlLoop
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.errors import EngineError, InputError
from dysl_vla_ros.loop_status import Delivery
from dysl_vla_ros.policy import Pass

_LOG = logging.getLogger(__name__)
_POLL_S = 0.005
_RETRY_S = 0.1
"""After an observation that could not be used."""
_LOG_PERIOD_S = 5.0

OnDelivery = Callable[[Delivery, Pass, float], None]


class InferenceWorker:
    """Waits until the loop wants a pass, predicts, delivers, and re-runs when asked to."""

    def __init__(
        self,
        current_loop: Callable[[], ControlLoop | None],
        observe: Callable[[], Observation],
        on_delivery: OnDelivery,
    ) -> None:
        """Prepare; ``start`` begins.

        Args:
            current_loop: The control loop, None while it cannot be built yet.
            observe: The newest observation; raises ``InputError``.
            on_delivery: Called in this thread with each delivery, its pass and the time.
        """
        self._current_loop = current_loop
        self._observe = observe
        self._on_delivery = on_delivery
        self._stop = threading.Event()
        self._newest_used = float('-inf')
        self._logged_at = float('-inf')
        self._thread = threading.Thread(target=self._run, name='inference', daemon=True)

    def start(self) -> None:
        """Begin to wait for work."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()

    def stop(self, patience: float) -> bool:
        """End after the pass in flight.

        Args:
            patience: Longest time to wait for it [s].

        Returns:
            Whether the thread ended in time.
        """
        self._stop.set()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            loop = self._current_loop()
            if loop is None or not loop.wants_pass(time.monotonic()):
                self._stop.wait(_POLL_S)
                continue
            try:
                if not self._one_pass(loop):
                    self._stop.wait(_POLL_S)
            except InputError as error:
                loop.abandon(str(error))
                self._log_now_and_then(error)
                self._stop.wait(_RETRY_S)
            except Exception as error:
                kind = 'the engine failed' if isinstance(error, EngineError) else 'a pass failed'
                _LOG.exception(kind)
                loop.fault(time.monotonic(), f'{kind}: {error}')

    def _log_now_and_then(self, error: InputError) -> None:
        now = time.monotonic()
        if now - self._logged_at > _LOG_PERIOD_S:
            self._logged_at = now
            _LOG.warning('this observation cannot be used: %s', error)

    def _one_pass(self, loop: ControlLoop) -> bool:
        """Predict and deliver; False when there is no newer image than at the last pass."""
        observation = self._observe()
        if observation.stamp <= self._newest_used:
            return False
        self._newest_used = observation.stamp
        epoch, result = loop.predict(observation)
        delivery = self._deliver(loop, epoch, result)
        if delivery.rerun:
            self._deliver(loop, epoch, loop.rerun(result))
        return True

    def _deliver(self, loop: ControlLoop, epoch: int, result: Pass) -> Delivery:
        now = time.monotonic()
        delivery = loop.deliver(epoch, result, now)
        self._on_delivery(delivery, result, now)
        return delivery
