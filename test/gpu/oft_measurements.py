"""What is measured on a GPU, as functions of size and stream: a CPU smoke test runs them too."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch
from joined_oft import OftParts

from dysl_vla_ros.data_types import LayerLayout, SkipPlan
from dysl_vla_ros.engines.cuda.engine import CudaEngine
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.hardware import snapshot
from dysl_vla_ros.lab.evaluation.latency import Case, bench_engine, time_together
from dysl_vla_ros.lab.model.openvla_oft import OftConfig, OpenVlaOft
from dysl_vla_ros.lab.model.skipping import SkipModules

# Six static layers, spread as calibration spreads them; the first and the last among them.
FULL_SIZE_LAYOUT = LayerLayout(32, (0, 6, 12, 18, 25, 31))
MONOLITHIC, RERUN_SLACK, GAIN = 1.05, 0.05, 0.9
COMMAND = 'make test-gpu'
HAVE_STOCK = importlib.util.find_spec('transformers') is not None
"""Whether the Hugging Face decoder can be compared with."""


@dataclass(frozen=True)
class Bar:
    """One thing that must hold: ``value`` at most (or at least) ``bound``."""

    name: str
    value: float
    bound: float
    at_least: bool = False

    @property
    def holds(self):
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def build_parts(config: OftConfig, layout: LayerLayout, device, dtype) -> OftParts:
    """Random weights, straight on the device; gates stay float32."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            network = OpenVlaOft(config)
            skipping = SkipModules(layout, config.width)
    finally:
        torch.set_default_dtype(before)
    skipping.controllers.float()
    return OftParts(network.to(device).eval(), skipping.to(device).eval())


def observation(config: OftConfig, seed=0):
    """A prompt without padding, so that stock Llama sees the same sequence."""
    random = np.random.default_rng(seed)
    size = (1, 3, config.image_size, config.image_size)
    inputs = {name: random.random(size, np.float32) for name in config.cameras}
    highest = min(config.text.vocabulary, config.pad_id)
    inputs['tokens'] = random.integers(3, highest, (1, config.prompt_tokens))
    inputs['proprioception'] = random.standard_normal((1, config.proprioception_dim)).astype(
        np.float32
    )
    return inputs


def stock_llama(parts: OftParts):
    """The Hugging Face decoder on the same weights, eager; a function of the hidden state.

    The layers' parameters have the same names; an all-zero 4-D mask makes attention bidirectional.
    """
    from transformers import LlamaConfig, LlamaModel
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    shape, device = parts.network.config.text, next(parts.network.parameters()).device
    config = LlamaConfig(
        hidden_size=shape.width, intermediate_size=shape.mlp_width, use_cache=False,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        vocab_size=shape.vocabulary, rms_norm_eps=shape.norm_epsilon,
        max_position_embeddings=4096,
    )  # fmt: skip
    with torch.device('meta'):
        model = LlamaModel(config).eval()
    weights = {f'layers.{k}': v for k, v in parts.network.layers.state_dict().items()}
    weights['norm.weight'] = parts.network.head_part.norm.weight
    found = model.load_state_dict(weights, strict=False, assign=True)
    assert found.missing_keys == ['embed_tokens.weight'] and not found.unexpected_keys
    model.rotary_emb = LlamaRotaryEmbedding(config).to(device)
    tokens = parts.network.config.tokens

    def run(hidden):
        mask = torch.zeros(1, 1, tokens, tokens, device=device, dtype=hidden.dtype)
        with torch.no_grad():
            return model(
                inputs_embeds=hidden, attention_mask=mask, use_cache=False
            ).last_hidden_state

    return run


def entering(parts, inputs):
    """The hidden state entering layer 0, as a tensor."""
    device = next(parts.network.parameters()).device
    with torch.no_grad():
        return parts.embed({k: torch.from_numpy(v).to(device) for k, v in inputs.items()})


def largest_difference_to_stock_llama(parts, inputs):
    """Of the state after the final norm, over its root mean square."""
    hidden = entering(parts, inputs)
    state = hidden
    with torch.no_grad():
        for layer in range(parts.layout.layers_total):
            state = parts.layer(layer, state)
        ours = parts.network.head_part.norm(state).float()
    theirs = stock_llama(parts)(hidden).float()
    return float((ours - theirs).abs().max() / theirs.square().mean().sqrt())


