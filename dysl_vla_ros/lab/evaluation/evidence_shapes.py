"""What each kind of evidence must have, field by field, so that a page can be made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dysl_vla_ros.lab.evaluation.committed import COLUMNS
from dysl_vla_ros.lab.evaluation.fields import (
    DATE,
    SHARE,
    TEXT,
    Each,
    Kind,
    Listed,
    Maybe,
    Number,
    OneOf,
    Perhaps,
    Text,
    Whole,
)
from dysl_vla_ros.lab.evaluation.options import PROBES
from dysl_vla_ros.sim.goals import FAMILIES, SPLITS

_SOME = Number(0)
_TIME = Maybe(Number(0, above=True))
_MEDIAN = Maybe({'p50': Maybe(_SOME)})
"""What nobody measured is 0 in reports of before 2026-11-28, null in those of after."""
_INTERVAL = Listed(SHARE, 2, 2)
_SECONDS = Text(r'\d+(\.\d+)?(e-?\d+)?', "seconds, as '0.02'")
_DIGEST = Text('[0-9a-f]{64}', 'a SHA-256')
_RUN: dict[str, Kind] = {'date': DATE, 'machine': Perhaps(TEXT), 'seconds': Perhaps(_SOME)}
ROW = {
    'episodes': Whole(1), 'successes': Whole(0), 'success_rate': SHARE,
    'success_interval': _INTERVAL,
    'families': Each({'episodes': Whole(1), 'success_rate': SHARE, 'success_interval': _INTERVAL},
                     1),
    'layers_run_mean': _SOME, 'layers_total': Whole(1), 'depth': _SOME,
    'layers_by_phase': Each(Maybe(_SOME)), 'layers_histogram': Each(Each(Whole(0))),
    'controllers_mean': _SOME, 'chunks': Whole(1), 'rerun_rate': SHARE, 'seconds_median': _SOME,
    'pass_ms': _MEDIAN, 'backbone_ms': _MEDIAN,
    **{name: Perhaps(_SOME) for name in ('longest_still_s', 'jerk_rms', 'jerk_peak', 'way')},
    'moved': Perhaps(SHARE),
}  # fmt: skip
"""Of a mode on the bundled tasks, as ``summary`` makes it."""
_PAIR = {'loss': Number(-1, 1), 'low': Number(-1, 1), 'high': Number(-1, 1)}
PAIRED: dict[str, Kind] = {
    'modes': Each(ROW, 1), 'paired': Each(_PAIR),
    'paired_fixed': Maybe({'reference': TEXT, 'rows': Each(_PAIR)}), 'random_depth': Maybe(SHARE),
    'first_seed': Whole(0), 'split': OneOf(SPLITS), 'probe': OneOf(PROBES),
    'episodes_per_family': Whole(1), **_RUN,
}  # fmt: skip
EVALUATED: dict[str, Kind] = {
    **PAIRED, 'bundle': TEXT, 'latency': TEXT,
    'episodes': Each(Listed({
        'seed': Whole(0), 'family': OneOf(FAMILIES), 'success': OneOf((True, False)),
        'seconds': _SOME, 'layers_run': Whole(0), 'chunks': Whole(0), 'reruns': Whole(0),
    }, 1)),
}  # fmt: skip
"""Of ``dysl evaluate``."""
LINELESS: dict[str, Kind] = {
    **PAIRED, 'piece': TEXT, 'shows': TEXT, 'latency': _SECONDS,
    'won': Each(Text('[01]+', 'a 0 or 1 for each episode')),
    'families': Perhaps(Listed(OneOf(FAMILIES), 1)), 'time_limit': Perhaps(Number(0, above=True)),
    'episodes_played': Perhaps(Whole(1)), 'episodes_wanted': Perhaps(Whole(1)),
    'decided': Perhaps(Listed(TEXT)),
}  # fmt: skip
"""Of ``dysl results --run`` in versions that told no episodes."""
PIECE: dict[str, Kind] = {
    **LINELESS, 'columns': Listed(OneOf(COLUMNS), len(COLUMNS), len(COLUMNS)),
    'episodes': Each(Listed(TEXT, 1)),
    'played_with': {
        'bundle': {'name': TEXT, 'sha256': _DIGEST}, 'latency': _SOME, 'probe': OneOf(PROBES),
        'parameters': {},
    },
    'episodes_played': Whole(1), 'episodes_wanted': Whole(1), 'decided': Listed(TEXT),
    'rows': Perhaps(Each({})), 'joins': Perhaps(TEXT), 'as': Perhaps(Each(TEXT, 1)),
}  # fmt: skip
"""Of ``dysl results --run``."""
_WORLD_ROW = {
    'episodes': Whole(1), 'successes': Whole(0), 'success_rate': SHARE,
    'success_interval': _INTERVAL, 'tasks': Each(Whole(0), 1), 'picked': Whole(0),
    'elsewhere': Whole(0), 'layers_run_mean': _SOME, 'layers_total': Whole(1),
    'controllers_mean': _SOME, 'rerun_rate': SHARE, 'actions_mean': _SOME,
    'pass_ms': _TIME, 'backbone_ms': _TIME, 'layers_per_action': Perhaps(_SOME),
}  # fmt: skip
WORLD: dict[str, Kind] = {
    'world': OneOf(('libero',)), 'suite': Text('libero_[a-z0-9_]+', 'a suite of LIBERO'),
    'control': OneOf(('none', 'other_words', 'blank')), 'bundle': TEXT,
    'policy': Perhaps(Text('[0-9a-f]{12}', 'the digest of a policy, 12 digits')),
    'thin': Number(0, 1, above=True), 'replan': Whole(1), 'first_start': Perhaps(Whole(0)),
    'rows': Each(_WORLD_ROW, 1), 'paired': Each(_PAIR),
    'episodes': Each(Listed(Listed(Whole(0), 6), 1)), **_RUN,
}  # fmt: skip
"""Of ``dysl evaluate --world libero``."""
_QUANTILES = {**{name: Number(0, above=True) for name in ('p50', 'p95', 'p99')}, 'runs': Whole(1)}
BENCH: dict[str, Kind] = {
    'format': OneOf(('dysl_vla_bench',)), 'bundle': {'name': TEXT}, 'device': TEXT, 'date': DATE,
    'stages': {stage: _QUANTILES for stage in ('encode', 'backbone', 'decode')},
    'full_pass': _QUANTILES, 'same_bits': OneOf((True, False)),
    'controllers': Maybe({'all_closed': _QUANTILES}),
    'one_graph': Perhaps(Maybe({'backbone': Perhaps(_QUANTILES)})),
    'reruns': Listed({'resume_layer': Whole(0), 'layers_share': SHARE, 'share_of_full': _SOME,
                      'resumed': _QUANTILES, 'from_scratch': _QUANTILES}),
}  # fmt: skip
"""Of ``dysl bench``, as far as the page shows it; ``check_evidence`` asks for the rest."""
MEASURED: dict[str, Kind] = {'device': TEXT, 'date': DATE, 'command': TEXT}
"""Of ``make test-gpu``: beside the page."""
SOAK: dict[str, Kind] = {
    'seconds': _SOME, 'rate_hz_mean': _SOME, 'problems': Listed(TEXT), 'ok': OneOf((True, False)),
    'rate_hz_least': Perhaps(_SOME), 'seconds_commanded': Perhaps(Whole(0)),
    'commands_per_second': Perhaps(Listed(Listed(_SOME, 2, 2))),
}  # fmt: skip
GATE: dict[str, Kind] = {
    'gate': Listed({
        'name': TEXT, 'layers': _SOME, 'layers_free': _SOME, 'error_mean': _SOME,
        'error_p95': _SOME, 'harmful': SHARE,
    }, 1),
    'states': Whole(1), 'first_seed': Maybe(Whole(0)), 'verdict': TEXT, 'date': DATE,
}  # fmt: skip


def headroom_shape(report: Mapping[str, Any]) -> dict[str, Kind]:
    """Of ``dysl headroom``: with the states of its bundle's own demonstrations, or played."""
    offline = {
        'states': Whole(1),
        'exits': Listed({'layers': Whole(1), 'error': {'p50': _SOME, 'p95': _SOME},
                         'within': Each(SHARE)}, 1),
        'oracle': Listed({'tolerance': _SOME, 'layers_mean': Number(1),
                          'histogram': Perhaps(Each(Whole(0)))}, 1),
    }  # fmt: skip
    shape: dict[str, Kind] = {
        'format': OneOf(('dysl_vla_headroom',)),
        'date': DATE,
        'offline': offline,
    }
    if 'closed_loop' not in report:
        return shape
    won = {'success_rate': SHARE, 'success_interval': Perhaps(_INTERVAL)}
    row = {
        **won, 'layers_run_mean': Number(1), 'layers_by_phase': Perhaps(Each(Maybe(_SOME))),
        'loss': Perhaps(Number(-1, 1)), 'families': Perhaps(Each({'episodes': Whole(1), **won})),
    }  # fmt: skip
    part = {'episodes': Whole(1), 'layers_total': Whole(1), 'rows': Each(row, 1)}
    return {**shape, 'first_seed': Whole(0), 'latency': TEXT, 'closed_loop': Each(part, 1)}


