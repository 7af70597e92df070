"""An exported OpenVLA-OFT as the CUDA engine ran it at first, and as it runs it: side by side.

Functions of size and stream: a CPU smoke test runs them too. The layers have one file, which is
loaded once per layer: every layer has weights of its own on the device, and no file of 15 GB is
written for it.
"""

from __future__ import annotations

import importlib.util
import platform
import time
from dataclasses import asdict, dataclass
from types import SimpleNamespace

import torch
from oft_measurements import COMMAND, build_parts, observation

from dysl_vla_ros.bundle.folder import sums_of
from dysl_vla_ros.engines.cuda import onnx_torch
from dysl_vla_ros.engines.cuda.build import compile_run
from dysl_vla_ros.engines.cuda.bundle import BundleParts
from dysl_vla_ros.engines.cuda.compiled import open_piece
from dysl_vla_ros.engines.cuda.engine import CudaEngine
from dysl_vla_ros.engines.cuda.pieces import Program
from dysl_vla_ros.engines.cuda.toolchain import lacking
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.hardware import snapshot
from dysl_vla_ros.lab.evaluation.latency import bench_engine
from dysl_vla_ros.lab.export.parity import BUDGETS, Worst

AHEAD = 'Inductor, as libraries'
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


def compile_in_memory(run, constants, inputs, weights):
    """As ``compile_run``, by the same compiler, but no library is made: no toolkit is needed."""
    with torch.no_grad():
        program = torch.export.export(Program(run, constants), (inputs, weights), strict=False)
        compiled = torch._inductor.compile(program.module(), [inputs, weights])

    def code(given, constants):
        with torch.no_grad():
            return compiled(given, constants)

    code(inputs, weights)
    return code


def compile_all(source, device, inputs, folder):
    """Compile every piece, as ``dysl build`` does, or else in memory.

    Returns:
        The pieces by key, the seconds to compile and to open them, and by what they were compiled;
        why not as libraries, if so.
    """
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
    try:
        lacks = lacking() if device.type == 'cuda' else []
        if lacks:
            raise EngineError(f'for want of {"; ".join(lacks)}')
        for key, (run, constants, _) in runs.items():
            path = folder / f'{key}.pt2'
            compile_run(run, constants, samples[key], [constants[n] for n in run.weights], path)
        compiled = time.monotonic()
        for key in runs:
            found[key] = open_piece(folder / f'{key}.pt2', 'make test-gpu')
        return found, (compiled - began, time.monotonic() - compiled), AHEAD
    except Exception as error:  # the compiler raises many kinds
        why_not = ' '.join(str(error).split())[:400] or type(error).__name__
    began = time.monotonic()
    for key, (run, constants, _) in runs.items():
        weights = [constants[name] for name in run.weights]
        found[key] = compile_in_memory(run, constants, samples[key], weights)
    return (
        found,
        (time.monotonic() - began, 0.0),
        f'Inductor in memory, not as libraries: {why_not}',
    )


def open_after(source, inputs, stream, compiled, pieces_s):
    """As ``open_cuda_engine`` opens a bundle, and as the node prepares it for an instruction.

    Args:
        pieces_s: How long opening the pieces took.

    Returns:
        The engine, and how long each part took; the checksums are those of as many bytes as the
        bundle has, of one layer again and again. Left out are starting Python, importing torch,
        and reading the pages from a disk.
    """
    paths = [source.graph(name) for name in source.manifest.segments]
    files = [one for path in paths for one in (path, *path.parent.glob(f'{path.name}.data'))]
    began = time.monotonic()
    sums_of(files)
    hashed = time.monotonic()
    parts = BundleParts(source, stream.device, compiled, stream.together)
    stream.wait()
    loaded = time.monotonic()
    engine = CudaEngine(parts, inputs, stream)
    captured = time.monotonic()
    engine.prepare_for(inputs)
    prepared = time.monotonic()
    hidden, _ = forward(engine, engine.encode(inputs), engine.layout.full_plan())
    engine.decode(hidden)
    found = {
        'hash_s': hashed - began, 'pieces_s': pieces_s, 'load_s': loaded - hashed,
        'capture_s': captured - loaded,
        'first_instruction_s': prepared - captured, 'first_pass_s': time.monotonic() - prepared,
    }  # fmt: skip
    total = {'total_s': sum(found.values()), 'bytes': sum(path.stat().st_size for path in files)}
    return engine, {**found, **total}


def rows(report, layers_run):
    """The four rows of one engine, from what ``bench_engine`` found [ms]."""
    stages, skipped = report['stages'], report['skipped_pass']
    assert skipped['layers_run'] == layers_run
    return {
        'encode': stages['encode']['p50'],
        'all layers': stages['backbone']['p50'],
        'all controllers asked, of dense': report['controllers']['all_closed_of_dense'],
        f'whole pass, {layers_run} layers': skipped['pass']['p50'],
        'whole pass, dense': report['full_pass']['p50'],
    }


