"""Episodes in a world that waits for the policy, and LIBERO's protocol around them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from threading import Barrier, Event
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_bundle
from rich.console import Console

from dysl_vla_ros.cli.evaluate_world import world_table
from dysl_vla_ros.config import EngineConfig, NodeConfig
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.errors import ConfigError, EngineError, InputError
from dysl_vla_ros.lab.evaluation.libero import LiberoOptions, about, other_task
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config, mode_policy
from dysl_vla_ros.lab.evaluation.world import Played, Seen, play_episode
from dysl_vla_ros.lab.evaluation.world_episodes import (
    Kept,
    WorldEpisode,
    play_rows,
    play_side_by_side,
    recorded_steps,
    report,
    row_policy,
)
from dysl_vla_ros.policy import open_policy

LAYERS = 7


@pytest.fixture(scope='module')
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bundle') / 'tiny'
    return open_policy(
        EngineConfig(path=str(tiny_bundle.write_tiny_bundle(folder, layers=LAYERS, mask=True)))
    )


class Toy:
    """Counts what it is asked for; the goal is met after ``enough`` actions."""

    instruction, limit = 'pick up the red cube', 20

    def __init__(self, manifest, enough=1000):
        self.manifest, self.enough, self.done = manifest, enough, 0
        self.looks, self.bursts, self.started, self.shown = 0, [], [], []

    def start(self, number):
        self.started.append(number)
        self.done = 0

    def look(self):
        self.looks += 1
        generator = np.random.default_rng(self.looks)
        images = {c.name: generator.integers(0, 256, (c.height, c.width, 3), np.uint8)
                  for c in self.manifest.cameras}  # fmt: skip
        return Seen(images, np.zeros(self.manifest.proprioception.body), 0.5)

    def play(self, actions):
        count = min(len(actions), self.enough - self.done)
        self.done += count
        self.bursts.append(len(actions))
        return self.done >= self.enough, count


def played(policy, world, row, **more):
    config = with_bundle(mode_config(NodeConfig(), row), policy.manifest)
    acting = mode_policy(policy, row, 0)
    return play_episode(world, acting, config, 3, more.pop('told', world.instruction),
                        more.pop('replan', 4), **more)  # fmt: skip


def test_an_episode_plays_part_of_each_chunk_until_the_goal_is_met(policy):
    world = Toy(policy.manifest, enough=10)
    found = played(policy, world, Row('full'))
    assert world.started == [3]
    assert (found.success, found.actions, found.chunks) == (True, 10, 3)
    assert (found.layers_run, found.controllers, found.reruns) == (3 * LAYERS, 0, 0)


def test_an_episode_ends_at_the_limit_and_not_one_action_after_it(policy):
    world = Toy(policy.manifest)
    found = played(policy, world, Row('full'), replan=6)
    assert (found.success, found.actions) == (False, 20)
    assert world.bursts == [6, 6, 6, 2]


def test_a_fixed_exit_is_charged_its_layers_and_the_last(policy):
    found = played(policy, Toy(policy.manifest), Row('fixed', exit_layer=2))
    assert found.layers_run == 3 * found.chunks and found.reruns == 0


def test_an_exit_by_instruction_is_that_of_the_world_s_words(policy):
    world, manifest = Toy(policy.manifest), policy.manifest
    for exits, layers in (({world.instruction: 1}, 2), ({'other words': 1}, 3)):
        named = replace(manifest.calibration, exit_by_instruction=exits, exit_layer=2)
        telling = SimpleNamespace(
            manifest=replace(manifest, calibration=named), tokens=policy.tokens,
            predict=policy.predict, rerun=policy.rerun,
        )  # fmt: skip
        found = played(telling, world, Row('by_instruction'))
        assert found.layers_run == layers * found.chunks and found.reruns == 0


def test_a_pace_says_how_deep_a_pass_is_and_how_much_of_its_chunk_is_played(policy):
    horizon = policy.manifest.action.horizon
    for left in (0.5, 0.75):
        row, world = Row('paced', pace=f'never:2@{left}/2@{left}'), Toy(policy.manifest)
        config = with_bundle(mode_config(NodeConfig(), row), policy.manifest)
        acting = row_policy(policy, row, 0, 0, ())
        found = play_episode(world, acting, config, 0, world.instruction, 4)
        assert world.bursts[0] == round(horizon * (1 - left))
        assert found.layers_run == 3 * found.chunks and found.reruns == 0


def test_a_distance_is_nothing_that_a_world_tells(policy):
    row, world = Row('paced', pace='distance<0.1:2@0.5/4@0.5'), Toy(policy.manifest)
    config = with_bundle(mode_config(NodeConfig(), row), policy.manifest)
    with pytest.raises(ConfigError, match="pace = 'distance': expected a signal that a world"):
        play_episode(world, row_policy(policy, row, 0, 0, ()), config, 0, 'pick up', 4)


def test_a_drop_inside_the_chunk_runs_the_observation_again_in_full(policy):
    """Of nonsense every chunk has a drop; which one counts is the skip policy's own test."""
    config = with_bundle(mode_config(NodeConfig(), Row('no_pre_skip')), policy.manifest)
    watchful = replace(config, continuity=replace(config.continuity, threshold=1e-6,
                                                  hysteresis=1e-7))  # fmt: skip
    world = Toy(policy.manifest)
    found = play_episode(world, policy, watchful, 0, world.instruction, 4)
    careless = replace(watchful, rerun=replace(watchful.rerun, enabled=False))
    without = play_episode(Toy(policy.manifest), policy, careless, 0, world.instruction, 4)
    assert found.reruns > 0 and without.reruns == 0
    assert found.layers_run > without.layers_run


