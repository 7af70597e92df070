"""Faults of a policy server and of the link to it: dead, stalled, late, cut, nonsense."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dysl_vla_ros.ros.chaos import spoil
from dysl_vla_ros.ros.chaos.fault import Act, Fault
from dysl_vla_ros.ros.chaos.graph import SERVER
from dysl_vla_ros.ros.chaos.rig import Rig
from dysl_vla_ros.ros.chaos.spoil import Filter

_REST_S = 1.7
"""What is left of a chunk is played, and no more: stretched at most, then a window's rest."""
_ACTIONS = 'actions'
_HUGE = 17 << 20
"""Bytes; ``remote.max_message_mb`` is 16."""


def _end(number: signal.Signals) -> Act:
    return lambda rig: rig.graph.send(rig.graph.pid(SERVER), number)


def _again(rig: Rig) -> None:
    rig.serve()


def _killed_and_back(rig: Rig) -> None:
    rig.graph.send(rig.graph.pid(SERVER), signal.SIGKILL)
    rig.serve()


def _stall(seconds: float, times: int = 1) -> Act:
    def act(rig: Rig) -> None:
        for _ in range(times):
            rig.graph.stall(rig.graph.pid(SERVER), seconds)
            time.sleep(0.3)

    return act


def _cut(times: int, every_s: float = 0.0) -> Act:
    def act(rig: Rig) -> None:
        for _ in range(times):
            rig.wire.cut()
            time.sleep(every_s)

    return act


def _spoilt(make: Callable[[], Filter]) -> Act:
    def act(rig: Rig) -> None:
        rig.wire.spoil = make()

    return act


def _mended(rig: Rig) -> None:
    rig.wire.spoil = None


def _actions(change: Callable[[np.ndarray[Any, Any]], Any]) -> Filter:
    """Answers whose actions are others."""

    def run(answer: dict[str, Any]) -> list[Any]:
        return [{**answer, _ACTIONS: change(np.array(answer[_ACTIONS], np.float64))}]

    return run


def _number(value: float) -> Filter:
    def change(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        rows[len(rows) // 2, 0] = value
        return rows

    return _actions(change)


def _in_place(said: Any) -> Filter:
    """Something else than the answer."""
    return lambda answer: [said]


def _late(seconds: float) -> Filter:
    def run(answer: dict[str, Any]) -> list[Any]:
        time.sleep(seconds)
        return [answer]

    return run


def _server(name: str, act: Act, clear: Act | None = None, hold: float = 2.2,
            stops: bool = False, says: bool = False) -> Fault:  # fmt: skip
    return Fault('server', name, act, clear, hold=hold, after=1.2, graph='server',
                 says=says or stops, rest_s=_REST_S if stops else 0.0)  # fmt: skip


def _answers(name: str, make: Callable[[], Filter], stops: bool = True) -> Fault:
    return _server(name, _spoilt(make), _mended, stops=stops)


SERVER_FAULTS = (
    _server('server KILL', _end(signal.SIGKILL), _again, hold=2.6, stops=True),
    _server('server asked to end', _end(signal.SIGTERM), _again, hold=2.6, stops=True),
    _server('server KILL, started', _killed_and_back, hold=3.0),
    _server('server stalls 0.25 s', _stall(0.25), hold=1.2),
    _server('server stalls 0.5 s', _stall(0.5), hold=1.5),
    _server('server stalls 1 s', _stall(1.0), hold=2.0),
    _server('server stalls 2 s', _stall(2.0), hold=3.0),
    _server('server stalls 3x 0.4 s', _stall(0.4, 3), hold=2.6),
    _server('link cut', _cut(1), hold=1.2),
    _server('link cut 6x in 1.2 s', _cut(6, 0.2), hold=1.8),
    _answers('no answers', lambda: spoil.silent),
    _answers('each 2nd unanswered', lambda: spoil.every(2, spoil.silent), stops=False),
    _answers('answers 0.9 s late', lambda: _late(0.9), stops=False),
    _answers('answers NaN', lambda: _number(float('nan'))),
    _answers('one answer infinite', lambda: spoil.only(1, _number(float('inf'))), stops=False),
    _answers('answers 1e9', lambda: _actions(lambda rows: 1e9 * np.ones_like(rows)), stops=False),
    _answers('too few rows', lambda: _actions(lambda rows: rows[:-1])),
    _answers('too many rows', lambda: _actions(lambda rows: np.tile(rows, (9, 1))), stops=False),
    _answers('numbers in one line', lambda: _actions(lambda rows: rows.reshape(-1))),
    _answers('actions are words', lambda: _actions(lambda rows: ['to the left'] * len(rows))),
    _answers('an error in words', lambda: _in_place('the GPU is out of memory')),
    _answers('no actions in it', lambda: _in_place({})),
    _answers('answers of noise', lambda: _in_place(bytes(range(256)) * 4)),
    _answers('answers of 17 MB', lambda: _actions(lambda rows: np.zeros(_HUGE // 8))),
)  # fmt: skip
