"""A report of episodes in a world is refused where its parts do not agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.modes import Row
from dysl_vla_ros.lab.evaluation.world import Played
from dysl_vla_ros.lab.evaluation.world_episodes import WorldEpisode, report
from dysl_vla_ros.lab.evaluation.world_report_check import check_libero, check_report

EVIDENCE = Path(__file__).resolve().parents[3] / 'doc' / 'evidence'


def told(**more):
    rows = (Row('full'), Row('auto'))
    played = Played(True, 16, 2, 0, 20, 4, 16, (0.1, 0.1), (0.1, 0.1))
    lost = Played(False, 40, 5, 1, 70, 4, 16, (0.1,) * 5, (0.1,) * 5)
    found = [WorldEpisode(row.name, task, start, 'words', lost if task == start else played)
             for row in rows for task in (0, 1) for start in (0, 1)]  # fmt: skip
    facts = {'world': 'libero', 'suite': 'libero_object', 'control': 'none', 'thin': 1.0,
             'policy': 'ab12', 'first_start': 0, 'date': '2026-11-28'}  # fmt: skip
    document = report(rows, (0, 1), range(2), found, facts | more)
    return json.loads(json.dumps(document))


def test_what_a_run_writes_and_what_was_committed_agrees_with_itself():
    check_libero('mine', told())
    reports = {path.stem: json.loads(path.read_text()) for path in EVIDENCE.glob('libero_*.json')}
    assert len(reports) > 20
    for name, found in reports.items():
        check_libero(name, found)


def doubled(found):
    found['episodes']['auto'] += found['episodes']['auto'][:1]


def contradicted(found):
    task, start, won, *rest = found['episodes']['auto'][0]
    found['episodes']['auto'].append([task, start, 1 - won, *rest])


def cut(found):
    del found['episodes']['auto'][-1]


def turned(found):
    found['episodes']['auto'][0][2] ^= 1


def exchanged(found):
    """Between two tasks: the sum and every start stay."""
    episodes = found['episodes']['auto']
    for number in (0, 2):
        episodes[number][2] ^= 1


def lightened(found):
    found['rows']['auto']['layers_run_mean'] -= 1.0


def nameless(found):
    del found['episodes']['auto']


def unsummed(found):
    del found['rows']['auto']


def shortened(found):
    found['episodes']['auto'][0] = [0, 0]


def numbered(found):
    found['episodes']['auto'][0] = 7


def worded(found):
    found['episodes']['auto'][0] = [0, 0, 'won', 16, 20, 2]


@pytest.mark.parametrize(('spoil', 'field'), [
    (doubled, 'mine.json: episodes.auto = [0, 0]'),
    (contradicted, 'mine.json: episodes.auto = [0, 0]'),
    (cut, 'mine.json: rows.auto.episodes = 4'),
    (turned, 'mine.json: rows.auto.successes = 2'),
    (exchanged, 'mine.json: rows.auto.tasks.0 = 1'),
    (lightened, 'mine.json: rows.auto.layers_run_mean = '),
    (nameless, "mine.json: episodes = ['full']"),
    (unsummed, "mine.json: rows = ['full']"),
    (shortened, 'mine.json: episodes.auto = [0, 0]'),
    (numbered, 'mine.json: episodes.auto = 7'),
    (worded, "mine.json: episodes.auto = [0, 0, 'won', 16, 20, 2]"),
])  # fmt: skip
def test_a_report_that_was_cut_doubled_or_edited_is_refused_by_its_field(spoil, field):
    found = told()
    spoil(found)
    with pytest.raises(ConfigError) as refused:
        check_report('mine', found)
    assert field in str(refused.value)


def test_a_summary_of_another_number_of_wins_is_refused_even_if_the_episodes_are_whole():
    found = told()
    found['rows']['full']['successes'] = 4
    with pytest.raises(ConfigError, match=r'rows\.full\.successes = 4: expected 2, as many as'):
        check_report('mine', found)


def test_a_page_takes_no_report_without_a_policy_or_with_fewer_triangles():
    for key, value in (('policy', ''), ('policy', None), ('thin', 0.5), ('thin', None)):
        with pytest.raises(ConfigError, match=f'mine.json: {key} = '):
            check_libero('mine', told(**{key: value}))
    with pytest.raises(ConfigError, match='again.json: policy = None'):
        check_libero('again', json.loads((EVIDENCE / 'libero_object.json').read_text()))


def test_starts_lie_on_the_side_of_the_official_ones_on_which_the_report_says_they_are():
    with pytest.raises(ConfigError, match='mine.json: first_start = 50'):
        check_libero('mine', told(first_start=50))
    found = told()
    for episodes in found['episodes'].values():
        episodes[-1][1] = 50
    with pytest.raises(ConfigError, match=r'mine.json: episodes.full = \[1, 50\]'):
        check_libero('mine', found)
