"""A stranger adds a world by a package of their own: nothing of this one is edited."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_bundle
from strangers import entry_points, write_points

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab.evaluation.world import Seen
from dysl_vla_ros.lab.evaluation.worlds import GROUP

PICTURE = np.full((96, 96, 3), 200, np.uint8)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bundle') / 'tiny'
    return str(tiny_bundle.write_tiny_bundle(folder, layers=5))


def evaluated(bundle, path, *words):
    call = ['evaluate', '--world', 'package:my_world', '--engine', bundle, '--json', str(path)]
    code = main([*call, *words])
    return code, json.loads(path.read_text()) if path.is_file() else {}


def test_evaluate_plays_every_mode_on_the_same_starts_and_goes_on_from_what_is_kept(
    bundle, site, tmp_path, capsys
):
    words = ['--modes', 'full', 'auto', 'fixed', '--exit-layer', '2', '--replan', '4', '--starts',
             '3', '--keep', str(tmp_path / 'kept.jsonl')]  # fmt: skip
    code, found = evaluated(bundle, tmp_path / 'a.json', *words)
    assert code == 0, capsys.readouterr().err
    assert found['world'] == 'my_world' and list(found['rows']) == ['full', 'auto', 'fixed 2']
    assert {name: row['episodes'] for name, row in found['rows'].items()} == {
        'full': 6, 'auto': 6, 'fixed 2': 6}  # fmt: skip
    assert found['rows']['full']['layers_run_mean'] == 5.0
    assert found['rows']['fixed 2']['layers_run_mean'] == 3.0
    assert found['paired']['auto']['episodes'] == 6
    # What is kept is not played again: the world is gone, and would say so.
    from my_world.world import Dot

    Dot.start = None
    _, again = evaluated(bundle, tmp_path / 'b.json', *words)
    assert again['episodes'] == found['episodes']


def test_a_report_tells_the_share_and_the_observations_that_its_rows_were_played_with(
    bundle, site, tmp_path, capsys
):
    words = ['--modes', 'full', 'random', '--random-depth', '0.25', '--starts', '1', '--tasks',
             '0', '--keep', str(tmp_path / 'kept.jsonl')]  # fmt: skip
    _, found = evaluated(bundle, tmp_path / 'a.json', *words)
    assert found['settings'] == {'full': {}, 'random': {'share': 0.25}}
    words[4] = '0.75'
    assert evaluated(bundle, tmp_path / 'b.json', *words)[0] == 2
    assert 'rows.random.share = 0.75' in capsys.readouterr().err


def test_a_nearer_goal_by_an_option_is_met_by_more(bundle, site, tmp_path):
    rates = []
    for metres in ('0.0001', '9'):
        words = ('--modes', 'full', '--tasks', '1', '--option', f'metres={metres}')
        _, found = evaluated(bundle, tmp_path / f'{metres}.json', *words)
        assert found['options'] == {'metres': metres}
        rates.append(found['rows']['full']['success_rate'])
    assert rates == [1.0, 0.0]


def test_words_that_the_policy_does_not_take_are_no_silent_loss(
    bundle, site, tmp_path, monkeypatch, capsys
):
    from my_world.world import MyWorlds

    monkeypatch.setattr(MyWorlds, 'instructions', ('xyzzy', 'push the red cube right'))
    words = ('--modes', 'full', '--starts', '2')
    _, found = evaluated(bundle, tmp_path / 'w.json', *words)
    assert found['rows']['full']['refused'] == 2
    said = ' '.join(capsys.readouterr().out.split())
    assert 'full: 2 of 4 episodes were not played, as the policy does not take their words' in said


@pytest.mark.parametrize('control', ['other_words', 'blank'])
def test_the_controls_are_those_of_every_world(control, bundle, site, tmp_path, monkeypatch):
    told = []
    from my_world.world import Dot

    look = Dot.look
    monkeypatch.setattr(Dot, 'look', lambda self: told.append(self.instruction) or look(self))
    words = ('--modes', 'full', '--tasks', '0', '--starts', '1', '--control', control,
             '--keep', str(tmp_path / 'kept'))  # fmt: skip
    _, found = evaluated(bundle, tmp_path / 'c.json', *words)
    assert found['control'] == control and told
    lines = (tmp_path / 'kept').read_text().splitlines()
    wanted = {'other_words': 'push the red cube right', 'blank': 'push the red cube left'}
    assert json.loads(lines[1])['told'] == wanted[control]


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--tasks', '2'], 'numbers within 0 to 1: my_world has 2 tasks'),
        (['--starts', '5'], 'within 1 to 4, those of my_world'),
        (['--option', 'colour=red'], 'metres=M, size=PIXELS'),
        (['--option', 'colour'], 'NAME=VALUE'),
        (['--suite', 'libero_object'], 'is of --world libero'),
        (['--plot', 'out.png'], 'is of --world tabletop'),
        (['--world', 'package:moon'], 'found 0 (my_world); see doc/worlds.md'),
        (['--world', 'moon'], 'expected one of tabletop, libero, package:NAME'),
    ],
)
def test_a_wrong_call_ends_in_one_line(words, said, bundle, site, tmp_path, capsys):
    assert evaluated(bundle, tmp_path / 'x.json', *words)[0] == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ('point', 'said'),
    [
        ('my_world.world:Nothing', 'cannot be opened'),
        ('my_world.world:Dot', 'cannot be opened'),
        ('builtins:dict', 'a dict without instructions, starts, task, close'),
    ],
)
def test_a_world_that_is_none_is_named_with_what_it_lacks(
    point, said, bundle, site, tmp_path, capsys
):
    write_points(site, f'[{GROUP}]\nmy_world = {point}\n')
    assert evaluated(bundle, tmp_path / 'x.json')[0] == 1
    assert said in capsys.readouterr().err
    write_points(site, entry_points(GROUP))


def raising(*given):
    raise KeyError('arm')


def test_answers_of_numpy_are_taken_and_kept_as_plain_ones(bundle, site, tmp_path, monkeypatch):
    from my_world.world import Dot

    play = Dot.play

    def of_numpy(self, actions):
        done, count = play(self, actions)
        return np.bool_(done), np.int64(count)

    words = ('--modes', 'full', '--tasks', '1', '--starts', '1', '--keep')
    _, plain = evaluated(bundle, tmp_path / 'a.json', *words, str(tmp_path / 'plain'))
    monkeypatch.setattr(Dot, 'play', of_numpy)
    code, found = evaluated(bundle, tmp_path / 'b.json', *words, str(tmp_path / 'kept'))
    assert code == 0 and found['rows']['full']['success_rate'] == (
        plain['rows']['full']['success_rate'])  # fmt: skip
    assert len((tmp_path / 'kept').read_text().splitlines()) == 2


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ('call', 'answer', 'said'),
    [
        ('play', lambda *_: (False, 0), '[1] = 0: expected a whole number within 1 to 8'),
        ('play', lambda *_: (False, -3), '[1] = -3: expected a whole number within 1 to 8'),
        ('play', lambda *_: (False, 100), '[1] = 100: expected a whole number within 1 to 8'),
        ('play', lambda *_: (8, False), '[0] = 8: expected True or False'),
        ('play', lambda *_: (False, np.nan), '[1] = nan: expected a whole number'),
        ('play', lambda *_: (False, True), '[1] = True: expected a whole number'),
        ('play', lambda *_: True, ' = True: expected two values'),
        ('play', lambda *_: None, ' = None: expected two values'),
        ('play', raising, "fails: KeyError('arm')"),
        ('start', raising, "start(0) fails: KeyError('arm')"),
        ('look', lambda _: None, 'look() = None: expected a Seen'),
        ('look', raising, "look() fails: KeyError('arm')"),
        ('look', lambda _: Seen({}, np.zeros(6), 0.5), "images = []: expected 'image' too"),
        ('look', lambda _: Seen({'image': 7}, np.zeros(6), 0.5), "images['image'] = 'int'"),
        ('look', lambda _: Seen({'image': PICTURE / 255}, np.zeros(6), 0.5), 'of float64'),
        ('look', lambda _: Seen({'image': PICTURE}, np.zeros(5), 0.5), 'expected (6,)'),
        ('look', lambda _: Seen({'image': PICTURE}, 'home', 0.5), "joints = 'home'"),
        ('look', lambda _: Seen({'image': PICTURE}, np.full(6, np.nan), 0.5), 'finite numbers'),
        ('look', lambda _: Seen({'image': PICTURE}, np.zeros(6), None), 'gripper = None'),
        ('look', lambda _: Seen({'image': PICTURE}, np.zeros(6), 40.0), 'gripper = 40.0'),
        ('limit', 0, 'limit = 0: expected a whole number, at least 1'),
        ('limit', property(raising), "limit fails: KeyError('arm')"),
        ('limit', 2.5, 'limit = 2.5: expected a whole number'),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_named_with_the_world_and_the_call(
    call, answer, said, bundle, site, tmp_path, capsys, monkeypatch
):
    from my_world.world import Dot

    monkeypatch.setattr(Dot, call, answer)
    words = ('--modes', 'full', '--tasks', '1', '--starts', '1')
    assert evaluated(bundle, tmp_path / 'x.json', *words)[0] == 1
    told = capsys.readouterr().err
    assert said in told and f'world my_world, task 1: {call}' in told
    assert 'should not happen' not in told


@pytest.mark.parametrize(
    ('part', 'answer', 'said'),
    [
        ('instructions', (), 'instructions = []: expected a text for each task'),
        ('instructions', ('go', 3), "instructions = ['go', 3]: expected a text for each task"),
        ('starts', 0, 'starts = 0: expected a whole number, at least 1'),
        ('task', raising, "task(0) fails: KeyError('arm')"),
    ],
)
def test_tasks_and_starts_that_are_none_are_named(
    part, answer, said, bundle, site, tmp_path, capsys, monkeypatch
):
    from my_world.world import MyWorlds

    monkeypatch.setattr(MyWorlds, part, answer)
    assert evaluated(bundle, tmp_path / 'x.json', '--modes', 'full')[0] == 1
    told = capsys.readouterr().err
    assert said in told and 'world my_world' in told


def test_a_world_that_cannot_be_closed_costs_no_report(
    bundle, site, tmp_path, monkeypatch, caplog
):
    from my_world.world import MyWorlds

    monkeypatch.setattr(MyWorlds, 'close', raising)
    words = ('--modes', 'full', '--tasks', '1', '--starts', '1')
    code, found = evaluated(bundle, tmp_path / 'c.json', *words)
    assert code == 0 and found['rows']['full']['episodes'] == 1
    assert "world my_world: close(): KeyError('arm')" in caplog.text
