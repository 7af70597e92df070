"""Rows of the bundled tasks are compared with dense, wherever a report has it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from dysl_vla_ros.lab.evaluation.evidence_files import read_evidence
from dysl_vla_ros.lab.evaluation.results_page import PARETO, render, table
from dysl_vla_ros.lab.evaluation.statistics import paired_difference

EVIDENCE = read_evidence(Path(__file__).resolve().parents[3] / 'doc' / 'evidence')
NAME = 'fixed_exits_tabletop'


@pytest.fixture
def found():
    return copy.deepcopy(EVIDENCE[NAME])


def paired_with(found, first):
    """As ``dysl evaluate --modes FIRST ...`` would have written it."""
    wins = {row: [one['success'] for one in told] for row, told in found['episodes'].items()}
    rows = [first, *(row for row in wins if row != first)]
    found['modes'] = {row: found['modes'][row] for row in rows}
    found['paired'] = {row: dict(zip(('loss', 'low', 'high'),
                                     paired_difference(wins[first], wins[row]), strict=True))
                       for row in rows[1:]}  # fmt: skip
    return found


def test_a_report_that_was_paired_with_another_row_is_compared_with_dense_all_the_same(found):
    wanted = table(EVIDENCE[NAME], PARETO)
    other = paired_with(found, 'auto')
    other['paired_fixed'] = None
    assert table(other, PARETO) == wanted


def test_without_the_episodes_a_pairing_with_another_row_is_not_called_one_with_dense(found):
    other = paired_with(found, 'auto')
    del other['episodes']
    for line in table(other, PARETO).splitlines()[2:]:
        assert [cell.strip() for cell in line.split('|')][7:9] == ['', ''], line
    assert 'paired with another row than dense' in render({NAME: other})


def test_a_report_without_a_dense_row_has_no_losses_and_says_so(found):
    for part in ('modes', 'episodes', 'paired'):
        found[part] = {row: told for row, told in found[part].items() if row != 'full'}
    page = render({NAME: found})
    assert page.count('no dense row') >= 1
    for line in table(found, PARETO).splitlines()[2:]:
        assert [cell.strip() for cell in line.split('|')][7:9] == ['', ''], line
    assert 'no dense row' not in render({NAME: EVIDENCE[NAME]})


def test_how_arms_moved_is_beside_what_was_lost_to_dense_and_to_no_other_row():
    late = copy.deepcopy(EVIDENCE['latency_half_tabletop'])
    late['modes'] = dict(reversed(late['modes'].items()))
    page, plain = render({'latency_half_tabletop': late}), render(
        {'latency_half_tabletop': EVIDENCE['latency_half_tabletop']})  # fmt: skip
    assert sorted(page.splitlines()) == sorted(plain.splitlines())
    del late['won'], late['modes']['full']
    assert 'no dense row' in render({'latency_half_tabletop': late})


def test_words_beside_the_papers_speak_of_the_worlds_that_were_read():
    words = '| dynamic against fixed depth | not reported |  | '
    alone = render({'results_tabletop': EVIDENCE['results_tabletop']})
    assert words + 'on the bundled tasks a fixed exit' in alone
    assert words + 'on the bundled tasks and LIBERO-Object a fixed exit' in render(EVIDENCE)
    assert 'on LIBERO-Object for a fixed exit only' not in alone
