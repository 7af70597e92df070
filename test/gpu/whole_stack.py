"""The bundled policy on the CUDA engine, held against FP32 on the CPU as ``dysl verify`` does it.

A function of the stream: a CPU smoke test runs it too. Needs onnx, and nothing else of a machine.
"""

from __future__ import annotations

import numpy as np
from deferred_stream import DeferredStream

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.engines.cuda.bundle import example_of, open_cuda_engine
from dysl_vla_ros.engines.open_engine import bundled_model
from dysl_vla_ros.lab.export.parity import BUDGETS
from dysl_vla_ros.lab.export.verify import skip_plans, verify

PATTERNS = 32


def against_the_cpu(stream):
    """Every part and some ways through the stack.

    Returns:
        The report of ``verify``, and what it was held against: ONNX Runtime, or else the same
        graphs on a CPU stream.
    """
    bundle = open_bundle(bundled_model())
    try:
        from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine

        reference, words = OnnxEngine(bundle), 'ONNX Runtime'
    except ImportError:
        reference, words = open_cuda_engine(bundle, DeferredStream()), 'the CPU stream'
    engine = open_cuda_engine(bundle, stream)
    try:
        plans = skip_plans(bundle.manifest.layout, PATTERNS)
        given = [_inputs(bundle, seed) for seed in range(2)]
        return verify(engine, reference, given, plans, BUDGETS[bundle.manifest.precision]), words
    finally:
        engine.close()
        reference.close()


def _inputs(bundle, seed):
    random = np.random.default_rng(seed)
    found = {}
    for name, blank in example_of(bundle).items():
        if blank.dtype.kind == 'f':
            found[name] = random.random(blank.shape).astype(blank.dtype)
        else:
            found[name] = np.full_like(blank, bundle.manifest.instruction.pad_id)
            found[name][0, :4] = random.integers(1, 8, 4)
    return found
