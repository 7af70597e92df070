"""Anchors: a fixed exit as a policy of its own, and shallow policies, from the folder of a run."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from synthetic import demonstrations, small_config
from synthetic import statistics as _statistics

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.cli.anchors import anchor_settings
from dysl_vla_ros.cli.main import main, parser_of
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.data_types import LayerLayout, Observation
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab import anchors
from dysl_vla_ros.lab.anchors import (
    AnchorSettings,
    as_the_run_had,
    dense_of,
    make_anchors,
    shortened,
    with_own_exits,
)
from dysl_vla_ros.lab.begun_with import flat
from dysl_vla_ros.lab.data.samples import batch_source
from dysl_vla_ros.lab.data.words import build_tokenizer
from dysl_vla_ros.lab.export.onnx_export import export_bundle
from dysl_vla_ros.lab.learn.dense import DenseSettings
from dysl_vla_ros.lab.learn.distill import DistillSettings
from dysl_vla_ros.lab.learn.train import TrainSettings, train
from dysl_vla_ros.lab.libero_recipe import libero_preset
from dysl_vla_ros.lab.model.checkpoint import (
    Checkpoint,
    all_static,
    load_checkpoint,
    save_checkpoint,
)
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.recipe import preset
from dysl_vla_ros.lab.workspace import Workspace
from dysl_vla_ros.policy import open_policy

WORDS = ('take red', 'take blue')
FEW = TrainSettings(steps=4, batch=8, warmup=1, note_every=2)
SETTINGS = AnchorSettings(
    DenseSettings(None, FEW, {'width': 32, 'head_dim': 16, 'stem_channels': (8, 8, 8)}),
    (replace(FEW, steps=2),), DistillSettings(adapter_steps=0, controller_steps=3, batch=4),
)  # fmt: skip


@pytest.fixture
def dense():
    torch.manual_seed(3)
    data = replace(demonstrations(), instructions=WORDS)
    tokenizer = build_tokenizer(WORDS)
    config = replace(small_config(8), vocabulary=tokenizer.get_vocab_size())
    return Checkpoint(config, _statistics(data), tokenizer.to_str(), PolicyNetwork(config))


@pytest.fixture
def run_folder(tmp_path, dense, monkeypatch):
    """A run with a dense policy; its data are the tiny task's."""
    data = replace(demonstrations(), instructions=WORDS)
    asked = []
    # Its pictures are too small for the rows that are dropped of real ones.
    monkeypatch.setattr('dysl_vla_ros.lab.learn.dense._dropped_rows', lambda camera, data: 0)
    monkeypatch.setattr(anchors, 'data_of', lambda folder, n: asked.append(n) or data)
    save_checkpoint(tmp_path / 'dense.safetensors', dense, torch.float32)
    return tmp_path, asked


def test_a_shortened_policy_acts_as_the_fixed_exit_of_the_deep_one(dense):
    short = shortened(dense, 3)
    assert short.config.layers == 4
    images = (torch.randn(2, 3, 32, 32), torch.randn(2, 3, 16, 16))
    tokens, joints = torch.ones(2, 3, dtype=torch.int64), torch.randn(2, 7)
    deep = dense.network.eval()
    with torch.no_grad():
        hidden = deep.encode(images, tokens, joints)
        for layer in (0, 1, 2, 7):
            hidden = deep.layer(layer, hidden)
        assert torch.equal(short.network.eval()(images, tokens, joints)[0], deep.head(hidden))


@pytest.mark.parametrize('exit_layer', [1, 7, 20])
def test_an_exit_that_is_none_is_refused(dense, exit_layer):
    with pytest.raises(ConfigError, match=f'exit_layer = {exit_layer}'):
        shortened(dense, exit_layer)


def test_anchors_are_trained_once_and_by_as_many_updates_as_what_they_are_compared_with(
    run_folder, tmp_path
):
    folder, asked = run_folder
    space = Workspace(tmp_path / 'anchors', tmp_path / 'anchors', torch.device('cpu'))
    found = make_anchors(folder, [3, 2], [4], SETTINGS, space)
    assert sorted(found) == ['fixed_2', 'fixed_3', 'layers_4']
    assert space.report['fixed_3']['steps'] == 3, 'both stages of the distillation'
    assert load_checkpoint(found['layers_4']).config.layers == 4
    assert asked == [0, 1], 'once for fixed exits and dense, once for the round of corrections'
    tuned = load_checkpoint(found['fixed_3']).network.state_dict()
    before = shortened(dense_of(folder), 3).network.state_dict()
    assert any(not torch.allclose(tuned[k], before[k], atol=2e-4) for k in tuned)
    make_anchors(folder, [3], [4], SETTINGS, space)
    assert len(asked) == 2, 'what is there is not trained again'
    other = replace(SETTINGS, seed=5)
    with pytest.raises(ConfigError, match=r'train\.seed = 5: expected 0, with which .*fixed_3'):
        make_anchors(folder, [3], [], other, space)
    with pytest.raises(ConfigError, match=r'seed = 5: expected 0, with which .*layers_4'):
        make_anchors(folder, [], [4], other, space)
    retrained = replace(dense_of(folder), tokenizer=dense_of(folder).tokenizer + ' ')
    save_checkpoint(folder / 'dense.safetensors', retrained, torch.float32)
    with pytest.raises(ConfigError, match=r'start = .*with which .*fixed_3'):
        make_anchors(folder, [3], [], SETTINGS, space)


