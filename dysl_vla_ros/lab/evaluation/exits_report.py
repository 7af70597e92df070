"""The report by which a bundle is given an exit for each instruction: read, and refused.

What it decides stands in the bundle for good, so it is judged as what the results page is made
of, and as what this bundle can run, before anything is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.exits_by_instruction import exit_of
from dysl_vla_ros.lab.evaluation.world_report_check import check_report
from dysl_vla_ros.lab.worlds.libero.suites import known_suites

Report = Mapping[str, Any]
_KIND = 'a report of dysl evaluate --world --json'


def read_exits_report(path: Path, manifest: Manifest) -> dict[str, Any]:
    """A report of this bundle's dense row and exits that says one thing.

    Args:
        path: Of the file.
        manifest: Of the bundle.

    Raises:
        ConfigError: It cannot be read, is something else or of another policy, or contradicts
            itself; names file and field.
    """
    try:
        found = json.loads(path.read_text('utf-8'))
    except (OSError, ValueError) as error:
        raise ConfigError('by-instruction', str(path), f'{_KIND}: {error}') from None
    if not isinstance(found, dict) or not isinstance(found.get('episodes'), dict):
        raise ConfigError('by-instruction', str(path), f'{_KIND}, with its episodes')
    _policy(path, found, manifest)
    _shapes(path, found)
    name = str(path).removesuffix('.json')
    try:
        check_report(name, found)
    except ConfigError as error:
        field = error.field.replace(f'{name}.json', str(path), 1)
        raise ConfigError(field, error.value, error.expected) from None
    _starts(path, found)
    _exits(path, found, manifest)
    return found


def _policy(path: Path, report: Report, manifest: Manifest) -> None:
    wanted = manifest.model_digest[:12]
    if report.get('policy') != wanted:
        raise ConfigError(f'{path}: policy', report.get('policy'), f'{wanted}: a report of this '
                          'bundle')  # fmt: skip


def _shapes(path: Path, report: Report) -> None:
    """What the checks after it take for granted."""
    world, suite, thin = report.get('world'), report.get('suite'), report.get('thin', 1.0)
    if not isinstance(world, str) or not world:
        raise ConfigError(f'{path}: world', world, 'the world that was played, as dysl evaluate '
                          'writes it')  # fmt: skip
    if not isinstance(suite, str) or (world == 'libero' and suite not in known_suites()):
        raise ConfigError(f'{path}: suite', suite, 'the suite that was played: whether results '
                          'are told of these starts depends on it')  # fmt: skip
    if not isinstance(thin, (int, float)) or not 0 < thin <= 1:
        raise ConfigError(f'{path}: thin', thin, 'the share of the triangles that was drawn, '
                          'above 0 and at most 1')  # fmt: skip
    words = report.get('instructions')
    if not isinstance(words, dict) or not all(
        task.isdecimal() and isinstance(told, str) and told.strip() for task, told in words.items()
    ):
        raise ConfigError(f'{path}: instructions', words, 'number of each task: its words')
    for part, kind in (('rows', dict), ('episodes', list)):
        found = report.get(part)
        if not isinstance(found, dict):
            raise ConfigError(f'{path}: {part}', found, 'those of each row, by its name')
        for row, one in found.items():
            if not isinstance(one, kind):
                raise ConfigError(f'{path}: {part}.{row}', one, 'a summary' if kind is dict else
                                  'a list of episodes')  # fmt: skip
    for row, one in report['rows'].items():
        if not isinstance(one.get('tasks', {}), dict):
            raise ConfigError(f'{path}: rows.{row}.tasks', one['tasks'], 'number of each task: '
                              'episodes won')  # fmt: skip


def _starts(path: Path, report: Report) -> None:
    for row, episodes in report['episodes'].items():
        for one in episodes:
            if not all(type(number) is int and number >= 0 for number in one[:2]):
                raise ConfigError(f'{path}: episodes.{row}', one[:2], 'whole numbers: task, start')
            if not all(math.isfinite(number) for number in one):
                raise ConfigError(f'{path}: episodes.{row}', one, 'finite numbers')
            if exit_of(row) >= 0 and str(one[0]) not in report['instructions']:
                raise ConfigError(f'{path}: instructions', list(report['instructions']),
                                  f'words of task {one[0]}, too')  # fmt: skip


def _exits(path: Path, report: Report, manifest: Manifest) -> None:
    if 'full' not in report['rows']:
        raise ConfigError(f'{path}: rows', list(report['rows']), 'full among them: the dense row, '
                          'which an exit may not lose to')  # fmt: skip
    known = manifest.layout.exit_layers
    for row in report['rows']:
        layer = exit_of(row)
        if row != 'full' and layer >= 0 and (layer not in known or row != f'fixed {layer}'):
            raise ConfigError(f'{path}: rows', row, f'exits of this policy: fixed {min(known)} to '
                              f'fixed {max(known)}' if known else 'none: this policy has no exits'
                              )  # fmt: skip
