"""The thread that runs the policy: one pass at a time, with the newest observation.

It is also the one that starts the model's process again, so no other thread waits for that.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from dysl_vla_ros.control_loop import ControlLoop
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.errors import DyslError, EngineError, InputError, LinkError, ModelProcessError
from dysl_vla_ros.loop_status import Delivery
from dysl_vla_ros.policy import Pass
from dysl_vla_ros.ros.observer import Observer
from dysl_vla_ros.ros.restarts import Restartable, RestartRule

_LOG = logging.getLogger(__name__)
_POLL_S = 0.005
_RETRY_S = 0.1
"""After an observation that could not be used."""
_LOG_PERIOD_S = 5.0

OnDelivery = Callable[[Delivery, Pass, float], None]


class InferenceWorker:
    """Waits until the loop wants a pass, predicts, delivers, and re-runs when asked to.

    Attributes:
        on_delivery: With the count of what it failed to report.
        rule: With the restarts that still count.
    """

    def __init__(
        self,
        current_loop: Callable[[], ControlLoop | None],
        observe: Callable[[], Observation],
        on_delivery: OnDelivery,
        process: Restartable | None = None,
        restarts: int = 0,
        learn: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; ``start`` begins.

        Args:
            current_loop: The control loop, None while it cannot be built yet.
            observe: The newest observation; raises ``InputError``.
            on_delivery: Called in this thread with each delivery, its pass and the time; may
                raise, which is only counted.
            process: The policy where it has a process of its own.
            restarts: How often that may be restarted within 10 minutes.
            learn: Called between passes: the policy may do here what a new instruction, or a new
                process, needs once, before an observation is taken for it.
        """
        self.on_delivery = Observer('the report of a pass', on_delivery)
        self.rule = RestartRule(restarts)
        self._current_loop = current_loop
        self._observe = observe
        self._learn = learn
        self._process = process
        self._gave_up = False
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

    def finish(self) -> None:
        """Begin no further pass; does not wait."""
        self._stop.set()

    def join(self, patience: float) -> bool:
        """Wait for the end of the pass in flight.

        Args:
            patience: Longest time to wait for it [s].

        Returns:
            Whether the thread ended in time.
        """
        self._thread.join(patience)
        return not self._thread.is_alive()

    def stop(self, patience: float) -> bool:
        """``finish`` and ``join``."""
        self.finish()
        return self.join(patience)

    def _run(self) -> None:
        if self._process is not None and not self._process.alive:
            self._restart(self._process, 'starting the model process again')
        while not self._stop.is_set():
            loop = self._current_loop()
            wanted = loop is not None and loop.wants_pass(time.monotonic())
            if self._process is not None and not self._process.alive:
                self._revive(self._process, loop, wanted)
                continue
            if loop is None:
                self._stop.wait(_POLL_S)
                continue
            try:
                self._learn()
                if not wanted or not self._one_pass(loop):
                    self._stop.wait(_POLL_S)
            except (InputError, LinkError) as error:
                loop.abandon(str(error))
                self._log_now_and_then(error)
                self._stop.wait(_RETRY_S)
            except ModelProcessError as error:
                loop.abandon(str(error))  # the next round starts it again
            except Exception as error:
                kind = 'the engine failed' if isinstance(error, EngineError) else 'a pass failed'
                _LOG.exception(kind)
                loop.fault(time.monotonic(), f'{kind}: {error}')

    def _revive(self, process: Restartable, loop: ControlLoop | None, wanted: bool) -> None:
        """The process is gone: start it again if the rule allows it, else say so once."""
        now = time.monotonic()
        if self.rule.take(now):
            self._gave_up = False
            text = (
                f'restarting the model process ({self.rule.used} of {self.rule.limit}): '
                f'{process.last_end}'
            )
            if loop is not None:
                loop.abandon(text)
            self._restart(process, text)
            return
        if loop is not None and (wanted or not self._gave_up):
            self._gave_up = True
            loop.fault(
                now,
                f'the model process {process.last_end}, after {self.rule.used} restarts in '
                f'{self.rule.period / 60:g} minutes: expected at most engine.restarts = '
                f'{self.rule.limit}; deactivate and activate to try again',
            )
        self._stop.wait(_RETRY_S)

    def _restart(self, process: Restartable, text: str) -> None:
        _LOG.warning(text)
        begun = time.monotonic()
        try:
            process.restart()
        except Exception as error:
            if not self._stop.is_set():  # else it was killed on purpose
                _LOG.error('%s: %s', text, error, exc_info=not isinstance(error, DyslError))
                self._stop.wait(_RETRY_S)
            return
        _LOG.info('the model process is back after %.1f s', time.monotonic() - begun)

    def _log_now_and_then(self, error: DyslError) -> None:
        now = time.monotonic()
        if now - self._logged_at > _LOG_PERIOD_S:
            self._logged_at = now
            lost = isinstance(error, LinkError)
            what = 'no chunk from the policy server' if lost else 'this observation cannot be used'
            _LOG.warning('%s: %s', what, error)

    def _one_pass(self, loop: ControlLoop) -> bool:
        """Predict and deliver; False when there is no newer image than at the last pass."""
        epoch = loop.epoch  # before its instruction is read: a new one may come right after
        observation = self._observe()
        if observation.stamp <= self._newest_used:
            return False
        self._newest_used = observation.stamp
        _, result = loop.predict(observation, epoch)
        delivery = self._deliver(loop, epoch, result)
        if delivery.rerun:
            self._deliver(loop, epoch, loop.rerun(result))
        return True

    def _deliver(self, loop: ControlLoop, epoch: int, result: Pass) -> Delivery:
        now = time.monotonic()
        delivery = loop.deliver(epoch, result, now)
        self.on_delivery(delivery, result, now)
        return delivery
