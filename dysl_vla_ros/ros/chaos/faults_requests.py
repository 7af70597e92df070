"""Faults of those who ask for something: requests to the node, a second commander."""

from __future__ import annotations

import time

from dysl_vla_ros.ros.chaos.acts import ask, in_turn, pause, push, say, times
from dysl_vla_ros.ros.chaos.fault import Act, Fault
from dysl_vla_ros.ros.chaos.rig import Rig

_STOP_REST_S = 0.8
_TOLD_S = 6.0
"""Until diagnostics tell of a commander at the latest [s]: one whose first word was missed is
heard again after 3 s, its name comes up to a second after it, and they come once a second."""


def _request(name: str, act: Act, quick: bool = False, hold: float = 1.2,
             rest_s: float = 0.0, stays: bool = False) -> Fault:  # fmt: skip
    return Fault('requests', name, act, hold=hold, quick=quick, rest_s=rest_s, stays=stays)


def _tasks(rig: Rig) -> None:
    for _ in range(40):
        rig.new_task()
        time.sleep(0.02)


def _same(rig: Rig) -> None:
    text = rig.new_task()
    for _ in range(40):
        rig.relay.instruct(text)
        time.sleep(0.02)


def _stop_then_same(rig: Rig) -> None:
    text = rig.new_task()
    time.sleep(0.3)
    rig.relay.ask('stop')
    for _ in range(3):
        rig.relay.instruct(text)
        time.sleep(0.05)


REQUESTS = (
    _request('40 new instructions', _tasks),
    _request('same instruction x40', _same),
    _request('empty instruction', say(''), rest_s=_STOP_REST_S, stays=True),
    _request('instruction of 100 kB', say('pick ' * 20_000)),
    _request('strange instruction', say('\u202e\x00\ud7ff\U0001f916 % {} \\n')),
    _request('stop + start x10', times(10, in_turn(ask('stop'), ask('start'))), quick=True),
    _request('start x30 while running', times(30, ask('start'))),
    _request('pause on/off x10', times(10, in_turn(ask('pause', True), ask('pause', False)))),
    _request('pause 0.3 s and go on', in_turn(ask('pause', True), pause(0.3),
                                           ask('pause', False)), quick=True, hold=1.0),
    _request('disarm and arm', in_turn(ask('arm', False), pause(0.5), ask('arm', True),
                                    pause(0.1), ask('start')), hold=1.6),
    _request('arm on/off x10', times(10, in_turn(ask('arm', False), ask('arm', True)))),
    _request('reset while running', times(10, ask('estop_reset'))),
    _request('stop, same again', _stop_then_same, rest_s=1.3, hold=2.0),
)  # fmt: skip

# ---- second commander --------------------------------------------------------------------------


def _intruder(*acts: Act) -> Act:
    return in_turn(lambda rig: rig.relay.intrude(True), pause(0.25), *acts)


def _intruder_says(offset: float, seconds: float = 0.3) -> Act:
    return lambda rig: rig.relay.intruder_says(offset, seconds)


def _rearm(rig: Rig) -> None:
    """Arming beside another publisher."""
    rig.relay.ask('arm', False)
    time.sleep(0.5)
    rig.relay.intrude(True)
    time.sleep(0.3)
    if rig.relay.ask('arm', True):
        rig.complaints.append('arming was granted beside another publisher')


def _deaf(seconds: float) -> Act:
    def act(rig: Rig) -> None:
        rig.relay.listen(False)
        time.sleep(seconds)
        rig.relay.listen(True)

    return act


def _commander(name: str, act: Act, hold: float = 1.5, quick: bool = False,
               says: bool = True) -> Fault:  # fmt: skip
    return Fault('commander', name, act, hold=hold, after=1.0, says=says, quick=quick)


COMMANDER = (
    _commander('a second publisher', _intruder(), hold=_TOLD_S, quick=True),
    _commander('second speaks once', _intruder(_intruder_says(0.1)), hold=_TOLD_S),
    _commander('second speaks 10 times', _intruder(times(10, in_turn(_intruder_says(0.05),
                                                                   pause(0.05)))),
               hold=_TOLD_S),
    _commander('another moves the arm', push(0.6, 0.7)),
    _commander('armed beside another', _rearm, hold=2.0),
    _commander('nobody hears, 0.5 s', _deaf(0.5), says=False),
    _commander('nobody hears, 1.5 s', _deaf(1.5), hold=2.0),
)  # fmt: skip
