"""Finished episodes survive an interruption, and are not mixed with others."""

from __future__ import annotations

import pytest
import tiny_bundle

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation import evaluate as module
from dysl_vla_ros.lab.evaluation.evaluate import about, play
from dysl_vla_ros.lab.evaluation.ledger import Ledger, waiting
from dysl_vla_ros.lab.evaluation.modes import Row
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bundle') / 'tiny'
    return str(tiny_bundle.write_tiny_bundle(folder, layers=6))


def options(bundle, **changes):
    values = {'bundle': bundle, 'episodes': 1, 'families': ('pick', 'bin'), 'time_limit': 1.0,
              'latency': 0.05}  # fmt: skip
    return EvaluateOptions(**{**values, **changes})


ROWS = (Row('full'), Row('fixed', exit_layer=3), Row('oracle', tolerance=0.1))


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_as_one_without_interruption(bundle, tmp_path):
    given = options(bundle)
    whole = play(given, ROWS)

    def third(row, result):
        third.count = getattr(third, 'count', 0) + 1
        if third.count == 3:
            raise KeyboardInterrupt

    path = tmp_path / 'kept.jsonl'
    with pytest.raises(KeyboardInterrupt):
        play(given, ROWS, third, Ledger(path, about(given)))
    assert len(Ledger(path, about(given))) == 3
    told = []
    found = play(given, ROWS, lambda row, result: told.append(row), Ledger(path, about(given)))
    assert len(told) == 6 and len(Ledger(path, about(given))) == 6
    for row in ROWS:
        for one, other in zip(whole[row], found[row], strict=True):
            times = ('pass_seconds', 'backbone_seconds')
            assert {k: v for k, v in vars(one).items() if k not in times} == {
                k: v for k, v in vars(other).items() if k not in times
            }


def test_what_is_kept_is_not_played_again(bundle, tmp_path, monkeypatch):
    given = options(bundle, families=('pick',))
    path = tmp_path / 'kept.jsonl'
    play(given, ROWS[:1], ledger=Ledger(path, about(given)))
    monkeypatch.setattr(module, 'run_all', lambda *args: pytest.fail('played again'))
    assert play(given, ROWS[:1], ledger=Ledger(path, about(given)))[ROWS[0]][0].chunks > 0


def test_a_line_that_was_cut_off_is_played_again(bundle, tmp_path):
    given = options(bundle, families=('pick',))
    path = tmp_path / 'kept.jsonl'
    play(given, ROWS, ledger=Ledger(path, about(given)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert len(Ledger(path, about(given))) == 2
    play(given, ROWS, ledger=Ledger(path, about(given)))
    assert len(Ledger(path, about(given))) == 3
    assert path.read_bytes().count(b'\n') == whole.count(b'\n')


def test_episodes_of_other_settings_are_refused_by_the_first_that_differs(bundle, tmp_path):
    given = options(bundle, families=('pick',))
    path = tmp_path / 'kept.jsonl'
    play(given, ROWS[:1], ledger=Ledger(path, about(given)))
    other = options(bundle, latency=0.1)
    with pytest.raises(ConfigError, match=r'begun with latency = 0.1: this one .* 0.05'):
        Ledger(path, about(other))


def test_a_damaged_file_is_named_and_a_run_that_named_none_goes_on_without(
    bundle, tmp_path, monkeypatch
):
    given = options(bundle)
    path = tmp_path / 'kept.jsonl'
    Ledger(path, about(given))
    path.write_text(path.read_text() + '{"row": 1}\n')
    with pytest.raises(ConfigError, match='this one is damaged'):
        Ledger(path, about(given))
    (tmp_path / 'cache').write_text('a file where the cache should be')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    assert len(waiting('evaluate', {'a': 1}, about(given))) == 0


def test_a_file_of_another_kind_is_left_alone(bundle, tmp_path):
    path = tmp_path / 'notes.txt'
    path.write_text('mine')
    with pytest.raises(ConfigError, match='a file that dysl kept episodes in'):
        Ledger(path, about(options(bundle)))
    assert path.read_text() == 'mine'


def test_an_interrupted_command_says_what_is_kept(bundle, tmp_path, monkeypatch, capsys):
    calls = []

    def broken_off(options, jobs):
        from dysl_vla_ros.lab.evaluation.workers import run_all

        for result in run_all(options, jobs[:1]):
            calls.append(result)
            yield result
        raise KeyboardInterrupt

    monkeypatch.setattr(module, 'run_all', broken_off)
    path = tmp_path / 'kept.jsonl'
    words = ['evaluate', '--engine', bundle, '--episodes', '1', '--families', 'pick', '--modes',
             'full', 'auto', '--time-limit', '1', '--latency', 'zero']  # fmt: skip
    assert main([*words, '--keep', str(path)]) == 130
    text = ' '.join(capsys.readouterr().out.split())
    assert '1 of 2 episodes are kept in ' in text and 'the same command goes on' in text
    assert len(path.read_text().splitlines()) == 2


def test_a_command_goes_on_without_being_told_where_and_leaves_nothing_behind(
    bundle, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    played = []

    def one_at_a_time(options, jobs):
        from dysl_vla_ros.lab.evaluation.workers import run_all

        for result in run_all(options, jobs[:1]):
            played.append(result)
            yield result
        if len(jobs) > 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, 'run_all', one_at_a_time)
    words = ['evaluate', '--engine', bundle, '--episodes', '1', '--families', 'pick', '--modes',
             'full', 'auto', '--time-limit', '1', '--latency', 'zero']  # fmt: skip
    assert main(words) == 130
    assert main([*words, '--first-seed', '7']) == 130  # another run, with a file of its own
    assert len(list((tmp_path / 'cache').rglob('*.jsonl'))) == 2
    assert main(words) == 0
    assert 'goes on after 1 of 2 episodes' in ' '.join(capsys.readouterr().out.split())
    assert len(played) == 3
    assert len(list((tmp_path / 'cache').rglob('*.jsonl'))) == 1


def test_a_file_that_a_refused_run_began_is_begun_anew(bundle, tmp_path):
    path = tmp_path / 'kept.jsonl'
    Ledger(path, {**about(options(bundle)), 'latency': 9.0})
    begun = Ledger(path, about(options(bundle)))
    assert len(begun) == 0 and '"latency": 9.0' not in path.read_text()
