"""Callbacks that only look on: what breaks in them is counted and logged, never raised."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

_LOG = logging.getLogger(__name__)
_LOG_PERIOD_S = 5.0


class Observer:
    """A callback whose exceptions stay in it, so that no report can stop the arm.

    Attributes:
        failures: How often it raised.
    """

    def __init__(self, what: str, callback: Callable[..., Any]) -> None:
        """Args: what it does, for the log, and the callback."""
        self.failures = 0
        self._what = what
        self._callback = callback
        self._logged_at = float('-inf')

    def __call__(self, *arguments: Any) -> None:
        """Call it; what it returns is dropped."""
        try:
            self._callback(*arguments)
        except Exception:
            self.failures += 1
            now = time.monotonic()
            if now - self._logged_at > _LOG_PERIOD_S:
                self._logged_at = now
                _LOG.exception('%s failed (%d times so far)', self._what, self.failures)