def test_blank_pictures_are_all_grey(policy):
    shown = []
    eyes = SimpleNamespace(
        manifest=policy.manifest, tokens=policy.tokens, rerun=policy.rerun,
        predict=lambda seen, plan: shown.append(seen.images) or policy.predict(seen, plan),
    )  # fmt: skip
    config = with_bundle(mode_config(NodeConfig(), Row('full')), policy.manifest)
    world = Toy(policy.manifest)
    play_episode(world, eyes, config, 0, world.instruction, 4, blank=True)
    assert shown and all((image == 127).all() for images in shown for image in images.values())


def test_words_that_the_policy_does_not_take_are_a_lost_episode_without_motion(policy):
    world = Toy(policy.manifest)
    found = played(policy, world, Row('full'), told='word ' * 500)
    assert not found.success and found.refused and not world.started


def test_more_actions_than_a_chunk_has_are_refused(policy):
    with pytest.raises(ConfigError, match='replan = 99'):
        played(policy, Toy(policy.manifest), Row('full'), replan=99)


def test_a_world_is_told_physical_units(policy):
    seen = []
    world = Toy(policy.manifest)
    world.play = lambda actions: seen.append(actions) or (True, len(actions))
    played(policy, world, Row('full'), replan=1)
    scale = policy.manifest.action.normalisation
    assert (seen[0] >= np.array(scale.low) - 10).all() and seen[0].shape[1] == len(scale.low)


def episode(row, task, start, success, **more):
    done = Played(success, 10, 2, 0, 8, 0, LAYERS, (0.1, 0.1), (0.05, 0.05))
    return WorldEpisode(row, task, start, 'words', done, **more)


OPTIONS = LiberoOptions('libero_object', (Row('full'), Row('fixed', exit_layer=2)), 'bundle',
                        tasks=(0, 1), starts=2)  # fmt: skip


def test_times_of_a_policy_of_which_no_chunk_was_ever_accepted_are_not_zero():
    none = Played(False, 10, 0, 0, 0, 0, LAYERS, (), ())
    found = [WorldEpisode('full', 0, 0, 'words', none)]
    told = report(OPTIONS.rows[:1], (0,), range(1), found, {'world': 'toy'})['rows']['full']
    assert told['pass_ms'] is None and told['backbone_ms'] is None
    document = {'rows': {'full': told}, 'paired': {}, 'world': 'toy', 'suite': 'toy',
                'control': 'none'}  # fmt: skip
    text = io.StringIO()
    Console(file=text, width=80).print(world_table(document))
    assert '0.0' in text.getvalue() and 'None' not in text.getvalue()


