"""Controllers, adapters, and the reference engine over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dysl_vla_ros.data_types import LayerLayout, SkipPlan
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.errors import BundleError, EngineError
from dysl_vla_ros.lab.model.checkpoint import load_checkpoint
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.shapes import CameraShape, PolicyConfig
from dysl_vla_ros.lab.model.skipping import Adapter, Controller, SkipModules
from dysl_vla_ros.lab.model.torch_engine import TorchEngine

CONFIG = PolicyConfig(
    vocabulary=9, layers=6, width=32, head_dim=16, stem_channels=(8, 8, 8), auxiliary_layer=2,
    cameras=(CameraShape('image', 16, 16),), instruction_tokens=3,
)  # fmt: skip
LAYOUT = LayerLayout(6, (0, 3, 5))


@pytest.fixture(scope='module')
def engine() -> TorchEngine:
    torch.manual_seed(0)
    skipping = SkipModules(LAYOUT, 32)
    for parameter in skipping.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return TorchEngine(PolicyNetwork(CONFIG), skipping)


def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        'image': rng.normal(size=(1, 3, 16, 16)).astype(np.float32),
        'tokens': np.array([[2, 3, 0]]),
        'proprioception': rng.normal(size=(1, 7)).astype(np.float32),
    }


def test_an_adapter_starts_as_the_identity() -> None:
    hidden = torch.randn(2, 5, 32)
    assert torch.equal(Adapter(32, 2)(hidden), hidden)


def test_a_controller_starts_undecided_and_gives_one_score_per_sample() -> None:
    score = Controller(32)(torch.randn(4, 5, 32))
    assert score.shape == (4,)
    assert torch.allclose(score, torch.full((4,), 0.5), atol=0.05)


def test_masked_tokens_do_not_move_the_score() -> None:
    controller = Controller(32)
    torch.nn.init.normal_(controller.outer.weight)
    hidden, mask = torch.randn(1, 5, 32), torch.tensor([[1, 1, 1, 0, 0]])
    changed = hidden.clone()
    changed[:, 3:] += 5.0
    assert torch.allclose(controller(hidden, mask), controller(changed, mask))
    assert not torch.allclose(controller(hidden), controller(changed))


def test_only_dynamic_layers_have_skipping_parts() -> None:
    modules = SkipModules(LAYOUT, 32)
    assert list(modules.controllers) == list(modules.adapters) == ['1', '2', '4']
    assert modules.rank == 2


def test_a_full_pass_equals_the_dense_network_bit_for_bit(engine: TorchEngine) -> None:
    hidden, trace = forward(engine, engine.encode(inputs()), LAYOUT.full_plan())
    assert trace.layers_run == tuple(range(6)) and not trace.scores
    given = inputs()
    with torch.inference_mode():
        dense, _, _ = engine._network(
            (torch.tensor(given['image']),), torch.tensor(given['tokens']),
            torch.tensor(given['proprioception']),
        )  # fmt: skip
    assert np.array_equal(engine.decode(hidden), dense[0].double().numpy())


def test_open_controllers_leave_static_layers_and_one_adapter_per_segment(
    engine: TorchEngine,
) -> None:
    hidden, trace = forward(engine, engine.encode(inputs()), SkipPlan((1, 4), 'open'))
    assert trace.layers_run == (0, 3, 5)
    expected = engine.encode(inputs())
    for layer, bridge in ((0, 1), (3, 4)):
        expected = engine.bridge(bridge, engine.run_layer(layer, expected))
    assert torch.equal(hidden, engine.run_layer(5, expected))


def test_a_resumed_rerun_equals_a_full_pass_bit_for_bit(engine: TorchEngine) -> None:
    full, _ = forward(engine, engine.encode(inputs()), LAYOUT.full_plan())
    _, trace = forward(engine, engine.encode(inputs()), SkipPlan((2, 4), 'open'))
    assert trace.resume_layer == 2 and trace.resume_state is not None
    resumed, rest = forward(
        engine, engine.restore(trace.resume_state), LAYOUT.full_plan(), trace.resume_layer
    )
    assert torch.equal(resumed, full)
    assert rest.layers_run == (2, 3, 4, 5)


def test_a_missing_input_is_named(engine: TorchEngine) -> None:
    with pytest.raises(EngineError, match='proprioception'):
        engine.encode({'image': inputs()['image'], 'tokens': inputs()['tokens']})


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({'x': torch.zeros(1)}, tmp_path / 'other.safetensors')
    with pytest.raises(BundleError, match='kind'):
        load_checkpoint(tmp_path / 'other.safetensors')
