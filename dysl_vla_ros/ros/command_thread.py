"""The thread that commands the arm: a steady clock, absolute deadlines, nothing to wait for.

rclpy timers lose their rhythm as soon as an executor is busy; this thread shares nothing with
it but the interpreter lock. The model runs in another process, so that lock is free when it is
due; and where the system allows it the thread is scheduled before all ordinary ones.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable

from dysl_vla_ros.hardware import realtime
from dysl_vla_ros.ros.observer import Observer

_LOG = logging.getLogger(__name__)
SWITCH_INTERVAL_S = 0.001
"""How long another thread may keep the interpreter lock from this one (Python's default: 5 ms)."""


class CommandThread:
    """Calls ``tick(now)`` at every multiple of the period; an exception never ends it.

    Attributes:
        realtime: What the thread obtained of the system; None before it runs.
    """

    def __init__(
        self,
        tick: Callable[[float], bool],
        on_error: Callable[[float, str], None],
        period: float,
        claim_realtime: bool = False,
    ) -> None:
        """Prepare; ``start`` begins.

        Args:
            tick: Returns whether the arm still has to be commanded.
            on_error: Called with the time and a reason when ``tick`` raised.
            period: Time between ticks [s].
            claim_realtime: Ask for SCHED_FIFO and locked memory.
        """
        self.realtime: realtime.Realtime | None = None
        self._tick = tick
        self._on_error = Observer('what follows a failed tick', on_error)
        self._claim_realtime = claim_realtime
        self._period = period
        self._last_error = ''
        self._finish = threading.Event()
        self._abort = threading.Event()
        self._thread = threading.Thread(target=self._run, name='commands', daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()

    def finish(self, patience: float) -> bool:
        """Tick on until the arm is at rest, then end.

        Args:
            patience: Longest time to wait for rest [s].

        Returns:
            Whether it came to rest in time. The last window ends at rest in any case.
        """
        self._finish.set()
        self._thread.join(patience)
        at_rest = not self._thread.is_alive()
        self._abort.set()
        self._thread.join(1.0)
        return at_rest

    def _run(self) -> None:
        self.realtime = realtime.claim() if self._claim_realtime else realtime.Realtime()
        _LOG.info('commands: %s', self.realtime.text)
        deadline = time.monotonic()
        while not self._abort.wait(max(0.0, deadline - time.monotonic())):
            now = time.monotonic()
            if not self._tick_safely(now) and self._finish.is_set():
                return
            # A late tick is not made up for: commands never come in bursts.
            missed = int((time.monotonic() - deadline) / self._period)
            deadline += (missed + 1) * self._period

    def _tick_safely(self, now: float) -> bool:
        try:
            return self._tick(now)
        except Exception as error:
            reason = f'the command tick failed: {error!r}'
            if reason != self._last_error:
                _LOG.exception('the command tick failed')
            self._last_error = reason
            self._on_error(now, reason)
            return False