def test_a_report_pairs_rows_on_the_same_starts():
    found = [episode('full', t, s, True) for t in (0, 1) for s in (0, 1)]
    found += [episode('fixed 2', t, s, s == 0) for t in (0, 1) for s in (0, 1)]
    document = report(OPTIONS.rows, OPTIONS.tasks, OPTIONS.numbers, found, {'world': 'toy'})
    assert document['rows']['full']['success_rate'] == 1.0
    assert document['rows']['fixed 2']['tasks'] == {'0': 1, '1': 1}
    assert document['paired']['fixed 2']['loss'] == 0.5
    assert document['rows']['full']['layers_run_mean'] == 4.0
    assert document['instructions'] == {'0': 'words', '1': 'words'}


def test_a_task_is_opened_only_where_an_episode_is_left_and_left_where_none_can_be(tmp_path):
    kept, told, opened = Kept(tmp_path / 'kept', {}), [], []
    rows = (Row('full'), Row('auto'))
    for row in rows:  # task 0 is finished, task 1 begun
        kept.add(episode(row.name, 0, 0, True))
    kept.add(episode('full', 1, 0, True))

    def open_task(task):
        opened.append(task)
        return lambda row, start: None if task == 2 else episode(row.name, task, start, False)

    play_rows((0, 1, 2, 3), range(1), rows, kept, open_task, told.append)
    assert opened == [1, 2, 3]
    assert [(one.row, one.task) for one in told] == [
        (row, task) for task in (0, 1, 3) for row in ('full', 'auto')]  # fmt: skip
    again = Kept(tmp_path / 'kept', {})
    assert set(again.found) == {(row, task, 0) for task in (0, 1, 3) for row in ('full', 'auto')}


def test_simulators_side_by_side_play_each_episode_once_and_tell_of_one_at_a_time(tmp_path):
    kept, meet = Kept(tmp_path / 'kept', {}), Barrier(2, timeout=60)
    opened, telling, told = [], [], []

    def opener(number):
        def open_task(task):
            opened.append((number, task))
            if len(opened) <= 2:
                meet.wait()  # ends only where two tasks are open at once
            return lambda row, start: episode(row.name, task, start, True)

        return open_task

    def tell(one):
        telling.append(one)
        assert len(telling) == 1
        told.append((one.row, one.task, one.start))
        telling.pop()

    rows = (Row('full'), Row('auto'))
    play_side_by_side(range(5), range(3), rows, kept, [opener(0), opener(1)], tell)
    wanted = {(row.name, task, start) for row in rows for task in range(5) for start in range(3)}
    assert len(told) == 30 and set(told) == wanted == set(kept.found)
    assert {number for number, _ in opened} == {0, 1} and len(opened) == 5
    assert set(Kept(tmp_path / 'kept', {}).found) == wanted, 'no line was torn'


def test_an_error_of_one_simulator_ends_the_others_and_what_was_played_is_kept(tmp_path):
    kept, begun, failed = Kept(tmp_path / 'kept', {}), Event(), Event()

    def breaks(task):
        def play(row, start):
            assert begun.wait(60)
            failed.set()
            raise EngineError('the simulator ended')

        return play

    def goes_on(task):
        def play(row, start):
            begun.set()
            assert failed.wait(60)
            return episode(row.name, task, start, True)

        return play

    with pytest.raises(EngineError, match='the simulator ended'):
        play_side_by_side(range(2), range(100_000), (Row('full'),), kept, [breaks, goes_on])
    assert len(kept.found) < 100_000


def test_finished_episodes_are_kept_and_half_a_line_is_not(tmp_path):
    path = tmp_path / 'kept.jsonl'
    begun = {'suite': 'libero_object'}
    first = Kept(path, begun)
    first.add(episode('full', 0, 0, True))
    first.add(episode('full', 0, 1, False, picked=True))
    path.write_text(path.read_text()[:-9])
    again = Kept(path, begun)
    assert list(again.found) == [('full', 0, 0)]
    assert again.found['full', 0, 0] == episode('full', 0, 0, True)
    with pytest.raises(ConfigError, match='begun with'):
        Kept(path, {'suite': 'libero_spatial'})


