"""What rows of the bundled tasks lose against dense and against the best fixed exit.

Dense is looked for by its name: ``dysl evaluate`` pairs with whatever mode was named first.
"""

from __future__ import annotations

from collections.abc import Mapping

from dysl_vla_ros.lab.evaluation.choice import POINT
from dysl_vla_ros.lab.evaluation.results_cells import Found
from dysl_vla_ros.lab.evaluation.statistics import paired_difference

DENSE = 'full'
_EXIT = 'fixed '


def against_dense(found: Found, row: str) -> Found | None:
    """``loss``, ``low`` and ``high`` of a row; None of dense, and where dense is not told."""
    return _against(found, row, DENSE, paired_with_dense(found))


def against_exit(found: Found, row: str) -> Found | None:
    """The same against ``shallowest_exit``; None of that, and where there is none."""
    fixed, told = shallowest_exit(found), found.get('paired_fixed')
    if fixed is None:
        return None
    same = told is not None and told['reference'] == fixed
    return _against(found, row, fixed, told['rows'] if told is not None and same else {})


def loss_between(found: Found, reference: str, row: str) -> Found | None:
    """The same of any two rows whose episodes are told; None of others."""
    return None if not _wins(found, reference) else _against(found, row, reference, {})


def shallowest_exit(found: Found) -> str | None:
    """The fixed exit with the fewest layers within a point of dense, which all have to beat."""
    dense = _wins(found, DENSE)
    wins = {row: _wins(found, row) for row in found['modes'] if row.startswith(_EXIT)}
    if dense and any(wins.values()):
        count, least = len(dense), sum(dense.values()) - POINT * len(dense)
        good = [
            row for row, won in wins.items() if len(won) == count and sum(won.values()) >= least
        ]
        return min(good, key=lambda row: found['modes'][row]['layers_run_mean'], default=None)
    told = found.get('paired_fixed')
    return None if told is None or not _paired_with_dense(found) else str(told['reference'])


def not_compared(found: Found) -> str:
    """Why ``lost`` and ``exit`` are empty, as the end of a title; '' where they are not."""
    if DENSE not in found['modes']:
        return '; no dense row, so that `lost` and `exit` are empty'
    if _paired_with_dense(found) or _wins(found, DENSE):
        return ''
    return ('; paired with another row than dense, and no episodes are told, so that `lost` and '
            '`exit` are empty')  # fmt: skip


def _against(found: Found, row: str, reference: str, told: Found) -> Found | None:
    if row == reference:
        return None
    one, other = _wins(found, reference), _wins(found, row)
    # Both begin with the same seed; one that is not played to its end is the shorter.
    both = [(won, other[key]) for key, won in one.items() if key in other]
    if not both:
        pair: Found | None = told.get(row)
        return pair
    loss, low, high = paired_difference([mine for mine, _ in both], [theirs for _, theirs in both])
    return {'loss': loss, 'low': low, 'high': high}


def paired_with_dense(found: Found) -> Mapping[str, Found]:
    """Each row's entry of what the report compares with dense; {} where it compares otherwise."""
    return found['paired'] if _paired_with_dense(found) else {}


def _paired_with_dense(found: Found) -> bool:
    """Every row but the one that it was paired with has an entry."""
    return DENSE in found['modes'] and DENSE not in found['paired']


def _wins(found: Found, row: str) -> dict[int, bool]:
    """Seed, or number in the order of seeds -> whether it was won; {} where it is not told."""
    marks = found.get('won', {}).get(row)
    if marks is not None:
        return {number: mark == '1' for number, mark in enumerate(marks)}
    episodes = (found.get('episodes') or {}).get(row, ())
    return {one['seed']: bool(one['success']) for one in episodes if isinstance(one, Mapping)}
