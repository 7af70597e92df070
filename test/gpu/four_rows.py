"""An exported OpenVLA-OFT as the CUDA engine ran it at first, and as it runs it: side by side.

Functions of size and stream: a CPU smoke test runs them too. The layers have one file, which is
loaded once per layer: every layer has weights of its own on the device, and no file of 15 GB is
written for it.
"""

from __future__ import annotations

import importlib.util
import time
from dataclasses import asdict, dataclass
from types import SimpleNamespace

import numpy as np
import torch
from oft_measurements import build_parts, observation

from dysl_vla_ros.engines.cuda import onnx_torch
from dysl_vla_ros.engines.cuda.build import compile_run
from dysl_vla_ros.engines.cuda.bundle import BundleParts
from dysl_vla_ros.engines.cuda.compiled import open_piece
from dysl_vla_ros.engines.cuda.engine import CudaEngine
from dysl_vla_ros.engines.cuda.pieces import Program
from dysl_vla_ros.lab.evaluation.latency import bench_engine

HAVE_EXPORTER = all(importlib.util.find_spec(name) for name in ('onnxscript', 'onnx_ir'))


class OneByOne(torch.nn.Module):
    """Cameras one after the other, as the graph was exported at first."""

    def __init__(self, vision):
        super().__init__()
        self.vision = vision

    def forward(self, *images):
        return torch.cat([self.vision(image) for image in images], dim=1)


@dataclass
class Source:
    """Folder of one file per kind of part, looking like a bundle.

    Attributes:
        folder: Of the files.
        manifest: What ``BundleParts`` reads of a manifest.
        vision: File of the vision graph.
    """

    folder: object
    manifest: object
    vision: str = 'vision'

    def graph(self, name):
        kind = {'vision': self.vision}.get(name, name)
        kind = kind if '_' not in kind or kind.startswith('vision') else (
            f'{kind.split("_")[0]}_any')  # fmt: skip
        return self.folder / f'{kind}.onnx'


