"""Faults of those around the arm: hands, obstacles, stops, requests, a second commander."""

from __future__ import annotations

import time

from dysl_vla_ros.ros.chaos import spoil
from dysl_vla_ros.ros.chaos.fault import Act, Fault
from dysl_vla_ros.ros.chaos.rig import Rig

_STOP_REST_S = 0.8
_ELBOW = 2


def _pause(seconds: float) -> Act:
    return lambda rig: time.sleep(seconds)


def _all(*acts: Act) -> Act:
    def act(rig: Rig) -> None:
        for one in acts:
            one(rig)

    return act


def _ask(service: str, data: bool | None = None) -> Act:
    def act(rig: Rig) -> None:
        rig.relay.ask(service, data)

    return act


def _times(count: int, act: Act) -> Act:
    return _all(*[act] * count)


def _say(text: str) -> Act:
    return lambda rig: rig.relay.instruct(text)


def _new_task(rig: Rig) -> None:
    rig.new_task()


# ---- hand and block ----------------------------------------------------------------------------


def _push(offset: float, seconds: float, index: int = 0) -> Act:
    """Someone turns a joint; the arm truly moves, and the node is not heard."""
    return lambda rig: rig.relay.hand(offset, seconds, index)


def _let_go(rig: Rig) -> None:
    rig.relay.delivers = True


def _block(rig: Rig) -> None:
    """Something holds the arm: what the node says has no effect, the readings are true."""
    rig.relay.hand(0.0, 0.1)


def _freeze(rig: Rig) -> None:
    rig.relay.spoil['joint_states'] = spoil.frozen()


def _hand(name: str, act: Act, hold: float = 1.4, quick: bool = False, says: bool = False,
          stays: bool = False, clear: Act | None = None) -> Fault:  # fmt: skip
    return Fault('hand', name, act, clear, hold=hold, after=1.0, quick=quick, says=says,
                 stays=stays)  # fmt: skip


def _estop(rig: Rig) -> None:
    rig.relay.estop(True)


def _release(rig: Rig) -> None:
    rig.relay.estop(False)


HAND = (
    _hand('pushed by 0.15 rad', _push(0.15, 0.3)),
    _hand('pushed by 0.5 rad', _push(0.5, 0.8), says=True, quick=True),
    _hand('elbow pushed 0.4 rad', _push(0.4, 0.8, _ELBOW), says=True),
    _hand('blocked for 0.3 s', _block, hold=0.3),
    _hand('blocked for 3 s', _block, hold=3.0, says=True, quick=True),
    _hand('reading frozen 3 s', _freeze, hold=3.0, says=True),
    _hand('pushed while paused', _all(_ask('pause', True), _pause(0.5), _push(0.3, 0.5),
                                      _pause(0.6), _let_go, _ask('pause', False)), hold=2.2),
    _hand('pushed while stopped', _all(_ask('stop'), _pause(0.5), _push(0.3, 0.5),
                                       _pause(0.6), _let_go, _ask('start')), hold=2.2),
    _hand('pushed while e-stopped', _all(_estop, _pause(0.7), _push(0.4, 0.5), _pause(0.6)),
          hold=1.6, stays=True, clear=_release),
    _hand('pushed there and back', _all(_push(0.3, 0.4), _pause(0.5), _push(-0.3, 0.4)),
          hold=1.3),
)  # fmt: skip

# ---- e-stop and dead-man -----------------------------------------------------------------------


def _reset_refused(rig: Rig) -> None:
    """While the button is held, and later than any reset is refused for."""
    time.sleep(0.7)
    if rig.relay.ask('estop_reset'):
        rig.complaints.append('a reset was granted while estop is true')
    time.sleep(0.1)


def _deadman(pressed: bool | None) -> Act:
    def act(rig: Rig) -> None:
        rig.relay.enable = pressed
        if pressed is not None:
            rig.relay.say_enable(pressed)

    return act


def _flicker(rig: Rig) -> None:
    for number in range(30):
        rig.relay.enable = number % 2 == 0
        rig.relay.say_enable(number % 2 == 0)
        time.sleep(0.03)
    rig.relay.enable = True


