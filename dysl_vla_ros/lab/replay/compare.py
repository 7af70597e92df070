"""Replayed passes beside recorded ones: what is the same, and the first that is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.data_types import FloatArray, LayerTrace
from dysl_vla_ros.lab.replay.player import Played
from dysl_vla_ros.lab.replay.steps import Step
from dysl_vla_ros.pass_record import PassRecord
from dysl_vla_ros.policy import Pass

TOLERANCE = {'fp32': 5e-4, 'fp16': 2e-2}
"""Of a normalised action, by precision: other processors add up in another order."""
_SHOWN = 3


@dataclass(frozen=True)
class Side:
    """One side of a comparison: recorded, replayed, or replayed without the change.

    Attributes:
        passes: The pass, and its re-run.
        moves: Displacements, normalised; None where none are known.
        continuity: After each action that was still to be executed.
        drop_index: First action that begins a drop.
    """

    passes: tuple[Pass, ...]
    moves: FloatArray | None
    continuity: tuple[float | None, ...]
    drop_index: int | None

    @property
    def actions(self) -> FloatArray:
        """Normalised, of the pass that counted."""
        return self.passes[-1].normalised

    @property
    def layers(self) -> int:
        """Layers run, of the re-run too."""
        return sum(len(one.trace.layers_run) for one in self.passes)

    @property
    def least(self) -> float | None:
        """Lowest continuity."""
        return min((value for value in self.continuity if value is not None), default=None)


@dataclass(frozen=True)
class Row:
    """One chunk.

    Attributes:
        index: Counts up from 0.
        step: What was recorded.
        now: Replayed.
        then: What it is compared with; None where there is nothing.
        rules_agree: As ``Played.rules_agree``.
    """

    index: int
    step: Step
    now: Side
    then: Side | None
    rules_agree: bool | None = None

    @property
    def difference(self) -> FloatArray | None:
        """Of the normalised actions, as far as both go; None where they cannot be compared."""
        if self.then is None or self.then.actions.shape[1] != self.now.actions.shape[1]:
            return None
        shared = min(len(self.then.actions), len(self.now.actions))
        return self.now.actions[:shared] - self.then.actions[:shared]

    @property
    def rms(self) -> float | None:
        """Root mean square of the difference."""
        found = self.difference
        return None if found is None else float(np.sqrt(np.mean(np.square(found))))

    @property
    def largest(self) -> float | None:
        """Largest difference."""
        found = self.difference
        return None if found is None else float(np.max(np.abs(found)))

    @property
    def same_layers(self) -> bool | None:
        """Whether the same layers ran, of every pass."""
        return None if self.then is None else not _other_layers(self.then, self.now)


def recorded(step: Step) -> Side | None:
    """What the recording says of a step."""
    record = step.record
    if record is None:
        return None
    records: Sequence[PassRecord] = [record] if step.again is None else [record, step.again]
    last = records[-1].judged
    passes = tuple(
        one for each in records for one in ((each.result.compared,) if each.result.compared
                                            else ()) + (each.result,)
    )  # fmt: skip
    return Side(passes, last.displacements, last.continuity, last.drop_index)


def replayed(played: Played) -> Side:
    """What came of a step."""
    first = played.first
    passes = ((first.compared,) if first.compared else ()) + (first,)
    if played.again is not None:
        passes = (*passes, played.again)
    return Side(passes, played.moves, played.continuity, played.drop_index)


def differs(row: Row, manifest: Manifest) -> str:
    """How a chunk differs from what was recorded, for people; '' where it is the same.

    Layers, jumps and controllers asked have to be the same, actions to ``TOLERANCE``.
    """
    then, now = row.then, row.now
    if then is None:
        return ''
    said = _other_layers(then, now)
    if said:
        return said
    largest, tolerance = row.largest, TOLERANCE[manifest.precision]
    if largest is None:
        return f'actions of shape {now.actions.shape}, recorded {then.actions.shape}'
    # Not written as a comparison the other way round: NaN differs.
    if not largest <= tolerance:
        found = row.difference
        assert found is not None
        worst = np.unravel_index(np.argmax(np.abs(found)), found.shape)
        return (
            f'action {worst[0]}, dimension {worst[1]}: {now.actions[worst]:.6f}, recorded '
            f'{then.actions[worst]:.6f}; expected within {tolerance:g}'
        )
    return ''


def named(row: Row) -> str:
    """A chunk by its names, for people."""
    record = row.step.record
    number = '' if record is None else f' (pass {record.number})'
    return f'chunk {row.index}{number} at {row.step.seconds:.2f} s'


def _other_layers(then: Side, now: Side) -> str:
    if len(then.passes) != len(now.passes):
        return f'{_counted(now)}, recorded {_counted(then)}'
    for before, after in zip(then.passes, now.passes, strict=True):
        one, other = before.trace, after.trace
        if one.layers_run != other.layers_run or one.jumps != other.jumps:
            return (
                f'{after.mode} pass: layers {_layers(other)}, recorded {_layers(one)}'
                f'{_scores(one, other)}'
            )
        if set(one.scores) != set(other.scores):
            return (
                f'{after.mode} pass: controllers of layers {sorted(other.scores)} asked, '
                f'recorded {sorted(one.scores)}'
            )
    return ''


def _counted(side: Side) -> str:
    again = sum(one.mode == 'rerun' for one in side.passes)
    return f'{len(side.passes)} passes' + (' with a re-run' if again else ' and no re-run')


def _layers(trace: LayerTrace) -> str:
    return trace.layer_mask


def _scores(one: LayerTrace, other: LayerTrace) -> str:
    """The scores that lie farthest apart."""
    shared = sorted(set(one.scores) & set(other.scores),
                    key=lambda layer: -abs(one.scores[layer] - other.scores[layer]))  # fmt: skip
    said = [f'layer {layer} {other.scores[layer]:.4f}, recorded {one.scores[layer]:.4f}'
            for layer in shared[:_SHOWN]]  # fmt: skip
    return f'; scores: {"; ".join(said)}' if said else ''


def to_json(row: Row) -> dict[str, Any]:
    """A row of the report."""
    record = row.step.record
    return {
        'chunk': row.index,
        'pass': None if record is None else record.number,
        'seconds': row.step.seconds,
        'missing_before': row.step.gap,
        'instruction': row.step.observation.instruction,
        'replayed': _side(row.now),
        'compared': None if row.then is None else _side(row.then),
        'difference_rms': row.rms,
        'difference_max': row.largest,
        'same_layers': row.same_layers,
        'rules_agree': row.rules_agree,
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        'passes': [
            {
                'mode': one.mode,
                'layer_mask': one.trace.layer_mask,
                'layers_run': len(one.trace.layers_run),
                'jumps': [[jump.layer, jump.target] for jump in one.trace.jumps],
                'scores': {str(layer): score for layer, score in one.trace.scores.items()},
            }
            for one in side.passes
        ],
        'layers_run': side.layers,
        'layers_total': side.passes[0].trace.layers_total,
        'continuity': list(side.continuity),
        'drop_index': side.drop_index,
        'actions': side.actions.tolist(),
    }