def measure(parts, inputs, open_stream, runs, warm_up=5):
    """All figures of the evidence file.

    Args:
        parts: From ``build_parts``.
        inputs: From ``observation``.
        open_stream: Makes the stream that graphs are captured on.
        runs: Timed repetitions.
        warm_up: Untimed ones before.
    """
    before = snapshot.read()
    engine = CudaEngine(parts, inputs, open_stream())
    report = bench_engine(engine, inputs, runs=runs, warm_up=warm_up)
    report['backbones'] = backbones(engine, parts, inputs, open_stream(), runs, warm_up)
    report['same_bits'] = same_bits(engine, inputs)
    engine.close()
    after = snapshot.read()
    report |= {
        'what': 'OpenVLA-OFT with random weights, ' + str(next(parts.network.parameters()).dtype),
        'tokens': parts.network.config.tokens,
        'hardware': {'before': before, 'after': after,
                     'slowdowns': snapshot.slowdowns(before, after)},
        'versions': {'python': platform.python_version(), 'torch': torch.__version__,
                     'cuda': torch.version.cuda or 'none',
                     **({'transformers': importlib.metadata.version('transformers')}
                        if HAVE_STOCK else {})},
        'command': COMMAND,
        'date': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
    }  # fmt: skip
    report['bars'] = [{**asdict(bar), 'holds': bool(bar.holds)} for bar in bars(report)]
    return report


def backbones(engine, parts, inputs, stream, runs, warm_up):
    """The full backbone in several ways, in turns: ours, one graph of all layers, and eager."""
    layout = engine.layout
    hidden = entering(parts, inputs)
    state = stream.buffer(tuple(hidden.shape), hidden.dtype)
    stream.order(lambda: state.copy_(hidden))
    stream.wait()
    result = stream.buffer(tuple(hidden.shape), hidden.dtype)

    def all_layers():
        after = state
        for layer in range(layout.layers_total):
            after = parts.layer(layer, after)
        result.copy_(after)

    launch, kept = stream.capture(all_layers), engine.keep(engine.encode(inputs))

    def one_by_one(current):
        for layer in range(layout.layers_total):
            current = engine.run_layer(layer, current)

    def wait():
        engine.synchronize()
        stream.wait()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    cases = {
        'layer by layer': Case(one_by_one, lambda: engine.restore(kept)),
        'forward': Case(
            lambda current: forward(engine, current, layout.full_plan()),
            lambda: engine.restore(kept),
        ),
        'one monolithic graph': Case(lambda _: launch()),
    }
    if HAVE_STOCK:
        eager = stock_llama(parts)
        cases['Hugging Face, eager'] = Case(lambda _: eager(hidden))
    found = time_together(cases, wait, runs, warm_up)
    return {name: asdict(value) for name, value in found.items()}


def same_bits(engine, inputs):
    """Whether a re-run resumed at each first jump equals a full pass in every bit."""
    layout = engine.layout
    kept = engine.keep(engine.encode(inputs))
    full, _ = forward(engine, engine.restore(kept), layout.full_plan())
    wanted = engine.read(full)
    if not np.isfinite(wanted).all():
        return False
    for index, (first, end) in enumerate(layout.segments):
        if first == end:
            continue
        allow = [stop if i != index else first for i, (_, stop) in enumerate(layout.segments)]
        _, trace = forward(engine, engine.restore(kept), SkipPlan(tuple(allow), 'open'))
        resumed, _ = forward(
            engine, engine.restore(trace.resume_state), layout.full_plan(), trace.resume_layer
        )
        if not np.array_equal(engine.read(resumed), wanted):
            return False
    return True


def bars(report):
    """What the figures must show."""
    ways = {name: value['p50'] for name, value in report['backbones'].items()}
    static = len(report['static_layers'])
    half = static + (report['layers_total'] - static) // 2
    (row,) = [row for row in report['depths'] if row['layers_run'] == half]
    one = ways['one monolithic graph']
    return [
        Bar('full depth, layer by layer, over one monolithic graph',
            ways['layer by layer'] / one, MONOLITHIC),
        Bar('full depth, as the loop runs it, over one monolithic graph',
            ways['forward'] / one, MONOLITHIC),
        *(Bar('full depth over the eager Hugging Face decoder', ways['forward'] / ways[name], 1.0)
          for name in ways if name.startswith('Hugging Face')),
        Bar('gain of skipping half the dynamic layers, of the ideal', row['gain_of_ideal'], GAIN,
            at_least=True),
        *(Bar(f'resumed re-run from layer {rerun["resume_layer"]}, of a full backbone',
              rerun['share_of_full'], rerun['layers_share'] + RERUN_SLACK)
          for rerun in report['reruns']),
    ]  # fmt: skip


def write_evidence(report, folder):
    """One JSON file named after the device; returns its path."""
    device = report['device'].split(' (')[0].lower()
    name = ''.join(letter if letter.isalnum() else '_' for letter in device)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'openvla_oft_cuda_{name}.json'
    path.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    return path