RANDOM = replace(OPTIONS, rows=(Row('full'), Row('random', share=0.2)))


def test_going_on_with_another_share_of_random_jumps_is_refused_by_its_name(policy, tmp_path):
    path = tmp_path / 'kept.jsonl'
    Kept(path, about(RANDOM, policy)).add(episode('random', 0, 0, True))
    other = replace(RANDOM, rows=(Row('full'), Row('random', share=0.9)))
    with pytest.raises(ConfigError, match=r'rows\.random\.share = 0\.9.*begun with 0\.2'):
        Kept(path, about(other, policy))
    assert list(Kept(path, about(RANDOM, policy)).found) == [('random', 0, 0)]


def test_going_on_with_thresholds_from_other_observations_is_refused(policy, tmp_path):
    one, two, path = tmp_path / 'one.npz', tmp_path / 'two.npz', tmp_path / 'kept.jsonl'
    one.write_bytes(b'one')
    two.write_bytes(b'two')
    deer = replace(OPTIONS, rows=(Row('deer', ratio=0.5),), observations=one)
    Kept(path, about(deer, policy)).add(episode('deer 0.5', 0, 0, True))
    with pytest.raises(ConfigError, match=r'rows\.deer 0\.5\.observations = '):
        Kept(path, about(replace(deer, observations=two), policy))
    (tmp_path / 'elsewhere.npz').write_bytes(b'one')
    same = replace(deer, observations=tmp_path / 'elsewhere.npz')
    assert list(Kept(path, about(same, policy)).found) == [('deer 0.5', 0, 0)], 'by what is in it'
    finer = replace(deer, rows=(Row('deer', ratio=0.5000001),))
    with pytest.raises(ConfigError, match=r'rows\.deer 0\.5\.ratio = 0\.5000001'):
        Kept(path, about(finer, policy))
    with pytest.raises(InputError, match='nowhere'):
        about(replace(deer, observations=tmp_path / 'nowhere'), policy)


@pytest.mark.parametrize(('field', 'change'), [
    ('thin', {'thin': 0.5}), ('replan', {'replan': 4}), ('control', {'control': 'blank'}),
    ('parameters.rerun', {'config': NodeConfig(rerun=replace(NodeConfig().rerun, enabled=False))}),
])  # fmt: skip
def test_going_on_with_any_other_setting_is_refused_by_its_name(policy, tmp_path, field, change):
    path = tmp_path / 'kept.jsonl'
    Kept(path, about(OPTIONS, policy)).add(episode('full', 0, 0, True))
    with pytest.raises(ConfigError, match=f'begun with {field}'):
        Kept(path, about(replace(OPTIONS, **change), policy))


def test_other_modes_are_added_to_a_kept_file_and_their_settings_to_its_head(policy, tmp_path):
    path = tmp_path / 'kept.jsonl'
    Kept(path, about(OPTIONS, policy)).add(episode('full', 0, 0, True))
    assert list(Kept(path, about(RANDOM, policy)).found) == [('full', 0, 0)]
    other = replace(OPTIONS, rows=(Row('random', share=0.9),))
    with pytest.raises(ConfigError, match=r'rows\.random\.share'):
        Kept(path, about(other, policy))
    head = json.loads(path.read_text().splitlines()[0])
    assert head['about']['rows'] == {
        'full': {}, 'fixed 2': {'exit_layer': 2}, 'random': {'share': 0.2}}  # fmt: skip


def test_a_kept_file_of_before_heads_told_of_rows_goes_on_where_a_row_s_name_tells_all(
    policy, tmp_path
):
    path, before = tmp_path / 'kept.jsonl', about(RANDOM, policy)
    for key in ('rows', 'policy', 'parameters'):
        del before[key]
    first = Kept(path, before)
    first.add(episode('full', 0, 0, True))
    first.add(episode('random', 0, 0, True))
    assert len(Kept(path, about(OPTIONS, policy)).found) == 2
    with pytest.raises(ConfigError, match=r'rows\.random.*not told'):
        Kept(path, about(RANDOM, policy))


