"""One step after the other through the policy, under the plans that were or under others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dysl_vla_ros.bundle.manifest import ActionSpec, CalibrationSpec, Manifest
from dysl_vla_ros.config import NodeConfig, SkipConfig
from dysl_vla_ros.core import transforms
from dysl_vla_ros.core.skip_policy import SkipPolicy, SkipSettings
from dysl_vla_ros.data_types import FloatArray, MotionSince, SkipMode, SkipPlan
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.replay.fed_policy import FedPolicy
from dysl_vla_ros.lab.replay.steps import Step
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.pass_record import PassRecord
from dysl_vla_ros.policy import Pass


@dataclass(frozen=True)
class Otherwise:
    """What of the skip policy is not as it was recorded.

    Attributes:
        mode: Skip mode; '' is the recorded one.
        exit_layer: Of mode ``fixed``; 0 is the bundle's.
        rule: Guidance rule; '' is the calibration's.
        tau: A live controller opens iff its score is greater; 0 is the recorded one.
        calibration: When to skip; None is what was in force, of another bundle that one's own.
    """

    mode: str = ''
    exit_layer: int = 0
    rule: str = ''
    tau: float = 0.0
    calibration: CalibrationSpec | None = None

    def __bool__(self) -> bool:
        return bool(self.mode or self.exit_layer or self.rule or self.tau or self.calibration)


@dataclass(frozen=True)
class Played:
    """What came of one step.

    Attributes:
        step: The step.
        plan: Under which it ran.
        first: Its pass.
        again: Its re-run.
        moves: Displacements of what counted, normalised, (horizon, action_dim).
        continuity: After each action that was still to be executed.
        drop_index: First action of the chunk that begins a drop.
        rules_agree: Whether plan and re-run follow from the recorded motion, by our own rules;
            None where that was not asked, or passes are missing before it.
    """

    step: Step
    plan: SkipPlan
    first: Pass
    again: Pass | None
    moves: FloatArray
    continuity: tuple[float | None, ...]
    drop_index: int | None
    rules_agree: bool | None = None

    @property
    def final(self) -> Pass:
        """The pass whose actions count."""
        return self.again or self.first

    @property
    def layers(self) -> int:
        """Layers run, of the re-run too."""
        again = 0 if self.again is None else len(self.again.trace.layers_run)
        return len(self.first.trace.layers_run) + again

    @property
    def least(self) -> float | None:
        """Lowest continuity of what was still to be executed."""
        return min((value for value in self.continuity if value is not None), default=None)


@dataclass
class _Rules:
    """The skip policy, and the settings that it was made with."""

    settings: dict[str, Any]
    skip: SkipPolicy


class Player:
    """Keeps a skip policy of its own, told of the motion that was recorded."""

    def __init__(self, policy: FedPolicy, otherwise: Otherwise, changed: bool = False) -> None:
        """At rest.

        Args:
            policy: Opened.
            otherwise: What is not as it was.
            changed: Whether layers or observations are not either: a re-run is then asked for
                where the new chunk has a drop, not where the old one had.
        """
        self.policy = policy
        self._changed = changed
        self._otherwise = otherwise
        self._rules: _Rules | None = None
        self._synced = False

    def as_recorded(self, record: PassRecord | None) -> bool:
        """Whether the recorded plan is the one to run."""
        return (
            record is not None
            and not self._otherwise
            and record.source.digest == self.policy.manifest.digest
        )

    def play(self, step: Step) -> Played:
        """One step.

        Raises:
            ConfigError: It was recorded in a mode for which this bundle names no exits.
            InputError: It does not have what the bundle wants.
            EngineError: The back end failed, or a recorded plan does not fit the layers.
        """
        record = step.record
        exact = self.as_recorded(record)
        skip = self._skip(step)
        if record is None:
            own = skip.plan(self._mode('auto', skip.settings), step.observation.instruction)
        else:
            _tell(skip, record.plan.since)
            mode = self._mode(record.mode, skip.settings)
            own = skip.plan(mode, step.observation.instruction)
        plan = record.plan if exact and record is not None else own
        compare = exact and record is not None and record.mode == 'compare'
        first = self.policy.feed(step, plan, compare)
        moves = self._moves(first, record)
        _tell(skip, () if record is None else record.judged.since)
        dropped = 0 if record is None else min(record.judged.dropped, len(moves))
        skipped = first.mode == 'skipped' and first.trace.resume_layer is not None
        verdict = skip.verify(moves[dropped:], skipped)
        asked = record is not None and record.judged.rerun
        wanted = step.again is not None if exact and not self._changed else verdict.rerun
        agree = None
        if exact and self._synced and not self._changed:
            agree = own == plan and verdict.rerun == asked
        again: Pass | None = None
        if wanted and skipped:
            again = self.policy.again(first)
            judged = None if step.again is None else step.again.judged
            moves = self._moves(again, step.again or record)
            _tell(skip, () if judged is None else judged.since)
            dropped = dropped if judged is None else min(judged.dropped, len(moves))
            verdict = skip.verify(moves[dropped:], False)
        if record is None or (step.final or record).judged.accepted:
            skip.accepted(verdict, was_rerun=again is not None)
        if record is None:
            for move in moves[: max(1, len(moves) // 2)]:
                skip.played(move)
        drop = None if verdict.drop_index is None else verdict.drop_index + dropped
        return Played(step, plan, first, again, moves, verdict.continuity, drop, agree)

    def _mode(self, recorded: str, settings: SkipSettings) -> SkipMode:
        mode = self._otherwise.mode or ('auto' if recorded == 'compare' else recorded)
        manifest = self.policy.manifest
        exits = manifest.layout.exit_layers
        if mode == 'fixed' and settings.exit_layer not in exits:
            wanted = f'--mode fixed --exit-layer within [1, {exits[-1]}], or ' if exits else ''
            raise ConfigError('--mode', 'fixed, as recorded', f'{wanted}another --mode: '
                              f'{manifest.name} names no exit of its own')  # fmt: skip
        if mode == 'by_instruction' and not manifest.calibration.exit_by_instruction:
            raise ConfigError('--mode', 'by_instruction, as recorded', 'another --mode: '
                              f'{manifest.name} names no exits by instruction')  # fmt: skip
        return mode  # type: ignore[return-value]

    def _skip(self, step: Step) -> SkipPolicy:
        """The skip policy, made anew where its settings change, in step with the recording."""
        settings = self.settings(step.record)
        plain = {name: _plain(value) for name, value in vars(settings).items()}
        if self._rules is None or self._rules.settings != plain:
            skip = SkipPolicy(self.policy.manifest.layout.segments, settings)
            skip.restart()
            self._rules, self._synced = _Rules(plain, skip), False
        if step.gap:
            self._rules.skip.restart()
            self._synced = False
        if step.record is not None and any(move is None for move in step.record.plan.since):
            self._synced = True  # the motion was forgotten: all that counts is known again
        return self._rules.skip

    def settings(self, record: PassRecord | None) -> SkipSettings:
        """Of the skip policy: recorded, or the bundle's, and what is given otherwise."""
        manifest, other = self.policy.manifest, self._otherwise
        calibration = other.calibration or manifest.calibration
        same = record is not None and record.source.digest == manifest.digest
        if record is not None and same and other.calibration is None:
            known = dict(record.settings)
            settings = SkipSettings(**{**known, 'weights': np.array(known['weights'])})
        else:
            settings = skip_settings(NodeConfig(skip=SkipConfig()), calibration)
        changed: dict[str, Any] = {}
        if other.rule:
            changed['rule'] = other.rule
        if other.tau:
            changed['tau'] = other.tau
        if other.exit_layer:
            changed['exit_layer'] = other.exit_layer
        return replace(settings, **changed)

    def _moves(self, result: Pass, record: PassRecord | None) -> FloatArray:
        return displacements(self.policy.manifest, result.normalised, record)


