"""Any frozen stack can be distilled; the bundled policy is one of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from synthetic import demonstrations, small_config, tokens_and_statistics

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.batches import NO_AUGMENTATION, BatchSource
from dysl_vla_ros.lab.guidance.calibrate import calibrate
from dysl_vla_ros.lab.guidance.record import record
from dysl_vla_ros.lab.learn.dense_model import batches, dense_model, states
from dysl_vla_ros.lab.learn.distill import DistillSettings, distill
from dysl_vla_ros.lab.learn.layer_scores import layer_scores
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.skipping import SkipModules


class Rotations:
    """A dense model of nothing but matrices; a batch is the first state."""

    layers_total = 4
    slots = slice(2, None)
    device = torch.device('cpu')

    def __init__(self):
        torch.manual_seed(0)
        self.matrices = [torch.eye(8) + 0.3 * torch.randn(8, 8) for _ in range(4)]

    def encode(self, batch):
        return batch

    def layer(self, index, hidden):
        return hidden @ self.matrices[index]

    def head(self, hidden):
        return hidden[:, self.slots, :3]


def stream():
    generator = torch.Generator().manual_seed(1)
    while True:
        yield torch.randn(16, 5, 8, generator=generator)


def test_any_stack_of_layers_is_distilled_from_any_iterator():
    model, skipping = Rotations(), SkipModules(LayerLayout(4, (0, 3)), 8, rank=8)
    settings = DistillSettings(adapter_steps=60, controller_steps=30, adapter_rate=1e-2,
                               controller_rate=3e-2, skip_weight=1.0, task_share=0.0)  # fmt: skip
    curve = distill(model, skipping, stream(), settings, note_every=30)
    assert curve[1]['unexplained'] < min(0.5, curve[0]['unexplained'])  # 1: nothing learned
    assert curve[-1]['open'] > 0.5


def test_scores_and_recordings_take_the_same_model():
    model, skipping = Rotations(), SkipModules(LayerLayout(4, (0, 3)), 8)
    scores = layer_scores(model, stream(), batches=3)
    assert len(scores['slots']) == 4 and scores['slots'] != scores['all']
    episodes = [[one[:1] for one in itertools.islice(stream(), 6)] for _ in range(2)]
    recording = record(model, skipping, episodes, played=2)
    assert [len(episode) for episode in recording] == [6, 6]
    assert recording[0][0].chunk.shape == (3, 3)
    spec, report = calibrate(recording, (1.0,) * 3)
    assert spec.eta > 0 and report.chunks == 12


def test_an_iterator_that_ends_says_at_which_batch():
    draw = batches(itertools.islice(stream(), 2), 16, NO_AUGMENTATION)
    draw(0)
    draw(1)
    with pytest.raises(ConfigError, match='ended before batch 2.*itertools.cycle'):
        draw(2)


def test_the_bundled_policy_is_a_dense_model_that_follows_its_batches():
    data = demonstrations()
    _, table, statistics = tokens_and_statistics(data)
    source = BatchSource(data, table, statistics, torch.device('cpu'), 1, names=np.arange(2))
    network = PolicyNetwork(small_config(3))
    model = dense_model(network, source)
    batch = batches(source, 4, NO_AUGMENTATION)(7)
    assert torch.equal(batch.chunk, source.draw(7, 4, NO_AUGMENTATION).chunk)
    entering = states(model, model.encode(batch))
    wanted = network.states(network.encode(batch.images, batch.tokens, batch.proprioception))
    assert len(entering) == model.layers_total + 1 == 4
    assert all(torch.equal(a, b) for a, b in zip(entering, wanted, strict=True))
    assert entering[0][:, model.slots].shape[1] == network.config.action_horizon


@pytest.mark.parametrize('stage', [1, 2])
def test_a_distillation_whose_loss_is_not_finite_ends_and_keeps_nothing_of_it(stage, tmp_path):
    model = Rotations()
    model.matrices[1] = model.matrices[1] * float('nan')
    settings = DistillSettings(
        batch=4, adapter_steps=2 * (stage == 1), controller_steps=2, task_share=0.0
    )
    state = tmp_path / 'state'
    skipping = SkipModules(LayerLayout(4, (0, 3)), 8, 2)
    with pytest.raises(ConfigError, match=f'loss of stage {stage} = nan: expected a finite one'):
        distill(model, skipping, stream(), settings, note_every=1, state_path=state)
    assert not list(tmp_path.iterdir())