def export(config, layout, folder, half=True):
    """One file per kind: vision twice, embed, a layer with a gate, an adapter, a head.

    Returns:
        A source and the modules that it was made of, in float32 on the CPU.
    """
    from dysl_vla_ros.lab.export.onnx_files import FileSettings, write_onnx
    from dysl_vla_ros.lab.export.parts import GatedLayer, Part
    from dysl_vla_ros.lab.export.precision import to_half
    from dysl_vla_ros.lab.model.llama import LlamaShape
    from dysl_vla_ros.lab.model.oft_skipping import OftController

    from dataclasses import replace  # isort: skip

    shape = LlamaShape(**{**asdict(config.text), 'layers': 1})
    small = replace(config, text=shape)
    parts = build_parts(small, type(layout)(1, (0,)), torch.device('cpu'), torch.float32)
    from dysl_vla_ros.lab.model.skipping import Adapter

    network, adapter = parts.network, Adapter(config.width, max(config.width // 16, 1))
    torch.nn.init.normal_(adapter.up.weight, std=0.01)
    size = (1, 3, config.image_size, config.image_size)
    images = tuple(torch.zeros(size) for _ in config.cameras)
    hidden = torch.zeros(1, config.tokens, config.width)
    words = torch.zeros(1, config.prompt_tokens, dtype=torch.int64)
    state = torch.zeros(1, config.proprioception_dim)
    patches = torch.zeros(1, config.patches, config.width)
    made = {
        'vision': (network.vision_part, images, config.cameras, ('patches',)),
        'vision_before': (OneByOne(network.vision_part), images, config.cameras, ('patches',)),
        'embed': (network.embed_part, (patches, words, state),
                  ('patches', 'tokens', 'proprioception'), ('hidden',)),
        'layer_any': (GatedLayer(network.layers[0], OftController(config)), (hidden,),
                      ('hidden',), ('hidden_out', 'gate')),
        'bridge_any': (adapter, (hidden,), ('hidden',), ('hidden_out',)),
        'head': (network.head_part, (hidden,), ('hidden',), ('actions',)),
    }  # fmt: skip
    import copy

    specs, modules = {}, {}
    for name, (module, arguments, inputs, outputs) in made.items():
        modules[name] = module.eval()
        part = Part(copy.deepcopy(module).eval(), arguments, inputs, outputs)
        part = to_half(part) if half else part
        specs[name] = write_onnx(part, folder, f'{name}.onnx', FileSettings())
    segments = {'vision': specs['vision'], 'embed': specs['embed']}
    for layer in range(layout.layers_total):
        spec = specs['layer_any']
        gated = layer + 1 in layout.dynamic_layers
        outputs = spec.outputs if gated else spec.outputs[:1]
        segments[f'layer_{layer:02d}'] = replace(spec, outputs=outputs)
    segments |= {f'bridge_{layer:02d}': specs['bridge_any'] for layer in layout.dynamic_layers}
    segments['head'] = specs['head']
    manifest = SimpleNamespace(
        layout=layout, segments=segments, instruction=SimpleNamespace(pad_id=config.pad_id),
        name='OpenVLA-OFT, random weights',
    )  # fmt: skip
    return Source(folder, manifest), modules


class BeforeEngine(CudaEngine):
    """A gate is launched when it is asked."""

    run_layer_and_ask = None


class BeforeParts(BundleParts):
    """The mask is always there."""

    def padding_of(self, inputs):
        return None


def open_before(source, inputs, stream):
    """Nodes one by one, attention taken apart, cameras in turn, nothing compiled."""
    joined = onnx_torch.join_attention
    onnx_torch.join_attention = lambda steps, *_: list(steps)
    try:
        parts = BeforeParts(Source(source.folder, source.manifest, 'vision_before'), stream.device)
    finally:
        onnx_torch.join_attention = joined
    return BeforeEngine(parts, inputs, stream)


def compile_all(source, device, inputs, folder):
    """Compile every piece; returns them by key, and the seconds that it took."""
    began = time.monotonic()
    recorders, samples, found = {}, {}, {}
    parts = BundleParts(source, device, recorders)
    runs = parts.runs()

    def recorder(key, program):
        def record(given, weights):
            samples.setdefault(key, [tensor.clone() for tensor in given])
            return program(given, weights)

        return record

    for key, (run, constants, _) in runs.items():
        recorders[key] = recorder(key, Program(run, constants))
    layout = source.manifest.layout
    with torch.no_grad():
        state = parts.embed({k: torch.from_numpy(v).to(device) for k, v in inputs.items()})
        after = parts.layer(0, state)
        for layer in layout.dynamic_layers[:1]:
            parts.score(layer, after)
            parts.bridge(layer, after)
        parts.head(after)
    for key, (run, constants, _) in runs.items():
        path = folder / f'{key}.pt2'
        compile_run(run, constants, samples[key], [constants[n] for n in run.weights], path)
        found[key] = open_piece(path, 'make test-gpu')
    return found, time.monotonic() - began


def open_after(source, inputs, stream, compiled):
    """As ``open_cuda_engine`` opens a bundle."""
    parts = BundleParts(source, stream.device, compiled, stream.together)
    return CudaEngine(parts, inputs, stream)


def rows(report, layers_run):
    """The four rows of one engine, from what ``bench_engine`` found [ms]."""
    stages = report['stages']
    (depth,) = [row for row in report['depths'] if row['layers_run'] == layers_run]
    return {
        'encode': stages['encode']['p50'],
        'all layers': stages['backbone']['p50'],
        'all controllers asked, of dense': report['controllers']['all_closed_of_dense'],
        f'whole pass, {layers_run} layers': (
            stages['encode']['p50'] + depth['backbone']['p50'] + stages['decode']['p50']
        ),
        'whole pass, dense': report['full_pass']['p50'],
    }  # fmt: skip


def measure(config, layout, folder, open_stream, runs, layers_run, half=True, warm_up=3):
    """Both engines on one device in one run.

    Returns:
        Rows of both, seconds to compile and to open, both reports, and the errors of the compiled
        parts against the modules in float32.
    """
    inputs = observation(config)
    # A prompt that is shorter than the longest.
    inputs['tokens'][0, -max(config.prompt_tokens // 5, 1) :] = config.pad_id
    source, modules = export(config, layout, folder, half)
    stream = open_stream()
    before = open_before(source, inputs, stream)
    first = bench_engine(before, inputs, runs=runs, warm_up=warm_up, live_layers=layers_run)
    before.close()
    stream = open_stream()
    compiled, compiling_s = compile_all(source, stream.device, inputs, folder)
    began = time.monotonic()
    after = open_after(source, inputs, stream, compiled)
    opening_s = time.monotonic() - began
    second = bench_engine(after, inputs, runs=runs, warm_up=warm_up, live_layers=layers_run)
    worst = errors(after, modules, inputs, config)
    after.close()
    return {
        'before': rows(first, layers_run), 'after': rows(second, layers_run),
        'compiling_s': compiling_s, 'opening_s': opening_s, 'same_bits': second['same_bits'],
        'relative_errors': worst, 'reports': {'before': first, 'after': second},
    }  # fmt: skip


def errors(engine, modules, inputs, config):
    """Of one part of each kind against its module in float32: largest, over root mean square."""
    with torch.no_grad():
        modules['vision'].float()
        images = [torch.from_numpy(inputs[name]) for name in config.cameras]
        patches = modules['vision'](*images)
        tokens, state = (torch.from_numpy(inputs[n]) for n in ('tokens', 'proprioception'))
        entering = modules['embed'](patches, tokens, state)
        found = {'vision and embed': _error(engine.read(engine.encode(inputs)), entering)}
        leaving, gate = modules['layer_any'](entering)
        found['layer'] = _error(
            engine.read(engine.run_layer(0, engine.write(entering.numpy()))), leaving
        )
        dynamic = engine.layout.dynamic_layers[0]
        score = engine.skip_score(dynamic, engine.write(leaving.numpy()))
        found['controller'] = abs(score - float(gate))
        bridged = engine.read(engine.bridge(dynamic, engine.write(leaving.numpy())))
        found['adapter'] = _error(bridged, modules['bridge_any'](leaving))
        actions = engine.decode(engine.write(leaving.numpy()))
        found['head'] = _error(actions, modules['head'](leaving)[0])
    return found


def _error(found, wanted):
    wanted = wanted.numpy()
    return float(np.abs(found - wanted).max() / np.sqrt(np.square(wanted).mean()))