def displacements(
    manifest: Manifest, normalised: FloatArray, record: PassRecord | None
) -> FloatArray:
    """Per-step displacements in normalised space, shape (horizon, action_dim).

    Where actions are absolute, the first one starts where the recorded one did.
    """
    spec = manifest.action
    if spec.space.endswith('delta'):
        return normalised
    own = _steps(spec, normalised, normalised[:1])
    known = None if record is None else record.judged.displacements
    if record is None or known is None or known.shape != own.shape:
        return own  # nothing to compare a first pose with: it counts as no displacement
    moved = _steps(spec, normalised[:1], record.result.normalised[:1])
    rest = _steps(spec, record.result.normalised[:1], record.result.normalised[:1])
    own[0] = known[0] + (moved[0] - rest[0])
    return own


def _steps(spec: ActionSpec, normalised: FloatArray, start: FloatArray) -> FloatArray:
    """Displacements of absolute actions that start at ``start``, shape (1, action_dim)."""
    scale, moves = spec.normalisation, spec.displacement
    actions = transforms.unnormalise(normalised, scale.low, scale.high, scale.mask)
    begin = transforms.unnormalise(start, scale.low, scale.high, scale.mask)[0]
    size = 6 if spec.space == 'eef_pose' else spec.dim - int(spec.gripper)
    steps = transforms.steps_of_absolute(actions, begin[:size], spec.space)
    return np.array(transforms.normalise(steps, moves.low, moves.high, moves.mask))


def _tell(skip: SkipPolicy, since: MotionSince) -> None:
    for move in since:
        if move is None:
            skip.restart()
        elif move.shape == skip.settings.weights.shape:
            skip.played(move)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