def trained_shape(report: Mapping[str, Any]) -> dict[str, Kind]:
    """Of ``report.json`` of ``dysl recipe`` or ``dysl anchors``: what each stage of it must say.

    Steps that a stage did not note are those of its recipe, which must have them then.
    """
    named = [name.removesuffix('_is') for name in report if name.endswith('_is')]
    shape: dict[str, Kind] = {
        f'{name}_is': {'layers': Whole(1), 'trained_parameters': Whole(1)} for name in named
    }
    recipe: dict[str, Kind] = {}
    for stage in report:
        if stage not in ('ground', 'train', 'distill', *named) and not stage.startswith('train_'):
            continue
        told = report[stage]
        noted = isinstance(told, Mapping) and told.get('steps') is not None
        fields: dict[str, Kind] = {'seconds': Perhaps(_SOME)}
        if noted:
            fields['steps'] = Whole(0)
        if stage == 'distill':
            fields['trained_parameters'] = Whole(1)
        shape[stage] = fields
        if not noted:
            steps = {'adapter_steps': Whole(0), 'controller_steps': Whole(0)}
            recipe[stage] = steps if stage == 'distill' else {'steps': Whole(0)}
    if recipe:
        shape['recipe'] = recipe
    if 'train' in report and all(name in report for name in named):
        shape['policy'] = Perhaps({'parameters': Whole(1)})
    return shape
