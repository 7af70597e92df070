"""``dataset_statistics.json`` of a published model -> the manifest's normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dysl_vla_ros.bundle.manifest import NormalisationSpec
from dysl_vla_ros.bundle.ranges import PLACE, check_reach, largest_action
from dysl_vla_ros.bundle.strict_json import expect
from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.family import read_config, read_json
from dysl_vla_ros.lab.model.published_values import is_number

Bounds = Literal['quantiles', 'extremes']
"""What -1 and 1 stand for: 1 % and 99 % quantiles (LIBERO, Bridge), or extremes (ALOHA)."""
_KEYS = {'quantiles': ('q01', 'q99'), 'extremes': ('min', 'max')}
_SMALLEST = 1e-8
"""Added by OpenVLA-OFT to every range, so that a number that never moved stays where it was."""

LIBERO_UNITS = (0.05, 0.05, 0.05, 0.5, 0.5, 0.5, 1.0)
"""An action of 1.0 moves LIBERO's controller by this much [m, rad]; the gripper is as it is."""


def read_statistics(folder: Path, unnorm_key: str = '') -> Mapping[str, Any]:
    """Statistics of one data set.

    Args:
        folder: Published model; without ``dataset_statistics.json``, what ``config.json`` has
            under ``norm_stats`` is taken, as upstream does.
        unnorm_key: Name of the data set; may be empty where there is only one.

    Raises:
        BundleError: No statistics, or none under that name; lists the names.
    """
    found = all_statistics(folder)
    chosen: Mapping[str, Any] = found[statistics_key(folder, found, unnorm_key)]
    return chosen


def all_statistics(folder: Path) -> Mapping[str, Any]:
    """Statistics of every data set of a folder, by name.

    Raises:
        BundleError: There are none.
    """
    path = folder / 'dataset_statistics.json'
    found = read_json(path) if path.is_file() else read_config(folder).get('norm_stats')
    if not found or not isinstance(found, Mapping):
        raise BundleError(
            f'{folder}: no dataset_statistics.json, and no norm_stats in config.json: expected '
            'one, since actions mean nothing without'
        )
    return found


def statistics_key(folder: Path, found: Mapping[str, Any], unnorm_key: str = '') -> str:
    """The data set that is meant: the one that was named, or the only one.

    Raises:
        BundleError: None of that name, or none named of several; lists the names. Or they are no
            object.
    """
    keys = sorted(found)
    if not unnorm_key and len(keys) == 1:
        unnorm_key = keys[0]
    if unnorm_key not in found:
        shown = [*keys[:8], f'... ({len(keys)} in all)'] if len(keys) > 8 else keys
        raise BundleError(
            f'{folder}: unnorm_key = {unnorm_key!r}: expected one of {shown}; name it with '
            '--unnorm-key'
        )
    kind = isinstance(found[unnorm_key], Mapping)
    expect(f'{folder}: statistics of {unnorm_key}', found[unnorm_key], kind, 'an object')
    return unnorm_key


def normalisation(
    statistics: Mapping[str, Any],
    part: Literal['action', 'proprio'],
    dim: int,
    bounds: Bounds = 'quantiles',
    units: Sequence[float] = (),
) -> NormalisationSpec:
    """Range of one vector.

    Args:
        statistics: Of one data set.
        part: ``action`` or ``proprio``.
        dim: Numbers that the network has for it.
        bounds: Which numbers are -1 and 1.
        units: What 1.0 of the data set is in [m] and [rad], per number; empty for as it is.

    Raises:
        BundleError: Numbers are missing, are none, or there are too few or too many; or a lower
            bound lies above the upper one.
    """
    if part not in statistics:
        raise BundleError(f'statistics: {sorted(statistics)}: expected {part!r} too')
    values, (low_key, high_key) = statistics[part], _KEYS[bounds]
    expect(f'statistics: {part}', values, isinstance(values, Mapping), 'an object')
    columns = {key: values.get(key) for key in (low_key, high_key)}
    columns['mask'] = values.get('mask', [True] * dim)
    columns['units'] = list(units) or [1.0] * dim
    for key, column in columns.items():
        if not isinstance(column, list) or len(column) != dim:
            size = len(column) if isinstance(column, list) else None
            raise BundleError(
                f'statistics: {part}.{key} has {size} values: expected {dim}, as the weights have'
            )
        for index, value in enumerate(column):
            right, words = is_number(value), 'a finite number'
            if key == 'mask':
                right = isinstance(value, (bool, int, float)) and value in (0, 1)
                words = 'true or false'
            expect(f'statistics: {part}.{key}[{index}]', value, right, words)
    for index, (least, most) in enumerate(zip(columns[low_key], columns[high_key], strict=True)):
        # The rule for a number that never moved would hide it, and pin the number.
        expect(f'statistics: {part}.{low_key}[{index}]', least, least <= most,
               f'at most {high_key}[{index}] = {most}')  # fmt: skip
    mask = tuple(bool(entry) for entry in columns['mask'])
    low = [a * unit for a, unit in zip(columns[low_key], columns['units'], strict=True)]
    high = [b * unit for b, unit in zip(columns[high_key], columns['units'], strict=True)]
    for index in range(dim):
        if mask[index] and not high[index] > low[index]:
            high[index] = low[index] + _SMALLEST
    return NormalisationSpec(tuple(low), tuple(high), mask)


def check_ranges(
    action: NormalisationSpec, space: ActionSpace, bounds: Bounds = 'quantiles',
    proprioception: NormalisationSpec | None = None, body: int | None = None,
) -> None:  # fmt: skip
    """Refuse ranges that no arm has, as a bundle does.

    Args:
        action: Of the actions, in their units.
        space: What the actions mean.
        bounds: Which numbers of the statistics the ranges are.
        proprioception: Of the proprioception; None for a model without.
        body: How many of its numbers come before the gripper's; None is all.

    Raises:
        BundleError: Names part, number and value.
    """
    for part, spec, (largest, words), size in (
        ('action', action, largest_action(space), None),
        ('proprio', proprioception, PLACE, body),
    ):
        if spec is not None:
            low, high = (f'statistics: {part}.{key}' for key in _KEYS[bounds])
            check_reach(((low, spec.low), (high, spec.high)), largest, words, size)