def test_a_damaged_line_of_a_kept_file_is_refused_as_in_the_tabletop_s(tmp_path):
    path = tmp_path / 'kept.jsonl'
    kept = Kept(path, {})
    for start in range(3):
        kept.add(episode('full', 0, start, True))
    lines = path.read_text().split('\n')
    wrong = [lines[2].replace(*pair) for pair in (
        ('"success": true', '"success": "no"'), ('"success": false', '"success": "no"'),
        ('"chunks": ', '"chunks": 9'))]  # fmt: skip
    wrong = [line for line in wrong if line != lines[2]]
    assert len(wrong) == 2
    for damaged in (lines[2][:20], '7', '{"row": "full"}', *wrong):
        path.write_text('\n'.join([*lines[:2], damaged, *lines[3:]]))
        with pytest.raises(ConfigError, match='line 3 of this one is damaged'):
            Kept(path, {})


def test_an_episode_with_layers_that_its_passes_cannot_have_run_is_named_by_its_line(tmp_path):
    path = tmp_path / 'kept.jsonl'
    Kept(path, {}).add(episode('full', 0, 0, True))
    head, line, _ = path.read_text().split('\n')
    told = json.loads(line)
    total, passes = told['played']['layers_total'], told['played']['chunks']
    assert len(Kept(path, {}, total).found) == 1
    with pytest.raises(
        ConfigError, match=f'of 32 layers, as the bundle has: line 2 .* = {total};'
    ):
        Kept(path, {}, 32)
    for layers in (-1, total * passes + 1):
        told['played']['layers_run'] = layers
        path.write_text('\n'.join([head, json.dumps(told), '']))
        with pytest.raises(ConfigError, match=f'line 2 of .*layers_run = {layers}, expected 0 '):
            Kept(path, {})


def test_two_rows_of_one_name_and_other_numbers_are_refused(policy):
    twice = replace(OPTIONS, rows=(Row('random', share=0.2), Row('random', share=0.9)))
    with pytest.raises(ConfigError, match="rows = 'random'"):
        about(twice, policy)


def test_other_words_take_turns_among_the_things_of_the_scene():
    goals = {0: 'soup', 3: 'sauce', 5: 'milk'}
    assert [other_task(goals, 3, start) for start in range(4)] == [0, 5, 0, 5]
    assert other_task({3: 'sauce'}, 3, 0) is None


@pytest.mark.parametrize(('field', 'value'), [
    ('suite', 'libero_moon'), ('tasks', (10,)), ('starts', 51), ('first', 49), ('workers', 0),
    ('thin', 0.0), ('control', 'x'),
    ('rows', (Row('deer', ratio=0.5),)), ('rows', (Row('random'),)),
])  # fmt: skip
def test_what_cannot_be_evaluated_is_refused(field, value):
    with pytest.raises(ConfigError):
        replace(OPTIONS, **{field: value})


def test_starts_that_are_drawn_come_after_the_official_ones_and_are_no_part_of_them():
    assert list(OPTIONS.numbers) == [0, 1]
    assert list(replace(OPTIONS, first=50, starts=60).numbers) == list(range(50, 110))
    found = [episode('full', 0, start, start < 50) for start in (0, 1, 50)]
    document = report(OPTIONS.rows, OPTIONS.tasks, range(50, 52), found, {})
    assert document['rows']['full'] | {'successes': 0, 'episodes': 1} == document['rows']['full']


def test_recorded_states_are_read_for_the_mode_that_needs_them_only(policy, tmp_path):
    nowhere = tmp_path / 'observations.npz'
    assert recorded_steps((Row('full'), Row('auto')), nowhere, policy) == []
    with pytest.raises(InputError, match='observations'):
        recorded_steps((Row('full'), Row('deer', ratio=0.5)), nowhere, policy)


def test_other_words_are_not_asked_of_a_suite_that_has_its_own():
    with pytest.raises(ConfigError, match='libero_object_task'):
        replace(OPTIONS, suite='libero_object_task', control='other_words')
