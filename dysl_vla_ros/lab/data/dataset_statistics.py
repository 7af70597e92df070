"""Statistics of a dataset's columns, in the names and shapes of LeRobot's meta/stats.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES = {'q01': 0.01, 'q10': 0.1, 'q50': 0.5, 'q90': 0.9, 'q99': 0.99}

Stats = dict[str, Any]
"""min, max, mean, std, quantiles and count of one column, as nested lists."""


def column_statistics(values: NDArray[Any]) -> Stats:
    """Per dimension over the rows of (rows, ...); a scalar has one dimension."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    found = {
        'min': rows.min(0), 'max': rows.max(0), 'mean': rows.mean(0), 'std': rows.std(0),
        **{name: np.quantile(rows, share, axis=0) for name, share in QUANTILES.items()},
    }  # fmt: skip
    return {name: entry.tolist() for name, entry in found.items()} | {'count': [len(rows)]}


def picture_statistics(images: Sequence[NDArray[np.uint8]]) -> Stats:
    """Per colour channel in [0, 1], shaped (3, 1, 1)."""
    found = column_statistics(np.stack(images).reshape(-1, 3) / 255.0)
    found['count'] = [len(images)]
    return {
        name: entry if name == 'count' else [[[value]] for value in entry]
        for name, entry in found.items()
    }


def merge(total: dict[str, Stats], stats: Mapping[str, Stats]) -> None:
    """Add an episode to the statistics of all, in place.

    Mean and variance are those of the union; quantiles are averages weighted by the rows, the
    approximation that LeRobot makes when it aggregates episodes.
    """
    for name, entry in stats.items():
        new = {key: np.array(value, dtype=np.float64) for key, value in entry.items()}
        if name not in total:
            total[name] = new
            continue
        old = total[name]
        share = float(new['count'][0] / (old['count'][0] + new['count'][0]))

        def mean(one: NDArray[Any], other: NDArray[Any], share: float = share) -> NDArray[Any]:
            return (1.0 - share) * one + share * other

        middle = mean(old['mean'], new['mean'])
        square = mean(old['std'] ** 2 + old['mean'] ** 2, new['std'] ** 2 + new['mean'] ** 2)
        total[name] = {
            'min': np.minimum(old['min'], new['min']), 'max': np.maximum(old['max'], new['max']),
            'mean': middle, 'std': np.sqrt(np.maximum(square - middle**2, 0.0)),
            **{key: mean(old[key], new[key]) for key in QUANTILES},
            'count': old['count'] + new['count'],
        }  # fmt: skip


def as_document(stats: Mapping[str, Stats]) -> dict[str, Any]:
    """For meta/stats.json."""
    return {
        name: {key: [int(value[0])] if key == 'count' else np.asarray(value).tolist()
               for key, value in entry.items()}
        for name, entry in stats.items()
    }  # fmt: skip
