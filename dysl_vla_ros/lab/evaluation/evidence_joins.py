"""Whether reports that stand in one table are of one policy, and anchors what they are called.

A report of another bundle or parameter joins the table whose episodes it played: ``joins`` and
``as``. What does not belong there is refused, not left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.anchor_rows import anchor_for
from dysl_vla_ros.lab.evaluation.committed import FAMILIES_BEFORE, TIME_LIMIT_BEFORE
from dysl_vla_ros.lab.evaluation.fields import refuse
from dysl_vla_ros.lab.evaluation.results_cells import Found

_SAME: Mapping[str, Any] = {
    'first_seed': None, 'split': None, 'latency': None, 'probe': None, 'episodes_per_family': None,
    'families': list(FAMILIES_BEFORE), 'time_limit': TIME_LIMIT_BEFORE,
}  # fmt: skip
"""What makes two reports ones of the same episodes; values of reports that do not say."""


def check_joins(evidence: Mapping[str, Found]) -> None:
    """Refuse reports that cannot stand in the table that they join.

    Args:
        evidence: Reports by file name, without the ending, each in order by itself.

    Raises:
        ConfigError: There is no such table, it has other episodes, or the rows are not what they
            are called; names the file and the field.
    """
    shown: dict[tuple[str, str], str] = {}
    for name, one in evidence.items():
        if 'joins' not in one:
            continue
        file, table = f'{name}.json', one['joins']
        base = evidence.get(table)
        if base is None or 'joins' in base or 'played_with' not in base:
            refuse(file, 'joins', table, f'a report beside it, whose episodes it played: dysl '
                   f'results --run {table} writes {table}.json')  # fmt: skip
            return
        for key, before in _SAME.items():
            told, wanted = one.get(key, before), base.get(key, before)
            if told != wanted:
                refuse(file, key, told, f'{wanted!r}, as {table}.json has, whose episodes it '
                       'must have played to join it')  # fmt: skip
        if one.get('as', {}).keys() != one['modes'].keys():
            refuse(file, 'as', list(one.get('as', {})), f'a name for {", ".join(one["modes"])}')
        _check_bundle(file, name, one, base)
        for row in one['as'].values():
            other = f'{table}.json' if row in base['modes'] else shown.get((table, row))
            if other is not None:
                refuse(file, 'as', row, f'a row that {other} does not have, too')
            shown[table, row] = file


def _check_bundle(file: str, name: str, one: Found, base: Found) -> None:
    """That it was played with what its file and rows say."""
    table, mine, deep = one['joins'], one['played_with'], base['played_with']
    if name.startswith(f'{table}_'):
        anchor = _anchor(file, table, name.removeprefix(f'{table}_'))
        shown = {anchor.kind.mode: anchor.shown}
        if mine['bundle']['name'] != anchor.name:
            refuse(file, 'played_with.bundle.name', mine['bundle']['name'],
                   f'{anchor.name!r}, the bundle that dysl anchors wrote')  # fmt: skip
        total = max(told['layers_total'] for told in base['modes'].values())
        for row, told in one['modes'].items():
            if told['layers_total'] != (anchor.layers or total):
                refuse(file, f'modes.{row}.layers_total', told['layers_total'],
                       f'{anchor.layers or total}, those of {anchor.name}')  # fmt: skip
    else:
        window = mine['parameters'].get('continuity', {}).get('window')
        shown = {'auto': f'k {window}'}
        if mine['bundle'] != deep['bundle']:
            refuse(file, 'played_with.bundle', _called(mine), f'{_called(deep)}, with which '
                   f'{table}.json was played')  # fmt: skip
    if dict(one['as']) != shown:
        refuse(file, 'as', one['as'], f'{shown}, what was played')
    for key in ('latency', 'probe', 'parameters'):
        told, wanted = mine[key], deep[key]
        if key == 'parameters' and not name.startswith(f'{table}_'):
            told = {part: given for part, given in told.items() if part != 'continuity'}
            wanted = {part: given for part, given in wanted.items() if part != 'continuity'}
        if told != wanted:
            refuse(file, f'played_with.{key}', told, f'{wanted!r}, as {table}.json was played')


def _anchor(file: str, table: str, name: str) -> Any:
    try:
        return anchor_for(table, name)
    except ConfigError as error:
        raise ConfigError(f'{file}: joins', table, f'a file called after its anchor, {name!r} '
                          f'being {error.expected}') from None  # fmt: skip


def _called(played_with: Found) -> str:
    return f'{played_with["bundle"]["name"]} {played_with["bundle"]["sha256"][:12]}'