def _stop(name: str, act: Act, clear: Act | None = None, graph: str = 'plain',
          stays: bool = False, quick: bool = False, hold: float = 1.4,
          rest_s: float = _STOP_REST_S) -> Fault:  # fmt: skip
    return Fault('stops', name, act, clear, rest_s=rest_s, says=True, stays=stays, hold=hold,
                 graph=graph, quick=quick)  # fmt: skip


_DEAD = _deadman(False)
_ALIVE = _deadman(True)

STOPS = (
    _stop('e-stop', _estop, _release, stays=True),
    _stop('e-stop, then start', _all(_estop, _pause(0.2), _ask('start'), _pause(0.4),
                                     _ask('start')), _release, stays=True, hold=1.6),
    _stop('e-stop held, reset', _all(_estop, _reset_refused, _ask('start')), _release,
          quick=True, hold=1.9),
    _stop('e-stop, new task', _all(_estop, _pause(0.3), _new_task), _release, stays=True),
    _stop('e-stop 20 times', _times(20, _estop), _release, stays=True),
    _stop('stop by service', _ask('stop'), stays=True),
    _stop('pause', _ask('pause', True), _ask('pause', False)),
    _stop('disarm', _ask('arm', False), stays=True, hold=1.2),
    _stop('dead-man let go', _DEAD, _ALIVE, 'deadman'),
    _stop('dead-man silent', _deadman(None), _ALIVE, 'deadman', rest_s=1.2, hold=1.8),
    _stop('dead-man, then start', _all(_DEAD, _pause(0.4), _ask('start')), _ALIVE, 'deadman'),
    _stop('dead-man, stop + start', _all(_DEAD, _pause(0.3), _ask('stop'), _pause(0.2),
                                         _ask('start')), _ALIVE, 'deadman', quick=True),
    _stop('dead-man, empty + new', _all(_DEAD, _pause(0.3), _say(''), _pause(0.2), _new_task),
          _ALIVE, 'deadman'),
    _stop('dead-man, pause off', _all(_DEAD, _pause(0.3), _ask('pause', True),
                                      _ask('pause', False)), _ALIVE, 'deadman'),
    Fault('stops', 'dead-man flickers', _flicker, _ALIVE, graph='deadman', hold=1.2),
)  # fmt: skip

# ---- requests ----------------------------------------------------------------------------------


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
    _request('empty instruction', _say(''), rest_s=_STOP_REST_S, stays=True),
    _request('instruction of 100 kB', _say('pick ' * 20_000)),
    _request('strange instruction', _say('\u202e\x00\ud7ff\U0001f916 % {} \\n')),
    _request('stop + start x10', _times(10, _all(_ask('stop'), _ask('start'))), quick=True),
    _request('start x30 while running', _times(30, _ask('start'))),
    _request('pause on/off x10', _times(10, _all(_ask('pause', True), _ask('pause', False)))),
    _request('pause 0.3 s and go on', _all(_ask('pause', True), _pause(0.3),
                                           _ask('pause', False)), quick=True, hold=1.0),
    _request('disarm and arm', _all(_ask('arm', False), _pause(0.5), _ask('arm', True),
                                    _pause(0.1), _ask('start')), hold=1.6),
    _request('arm on/off x10', _times(10, _all(_ask('arm', False), _ask('arm', True)))),
    _request('reset while running', _times(10, _ask('estop_reset'))),
    _request('stop, same again', _stop_then_same, rest_s=1.3, hold=2.0),
)  # fmt: skip

# ---- second commander --------------------------------------------------------------------------


def _intruder(*acts: Act) -> Act:
    return _all(lambda rig: rig.relay.intrude(True), _pause(0.25), *acts)


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
    _commander('a second publisher', _intruder(), quick=True),
    _commander('second speaks once', _intruder(_intruder_says(0.1))),
    _commander('second speaks 10 times', _intruder(_times(10, _all(_intruder_says(0.05),
                                                                   _pause(0.05))))),
    _commander('another moves the arm', _push(0.6, 0.7)),
    _commander('armed beside another', _rearm, hold=2.0),
    _commander('nobody hears, 0.5 s', _deaf(0.5), says=False),
    _commander('nobody hears, 1.5 s', _deaf(1.5), hold=2.0),
)  # fmt: skip