def test_exits_that_are_tuned_together_become_one_policy_that_keeps_its_depth_and_controllers(
    run_folder, dense, tmp_path
):
    folder, asked = run_folder
    layout = LayerLayout(8, (0, 1, 7))
    policy = replace(dense, skipping=SkipModules(layout, dense.config.width))
    save_checkpoint(folder / 'policy.safetensors', policy, torch.float32)
    space = Workspace(tmp_path / 'anchors', tmp_path / 'anchors', torch.device('cpu'))
    found = make_anchors(folder, [], [], SETTINGS, space, together=[5, 3])
    made = load_checkpoint(found['exits_3_5'])
    assert made.config.layers == 8 and made.skipping is not None
    assert made.skipping.layout == layout
    before = policy.network.state_dict()
    assert any(not torch.allclose(v, before[k], atol=2e-4)
               for k, v in made.network.state_dict().items())  # fmt: skip
    assert asked == [0] and space.report['exits_3_5']['steps'] == 3


def spec(table):
    return CalibrationSpec(0.1, 5, 0.3, 0.15, (1.0,) * 7, exit_by_instruction=table)


def test_each_instruction_is_tuned_at_its_own_exit_and_the_deepest_is_all_that_is_left(
    run_folder, dense, tmp_path
):
    folder, asked = run_folder
    space = Workspace(tmp_path / 'anchors', tmp_path / 'anchors', torch.device('cpu'))
    told = spec({'take red': 5, 'take blue': 3})
    found = make_anchors(folder, [2], [], SETTINGS, space, told=told)
    assert load_checkpoint(found['fixed_2']).config.layers == 3
    made = load_checkpoint(found['by_instruction'])
    assert made.config.layers == 6 and asked == [0]
    own = {'take red': 0, 'take blue': 3}
    assert made.calibration == replace(told, mode='by_instruction', exit_by_instruction=own)
    before = shortened(dense_of(folder), 5).network.state_dict()
    after = made.network.state_dict()
    assert any(not torch.allclose(v, before[k], atol=2e-4) for k, v in after.items())
    deep, whole = with_own_exits(dense, spec(own))
    assert deep.config.layers == 8 and whole.exit_by_instruction == own
    bundle = tmp_path / 'bundle'
    export_bundle(all_static(made), bundle, 'told')
    assert open_policy(EngineConfig(path=str(bundle))).manifest.calibration == made.calibration


@pytest.mark.parametrize(('goal', 'exit_layer'), [(0, 3), (1, 0)])
def test_a_samples_action_error_is_that_of_its_own_exit(dense, goal, exit_layer):
    """What only deeper layers learn from is a sample that goes there."""
    data = replace(demonstrations(), instructions=WORDS)
    data = replace(data, goal=np.full_like(data.goal, goal))
    checkpoint = replace(dense, network=PolicyNetwork(dense.config))
    before = {k: v.clone() for k, v in checkpoint.network.state_dict().items()}
    plan = replace(FEW, weight_decay=0.0, exit_of_goal=(3, 0))
    train(checkpoint.network, batch_source(data, checkpoint, torch.device('cpu'), 0), None, plan)
    after = checkpoint.network.state_dict()
    moved = {name.split('.')[1] for name in before if name.startswith('layers.')
             and not torch.equal(before[name], after[name])}  # fmt: skip
    deep = {'3', '4', '5', '6'}
    assert moved & deep == (set() if exit_layer else deep)
    assert {'0', '1', '2', '7'} <= moved


def test_instructions_of_one_exit_or_of_another_run_are_refused(run_folder, tmp_path):
    folder, _ = run_folder
    space = Workspace(tmp_path / 'anchors', tmp_path / 'anchors', torch.device('cpu'))
    for table, words in (
        ({'take red': 3, 'take blue': 3}, 'two exits at least'),
        ({'take red': 3, 'take blue': 7}, 'exit_layer = 7'),
        ({'take red': 3, 'take green': 5}, 'the instructions of the run'),
    ):
        with pytest.raises(ConfigError, match=words):
            make_anchors(folder, [], [], SETTINGS, space, told=spec(table))


@pytest.mark.parametrize('together', [[3], [3, 3], [1, 3], [3, 7]])
def test_exits_that_cannot_be_tuned_together_are_refused(run_folder, tmp_path, together):
    folder, _ = run_folder
    space = Workspace(tmp_path / 'anchors', tmp_path / 'anchors', torch.device('cpu'))
    with pytest.raises(ConfigError, match='together'):
        make_anchors(folder, [], [], SETTINGS, space, together)


