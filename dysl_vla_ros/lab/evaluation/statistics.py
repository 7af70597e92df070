"""Intervals for success rates: Wilson for one policy, paired for two on the same seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Confidence interval of a success rate.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", 1927.

    Args:
        successes: Number of successes.
        trials: Number of episodes.
        z: Normal quantile.

    Returns:
        Lower and upper bound within [0, 1]; (0, 1) without episodes.

    Raises:
        ValueError: More successes than trials, or a negative count.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f'successes = {successes}: expected within [0, trials = {trials}]')
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    centre = rate + z * z / (2 * trials)
    spread = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def paired_difference(
    reference: Sequence[bool], other: Sequence[bool], z: float = Z_95
) -> tuple[float, float, float]:
    """Success rate of ``reference`` minus that of ``other`` on the same seeds.

    Source: Agresti and Min, "Simple improved confidence intervals for comparing matched
    proportions", 2005: half an observation is added to each cell of the table.

    Args:
        reference: Success per seed of the reference policy.
        other: Success per seed of the other, in the same order.
        z: Normal quantile.

    Returns:
        The difference, and the lower and upper bound of its interval.

    Raises:
        ValueError: The sequences differ in length.
    """
    if len(reference) != len(other):
        raise ValueError(f'{len(other)} results: expected {len(reference)}, one per seed')
    trials = len(reference)
    if trials == 0:
        return 0.0, -1.0, 1.0
    lost = sum(1 for a, b in zip(reference, other, strict=True) if a and not b)
    won = sum(1 for a, b in zip(reference, other, strict=True) if b and not a)
    n, b, c = trials + 2, lost + 0.5, won + 0.5
    centre = (b - c) / n
    spread = z * math.sqrt((b + c) - (b - c) ** 2 / n) / n
    return (lost - won) / trials, max(-1.0, centre - spread), min(1.0, centre + spread)
