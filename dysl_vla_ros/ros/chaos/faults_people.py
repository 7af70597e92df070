"""Faults of those around the arm: hands, obstacles, e-stop and dead-man."""

from __future__ import annotations

import time

from dysl_vla_ros.ros.chaos import spoil_joints
from dysl_vla_ros.ros.chaos.acts import ask, in_turn, new_task, pause, push, say, times
from dysl_vla_ros.ros.chaos.fault import Act, Fault
from dysl_vla_ros.ros.chaos.rig import Rig

_STOP_REST_S = 0.8
_ELBOW = 2


def _let_go(rig: Rig) -> None:
    rig.relay.delivers = True


def _block(rig: Rig) -> None:
    """Something holds the arm: what the node says has no effect, the readings are true."""
    rig.relay.hand(0.0, 0.1)


def _freeze(rig: Rig) -> None:
    rig.relay.spoil['joint_states'] = spoil_joints.frozen()


def _hand(name: str, act: Act, hold: float = 1.4, quick: bool = False, says: bool = False,
          stays: bool = False, clear: Act | None = None) -> Fault:  # fmt: skip
    return Fault('hand', name, act, clear, hold=hold, after=1.0, quick=quick, says=says,
                 stays=stays)  # fmt: skip


def _estop(rig: Rig) -> None:
    rig.relay.estop(True)


def _release(rig: Rig) -> None:
    rig.relay.estop(False)


HAND = (
    _hand('pushed by 0.15 rad', push(0.15, 0.3)),
    _hand('pushed by 0.5 rad', push(0.5, 0.8), says=True, quick=True),
    _hand('elbow pushed 0.4 rad', push(0.4, 0.8, _ELBOW), says=True),
    _hand('blocked for 0.3 s', _block, hold=0.3),
    _hand('blocked for 3 s', _block, hold=3.0, says=True, quick=True),
    _hand('reading frozen 3 s', _freeze, hold=3.0, says=True),
    _hand('pushed while paused', in_turn(ask('pause', True), pause(0.5), push(0.3, 0.5),
                                      pause(0.6), _let_go, ask('pause', False)), hold=2.2),
    _hand('pushed while stopped', in_turn(ask('stop'), pause(0.5), push(0.3, 0.5),
                                       pause(0.6), _let_go, ask('start')), hold=2.2),
    _hand('pushed while e-stopped', in_turn(_estop, pause(0.7), push(0.4, 0.5), pause(0.6)),
          hold=1.6, stays=True, clear=_release),
    _hand('pushed there and back', in_turn(push(0.3, 0.4), pause(0.5), push(-0.3, 0.4)),
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
    _stop('e-stop, then start', in_turn(_estop, pause(0.2), ask('start'), pause(0.4),
                                     ask('start')), _release, stays=True, hold=1.6),
    _stop('e-stop held, reset', in_turn(_estop, _reset_refused, ask('start')), _release,
          quick=True, hold=1.9),
    _stop('e-stop, new task', in_turn(_estop, pause(0.3), new_task), _release, stays=True),
    _stop('e-stop 20 times', times(20, _estop), _release, stays=True),
    _stop('stop by service', ask('stop'), stays=True),
    _stop('pause', ask('pause', True), ask('pause', False)),
    _stop('disarm', ask('arm', False), stays=True, hold=1.2),
    _stop('dead-man let go', _DEAD, _ALIVE, 'deadman'),
    _stop('dead-man silent', _deadman(None), _ALIVE, 'deadman', rest_s=1.2, hold=1.8),
    _stop('dead-man, then start', in_turn(_DEAD, pause(0.4), ask('start')), _ALIVE, 'deadman'),
    _stop('dead-man, stop + start', in_turn(_DEAD, pause(0.3), ask('stop'), pause(0.2),
                                         ask('start')), _ALIVE, 'deadman', quick=True),
    _stop('dead-man, empty + new', in_turn(_DEAD, pause(0.3), say(''), pause(0.2), new_task),
          _ALIVE, 'deadman'),
    _stop('dead-man, pause off', in_turn(_DEAD, pause(0.3), ask('pause', True),
                                      ask('pause', False)), _ALIVE, 'deadman'),
    Fault('stops', 'dead-man flickers', _flicker, _ALIVE, graph='deadman', hold=1.2),
)  # fmt: skip
