"""The engine over a checkpoint's own modules: what ``dysl serve`` runs and bundles are held to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_checkpoint import STATIC, example_inputs

from dysl_vla_ros.data_types import LayerLayout, SkipPlan
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.lab.export.parts_engine import PartsEngine
from dysl_vla_ros.lab.export.small_parts import SmallParts
from dysl_vla_ros.lab.model.checkpoint import Checkpoint

LAYOUT = LayerLayout(STATIC[-1] + 1, STATIC)


@pytest.fixture(scope='module')
def engine(checkpoint: Checkpoint) -> PartsEngine:
    return PartsEngine(SmallParts(checkpoint))


def test_a_full_pass_equals_the_dense_network_bit_for_bit(
    engine: PartsEngine, checkpoint: Checkpoint
) -> None:
    hidden, trace = forward(engine, engine.encode(example_inputs()), LAYOUT.full_plan())
    assert trace.layers_run == tuple(range(6)) and not trace.scores
    given = example_inputs()
    with torch.inference_mode():
        dense, _, _ = checkpoint.network.eval()(
            (torch.tensor(given['image']), torch.tensor(given['wrist_image'])),
            torch.tensor(given['tokens']), torch.tensor(given['proprioception']),
        )  # fmt: skip
    assert np.array_equal(engine.decode(hidden), dense[0].double().numpy())


def test_open_controllers_leave_static_layers_and_one_adapter_per_segment(
    engine: PartsEngine,
) -> None:
    hidden, trace = forward(engine, engine.encode(example_inputs()), SkipPlan((1, 4), 'open'))
    assert trace.layers_run == (0, 3, 5)
    expected = engine.encode(example_inputs())
    for layer, bridge in ((0, 1), (3, 4)):
        expected = engine.bridge(bridge, engine.run_layer(layer, expected))
    assert torch.equal(hidden, engine.run_layer(5, expected))


def test_a_resumed_rerun_equals_a_full_pass_bit_for_bit(engine: PartsEngine) -> None:
    full, _ = forward(engine, engine.encode(example_inputs()), LAYOUT.full_plan())
    _, trace = forward(engine, engine.encode(example_inputs()), SkipPlan((2, 4), 'open'))
    assert trace.resume_layer == 2 and trace.resume_state is not None
    resumed, rest = forward(
        engine, engine.restore(trace.resume_state), LAYOUT.full_plan(), trace.resume_layer
    )
    assert torch.equal(resumed, full)
    assert rest.layers_run == (2, 3, 4, 5)


def test_a_missing_input_is_named(engine: PartsEngine) -> None:
    with pytest.raises(EngineError, match='proprioception'):
        engine.encode({n: v for n, v in example_inputs().items() if n != 'proprioception'})
