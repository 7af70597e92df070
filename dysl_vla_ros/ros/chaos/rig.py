"""The graph, the relay and the recording together: brought up, kept moving, brought back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.ros.chaos.description import Limits, read_limits
from dysl_vla_ros.ros.chaos.graph import ARM, NODE, SERVER, Graph
from dysl_vla_ros.ros.chaos.recording import Recording
from dysl_vla_ros.ros.chaos.relay import Relay
from dysl_vla_ros.ros.chaos.verdict import PLAYING

if TYPE_CHECKING:
    from dysl_vla_ros.ros.chaos.wire import Wire

MOVES = 0.12
"""Faster than this the arm moves [rad/s]."""
_FAST = 0.25
"""A fault comes when the sweep is as fast as this: at its turning points little can happen."""
ACTIVATE, DEACTIVATE = 3, 4

_FAR, _FAR_AT_WORK = 0.6, 1.8
"""Farther from where it began the arm has strayed; the sweep itself needs 0.3 [rad]."""
_DEADMAN_S = 0.4
_START_S = 30.0
_VARIANTS: dict[str, dict[str, str]] = {
    'plain': {},
    'deadman': {'deadman_timeout_s': str(_DEADMAN_S)},
}
_TASKS = (
    'pick up the red cube', 'push the blue cube left', 'put the green cube into the bin',
    'push the red cube right', 'pick up the blue cylinder',
)  # fmt: skip


class Rig:
    """What a fault may use.

    Attributes:
        graph: The processes.
        relay: Topics and services.
        recording: What was said.
        wiring: Whether the policy is the sweep that needs no model.
        complaints: What a fault itself saw go wrong in this trial.
        lacking: Why a server cannot be brought up; '' where it can.
    """

    def __init__(self, graph: Graph, relay: Relay, recording: Recording, wiring: bool) -> None:
        """Args: the parts, already entered."""
        self.graph = graph
        self.relay = relay
        self.recording = recording
        self.wiring = wiring
        self.complaints: list[str] = []
        self.lacking = ''
        self._wire: Wire | None = None
        self._limits: Limits | None = None
        self._variant = ''
        self._tasks = 0
        self._home: FloatArray | None = None
        self._far = _FAR if wiring else _FAR_AT_WORK

    def close(self) -> None:
        """Leave no address behind."""
        if self._wire is not None:
            self._wire.close()

    # ---- asking ------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Of the node, as it last said."""
        return self.recording.state

    @property
    def limits(self) -> Limits | None:
        """Of the arm's description; None before it came."""
        if self._limits is None and self.relay.urdf:
            self._limits = read_limits(self.relay.urdf)
        return self._limits

    @property
    def wire(self) -> Wire:
        """Between node and policy server; there is one in the variant ``server`` alone."""
        assert self._wire is not None
        return self._wire

    def new_task(self) -> str:
        """Give an instruction that was not the last one; its text."""
        self._tasks += 1
        text = f'sweep {self._tasks}' if self.wiring else _TASKS[self._tasks % len(_TASKS)]
        self.relay.instruct(text)
        return text

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether it came true in time."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                return False
            time.sleep(0.005)
        return True

    def playing(self) -> bool:
        """Whether the node says that it moves the arm."""
        return self.state in PLAYING

    def moving(self) -> bool:
        """Whether the arm moves because of it."""
        return self.playing() and self.relay.speed() > MOVES

    # ---- bringing up -------------------------------------------------------------------------

    def ensure(self, variant: str) -> bool:
        """Arm and node run, the node as this variant; whether the arm moves now."""
        self.relay.clean()
        if self._strayed():
            self.graph.end(NODE)
            self.graph.end(ARM)
        if not self.graph.alive(ARM):
            self.graph.start_arm()
        self.relay.enable = True if variant == 'deadman' else None
        if variant == 'server' and not self.serve():
            return False
        if not self.graph.alive(NODE) or self._variant != variant:
            self.start_node(variant)
        if self.settle(5.0) or (self.revive() and self.settle(5.0)):
            return True
        for with_arm in (False, True):
            if with_arm:  # it may stand where no policy gets it away from
                self.graph.start_arm()
                time.sleep(0.5)
            self.start_node(variant)
            if self.settle(5.0) or (self.revive() and self.settle(5.0)):
                return True
        return False

    def start_node(self, variant: str) -> None:
        """A fresh node, and wait until it is ready."""
        began = time.monotonic()
        if variant != 'server':
            self.graph.end(SERVER)
        self.start_other(self._parameters(variant))
        self._variant = variant
        self.wait(lambda: not self.graph.alive(NODE) or self._ready_since(began), _START_S)
        self.new_task()

    def start_other(self, parameters: Mapping[str, str]) -> None:
        """A node with other parameters; ``ensure`` replaces it."""
        self._variant = ''
        self.graph.start_node(parameters)

    def serve(self) -> bool:
        """A policy server runs, and nothing spoils what it says; whether it came up."""
        try:
            from dysl_vla_ros.ros.chaos.wire import Wire
        except ImportError as error:
            self.lacking = f"{error}: pip install 'dysl_vla_ros[remote]'"
            return False
        if self._wire is None:
            self._wire = Wire(self.graph.server_url)
        self._wire.spoil = None
        if not self.graph.alive(SERVER):
            self.graph.start_server()
        self.wait(lambda: bool(self.graph.server_url()) or not self.graph.alive(SERVER), _START_S)
        self.lacking = '' if self.graph.server_url() else 'dysl serve does not come up'
        return not self.lacking

    def _parameters(self, variant: str) -> Mapping[str, str]:
        if variant != 'server':
            return _VARIANTS[variant]
        return {'engine.backend': 'remote', 'remote.url': f"'{self.wire.url}'"}

    def settle(self, seconds: float) -> bool:
        """The arm moves under a node that plays."""
        if not self.graph.alive(NODE) or not self.playing():
            return False
        if not self.wiring:
            self.new_task()
        enough = _FAST if self.wiring else MOVES
        return self.wait(lambda: self.playing() and self.relay.speed() > enough, seconds)

    def revive(self) -> bool:
        """Out of whatever stopped it, by what an operator would ask for."""
        self.relay.clean()
        if not self.graph.alive(NODE) or not self.graph.alive(ARM):
            return False
        if self.state == 'inactive':
            self.relay.change_state(ACTIVATE)
            self.wait(lambda: self.state != 'inactive', 1.0)
        self.wait(lambda: self.state != 'stale', 1.0)
        for _ in range(8):
            if self.state not in ('fault', 'e-stop'):
                break
            self.relay.ask('estop_reset')
            self.wait(lambda: self.state not in ('fault', 'e-stop'), 0.2)
        if self.state == 'paused':
            self.relay.ask('pause', False)
        self.relay.ask('arm', True)
        self.new_task()
        if not self.wait(self.playing, 0.4):
            self.relay.ask('start')
        if self.wait(lambda: self.moving() or self.state == 'ready', 2.5) and not self.moving():
            self.relay.ask('start')
        if self.wait(self.moving, 2.5):
            return True
        if not self.wiring:  # the scene may be done with: lay it out again
            self.relay.ask('stop')
            time.sleep(0.5)
            self.relay.ask(f'/{ARM}/reset')
            time.sleep(0.7)
            self.new_task()
            self.wait(self.playing, 0.4)
            self.relay.ask('start')
        return self.wait(self.moving, 2.5)

    def _strayed(self) -> bool:
        """Whether earlier trials left the arm where others would not see what they look for."""
        reading = self.recording.reading
        if reading is None or not self.graph.alive(ARM):
            return False
        if self._home is None:
            self._home = reading.positions
        return bool(np.abs(reading.positions - self._home)[:-1].max() > self._far)

    def _ready_since(self, began: float) -> bool:
        states = self.recording.states(began, time.monotonic())
        return any(state == 'ready' or state in PLAYING for _, state in states)
