"""What dysl export writes, in both precisions, runs on the CUDA engine's graphs as on ORT."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from small_checkpoint import example_inputs

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.data_types import SkipPlan
from dysl_vla_ros.engines.cuda.bundle import open_cuda_engine
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine

from deferred_stream import DeferredStream  # isort: skip


@pytest.mark.parametrize(('name', 'tolerance'), [('fp32_bundle', 1e-5), ('fp16_bundle', 2e-2)])
def test_every_skip_pattern_gives_what_onnx_runtime_gives(request, name, tolerance):
    bundle = open_bundle(request.getfixturevalue(name))
    engine, reference = open_cuda_engine(bundle, DeferredStream()), OnnxEngine(bundle)
    layout, inputs = bundle.manifest.layout, example_inputs()
    points = [range(first, end + 1) for first, end in layout.segments]
    for allow in itertools.product(*points):
        plan = SkipPlan(allow, 'open')
        found, trace = forward(engine, engine.encode(inputs), plan)
        wanted, expected = forward(reference, reference.encode(inputs), plan)
        assert trace.layer_mask == expected.layer_mask
        np.testing.assert_allclose(engine.decode(found), reference.decode(wanted), atol=tolerance)
    closed = SkipPlan(layout.open_plan().allow, 'closed')
    _, trace = forward(engine, engine.encode(inputs), closed)
    _, expected = forward(reference, reference.encode(inputs), closed)
    assert trace.scores == pytest.approx(expected.scores, abs=tolerance)
