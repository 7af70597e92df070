"""Whether played episodes can decide which skip mode a bundle gets, and what they tell apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dysl_vla_ros.lab.evaluation.choice import POINT, Candidate, choose
from dysl_vla_ros.lab.evaluation.modes import Row
from dysl_vla_ros.lab.evaluation.statistics import Z_95, paired_difference

WIDEST = 0.10
"""Half of the widest paired 95 % interval that may decide at its best.

Also where two rows win and lose the very same episodes, what they differ by is known to
1.96 / (n + 2) only: to 33 points by 4 episodes, 9 by 20, 2 by 96. What is known no better than to
10 points would be chosen by chance."""
FEWEST = math.ceil(Z_95 / WIDEST) - 2
"""Episodes of each row that this takes."""
Outcomes = Mapping[Row, Sequence[bool]]
"""Row -> success, episode by episode: the same ones of every row, in the same order."""


@dataclass(frozen=True)
class Decision:
    """What episodes say of the mode of a bundle.

    Attributes:
        row: Whose mode it gets; None: it keeps its own.
        told: What the choice is told apart from, or why there is none; for people.
        hopeless: Whether more episodes are no help: what would be chosen never won.
    """

    row: Row | None
    told: str
    hopeless: bool = False


def decide(
    candidates: Sequence[Candidate], won: Outcomes, dense: Row, layers_total: int,
    depth: float = 0.0, slack: float = POINT,
) -> Decision:  # fmt: skip
    """``choice.choose``, where the episodes tell enough for it.

    Args:
        candidates: Every row, also the dense one.
        won: Of the same rows.
        dense: The row that the others are measured by.
        layers_total: Depth of the backbone.
        depth: Layers run / all layers; 0 is no budget.
        slack: How much less than the best score is as good.

    Raises:
        ConfigError: A row that could be chosen was not measured; names it.
    """
    count = len(won[dense])
    if not any(won[dense]):
        return Decision(None, f'dense won none of {count} episodes: what loses nothing to it may '
                        'never win either', hopeless=True)  # fmt: skip
    if count < FEWEST:
        _, low, high = paired_difference([True] * count, [True] * count)
        best = f'{50 * (high - low):.0f} points'
        return Decision(None, f'{count} episodes of each row tell no differences below {best}; '
                        f'{FEWEST} or more would decide')  # fmt: skip
    row = choose(candidates, layers_total, depth, slack).row
    if not any(won[row]):
        return Decision(None, f'{row.name}, the best within the budget, won none of {count} '
                        'episodes', hopeless=True)  # fmt: skip
    return Decision(row, told_apart(won, {one.row: one.layers for one in candidates}, row, dense))


def told_apart(won: Outcomes, layers: Mapping[Row, float], chosen: Row, dense: Row) -> str:
    """What the paired 95 % intervals say of a choice, in one line for people.

    Args:
        won: Of every row.
        layers: Mean layers run of every row: the choice is judged by the deeper ones.
        chosen: Row that goes into the bundle.
        dense: The reference.
    """
    of, behind = f'{chosen.name} on {len(won[dense])} episodes', ''
    if chosen != dense:
        loss, low, high = (100 * share for share in paired_difference(won[dense], won[chosen]))
        behind = f', {loss:.1f} points behind dense (95 %: {low:.1f} to {high:.1f})'
    kinds: dict[str, list[str]] = {'wins less than': [], 'wins more than': [],
                                   'not told apart from': []}  # fmt: skip
    for row in won:
        if row != chosen and (row == dense or layers[row] > layers[chosen]):
            _, low, high = paired_difference(won[row], won[chosen])
            kind = 'wins less than' if low > 0 else 'wins more than' if high < 0 else (
                'not told apart from')  # fmt: skip
            kinds[kind].append(row.name)
    told = '; '.join(f'{kind} {", ".join(names)}' for kind, names in kinds.items() if names)
    return f'{of}{behind}: {told or "nothing deeper was played"}'
