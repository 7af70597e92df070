"""Whether LIBERO's reports of one policy, and of bundles made from it, are of one and the same.

Reports of bundles of ``dysl anchors`` are tied to their policy by the names of their files. What
they say beside that, their own digests and layers, must not speak against it.
"""

from __future__ import annotations

from collections.abc import Mapping

from dysl_vla_ros.lab.evaluation.anchor_rows import KINDS, anchor_of
from dysl_vla_ros.lab.evaluation.fields import refuse
from dysl_vla_ros.lab.evaluation.libero_lines import TOLD, policies_of, table_of
from dysl_vla_ros.lab.evaluation.results_cells import Found


def check_policies(evidence: Mapping[str, Found]) -> None:
    """Refuse reports of LIBERO whose policies contradict each other.

    Args:
        evidence: Reports by file name, without the ending, each in order by itself.

    Raises:
        ConfigError: Names the file and the field.
    """
    reports = {name: one for name, one in evidence.items() if one.get('world') == 'libero'}
    policies = policies_of(reports)
    depths: dict[str, tuple[str, int]] = {}
    digests: dict[tuple[str, str], tuple[str, str]] = {}
    tables: dict[str, tuple[str, str]] = {}
    for name, one in reports.items():
        file, digest = f'{name}.json', one.get('policy')
        row, told = next(iter(one['rows'].items()))
        where, layers = f'rows.{row}.layers_total', told['layers_total']
        if digest:
            other, wanted = depths.setdefault(digest, (name, layers))
            if layers != wanted:
                refuse(file, where, layers, f'{wanted}, as {other}.json has of the same policy')
        kind = one['bundle'].rpartition('_')[0]
        if kind not in KINDS and one['bundle'] != TOLD:
            continue
        wanted_layers = anchor_of(one['bundle']).layers if kind in KINDS else None
        if wanted_layers is not None and layers != wanted_layers:
            refuse(file, where, layers, f'{wanted_layers}, those of {one["bundle"]}')
        table = table_of(name, policies)
        trained = evidence.get(f'trained_{table}_anchors', {}).get(f'{one["bundle"]}_is')
        if trained is not None and trained['layers'] != layers:
            refuse(file, where, layers, f'{trained["layers"]}, as trained_{table}_anchors.json '
                   f'says of {one["bundle"]}')  # fmt: skip
        if not digest:
            continue
        other, wanted_digest = digests.setdefault((table, one['bundle']), (name, digest))
        if digest != wanted_digest:
            refuse(file, 'policy', digest, f'{wanted_digest!r}, as {other}.json has of '
                   f'{one["bundle"]} of the same policy')  # fmt: skip
        other, whose = tables.setdefault(digest, (name, table))
        if whose != table:
            refuse(file, 'policy', digest, f'another digest: {other}.json has this one, beside '
                   f'{whose}')  # fmt: skip
