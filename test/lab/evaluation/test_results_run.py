"""A piece of the results is played in goes, pair by pair, and says how far it has come."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny_bundle

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation import evaluate, results_run
from dysl_vla_ros.lab.evaluation.committed import packed, played_with, unpacked
from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult
from dysl_vla_ros.lab.evaluation.evaluate import about
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.lab.evaluation.results_page import render
from dysl_vla_ros.lab.evaluation.results_run import Piece, run_piece
from dysl_vla_ros.lab.evaluation.summary import summary
from dysl_vla_ros.sim.goals import FAMILIES

HOUR = 3600.0


@pytest.fixture(scope='module')
def piece(tmp_path_factory):
    bundle = tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', layers=5)
    return Piece(EvaluateOptions(
        bundle=str(bundle), modes=('full', 'auto', 'static_only'), episodes=1, first_seed=7,
        latency=0.02, time_limit=0.3,
    ), 'a few')  # fmt: skip


def kept(folder):
    lines = (folder / 'few.jsonl').read_text().splitlines()[1:]
    found = [json.loads(line) for line in lines]
    return [(one['result']['spec']['seed'], one['row']['mode']) for one in found]


def stop_after(monkeypatch, count):
    """An ``on_result`` with which the time is over after so many episodes."""
    passed = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed[0])
    monkeypatch.setattr(evaluate, 'time', clock)

    def on_result(done, total):
        passed[0] = HOUR if done >= count else 0.0

    return on_result


def test_a_piece_whose_time_is_over_has_pairs_and_the_same_command_goes_on(
    piece, tmp_path, monkeypatch
):
    found = run_piece('few', piece, tmp_path, 1, on_result=stop_after(monkeypatch, 5))
    rows = ('full', 'auto', 'static_only')
    assert kept(tmp_path) == [*((7, row) for row in rows), (8, 'full'), (8, 'auto')]
    assert (found['episodes_played'], found['episodes_wanted']) == (1, 4)
    assert {name: row['episodes'] for name, row in found['modes'].items()} == dict.fromkeys(
        rows, 1), 'the pair that is not whole is not told'  # fmt: skip
    assert all(len(won) == 1 for won in found['won'].values())

    monkeypatch.undo()
    whole = run_piece('few', piece, tmp_path, 1)
    assert len(kept(tmp_path)) == 12 and len(set(kept(tmp_path))) == 12, 'none is played twice'
    assert [seed for seed, _ in kept(tmp_path)] == sorted(seed for seed, _ in kept(tmp_path))
    assert (whole['episodes_played'], whole['episodes_wanted']) == (4, 4)
    assert all(whole['won'][name].startswith(won) for name, won in found['won'].items())


def test_what_was_committed_is_not_played_again_where_nothing_else_is_left_of_it(
    piece, tmp_path, monkeypatch
):
    first = run_piece('few', piece, tmp_path / 'one', 1, on_result=stop_after(monkeypatch, 6))
    monkeypatch.undo()
    before = json.loads(json.dumps(first))
    whole = run_piece('few', piece, tmp_path / 'another', 1, before=before)
    assert [seed for seed, _ in kept(tmp_path / 'another')] == 3 * [9] + 3 * [10]
    assert (whole['episodes_played'], whole['episodes_wanted']) == (4, 4)
    assert all(lines[:2] == first['episodes'][row] for row, lines in whole['episodes'].items())
    again = run_piece('few', piece, tmp_path / 'third', 1, before=json.loads(json.dumps(whole)))
    assert again == whole and not kept(tmp_path / 'third')


def test_a_report_that_was_played_with_something_else_is_not_replaced(piece, tmp_path):
    before = run_piece('few', piece, tmp_path / 'one', 1)
    assert before['played_with']['parameters'] == {}, 'only those that are not the default'
    slower = NodeConfig(timing=replace(NodeConfig().timing, command_rate_hz=25.0))
    other = replace(piece, options=replace(piece.options, config=slower))
    with pytest.raises(ConfigError, match=r'few.json: played_with.parameters = \{\}: expected'):
        run_piece('few', other, tmp_path / 'two', 1, before=before)
    assert not (tmp_path / 'two').exists(), 'nothing was begun'
    found = run_piece('few', other, tmp_path / 'two', 1)
    assert found['played_with']['parameters'] == {'timing': {'command_rate_hz': 25.0}}
    assert len(kept(tmp_path / 'two')) == 12


@pytest.mark.parametrize(('field', 'value'), [
    ('first_seed', 8), ('split', 'heldout_objects'), ('families', ('pick', 'bin')),
    ('time_limit', 0.4),
])  # fmt: skip
def test_a_report_of_other_episodes_is_refused_by_the_field_that_differs(
    piece, tmp_path, monkeypatch, field, value
):
    before = run_piece('few', piece, tmp_path / 'one', 1, on_result=stop_after(monkeypatch, 3))
    monkeypatch.undo()
    other = replace(piece, options=replace(piece.options, **{field: value}))
    with pytest.raises(ConfigError, match=f'^few.json: {field} = .*of other episodes'):
        run_piece('few', other, tmp_path / 'two', 1, before=json.loads(json.dumps(before)))


def test_a_report_of_a_row_with_another_number_or_of_a_row_that_is_not_asked_for_is_refused(
    piece, tmp_path, monkeypatch
):
    random = replace(piece.options, modes=('full', 'random'), random_depth=0.2)
    before = run_piece('few', replace(piece, options=random), tmp_path / 'one', 1,
                       on_result=stop_after(monkeypatch, 2))  # fmt: skip
    monkeypatch.undo()
    before = json.loads(json.dumps(before))
    older = {key: told for key, told in before.items() if key != 'rows'}
    wider = replace(piece, options=replace(random, random_depth=0.9))
    for found in (before, older):
        with pytest.raises(ConfigError, match=r'rows\.random\.share = 0\.2: expected 0\.9'):
            run_piece('few', wider, tmp_path / 'two', 1, before=found)
    with pytest.raises(ConfigError, match="few.json: rows = 'random': expected one of full, auto"):
        run_piece('few', piece, tmp_path / 'three', 1, before=before)


def test_a_report_of_before_families_and_limits_were_told_is_of_those_that_every_piece_had(
    piece, tmp_path, monkeypatch
):
    whole = replace(piece.options, time_limit=30.0, modes=('static_only',), families=FAMILIES)
    same = replace(piece, options=whole)
    longer = replace(piece, options=replace(whole, families=('push', 'pick', 'place', 'bin')))
    found = [EpisodeResult(
        spec=spec, instruction='', success=True, seconds=5.0, actions=5, chunks=1, reruns=0,
        layers_run=4, controllers=0, layers_total=5, static_layers=4, phase_layers={},
        pass_seconds=(0.1,), backbone_seconds=(0.1,), holds=0, commands=9, limited=0,
    ) for spec in same.options.specs()]  # fmt: skip
    before = {
        'played_with': played_with(about(same.options)), 'first_seed': 7, 'split': 'train',
        'episodes': {'static_only': [packed(one) for one in found]},
    }  # fmt: skip
    assert run_piece('few', same, tmp_path / 'one', 1, before=before)['episodes_played'] == 4
    assert not kept(tmp_path / 'one'), 'none is played again'
    with pytest.raises(ConfigError, match='^few.json: families = '):
        run_piece('few', longer, tmp_path / 'two', 1, before=before)


def test_a_line_that_somebody_edited_is_named(piece, tmp_path):
    before = run_piece('few', piece, tmp_path / 'one', 1)
    whole = before['episodes']['auto'][1].split(',')
    wrong = {'1,2': 'columns'}
    for at, value, said in (
        (14, 'nan', 'seconds'), (0, '2', 'success'), (2, '-1', 'chunks'), (3, '9999', 'reruns'),
        (2, 9 * '9', 'chunks'), (1, 'x', 'actions'),
    ):  # fmt: skip
        wrong[','.join([*whole[:at], value, *whole[at + 1 :]])] = said
    for line, said in wrong.items():
        before['episodes']['auto'][1] = line
        match = f'few.json: episodes of auto = {line!r}.*{said}.*played again'
        with pytest.raises(ConfigError, match=match):
            run_piece('few', piece, tmp_path / 'two', 1, before=before)


def test_a_line_tells_an_episode_as_every_table_reads_it(piece):
    options = replace(piece.options, episodes=2, time_limit=0.6)
    for row, found in evaluate.play(options, options.rows()).items():
        again = [unpacked(packed(one), one.spec) for one in found]
        assert [packed(one) for one in again] == [packed(one) for one in found]
        one, other = summary(found), summary(again)
        assert other['layers_histogram'] == one['layers_histogram'], row
        assert other['layers_by_phase'] == one['layers_by_phase']
        means = [(told['pass_ms']['mean'], told['backbone_ms']['mean']) for told in (other, one)]
        assert means[0] == pytest.approx(means[1], rel=1e-4)
        for key in one.keys() - {'pass_ms', 'backbone_ms', 'backbone_share', 'families'}:
            if isinstance(one[key], (int, float)):
                assert other[key] == pytest.approx(one[key], rel=1e-4), key


def test_a_piece_without_one_whole_pair_has_no_report(piece, tmp_path, monkeypatch):
    assert run_piece('few', piece, tmp_path, 1, on_result=stop_after(monkeypatch, 2)) is None
    assert len(kept(tmp_path)) == 2
    assert run_piece('few', piece, tmp_path, 1e-9) is None
    assert len(kept(tmp_path)) == 2, 'no time, nothing begun'


def test_the_page_says_how_far_a_piece_has_come(piece, tmp_path, monkeypatch):
    found = run_piece('few', piece, tmp_path, 1, on_result=stop_after(monkeypatch, 6))
    said = '2 of 4 episodes so far: `dysl results --run results_few` plays on'
    assert said in render({'results_few': {**found, 'date': '2026-01-01'}})
    sparse = {key: told for key, told in found.items() if key not in ('episodes', 'columns')}
    page = render({'results_few': {**sparse, 'date': '2026-01-01'}})
    assert (
        'plays on' not in page and '2 of 4 episodes so far: they are not told one by one' in page
    )
    monkeypatch.undo()
    whole = run_piece('few', piece, tmp_path, 1)
    assert 'so far' not in render({'results_few': {**whole, 'date': '2026-01-01'}})


def test_a_row_that_is_certainly_far_behind_is_played_no_further(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(results_run, 'FAR', -1.5)  # every row is, whatever it did
    told = []
    few = replace(piece, decided=2)
    found = run_piece('few', few, tmp_path, 1, on_result=lambda *pair: told.append(pair))
    episodes = {name: row['episodes'] for name, row in found['modes'].items()}
    assert episodes == {'full': 4, 'auto': 2, 'static_only': 2}
    assert found['decided'] == ['auto', 'static_only'] and found['episodes_played'] == 4
    assert {name: len(won) for name, won in found['won'].items()} == episodes
    assert told[-1] == (8, 8) and [done for done, _ in told] == sorted(done for done, _ in told)
    said = render({'results_few': {**found, 'date': '2026-01-01'}})
    assert '`auto` was decided after 2: it loses more than' in said


def test_a_row_that_may_still_be_near_is_played_to_the_end(piece, tmp_path):
    found = run_piece('few', replace(piece, decided=2), tmp_path, 1)
    assert found['decided'] == []
    assert {row['episodes'] for row in found['modes'].values()} == {4}
