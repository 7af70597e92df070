"""A bundle must compute what the torch model computes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_checkpoint import STATIC, example_inputs, make_checkpoint

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.bundle.manifest import manifest_from_dict
from dysl_vla_ros.data_types import LayerLayout, SkipPlan
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.export.onnx_export import export_bundle
from dysl_vla_ros.lab.export.parts_engine import PartsEngine
from dysl_vla_ros.lab.export.small_parts import SmallParts
from dysl_vla_ros.lab.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def every_plan(layout: LayerLayout) -> list[SkipPlan]:
    """Every way through the stack: each segment is jumped from one of its layers, or not."""
    choices = [range(first, end + 1) for first, end in layout.segments]
    return [SkipPlan(allow, 'open') for allow in itertools.product(*choices)]


PLANS = every_plan(LayerLayout(STATIC[-1] + 1, STATIC))


@pytest.fixture(scope='module')
def reference(checkpoint: Checkpoint) -> PartsEngine:
    return PartsEngine(SmallParts(checkpoint))


@pytest.fixture(scope='module')
def exported(fp32_bundle: Path) -> OnnxEngine:
    return OnnxEngine(open_bundle(fp32_bundle))


@pytest.fixture(scope='module')
def halved(fp16_bundle: Path) -> OnnxEngine:
    return OnnxEngine(open_bundle(fp16_bundle))


def actions(engine, plan):
    hidden, trace = forward(engine, engine.encode(example_inputs()), plan)
    return engine.decode(hidden), trace


def test_the_plans_are_all_ways_through_the_stack():
    assert len(PLANS) == 3 * 2
    assert len({plan.allow for plan in PLANS}) == 6


@pytest.mark.parametrize('plan', PLANS, ids=lambda plan: str(plan.allow))
def test_the_chain_of_graphs_computes_what_torch_computes(exported, reference, plan):
    found, trace = actions(exported, plan)
    wanted, expected = actions(reference, plan)
    assert trace.layers_run == expected.layers_run
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize('plan', PLANS, ids=lambda plan: str(plan.allow))
def test_the_halves_stay_close_on_onnx_runtime(halved, reference, plan):
    found, _ = actions(halved, plan)
    wanted, _ = actions(reference, plan)
    np.testing.assert_allclose(found, wanted, atol=5e-3)
    assert not np.array_equal(found, wanted)  # they are halves


@pytest.mark.parametrize('plan', PLANS[:-1], ids=lambda plan: str(plan.allow))
def test_a_resumed_rerun_is_the_full_pass_bit_for_bit(exported, halved, plan):
    for engine in (exported, halved):
        full, _ = actions(engine, engine.layout.full_plan())
        _, trace = actions(engine, plan)
        assert trace.resume_layer is not None
        state = engine.restore(trace.resume_state)
        state, rest = forward(engine, state, engine.layout.full_plan(), trace.resume_layer)
        assert np.array_equal(engine.decode(state), full)
        assert rest.layers_run == tuple(range(trace.resume_layer, engine.layout.layers_total))


def test_the_gate_of_a_layer_is_the_score_of_the_next_controller(exported, halved, reference):
    live = SkipPlan(exported.layout.open_plan().allow, 'closed')  # asks all, takes none
    _, wanted = actions(reference, live)
    assert sorted(wanted.scores) == [1, 2, 4]
    assert actions(exported, live)[1].scores == pytest.approx(wanted.scores, abs=1e-5)
    assert actions(halved, live)[1].scores == pytest.approx(wanted.scores, abs=2e-3)


def test_the_bundle_opens_and_says_what_was_exported(fp32_bundle, fp16_bundle):
    manifest = open_bundle(fp32_bundle).manifest
    document = json.loads((fp32_bundle / 'manifest.json').read_text())
    assert manifest == manifest_from_dict(document)
    assert manifest.static_layers == STATIC
    assert manifest.calibration.eta == 0.2
    assert manifest.card['seed'] == 3
    assert manifest.precision == 'fp32'
    assert open_bundle(fp16_bundle).manifest.precision == 'fp16'
    assert manifest.segments['vision'].inputs[0].shape == (1, 3, 32, 32)
    gated = [n for n, s in manifest.segments.items() if any(o.name == 'gate' for o in s.outputs)]
    assert gated == ['layer_00', 'layer_01', 'layer_03']


def test_every_file_states_opset_18_and_nothing_of_the_machine(fp32_bundle, fp16_bundle):
    for folder in (fp32_bundle, fp16_bundle):
        for spec in open_bundle(folder).manifest.segments.values():
            blob = (folder / spec.file).read_bytes()
            model = onnx.load_from_string(blob)
            assert [(o.domain, o.version) for o in model.opset_import] == [('', 18)]
            assert b'.py' not in blob and b'site-packages' not in blob


def test_half_weights_change_the_size_and_not_a_half_model(tmp_path):
    save_checkpoint(tmp_path / 'policy.safetensors', make_checkpoint(3, (0, 2)))
    checkpoint = load_checkpoint(tmp_path / 'policy.safetensors')
    assert checkpoint.skipping is not None
    export_bundle(checkpoint, tmp_path / 'half', 'half', half_weights=True)
    reference = PartsEngine(SmallParts(checkpoint))
    engine = OnnxEngine(open_bundle(tmp_path / 'half'))
    for plan in every_plan(engine.layout):
        np.testing.assert_allclose(
            actions(engine, plan)[0], actions(reference, plan)[0], atol=1e-4
        )  # the table of rotary positions is halved, too
    model = onnx.load(tmp_path / 'half' / 'segments' / 'layer_00.onnx')
    large = [w for w in model.graph.initializer if np.prod(w.dims) >= 64 and w.data_type == 1]
    assert not large


def test_an_undistilled_checkpoint_is_refused_and_leaves_nothing(tmp_path):
    checkpoint = make_checkpoint(3, (0, 2))
    dense = Checkpoint(checkpoint.config, checkpoint.statistics, checkpoint.tokenizer,
                       checkpoint.network)  # fmt: skip
    with pytest.raises(ConfigError, match='dysl distill'):
        export_bundle(dense, tmp_path / 'bundle', 'dense')
    assert not list(tmp_path.iterdir())
