"""OpenVLA-OFT at full size with random weights on an NVIDIA GPU; writes an evidence file.

Run ``pytest -m gpu``; where the environment variable DYSL_EVIDENCE names a folder, the figures are
written there as JSON. Speeds are compared within one run, on one device.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch')
pytestmark = pytest.mark.gpu
if not torch.cuda.is_available():
    pytest.skip('needs an NVIDIA GPU and a CUDA build of torch', allow_module_level=True)
transformers = pytest.importorskip('transformers', reason='needs transformers')

from dysl_vla_ros.engines.cuda_engine import CudaEngine
from dysl_vla_ros.engines.engine import LayerLayout, forward
from dysl_vla_ros.evaluation.latency import bench_engine, timed
from dysl_vla_ros.model.openvla_oft import OftConfig, OftParts, OpenVlaOft
from dysl_vla_ros.model.skipping import SkipModules

LAYOUT = LayerLayout(32, (0, 6, 12, 18, 25, 31))
RUNS = 60


@pytest.fixture(scope='module')
def parts():
    config = OftConfig()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device('cuda'):
            network = OpenVlaOft(config).eval().cuda()
            skipping = SkipModules(LAYOUT, config.width).eval()
            skipping.controllers.float()
    finally:
        torch.set_default_dtype(torch.float32)
    return OftParts(network, skipping)


@pytest.fixture(scope='module')
def inputs():
    random = np.random.default_rng(0)
    config = OftConfig()
    return {
        **{name: random.random((1, 3, 224, 224), np.float32) for name in config.cameras},
        'tokens': random.integers(3, 30000, (1, config.prompt_tokens)),
        'proprioception': random.standard_normal((1, 8)).astype(np.float32),
    }


@pytest.fixture(scope='module')
def engine(parts, inputs):
    made = CudaEngine(parts, inputs)
    yield made
    made.close()


@pytest.fixture(scope='module')
def figures(engine, inputs):
    report = bench_engine(engine, inputs, runs=RUNS, warm_up=5)
    report['torch'] = torch.__version__
    report['date'] = time.strftime('%Y-%m-%d')
    report['tokens'] = OftConfig().tokens
    report['command'] = 'pytest -m gpu test/gpu'
    yield report
    folder = os.environ.get('DYSL_EVIDENCE')
    if folder:
        path = Path(folder) / 'openvla_oft_cuda.json'
        path.write_text(json.dumps(report, indent=1), encoding='utf-8')


def monolithic_graph(parts, engine, inputs):
    """All layers, final norm and head in one captured graph."""
    hidden = engine.keep(engine.encode(inputs))
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()

    def body():
        state = hidden
        for layer in range(32):
            state = parts.layer(layer, state)
        return state

    with torch.no_grad():
        with torch.cuda.stream(stream):
            for _ in range(3):
                body()
        stream.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            body()
    return graph


def eager_hugging_face(tokens):
    """The stock Llama decoder with an all-visible 4-D mask, random weights, eager."""
    config = transformers.LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
        vocab_size=32064, use_cache=False,
    )  # fmt: skip
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device('cuda'):
            model = transformers.LlamaModel(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    states = torch.randn(1, tokens, 4096, device='cuda', dtype=torch.float16)
    mask = torch.zeros(1, 1, tokens, tokens, device='cuda', dtype=torch.float16)

    def body():
        with torch.no_grad():
            return model(inputs_embeds=states, attention_mask=mask, use_cache=False)

    return body


def test_segments_at_full_depth_are_no_slower_than_one_monolithic_graph(
    parts, engine, inputs, figures
):
    graph = monolithic_graph(parts, engine, inputs)
    whole = timed(graph.replay, torch.cuda.synchronize, RUNS, 5)
    figures['monolithic_graph_ms'] = vars(whole)
    figures['segments_over_monolithic'] = figures['stages']['backbone']['p50'] / whole.p50
    assert figures['segments_over_monolithic'] <= 1.05


def test_segments_are_faster_than_the_eager_hugging_face_decoder(figures):
    eager = timed(eager_hugging_face(figures['tokens']), torch.cuda.synchronize, RUNS, 5)
    figures['eager_hugging_face_ms'] = vars(eager)
    assert figures['stages']['backbone']['p50'] < eager.p50


def test_skipping_half_of_the_dynamic_layers_gains_nine_tenths_of_the_ideal(figures):
    half = min(figures['depths'], key=lambda row: abs(row['layers_run'] - 19))
    assert half['gain_of_ideal'] >= 0.9


def test_a_resumed_rerun_costs_its_share_of_the_layers(figures):
    for row in figures['reruns']:
        assert row['share_of_full'] <= row['layers_share'] + 0.05


def test_a_resumed_rerun_equals_a_full_pass_bit_for_bit(engine, inputs):
    hidden = engine.keep(engine.encode(inputs))
    full, _ = forward(engine, engine.restore(hidden), LAYOUT.full_plan())
    expected = engine.keep(full)
    _, trace = forward(
        engine, engine.restore(hidden),
        type(LAYOUT.full_plan())(LAYOUT.open_plan().allow, 'open'),
    )  # fmt: skip
    resumed, _ = forward(
        engine, engine.restore(trace.resume_state), LAYOUT.full_plan(), trace.resume_layer
    )
    assert torch.equal(engine.keep(resumed), expected)


def test_the_cost_of_one_gate_read_is_stated(figures):
    assert figures['gate_read_ms'] is not None
    print(f'one gate: {1e3 * figures["gate_read_ms"]:.1f} us on {figures["device"]}')
