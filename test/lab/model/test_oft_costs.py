"""Costs that are said beforehand are those that are found, on small widths."""

from __future__ import annotations

import pytest
import torch

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.lab.learn.distill import DistillSettings, adapter_loss, controller_loss
from dysl_vla_ros.lab.learn.oft_dense import OftBatch, OftDense
from dysl_vla_ros.lab.model.llama import LlamaShape
from dysl_vla_ros.lab.model.oft_costs import distillation_bytes, pass_flops, sizes
from dysl_vla_ros.lab.model.oft_skipping import oft_skip_modules
from dysl_vla_ros.lab.model.openvla_oft import OftConfig, OpenVlaOft
from dysl_vla_ros.lab.model.vision_tower import TowerShape

BATCH = 2


def config(width=64, layers=8, prompt=20):
    tower = TowerShape(width=32, depth=2, heads=4, mlp_width=64, registers=0, class_token=False,
                       layer_scale=False)  # fmt: skip
    text = LlamaShape(layers, width, width * 43 // 16, 4, 600)
    return OftConfig(text=text, towers=(tower, tower), image_size=56, cameras=('a', 'b'),
                     prompt_tokens=prompt, pad_id=599)  # fmt: skip


class Kept:
    """Bytes that autograd keeps, each storage once, weights left out."""

    def __init__(self, *modules):
        self._known = {p.untyped_storage().data_ptr() for m in modules
                       for p in (*m.parameters(), *m.buffers())}  # fmt: skip
        self._held, self.bytes = {}, 0

    def __enter__(self):
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *reason):
        self._hooks.__exit__(*reason)

    def _pack(self, tensor):
        place = tensor.untyped_storage().data_ptr()
        if place not in self._known and place not in self._held:
            self._held[place] = tensor  # or its place would be given away
            self.bytes += tensor.untyped_storage().nbytes()
        return tensor


def made(shape, static):
    torch.manual_seed(0)
    network, layout = OpenVlaOft(shape), LayerLayout(shape.layers, static)
    modules = oft_skip_modules(layout, shape)
    tokens = torch.randint(3, 500, (BATCH, shape.prompt_tokens))
    tokens[:, 0] = 1
    images = tuple(torch.rand(BATCH, 3, 56, 56) for _ in range(2))
    return network, OftDense(network), modules, OftBatch(images, tokens, torch.rand(BATCH, 8))


@pytest.mark.parametrize(('width', 'layers'), [(64, 8), (128, 8), (64, 14)])
def test_what_stage_one_keeps_is_what_was_computed(width, layers):
    shape = config(width, layers)
    network, dense, modules, batch = made(shape, (0, 3, layers - 1))
    with Kept(network, modules) as kept:
        adapter_loss(dense, modules, batch)
    said = distillation_bytes(shape, modules.layout, BATCH, weight_bytes=4, state_bytes=4)
    states = (layers + 1) * BATCH * shape.tokens * width * 4
    assert kept.bytes == pytest.approx(said['stage 1'] - states, rel=0.02)


@pytest.mark.parametrize(('layers', 'end', 'prompt'), [(8, 3, 20), (8, 6, 20), (12, 3, 90)])
def test_what_stage_two_keeps_is_what_was_computed(layers, end, prompt):
    """Of a frozen layer the state that enters it; what is inside comes one layer at a time."""
    shape = config(64, layers, prompt)
    network, dense, modules, batch = made(shape, (0, end, *range(end + 1, layers)))
    settings = DistillSettings(task_share=0.0, upstream_share=0.0)
    with Kept(network, modules) as kept:
        controller_loss(dense, modules, batch, settings, torch.Generator().manual_seed(0))
    hidden = torch.randn(BATCH, shape.tokens, 64, requires_grad=True)
    with Kept(network, modules) as inside:
        network.layer(1, hidden)
    said = distillation_bytes(shape, modules.layout, BATCH, weight_bytes=4, state_bytes=4)
    states = (layers + 1) * BATCH * shape.tokens * 64 * 4
    assert kept.bytes + inside.bytes == pytest.approx(said['stage 2'] - states, rel=0.06)


def test_a_gradient_that_goes_through_again_is_the_same():
    shape = config()
    _, dense, modules, batch = made(shape, (0, 3, 7))
    settings, found = DistillSettings(task_share=0.0, upstream_share=0.0), []
    for through in (dense, Plain(dense)):
        modules.zero_grad()
        seed = torch.Generator().manual_seed(0)
        loss, _ = controller_loss(through, modules, batch, settings, seed)
        loss.backward()
        found.append([p.grad.clone() for p in modules.parameters() if p.grad is not None])
    assert found[0] and all(torch.equal(a, b) for a, b in zip(*found, strict=True))


class Plain:
    """The same model with everything kept."""

    def __init__(self, dense):
        self._dense = dense
        self.layers_total, self.slots, self.device = dense.layers_total, dense.slots, dense.device
        self.encode, self.head = dense.encode, dense.head

    def layer(self, index, hidden):
        return self._dense._network.layer(index, hidden)


def test_the_published_model_has_seven_billion_weights():
    found = sizes(OftConfig())
    assert found.layer == pytest.approx(202.4e6, rel=0.001)
    assert found.total == pytest.approx(7.6e9, rel=0.02)
    assert found.largest == found.vision
    assert pass_flops(OftConfig()) == pytest.approx(8.6e12, rel=0.1)


def test_a_distillation_of_the_published_model_fits_a_card_of_24_gb_at_batch_1():
    layout = LayerLayout(32, (0, 1, 8, 15, 24, 31))
    one, eight = (distillation_bytes(OftConfig(), layout, batch)['all'] for batch in (1, 8))
    assert 15e9 < one < 24e9 < eight < 40e9


def test_four_cards_of_12_gb_hold_the_published_model_in_shares():
    layout = LayerLayout(32, (0, 1, 8, 15, 24, 31))
    whole, shared = (distillation_bytes(OftConfig(), layout, 1, shares=n) for n in (1, 4))
    assert shared['all'] < 12e9 < whole['all']
    assert shared['weights'] == pytest.approx(15.1e9 / 4 + 2 * sizes(OftConfig()).vision, rel=0.02)
