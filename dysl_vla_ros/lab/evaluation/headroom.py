"""How much dynamic depth could save at best, before any controller is trained.

Offline: in every state the shallowest exit whose actions are within a tolerance of the dense ones.
In closed loop: an oracle plays that exit, beside every fixed exit on the same episodes. What the
oracle saves against the best fixed exit is the headroom: no controller does better with these
exits, since none knows the dense actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dysl_vla_ros.lab.evaluation.choice import POINT
from dysl_vla_ros.lab.evaluation.decision import FEWEST
from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult
from dysl_vla_ros.lab.evaluation.evaluate import Played
from dysl_vla_ros.lab.evaluation.modes import Row
from dysl_vla_ros.lab.evaluation.statistics import paired_difference, wilson_interval
from dysl_vla_ros.lab.evaluation.summary import summary

DENSE = Row('oracle', tolerance=0.0)
"""Plays dense and tries every exit: the states of the offline part are its states."""
_DISTANCES = (0.025, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class TriedState:
    """The exits of one observation.

    Attributes:
        errors: Per exit, shallowest first, the root mean square of the difference to dense.
        groups: Kind of group -> which, as ``{'phase': 'grasp'}``.
    """

    errors: tuple[float, ...]
    groups: Mapping[str, str] = field(default_factory=dict)


def tried_states(results: Sequence[EpisodeResult]) -> list[TriedState]:
    """The states of played episodes, with the groups that they are reported in."""
    return [
        TriedState(seen.errors, {
            'phase': seen.phase, 'task': result.spec.family, 'distance': distance(seen.distance),
            'split': result.spec.split,
        })
        for result in results for seen in result.seen
    ]  # fmt: skip


def distance(metres: float) -> str:
    """The interval that a distance to the goal lies in, in centimetres."""
    bounds = [100 * bound for bound in _DISTANCES]
    for low, high in zip([0.0, *bounds], bounds, strict=False):
        if 100 * metres < high:
            return f'{low:g}-{high:g} cm'
    return f'over {bounds[-1]:g} cm'


def offline(
    states: Sequence[TriedState], layers_total: int, tolerances: Sequence[float]
) -> dict[str, Any]:
    """The shallowest exits within each tolerance, over all states and by group.

    Args:
        states: At least one; errors of exits 1 to ``layers_total - 2``.
        layers_total: Depth of the backbone.
        tolerances: Root mean squares of normalised actions.

    Returns:
        A JSON document. ``layers`` counts the last layer too: of exit d, d + 1.
    """
    errors = np.array([state.errors for state in states])
    needed = {tolerance: _layers_needed(errors, layers_total, tolerance)
              for tolerance in tolerances}  # fmt: skip
    kinds = {kind: sorted({state.groups[kind] for state in states}, key=_order)
             for kind in states[0].groups}  # fmt: skip
    return {
        'states': len(states),
        'exits': [
            {
                'exit_layer': index + 1,
                'layers': index + 2,
                'error': {name: float(np.quantile(errors[:, index], share))
                          for name, share in (('p50', 0.5), ('p95', 0.95), ('max', 1.0))},
                'within': {f'{tolerance:g}': float(np.mean(errors[:, index] <= tolerance))
                           for tolerance in tolerances},
            }
            for index in range(errors.shape[1])
        ],
        'oracle': [
            {
                'tolerance': tolerance,
                'layers_mean': float(np.mean(found)),
                'only_dense': float(np.mean(found == layers_total)),
                'histogram': {str(layers): int(np.sum(found == layers))
                              for layers in np.unique(found)},
            }
            for tolerance, found in needed.items()
        ],
        'groups': {
            kind: {
                name: _group([state.groups[kind] == name for state in states], needed)
                for name in names
            }
            for kind, names in kinds.items()
        },
    }  # fmt: skip


def closed_loop(played: Played) -> dict[str, Any]:
    """Success and depth of every row beside dense, and what is left between fixed and oracle.

    Where dense won nothing, no row is as good as it: its layers are None.

    Args:
        played: ``DENSE`` among the rows.
    """
    dense = played[DENSE]
    rows = {row.name: _row(dense, found) for row, found in played.items()}
    return {
        'episodes': len(dense),
        'layers_total': dense[0].layers_total,
        'rows': rows,
        **found_of(rows),
    }


def found_of(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """What rows come to: the layers of the best fixed exit and of the oracle, and between them.

    Args:
        rows: By name, with ``DENSE``; of each ``success_rate``, ``loss``, ``layers_run_mean``.
    """
    fixed, oracle = None, None
    if rows[DENSE.name]['success_rate']:
        fixed = _best([row for name, row in rows.items() if name.startswith('fixed ')])
        oracle = _best([row for name, row in rows.items()
                        if name.startswith('oracle ') and name != DENSE.name])  # fmt: skip
    return {
        'best_fixed_layers': fixed,
        'oracle_layers': oracle,
        'headroom_layers': None if fixed is None or oracle is None else fixed - oracle,
    }


def verdict(found: Mapping[str, Any]) -> str:
    """What ``closed_loop`` found, in a sentence."""
    count = found['episodes']
    if not found['rows'][DENSE.name]['success_rate']:
        return (f'dense won none of {count} episodes: what loses nothing to it may never win '
                'either, so that there is no headroom to tell')  # fmt: skip
    few = '' if count >= FEWEST else (f'; {count} episodes tell no differences, {FEWEST} or more '
                                      'would')  # fmt: skip
    return f'{_spared(found)}{few}'


def _spared(found: Mapping[str, Any]) -> str:
    fixed, oracle, total = (
        found[name] for name in ('best_fixed_layers', 'oracle_layers', 'layers_total')
    )
    if fixed is None:
        text = f'no fixed exit that was tried is within a point of dense ({total} layers)'
        if oracle is not None:
            text += f'; an oracle is, at {oracle:.1f}'
        return f'{text}: try deeper exits'
    if oracle is None:
        return (f'the best fixed exit runs {fixed:.1f} of {total} layers; no oracle is within a '
                'point of dense: try smaller tolerances')  # fmt: skip
    spare = found['headroom_layers']
    if spare <= 0:
        return (f'no headroom: the best fixed exit runs {fixed:.1f} of {total} layers, the '
                f'oracle {oracle:.1f}')  # fmt: skip
    return (f'headroom {spare:.1f} of {total} layers, {100 * spare / fixed:.0f} % of the best '
            f'fixed exit: it runs {fixed:.1f}, the oracle {oracle:.1f}')  # fmt: skip


def _order(name: str) -> tuple[float, str]:
    """Distances by size, other groups by name."""
    head = name.removeprefix('over ').partition('-')[0].partition(' ')[0]
    return (float(head) if name.endswith(' cm') else 0.0, name)


def _layers_needed(errors: Any, layers_total: int, tolerance: float) -> Any:
    """Per state, the layers of the shallowest exit within a tolerance; all where there is none."""
    within = errors <= tolerance
    return np.where(within.any(axis=1), within.argmax(axis=1) + 2, layers_total)


def _group(members: Sequence[bool], needed: Mapping[float, Any]) -> dict[str, Any]:
    chosen = np.array(members)
    return {
        'states': int(chosen.sum()),
        'layers_mean': {f'{tolerance:g}': float(np.mean(found[chosen]))
                        for tolerance, found in needed.items()},
    }  # fmt: skip


def _row(dense: Sequence[EpisodeResult], found: Sequence[EpisodeResult]) -> dict[str, Any]:
    told = summary(found)
    loss, low, high = paired_difference([r.success for r in dense], [r.success for r in found])
    return {
        'success_rate': told['success_rate'],
        'success_interval': wilson_interval(told['successes'], told['episodes']),
        'loss': loss, 'low': low, 'high': high,
        'layers_run_mean': told['layers_run_mean'],
        'layers_by_phase': told['layers_by_phase'],
        'families': told['families'],
    }  # fmt: skip


def _best(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Fewest layers of a row that is as good as dense."""
    # In whole episodes: 0.01 is no number of a computer's.
    good = [row['layers_run_mean'] for row in rows if row['loss'] <= POINT + 1e-9]
    return min(good, default=None)
