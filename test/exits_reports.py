"""A report of a dense row and two exits, as ``dysl evaluate --world --json`` writes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dysl_vla_ros.lab.evaluation.modes import Row
from dysl_vla_ros.lab.evaluation.world import Played
from dysl_vla_ros.lab.evaluation.world_episodes import WorldEpisode, report

ROWS = (Row('full'), Row('fixed', exit_layer=3), Row('fixed', exit_layer=5))
WORDS = ('lift it', 'open it', 'fly')


def exits_report(policy: str, won: dict[str, Sequence[int]], **facts: Any) -> dict[str, Any]:
    """Five starts of each task, none of them official.

    Args:
        policy: Digest.
        won: Row -> whether each task is won.
        facts: In place of those of LIBERO-Spatial.
    """
    episodes = [
        WorldEpisode(row.name, task, 50 + start, WORDS[task], played(bool(won[row.name][task])))
        for row in ROWS for task in range(len(WORDS)) for start in range(5)
    ]  # fmt: skip
    told = {'world': 'libero', 'suite': 'libero_spatial', 'control': 'none', 'thin': 1.0,
            'policy': policy, 'first_start': 50} | facts  # fmt: skip
    document = report(ROWS, range(len(WORDS)), range(50, 55), episodes, told)
    return dict(json.loads(json.dumps(document)))


def played(success: bool) -> Played:
    """An episode of two chunks."""
    return Played(success, 16, 2, 0, 16, 0, 8, (0.1, 0.1), (0.1, 0.1))