def test_exits_are_tuned_together_in_a_distilled_policy_only(run_folder, tmp_path):
    folder, _ = run_folder
    space = Workspace(tmp_path / 'anchors', tmp_path / 'anchors', torch.device('cpu'))
    with pytest.raises(ConfigError, match='--until policy'):
        make_anchors(folder, [], [], SETTINGS, space, [3, 5])


def test_anchors_take_the_updates_that_the_run_was_told(tmp_path):
    distilled = {'adapter_steps': 1, 'controller_steps': 2, 'batch': 6}
    told = {'recipe': {'train': {'steps': 9, 'batch': 4}, 'ground': None, 'distill': distilled}}
    (tmp_path / 'report.json').write_text(json.dumps(told))
    found = as_the_run_had(tmp_path, SETTINGS)
    assert (found.dense.train.steps, found.dense.train.batch) == (9, 4)
    assert found.dense.ground is None
    assert (found.distill.adapter_steps, found.distill.controller_steps) == (1, 2)
    assert found.distill.batch == 6 and found.rounds == SETTINGS.rounds
    again = {'steps': 7, 'batch': 5, 'learning_rate': 1e-4, 'warmup': 3, 'seed': 11, 'clip': 2.0}
    told['recipe']['rounds'] = [{'episodes': 2, 'train': again}]
    (tmp_path / 'report.json').write_text(json.dumps(told))
    [plan] = as_the_run_had(tmp_path, SETTINGS).rounds
    assert (plan.steps, plan.batch, plan.learning_rate, plan.warmup, plan.seed) == (
        7,
        5,
        1e-4,
        3,
        11,
    )
    assert as_the_run_had(tmp_path / 'none', SETTINGS) == SETTINGS
    told['recipe']['rounds'] = []
    (tmp_path / 'report.json').write_text(json.dumps(told))
    assert as_the_run_had(tmp_path, SETTINGS).rounds == (), 'a run without corrections'


def the_report_of(folder, recipe):
    folder.mkdir()
    (folder / 'report.json').write_text(json.dumps({'recipe': asdict(recipe)}, default=str))
    return folder


@pytest.mark.parametrize('world', ['tabletop', 'libero'])
def test_another_preset_than_the_run_had_is_refused_and_its_own_has_the_runs_numbers(
    world, tmp_path
):
    toy = preset('toy', 1, False) if world == 'tabletop' else (
        libero_preset('toy', 'libero_object', 1, False))  # fmt: skip
    toy = replace(toy, distill=replace(toy.distill, controller_steps=5))
    folder = the_report_of(tmp_path / 'run', toy)

    def settings(*words):
        given = parser_of('anchors').parse_args([str(folder), '--exit-layer', '2', *words])
        return anchor_settings(given, world == 'libero', False)

    with pytest.raises(ConfigError, match="preset = 'full': expected toy, with which .*run was"):
        settings()
    found = settings('--preset', 'toy')
    assert (found.distill.controller_steps, found.distill.batch) == (5, 8)
    assert [plan.steps for plan in found.rounds] == [one.train.steps for one in toy.rounds]
    # With --results the report lies elsewhere; what its files were made of lies in the folder.
    (folder / 'report.json').unlink()
    begun = {f'network.{name}': value for name, value in flat(toy.network).items()}
    (folder / 'begun_with.json').write_text(json.dumps({'dense.safetensors': begun}))
    with pytest.raises(ConfigError, match="preset = 'full': expected toy"):
        settings()
    (folder / 'begun_with.json').unlink()
    assert settings().distill.batch == 32, 'nothing tells'


def test_a_distillation_of_a_run_without_its_preset_is_refused_by_the_command(tmp_path, capsys):
    folder = the_report_of(tmp_path / 'run', preset('toy', 1, False))
    assert main(['anchors', str(folder), '--exit-layer', '2', '--device', 'cpu']) == 2
    assert "--preset = 'full': expected toy, with which" in capsys.readouterr().err
    assert not (folder / 'anchors').exists()


def test_a_policy_without_dynamic_layers_is_exported_and_runs_all_of_them(dense, tmp_path):
    export_bundle(all_static(shortened(dense, 3)), tmp_path / 'short', 'short')
    policy = open_policy(EngineConfig(path=str(tmp_path / 'short')))
    assert policy.manifest.layout.dynamic_layers == ()
    images = {
        'image': np.zeros((32, 32, 3), np.uint8),
        'wrist_image': np.zeros((16, 16, 3), np.uint8),
    }
    seen = Observation(stamp=0.0, images=images, joints=np.zeros(6), gripper=1.0,
                       instruction='take red')  # fmt: skip
    for plan in (policy.manifest.layout.full_plan(), policy.manifest.layout.open_plan()):
        assert policy.predict(seen, plan).trace.layers_run == (0, 1, 2, 3)


def test_a_run_without_a_dense_policy_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='dysl recipe'):
        dense_of(tmp_path)