def measure(
    config, layout, folder, open_stream, runs, layers_run, half=True, warm_up=3,
    keep=lambda found: None,
):  # fmt: skip
    """Both engines on one device in one run.

    Args:
        keep: Told what is known so far, whenever it is more: what follows may fail.

    Returns:
        Rows of both, by what the pieces were compiled, seconds to compile and to open, both
        reports, and how far the compiled parts are from FP32.
    """
    inputs = observation(config)
    # A prompt that is shorter than the longest.
    inputs['tokens'][0, -max(config.prompt_tokens // 5, 1) :] = config.pad_id
    source, modules = export(config, layout, folder, half)
    before = open_before(source, inputs, open_stream())
    first = bench_engine(before, inputs, runs=runs, warm_up=warm_up, live_layers=layers_run)
    before.close()
    found = {'before': rows(first, layers_run), 'reports': {'before': first}}
    keep(found)
    stream = open_stream()
    compiled, seconds, compiled_by = compile_all(source, stream.device, inputs, folder)
    after, opening = open_after(source, inputs, stream, compiled, seconds[1])
    second = bench_engine(after, inputs, runs=runs, warm_up=warm_up, live_layers=layers_run)
    found |= {
        'after': rows(second, layers_run), 'compiled_by': compiled_by, 'compiling_s': seconds[0],
        'opening': opening, 'reports': {'before': first, 'after': second},
    }  # fmt: skip
    keep(found)
    found |= parity(after, modules, inputs, config, folder, half)
    after.close()
    return found


def document(found, config, roof, before, after):
    """An evidence file: what ``bench_engine`` found of the new engine, and the rest beside it.

    Args:
        found: From ``measure``; of what is known so far, the last engine that was benched.
        config: Of the model.
        roof: Rates of the device.
        before: Snapshot of the machine.
        after: Likewise, when all was measured.
    """
    reports = found['reports']
    versions = {'python': platform.python_version(), 'torch': torch.__version__,
                'cuda': torch.version.cuda or 'none'}  # fmt: skip
    return {
        **reports.get('after', reports['before']), **found, 'finished': 'parity' in found,
        'what': 'exported graphs of OpenVLA-OFT, random weights: before and after',
        'tokens': config.tokens,
        'roof': {'what': roof.what, 'flops': roof.flops, 'bandwidth': roof.bandwidth},
        'hardware': {'before': before, 'after': after,
                     'slowdowns': snapshot.slowdowns(before, after)},
        'versions': versions, 'command': COMMAND,
        'date': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
    }  # fmt: skip


class _Reference:
    """Parts in FP32: ONNX Runtime on graphs exported for it, or else the modules themselves."""

    def __init__(self, modules, folder):
        self.modules, self.folder = modules, folder
        try:
            import onnxruntime
        except ImportError:
            self.runtime, self.words = None, 'modules of torch, FP32, on the CPU'
        else:
            self.runtime = onnxruntime
            self.words = f'ONNX Runtime {onnxruntime.__version__}, FP32, on the CPU'

    def __call__(self, name, *given):
        module = self.modules[name].float()
        if self.runtime is None:
            with torch.no_grad():
                found = module(*map(torch.from_numpy, given))
            return [t.numpy() for t in (found if isinstance(found, tuple) else (found,))]
        from dysl_vla_ros.lab.export.onnx_files import FileSettings, write_onnx
        from dysl_vla_ros.lab.export.parts import Part

        inputs = tuple(f'x{index}' for index in range(len(given)))
        outputs = ('y', 'gate') if name == 'layer_any' else ('y',)
        part = Part(module, tuple(map(torch.from_numpy, given)), inputs, outputs)
        spec = write_onnx(part, self.folder, f'reference_{name}.onnx', FileSettings())
        session = self.runtime.InferenceSession(str(self.folder / spec.file))
        found = session.run(list(outputs), dict(zip(inputs, given, strict=True)))
        for path in self.folder.glob(f'{spec.file}*'):
            path.unlink()
        return found


def parity(engine, modules, inputs, config, folder, half):
    """One part of each kind against FP32, judged as ``dysl verify`` judges segments."""
    budget, reference = BUDGETS['fp16' if half else 'fp32'], _Reference(modules, folder)
    worst = {name: Worst() for name in ('vision and embed', 'layer', 'adapter', 'head')}
    (patches,) = reference('vision', *(inputs[name] for name in config.cameras))
    (entering,) = reference('embed', patches, inputs['tokens'], inputs['proprioception'])
    worst['vision and embed'].add(engine.read(engine.encode(inputs)), entering)
    leaving, gate = reference('layer_any', entering)
    ours = engine.run_layer(0, engine.write(entering))
    worst['layer'].add(engine.read(ours), leaving)
    dynamic = engine.layout.dynamic_layers[0]
    score = engine.skip_score(dynamic, engine.write(leaving))
    worst['layer'].add_gate(score, float(gate.reshape(())))
    (bridged,) = reference('bridge_any', leaving)
    worst['adapter'].add(engine.read(engine.bridge(dynamic, engine.write(leaving))), bridged)
    (actions,) = reference('head', leaving)
    worst['head'].add(engine.decode(engine.write(leaving)), actions[0])
    rows = {name: asdict(one.row(name, budget)) for name, one in worst.items()}
    return {'parity': rows, 'parity_against': reference.words, 'budget': asdict(budget)}
