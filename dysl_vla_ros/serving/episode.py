"""One client's episode: what it saw and what it played, so that skipping is guided as on a robot.

The client plays rows of each answer and then asks again. How many it played is what it says, or
else what the server was told; their displacements are the executed motion that guides the next
pass. A drop of continuity in what it is about to play makes the pass full before it is answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dysl_vla_ros.core.skip_policy import SkipPolicy, SkipSettings
from dysl_vla_ros.data_types import FloatArray, Observation, SkipMode, SkipPlan
from dysl_vla_ros.engines.remote.contract import Contract
from dysl_vla_ros.engines.remote.request import ASK, BLANK, EXIT, NUMBER, observation_of
from dysl_vla_ros.errors import ConfigError, InputError
from dysl_vla_ros.policy import Pass, Policy
from dysl_vla_ros.verified_pass import displacements, physical_actions, verified

_ASKED = ('reset', 'mode', EXIT, 'played', 'aside', NUMBER)
"""What a request may say under ``ASK``."""
SERVED_MODES: tuple[SkipMode, ...] = ('auto', 'full', 'max_skip', 'fixed', 'by_instruction')


@dataclass(frozen=True)
class ServeSettings:
    """How clients are served.

    Attributes:
        skip: When to skip.
        mode: Unless a request says another.
        plays: Rows of each answer that clients play before they ask again; 0 = all.
        silence_s: After so long without a request the arm has come to rest: the next pass is
            full [s].
    """

    skip: SkipSettings
    mode: SkipMode = 'auto'
    plays: int = 0
    silence_s: float = 5.0

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        if self.mode not in SERVED_MODES:
            raise ConfigError('mode', self.mode, 'one of ' + ', '.join(SERVED_MODES))
        if self.plays < 0:
            raise ConfigError('plays', self.plays, 'at least 0')
        if not self.silence_s > 0:
            raise ConfigError('silence', self.silence_s, 'more than 0 seconds')
        if self.mode == 'fixed' and not self.skip.exit_layer:
            raise ConfigError('mode', 'fixed', 'another one: the bundle names no exit layer')
        if self.mode == 'by_instruction' and not self.skip.exits:
            raise ConfigError('mode', self.mode, 'another one: the bundle names no exits by '
                              'instruction')  # fmt: skip


class Episode:
    """Of one connection; all episodes are asked by one thread."""

    def __init__(
        self,
        policy: Policy,
        contract: Contract,
        settings: ServeSettings,
        clock: Callable[[], float] = time.monotonic,
        decides: bool = False,
    ) -> None:
        """Begin with nothing played.

        Args:
            policy: Opened and warmed up.
            contract: Of requests and answers.
            settings: How clients are served.
            clock: Seconds.
            decides: Whether grippers are told to open or to close, where the contract has a
                threshold; else the opening is said as the model means it.
        """
        self._decides = decides
        self.contract = contract
        self._policy = policy
        self._settings = settings
        self._clock = clock
        self._rows = contract.action.horizon
        self._plays = min(settings.plays or self._rows, self._rows)
        self._skip = SkipPolicy(policy.manifest.layout.segments, settings.skip)
        self._played: FloatArray | None = None
        self._instruction = ''
        self._asked_at = float('-inf')

    def reset(self) -> None:
        """A new episode: what was played before counts no more."""
        self._skip.restart()
        self._played = None

    def read(self, request: Mapping[str, Any]) -> Observation:
        """What a request shows, of now; nothing is run and nothing noted.

        Raises:
            InputError: It does not fit; names the key.
        """
        return observation_of(request, self.contract, self._clock())

    def answer(
        self, request: Mapping[str, Any], seen: Observation | None = None
    ) -> dict[str, Any]:
        """Run the policy once, twice where continuity drops.

        Args:
            request: By the contract; under ``dysl`` it may say ``reset`` (this is a new
                episode), ``mode``, ``exit_layer`` (of mode ``fixed``), ``played`` (rows of the
                last answer), ``aside`` (the question has nothing to do with the episode) and
                ``number``, which is answered.
            seen: What ``read`` found in it; None where it was not read yet.

        Raises:
            InputError: The request does not fit; names the key.
            EngineError: The back end failed.
        """
        said = _said(request, self._rows)
        found = self._answered(self.read(request) if seen is None else seen, said)
        if NUMBER in said:
            found[ASK][NUMBER] = said[NUMBER]
        return found

    def _answered(self, observation: Observation, said: Mapping[str, Any]) -> dict[str, Any]:
        now = observation.stamp
        mode, layer = self._wish(said)
        if said.get('aside'):
            if observation.instruction == BLANK:
                observation = replace(observation, instruction=self._policy.readable(BLANK))
            fresh = SkipPolicy(self._skip.segments, self._settings.skip)
            plan = _plan(fresh, mode, layer, observation.instruction)
            result = self._policy.predict(observation, plan)
            return self._say(result, None, again=False)
        self._go_on(observation, said, now)
        plan = _plan(self._skip, mode, layer, observation.instruction)
        return self._verified(self._policy.predict(observation, plan), observation)

    def _wish(self, said: Mapping[str, Any]) -> tuple[SkipMode, int | None]:
        """Mode of the pass, and its exit where the request names one."""
        mode: SkipMode = said.get('mode', self._settings.mode)
        if mode not in SERVED_MODES:
            raise InputError(f'{ASK}.mode = {str(mode)[:20]!r}: expected one of {SERVED_MODES}')
        layer, exits = said.get(EXIT), self._policy.manifest.layout.exit_layers
        if layer is None:
            if mode == 'fixed' and not self._settings.skip.exit_layer:
                raise InputError(f'{ASK}.mode = fixed: expected {ASK}.{EXIT} too: the bundle '
                                 'names none')  # fmt: skip
            return mode, None
        if mode != 'fixed' or type(layer) is not int or layer not in exits:
            within = f'{exits[0]} to {exits[-1]}' if exits else 'none: this model has no exit'
            raise InputError(f'{ASK}.{EXIT} = {str(layer)[:20]} with mode {mode}: expected mode '
                             f'fixed and {within}')  # fmt: skip
        return mode, layer

    def _go_on(self, observation: Observation, said: Mapping[str, Any], now: float) -> None:
        """Note what was played since the last answer, or that a new episode begins."""
        changed = observation.instruction != self._instruction
        silent = now - self._asked_at > self._settings.silence_s
        self._instruction, self._asked_at = observation.instruction, now
        if changed or silent or said.get('reset'):
            self.reset()
            return
        count = said.get('played', self._plays)
        for row in () if self._played is None else self._played[:count]:
            self._skip.played(row)
        self._played = None

    def _verified(self, first: Pass, observation: Observation) -> dict[str, Any]:
        manifest = self._policy.manifest
        result, self._played, _ = verified(
            self._skip, first, lambda one: displacements(manifest, one.normalised, observation),
            self._plays, self._policy.rerun,
        )  # fmt: skip
        again = result is not first
        before = len(first.trace.layers_run) if again else 0
        return self._say(result, self._skip.continuity, again, before)

    def _say(
        self, result: Pass, continuity: float | None, again: bool, before: int = 0
    ) -> dict[str, Any]:
        manifest, trace = self._policy.manifest, result.trace
        physical = physical_actions(manifest, result.normalised)[: self._rows]
        # A re-run resumes at its first jump: what ran before that belongs to it.
        ran = tuple(range(trace.layers_total)) if again else trace.layers_run
        return {
            self.contract.action.key: self.contract.answer(physical, self._decides),
            ASK: {
                'mode': 'full' if again else result.mode,
                'rerun': again,
                'skip_ratio': 1.0 - len(ran) / trace.layers_total,
                'layers_run': list(ran),
                'layers_total': trace.layers_total,
                'layers_spent': before + len(trace.layers_run),
                'scores': {str(layer): float(score) for layer, score in trace.scores.items()},
                'continuity': continuity,
            },
        }


def _plan(skip: SkipPolicy, mode: SkipMode, layer: int | None, instruction: str) -> SkipPlan:
    plan = skip.plan(mode, instruction)
    return plan if layer is None else replace(plan, exit_layer=layer)


def _said(request: Mapping[str, Any], rows: int) -> Mapping[str, Any]:
    """What a request says of itself, each value of its kind; ``rows`` are those of an answer."""
    found = request.get(ASK, {})
    if not isinstance(found, Mapping):
        raise InputError(f'{ASK} is a {type(found).__name__}: expected a map')
    for key in found:
        if key not in _ASKED:
            raise InputError(f'{ASK}.{str(key)[:20]}: expected one of {", ".join(_ASKED)}')
    for key in ('reset', 'aside'):
        if type(found.get(key, False)) is not bool:
            raise InputError(f'{ASK}.{key} = {str(found[key])[:20]}: expected true or false')
    if type(found.get(NUMBER, 0)) is not int:
        raise InputError(f'{ASK}.{NUMBER} = {str(found[NUMBER])[:20]}: expected a whole number')
    count = found.get('played', 0)
    if type(count) is not int or not 0 <= count <= rows:
        raise InputError(f'{ASK}.played = {str(count)[:20]}: expected a number of rows of the '
                         f'last answer, at most {rows}')  # fmt: skip
    return found
