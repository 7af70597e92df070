"""What the recipe of LIBERO decides about its bundle; LIBERO itself stands behind a document."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle

torch = pytest.importorskip('torch')
pytest.importorskip('accelerate')

from synthetic import demonstrations, small_config, tokens_and_statistics

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab import libero_recipe
from dysl_vla_ros.lab.data.demonstrations import Demonstrations, join
from dysl_vla_ros.lab.model.checkpoint import Checkpoint
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.recipe import preset
from dysl_vla_ros.lab.workspace import Workspace
from dysl_vla_ros.lab.worlds.libero.suites import STARTS

pytestmark = pytest.mark.slow
WON = {'full': (1.0, 12.0), 'auto': (0.95, 7.0), 'max_skip': (0.9, 6.0), 'fixed 3': (0.6, 4.0),
       'fixed 4': (0.95, 5.0), 'fixed 5': (1.0, 6.0), 'fixed 6': (1.0, 7.0)}  # fmt: skip


@pytest.mark.parametrize('ever', [True, False])
def test_the_shallowest_mode_that_is_as_good_as_dense_goes_into_the_bundle_whatever_its_depth(
    ever, tmp_path, monkeypatch
):
    asked = []

    def evaluate(options, keep, on_episode):
        asked.append(options)
        assert [row.name for row in options.rows] == list(WON)
        rows = {name: {'success_rate': rate * ever, 'layers_run_mean': layers}
                for name, (rate, layers) in WON.items()}  # fmt: skip
        played = {name: [[0, start, int(start < 20 * rate * ever)] for start in range(20)]
                  for name, (rate, _) in WON.items()}  # fmt: skip
        return {'rows': rows, 'paired': {}, 'episodes': played}

    monkeypatch.setattr(libero_recipe, 'evaluate_libero', evaluate)
    folder = tiny_bundle.write_tiny_bundle(tmp_path / 'bundle', layers=12)
    before = open_bundle(folder).manifest.calibration
    space = Workspace(tmp_path / 'run', tmp_path / 'run', torch.device('cpu'),
                      lambda *_: None, lambda *_: None)  # fmt: skip
    recipe = libero_recipe.libero_preset('full', 'libero_spatial', 2, False)
    libero_recipe._choose_mode(recipe, folder, space)
    found = open_bundle(folder).manifest.calibration
    assert found == (replace(before, mode='fixed', exit_layer=5) if ever else before)
    [options] = asked
    assert options.first == STARTS + recipe.record, 'starts of neither table nor recording'
    assert options.suite == 'libero_spatial' and options.starts == recipe.compare > 0
    told = (tmp_path / 'run' / 'modes.json').read_text()
    assert ('"chosen": "fixed 5"' if ever else '"chosen": null') in told
    assert ('dense won none of 20 episodes' in told) != ever


def episodes_of(*lengths):
    """Episodes of so many frames."""
    frames = sum(lengths)
    images = {name: np.zeros((frames, 4, 4, 3), np.uint8) for name in ('image', 'wrist_image')}
    return Demonstrations(
        images, np.zeros((frames, 8), np.float32), np.arange(frames), np.zeros(frames, np.int64),
        np.ones(frames, bool), np.zeros((frames, 8, 7), np.float32),
        np.zeros((frames, 2), np.int64), np.zeros((frames, 2, 3), np.float32), ('lift it',),
        np.repeat(np.arange(len(lengths)), lengths),
    )  # fmt: skip


def test_states_of_demonstrations_say_of_which_episode_they_are_and_when_they_were_taken(tmp_path):
    data = join([episodes_of(3, 2), episodes_of(4)])
    assert data.episode.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    libero_recipe._observations(tmp_path / 'seen.npz', data)
    with np.load(tmp_path / 'seen.npz') as found:
        assert found['episode'].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
        step = libero_recipe.PERIOD_S
        assert found['stamp'] == pytest.approx(step * np.array([0, 1, 2, 0, 1, 0, 1, 2, 3]))
    unknown = replace(episodes_of(2), episode=None)
    assert join([episodes_of(2), unknown]).episode is None
    libero_recipe._observations(tmp_path / 'seen.npz', unknown)
    with np.load(tmp_path / 'seen.npz') as found:
        assert 'episode' not in found.files and 'stamp' not in found.files


def test_a_stage_of_another_seed_or_suite_is_refused_and_the_same_is_taken(
    tmp_path, monkeypatch, capsys
):
    made = []
    data = replace(demonstrations(), instructions=('take red', 'take blue'))
    monkeypatch.setattr(libero_recipe, 'collect_libero', lambda *given: 1)
    monkeypatch.setattr(libero_recipe, 'load_libero', lambda *given: data)

    def dense(recipe, data, space):
        made.append(recipe.seed)
        network = PolicyNetwork(small_config(4))
        _, _, stats = tokens_and_statistics(data)
        return Checkpoint(network.config, stats, 'words', network)

    monkeypatch.setattr(libero_recipe, '_dense', dense)
    recipe = libero_recipe.libero_preset('toy', 'libero_object', 1, False)

    def run(changed):
        space = Workspace(tmp_path, tmp_path, torch.device('cpu'))
        return libero_recipe.run_libero(changed, space, 'dense')

    path = run(recipe)
    assert run(replace(recipe, collect=replace(recipe.collect, workers=4))) == path
    assert made == [0] and 'taken as it is, made of the same' in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r'seed = 3: expected 0, with which .*dense'):
        run(replace(recipe, seed=3))
    spatial = libero_recipe.libero_preset('toy', 'libero_spatial', 1, False)
    with pytest.raises(ConfigError, match=r"suite = 'libero_spatial': expected \"libero_object\""):
        run(spatial)


def test_demonstrations_of_libero_are_not_mixed_with_those_of_other_seeds(tmp_path, capsys):
    (tmp_path / 'scene_00').mkdir()
    (tmp_path / 'scene_00' / '00000000.npz').write_bytes(b'')
    call = ['collect', str(tmp_path), '--world', 'libero', '--episodes', '1', '--seed', '900']
    assert main(call) == 2
    assert 'seed = 900: expected 0, with which' in capsys.readouterr().err


@pytest.mark.parametrize('on_gpu', [False, True])
def test_a_warm_up_which_takes_an_hour_and_more_without_bf16_is_resumable_as_what_follows(on_gpu):
    for made in (preset('full', 1, on_gpu),
                 libero_recipe.libero_preset('full', 'libero_object', 1, on_gpu)):  # fmt: skip
        trainings = (made.ground, made.train, *(each.train for each in made.rounds))
        assert all(0.0 < each.save_every_s <= 300.0 for each in trainings)
