"""A recording through a policy: rows to be shown, and whether they are what was recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dysl_vla_ros.errors import ConfigError, InputError
from dysl_vla_ros.lab.replay.compare import Row, Side, differs, named, recorded, replayed
from dysl_vla_ros.lab.replay.fed_policy import Change, FedPolicy
from dysl_vla_ros.lab.replay.player import Otherwise, Player
from dysl_vla_ros.lab.replay.steps import Step


@dataclass
class Result:
    """Of a replay.

    Attributes:
        rows: One per chunk.
        compared: What ``then`` of the rows is: ``recorded``, ``unchanged``, or '' for nothing.
        verified: Whether the rows had to be what was recorded.
        first_difference: Where and how they were not; '' where they all were.
        unusable: Why steps could not be run -> how many.
        recorded_with: Bundles and devices of the recording.
    """

    rows: list[Row] = field(default_factory=list)
    compared: str = ''
    verified: bool = False
    first_difference: str = ''
    unusable: Counter[str] = field(default_factory=Counter)
    recorded_with: set[tuple[str, str]] = field(default_factory=set)


def replay(
    steps: Iterable[Step],
    policy: FedPolicy,
    otherwise: Otherwise,
    change: Change,
    unchanged: FedPolicy | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Result:
    """Run every step.

    Args:
        steps: In order.
        policy: With the change.
        otherwise: What of the skip policy is not as it was.
        change: What of observation and layers is not as it was.
        unchanged: On the same engine, without the change; what comes of it is compared with.
        progress: Called with the steps done.

    Raises:
        ConfigError: No step could be run, or a word to be changed is nowhere.
        EngineError: The back end failed.
    """
    player = Player(policy, otherwise, bool(change))
    before = None if unchanged is None else Player(unchanged, otherwise)
    result = Result(compared='' if before is None else 'unchanged')
    spoken: set[str] = set()
    for number, step in enumerate(steps):
        spoken.add(step.observation.instruction)
        if step.record is not None:
            result.recorded_with.add((step.record.source.bundle, step.record.source.device))
        try:
            then: Side | None = None
            if before is not None:
                then = replayed(before.play(step))
            played = player.play(step)
        except InputError as error:
            result.unusable[str(error)] += 1
            continue
        if before is None:
            then = recorded(step)
            result.compared = 'recorded' if then is not None else result.compared
        light = replace(step, observation=replace(step.observation, images={}, seen={}))
        row = Row(len(result.rows), light, replayed(played), then, played.rules_agree)
        result.rows.append(row)
        if before is None and player.as_recorded(step.record):
            result.verified = True
            if not result.first_difference and (how := differs(row, policy.manifest)):
                result.first_difference = f'{named(row)}: {how}'
        progress(number + 1)
    if not result.rows:
        why = '; '.join(f'{count} times {text}' for text, count in result.unusable.items())
        raise ConfigError('bag', why or 'no observation', 'observations that the bundle takes')
    for word in dict(change.words):
        if not any(change.instruction(text) != text for text in spoken):
            raise ConfigError('--word', word, 'a word of an instruction: '
                              f'{"; ".join(sorted(spoken))}')  # fmt: skip
    return result


def summary(result: Result) -> dict[str, Any]:
    """Figures of all rows."""
    rows = result.rows
    now, then = [row.now for row in rows], [row.then for row in rows if row.then is not None]
    errors = [row.rms for row in rows if row.rms is not None]
    same = [row.same_layers for row in rows if row.same_layers is not None]
    rules = [row.rules_agree for row in rows if row.rules_agree is not None]
    return {
        'chunks': len(rows),
        'missing': sum(row.step.gap for row in rows),
        'unusable': dict(result.unusable),
        'replayed': _figures(now),
        'compared': _figures(then) if then else None,
        'compared_with': result.compared or None,
        'difference': None if not errors else {
            'rms_mean': float(np.mean(errors)),
            'rms_p95': float(np.quantile(errors, 0.95)),
            'max': max(row.largest for row in rows if row.largest is not None),
        },
        'same_layers': None if not same else sum(same),
        'rules_agree': None if not rules else [sum(rules), len(rules)],
        'verified': result.verified,
        'first_difference': result.first_difference or None,
    }  # fmt: skip


def _figures(sides: list[Side]) -> dict[str, Any]:
    least = [side.least for side in sides if side.least is not None]
    return {
        'layers_total': sides[0].passes[0].trace.layers_total,
        'layers_run_mean': float(np.mean([side.layers for side in sides])),
        'reruns': sum(side.passes[-1].mode == 'rerun' for side in sides),
        'chunks_with_a_drop': sum(side.drop_index is not None for side in sides),
        'continuity_least_median': float(np.median(least)) if least else None,
    }
