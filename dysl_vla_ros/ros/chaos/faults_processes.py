"""Faults of the processes: the model's, the node, the arm's."""

from __future__ import annotations

import signal
import time

from dysl_vla_ros.ros.chaos.fault import Act, Fault
from dysl_vla_ros.ros.chaos.graph import ARM, NODE
from dysl_vla_ros.ros.chaos.rig import ACTIVATE, DEACTIVATE, Rig

_REST_S = 0.7
_SIGNALS = {'SEGV': signal.SIGSEGV, 'ABRT': signal.SIGABRT, 'KILL': signal.SIGKILL,
            'TERM': signal.SIGTERM}  # fmt: skip


def _signal_model(name: str) -> Act:
    return lambda rig: rig.graph.send(rig.graph.model(), _SIGNALS[name])


def _stall_model(seconds: float, times: int = 1) -> Act:
    def act(rig: Rig) -> None:
        for _ in range(times):
            rig.graph.stall(rig.graph.model(), seconds)
            time.sleep(0.3)

    return act


def _kill_twice(rig: Rig) -> None:
    rig.graph.send(rig.graph.model(), signal.SIGKILL)
    time.sleep(0.6)
    if rig.graph.alive(NODE):
        rig.graph.send(rig.graph.model(), signal.SIGKILL)


def _kill_then_stop(rig: Rig) -> None:
    rig.graph.send(rig.graph.model(), signal.SIGKILL)
    rig.relay.ask('stop')


def _model(name: str, act: Act, hold: float = 1.8, quick: bool = False) -> Fault:
    return Fault('model', name, act, hold=hold, after=1.2, quick=quick)


MODEL = (
    _model('model SEGV', _signal_model('SEGV'), quick=True),
    _model('model ABRT', _signal_model('ABRT')),
    _model('model KILL', _signal_model('KILL')),
    _model('model asked to end', _signal_model('TERM')),
    _model('model killed twice', _kill_twice, hold=2.2),
    _model('model killed + stop', _kill_then_stop),
    _model('model stalls 0.25 s', _stall_model(0.25), hold=1.2),
    _model('model stalls 0.5 s', _stall_model(0.5), hold=1.5, quick=True),
    _model('model stalls 1 s', _stall_model(1.0), hold=2.0),
    _model('model stalls 2 s', _stall_model(2.0), hold=3.0),
    _model('model stalls 3x 0.4 s', _stall_model(0.4, 3), hold=2.6),
)

# ---- the node and the arm's process ------------------------------------------------------------


def _stall(name: str, seconds: float) -> Act:
    return lambda rig: rig.graph.stall(rig.graph.pid(name), seconds)


def _signal(name: str, *numbers: signal.Signals) -> Act:
    def act(rig: Rig) -> None:
        for number in numbers:
            rig.graph.send(rig.graph.pid(name), number)
            time.sleep(0.05)

    return act


def _again(rig: Rig) -> None:
    """Down and up in one breath, while the arm moves."""
    rig.relay.change_state(DEACTIVATE)
    rig.relay.change_state(ACTIVATE)


def _down(rig: Rig) -> None:
    rig.relay.change_state(DEACTIVATE)


def _up_again(rig: Rig) -> None:
    rig.relay.change_state(ACTIVATE)


def _impossible(rig: Rig) -> None:
    for transition in (1, 3, 2, 99, 3):  # configure, activate, clean up while active; nonsense
        rig.relay.change_state(transition, timeout=1.0)


def _new_arm(rig: Rig) -> None:
    """The arm's process dies, and another one stands at home."""
    rig.graph.send(rig.graph.pid(ARM), signal.SIGKILL)
    time.sleep(0.6)
    rig.graph.start_arm()


def _restart_arm(rig: Rig) -> None:
    if not rig.graph.alive(ARM):
        rig.graph.start_arm()
        time.sleep(1.5)


def _node(name: str, act: Act, clear: Act | None = None, hold: float = 1.5,
          rest_s: float = 0.0, ends: tuple[str, ...] = (),
          quick: bool = False) -> Fault:  # fmt: skip
    return Fault('node', name, act, clear, hold=hold, after=1.0, rest_s=rest_s, ends=ends,
                 quick=quick)  # fmt: skip


NODE_FAULTS = (
    _node('node stalls 0.25 s', _stall(NODE, 0.25), quick=True),
    _node('node stalls 0.5 s', _stall(NODE, 0.5), quick=True),
    _node('node stalls 1 s', _stall(NODE, 1.0), hold=2.0),
    _node('node stalls 2 s', _stall(NODE, 2.0), hold=3.0),
    _node('node KILL', _signal(NODE, signal.SIGKILL), rest_s=_REST_S, ends=(NODE,), quick=True),
    _node('node interrupted twice', _signal(NODE, signal.SIGINT, signal.SIGINT), hold=2.5,
          rest_s=_REST_S, ends=(NODE,)),
    _node('node TERM', _signal(NODE, signal.SIGTERM), hold=2.5, rest_s=_REST_S, ends=(NODE,)),
    _node('deactivate', _down, rest_s=1.0, hold=1.6),
    _node('deactivate + activate', _again, hold=1.8, quick=True),
    _node('deactivated for 0.8 s', _down, _up_again, rest_s=1.0, hold=1.5),
    _node('impossible transitions', _impossible, hold=1.5),
    _node('arm stalls 0.25 s', _stall(ARM, 0.25)),
    _node('arm stalls 0.5 s', _stall(ARM, 0.5), quick=True),
    _node('arm stalls 1 s', _stall(ARM, 1.0), hold=2.0),
    _node('arm process killed', _signal(ARM, signal.SIGKILL), _restart_arm, ends=(ARM,)),
    _node('arm process replaced', _new_arm, hold=3.0),
)  # fmt: skip
