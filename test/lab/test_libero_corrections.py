"""Corrections of a policy in LIBERO, of which the answers are here: who leads, what is kept."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle
from libero_frames import frame

torch = pytest.importorskip('torch')
pytest.importorskip('accelerate')

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab import libero_corrections, libero_recipe
from dysl_vla_ros.lab.data import libero
from dysl_vla_ros.lab.data.libero import HORIZON, LiberoCollect, load_libero, load_run
from dysl_vla_ros.lab.evaluation.world import Played
from dysl_vla_ros.lab.libero_corrections import FIRST_SEED, UntilStill, correct_libero
from dysl_vla_ros.lab.workspace import Workspace
from dysl_vla_ros.lab.worlds.libero.suites import CAMERAS

pytestmark = pytest.mark.slow
WORDS = ['pick up the milk', 'pick up the butter']
SETTINGS = LiberoCollect('libero_object', episodes=2, tasks=(0,), first_seed=FIRST_SEED)
LIMIT = 200


class Simulator:
    """The arm moves for ``moves`` looks and stands then; the expert always wins."""

    moves = 10**6
    asked: list[tuple] = []

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        pass

    def ask(self, request, *arguments):
        self.asked.append((request, *arguments))
        if request == 'words':
            return WORDS
        if request == 'open':
            self.looks = 0
            return {'goals': {}, 'instruction': WORDS[0], 'limit': LIMIT}
        if request == 'fresh':
            self.looks = 0
        if request == 'play':
            return False, len(arguments[0]) // 28
        if request in ('onward', 'demonstrate'):
            led = request == 'onward'
            return {'goal': 0, 'won': True, 'frames': [frame(5 if led else 1)] * HORIZON}
        return None

    def look(self):
        self.looks += 1
        state = np.full(8, 0.1 * min(self.looks, self.moves), np.float32)
        return {name: np.zeros((e, e, 3), np.uint8) for name, (_, e) in CAMERAS.items()}, state


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setattr(libero, 'LiberoClient', Simulator)
    monkeypatch.setattr(Simulator, 'asked', [])
    return tiny_bundle.write_tiny_bundle(tmp_path / 'bundle')


def lead(monkeypatch, won=False):
    """A policy that looks and plays eight actions at a time; what it led, one per episode."""
    found = []

    def play(world, policy, config, number, instruction, replan):
        assert config.skip.mode == 'full' and instruction == WORDS[0]
        world.start(number)
        count = 0
        while count < world.limit:
            world.look()
            count += world.play(np.zeros((min(replan, world.limit - count), 7), np.float32))[1]
        found.append((number, count))
        return Played(won and number == FIRST_SEED, count, 0, 0, 0, 0, 1, (), ())

    monkeypatch.setattr(libero_corrections, 'play_episode', play)
    return found


def test_the_expert_goes_on_from_where_the_policy_led_and_had_seen_how_things_lay(
    bundle, tmp_path, monkeypatch
):
    found = lead(monkeypatch)
    assert correct_libero(tmp_path / 'round_1', bundle, SETTINGS) == 2
    assert [number for number, _ in found] == [FIRST_SEED, FIRST_SEED + 1]
    assert all(0 <= count <= 0.6 * LIMIT for _, count in found) and found[0][1] != found[1][1]
    requests = [one[0] for one in Simulator.asked if one[0] != 'play']
    assert requests == ['words', 'open', *2 * ['fresh', 'follow', 'onward']]
    assert load_libero(tmp_path / 'round_1').proprioception[:, -1] == pytest.approx(0.5)
    correct_libero(tmp_path / 'round_1', bundle, SETTINGS)
    assert len(found) == 2, 'what is there is not played again'


def test_a_policy_leads_no_further_where_the_arm_stands(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(Simulator, 'moves', 2)
    found = lead(monkeypatch)
    many = replace(SETTINGS, episodes=12)
    correct_libero(tmp_path / 'round_1', bundle, many)
    assert max(count for _, count in found) == 32, 'the third look that shows the same is the last'


def test_what_the_policy_wins_itself_is_not_kept(bundle, tmp_path, monkeypatch):
    found = lead(monkeypatch, won=True)
    assert correct_libero(tmp_path / 'round_1', bundle, SETTINGS) == 2
    assert [number for number, _ in found] == [FIRST_SEED, FIRST_SEED + 1, FIRST_SEED + 2]
    empty = [path.stem for path in tmp_path.rglob('*.npz') if not path.stat().st_size]
    assert empty == [str(FIRST_SEED).zfill(8)]


def test_corrections_of_another_policy_are_not_mixed_in(bundle, tmp_path, monkeypatch):
    lead(monkeypatch)
    correct_libero(tmp_path / 'round_1', bundle, SETTINGS)
    told = json.loads((tmp_path / 'round_1' / libero.MARK).read_text())
    assert len(told['corrects']) == 12
    other = tiny_bundle.write_tiny_bundle(tmp_path / 'other', layers=9)
    with pytest.raises(ConfigError, match=r'differ in corrects'):
        correct_libero(tmp_path / 'round_1', other, replace(SETTINGS, episodes=3))


def test_a_slow_gripper_is_motion(bundle):
    class Task:
        opening = 0.0

        def look(self):
            self.opening += 0.03
            return libero_corrections.Seen({}, np.zeros(7), self.opening)

        def play(self, actions):
            return False, len(actions)

    led = UntilStill(Task(), 40)
    for _ in range(5):
        led.look()
        assert led.play(np.zeros((8, 7))) == (False, 8)
    assert led.limit == 40


def test_a_round_trains_on_with_demonstrations_and_corrections_and_is_made_once(
    bundle, tmp_path, monkeypatch
):
    lead(monkeypatch)
    recipe = libero_recipe.libero_preset('toy', 'libero_object', 1, False)
    recipe = replace(recipe, collect=replace(recipe.collect, episodes=2))
    seen = []

    def corrected(folder, before, settings, progress, replan):
        seen.append((folder, before.is_dir(), settings))
        return correct_libero(folder, bundle, settings, progress, replan)

    monkeypatch.setattr(libero_recipe, 'correct_libero', corrected)
    folder = tmp_path / 'run'
    space = Workspace(folder, folder, torch.device('cpu'), lambda *_: None, lambda *_: None)
    found = libero_recipe.run_libero(recipe, space, 'dagger')
    assert found == folder / 'dagger_1.safetensors' and found.is_file()
    [(place, exported, settings)] = seen
    assert place == folder / 'corrections' / 'round_1' and exported
    assert settings.episodes == 1 and settings.first_seed == FIRST_SEED
    data = load_run(folder)
    assert data.frames == 3 * HORIZON
    assert data.proprioception[:HORIZON, -1] == pytest.approx(0.5), 'demonstrations are last'
    assert space.report['train_1']['steps'] == recipe.rounds[0].train.steps
    libero_recipe.run_libero(recipe, space, 'dagger')
    assert len(seen) == 1
    other = tmp_path / 'none'
    plain = Workspace(other, other, torch.device('cpu'), lambda *_: None, lambda *_: None)
    with pytest.raises(ConfigError, match='until'):
        libero_recipe.run_libero(replace(recipe, rounds=()), plain, 'dagger')
