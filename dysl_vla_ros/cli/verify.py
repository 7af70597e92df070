"""``dysl verify``: does a bundle on this machine's engine compute what FP32 computes?"""

from __future__ import annotations

import argparse
import math
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from rich.table import Table

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.bundle.onnx_wire import looked_up_rows
from dysl_vla_ros.cli.checkpoints import add_checkpoint_options, open_exportable
from dysl_vla_ros.cli.inputs import look_at_arrays, look_at_bundle, look_at_checkpoint
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.values import COUNT, FROM_0, SEED, WORKERS, add_backend
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.engines.open_engine import OpenedEngine, open_engine
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.lab.export.parity import BUDGETS, Budget, Report
from dysl_vla_ros.lab.export.verify import ReferenceEngine, skip_plans, verify
from dysl_vla_ros.policy import Policy, load_tokenizer

Inputs = dict[str, NDArray[Any]]

EXAMPLE = 'dysl verify runs/half --against runs/bundle'
KEPT = 'nothing is written'
_TOLD = 'pick up the red cube'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('bundle', help='folder under test')
    add_backend(parser, 'engine under test')
    parser.add_argument('--plans', default='', help='folder given to dysl build --plans')
    parser.add_argument('--against', type=Path,
                        help='FP32 bundle, run on ONNX Runtime, or checkpoint, run on torch; '
                        'default: the bundle itself, if FP32, on ONNX Runtime')  # fmt: skip
    parser.add_argument('--patterns', type=COUNT, default=64, help='ways through the stack')
    parser.add_argument('--observations', type=COUNT, default=3, help='random ones')
    parser.add_argument('--inputs', type=Path, help='recorded ones: an .npz with the inputs of '
                        'the graphs, observations along the first axis')  # fmt: skip
    parser.add_argument('--instruction', default='',
                        help=f'what the policy is told; default: {_TOLD!r}, or a word that it '
                        'knows')  # fmt: skip
    parser.add_argument('--seed', type=SEED, default=0, help='of everything random')
    parser.add_argument('--threads', type=WORKERS, default=1, help='of ONNX Runtime')
    for name in ('cosine', 'relative', 'actions', 'gate'):
        parser.add_argument(f'--budget-{name}', type=FROM_0, default=None,
                            help='default: by the precision of the bundle')  # fmt: skip
    parser.add_argument('--json', type=Path, help='write the report here')
    add_checkpoint_options(parser)


def run(given: argparse.Namespace) -> int:
    """Compare, print, write; exit code 1 above the budget."""
    check_json(given.json, 'verify')
    look_at_bundle('bundle', given.bundle, ('fake',))
    look_at_arrays('--inputs', given.inputs)
    if given.against is not None and not given.against.is_dir():
        look_at_checkpoint('--against', given.against)
    opened = open_engine(given.bundle, given.backend, given.threads, given.plans)
    manifest = opened.manifest
    reference = open_reference(given, opened)
    rows = embedded_rows(given.bundle, manifest)
    observations = read_inputs(given.inputs, manifest, rows) if given.inputs is not None else [
        random_inputs(opened, given.seed + number, given.instruction)
        for number in range(given.observations)
    ]  # fmt: skip
    budget = budget_of(given, manifest)
    plans = skip_plans(manifest.layout, given.patterns, given.seed)
    known = manifest.calibration
    for layer in sorted({known.exit_layer, *known.exit_by_instruction.values()} - {0}):
        plans += (manifest.layout.exit_plan(layer),)
    console = Output()
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task('passes', total=len(plans))

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        report = verify(opened.engine, reference, observations, plans, budget, tell)
    total = math.prod(end - first + 1 for first, end in manifest.layout.segments)
    _print(console, report, total)
    console.print(f'{opened.engine.device} against {reference.device}: '
                  + ('within the budget' if report.within else '[red]above the budget[/]')
                  + f': cosine at least {budget.cosine:g}, relative error at most '
                  f'{budget.relative:g}, of actions {budget.actions:g}, of gates '
                  f'{budget.gate:g}', soft_wrap=True)  # fmt: skip
    if given.json is not None:
        document = {
            'bundle': manifest.name, 'precision': manifest.precision,
            'engine': opened.engine.device, 'reference': reference.device,
            'observations': len(observations), 'recorded': given.inputs is not None,
            'patterns_possible': total, 'budget': asdict(budget), **asdict(report),
        }  # fmt: skip
        write_json(given.json, document)
    opened.engine.close()
    return 0 if report.within else 1


def open_reference(given: argparse.Namespace, opened: OpenedEngine) -> ReferenceEngine:
    """The FP32 engine to compare with.

    Raises:
        ConfigError: There is none: an FP16 bundle alone, or ONNX Runtime against itself.
        BundleError: What was named is not FP32, or of another model.
    """
    manifest, against = opened.manifest, given.against
    itself = opened.engine.device.startswith('CPU (ONNX Runtime')
    if against is None:
        if manifest.precision != 'fp32' or itself:
            raise ConfigError(
                '--against', None, 'an FP32 bundle or the checkpoint: '
                + ('this bundle is FP16' if manifest.precision != 'fp32' else
                   'ONNX Runtime would be compared with itself'),
            )  # fmt: skip
        return _onnx(open_engine(given.bundle, 'onnxruntime', given.threads), manifest)
    if (against / MANIFEST_NAME).is_file():
        other = open_engine(str(against), 'onnxruntime', given.threads)
        if itself and other.manifest.files == manifest.files:
            raise ConfigError(
                '--against',
                str(against),
                'another bundle: ONNX Runtime would be compared with itself',
            )
        return _onnx(other, manifest)
    source = open_exportable(against, given)
    from dysl_vla_ros.lab.export.parts_engine import PartsEngine

    return PartsEngine(source)


def _onnx(opened: OpenedEngine, wanted: Manifest) -> ReferenceEngine:
    found = opened.manifest
    if found.precision != 'fp32':
        raise BundleError(f'--against {found.name}: {found.precision}: expected an FP32 bundle')
    for name in ('hidden_tokens', 'hidden_width', 'cameras', 'proprioception', 'instruction'):
        if getattr(found, name) != getattr(wanted, name):
            raise BundleError(
                f'--against {found.name}: {name} = {getattr(found, name)}: expected '
                f'{getattr(wanted, name)}, as in the bundle under test'
            )
    engine: Any = opened.engine
    reference: ReferenceEngine = engine
    return reference


def budget_of(given: argparse.Namespace, manifest: Manifest) -> Budget:
    """The precision's budget, with what the command line changes."""
    changes = {
        name: getattr(given, f'budget_{name}')
        for name in ('cosine', 'relative', 'actions', 'gate')
        if getattr(given, f'budget_{name}') is not None
    }
    return replace(BUDGETS[manifest.precision], **changes)


def random_inputs(opened: OpenedEngine, seed: int, instruction: str) -> Inputs:
    """An observation through the policy's own preprocessing: noise, and joints within range.

    Raises:
        InputError: The instruction has too many words for the model.
    """
    manifest, random = opened.manifest, np.random.default_rng(seed)
    scale = manifest.proprioception.normalisation
    low, high = np.array(scale.low), np.array(scale.high)
    values = low + random.random(len(low)) * (high - low)
    body, gripper = manifest.proprioception.body, manifest.proprioception.gripper
    opening = float(random.random() if manifest.proprioception.fingers else values[-1:].sum())
    observation = Observation(
        stamp=0.0,
        images={
            camera.name: _picture(random, camera.height, camera.width)
            for camera in manifest.cameras
        },
        joints=values[:body],
        gripper=opening if gripper else None,
        instruction=instruction,
    )
    tokenizer = load_tokenizer(manifest, opened.tokenizer)
    policy = Policy(opened.engine, manifest, tokenizer)
    told = instruction or policy.readable(_TOLD)
    return policy.prepare(replace(observation, instruction=told))


def _picture(random: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Coarse noise: fine noise averages out in every patch, and all patches look alike."""
    coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    rows = np.arange(height) * 8 // height
    columns = np.arange(width) * 8 // width
    return np.ascontiguousarray(coarse[rows[:, None], columns[None]])


def read_inputs(path: Path, manifest: Manifest, rows: int | None = None) -> list[Inputs]:
    """Recorded model inputs; ``rows`` is how many tokens there are, None where unknown.

    Raises:
        BundleError: Not an .npz, arrays that are missing, of another shape or type, or tokens
            that the model does not have.
    """
    segments = manifest.segments
    specs = {t.name: t for name in ('vision', 'embed') if name in segments
             for t in segments[name].inputs if t.name != 'patches'}  # fmt: skip
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, EOFError, ValueError, AttributeError, BadZipFile, zlib.error) as error:
        raise BundleError(f'{path}: cannot be read as .npz: {error}') from None
    missing = sorted(set(specs) - set(arrays))
    if missing:
        raise BundleError(f'{path}: {sorted(arrays)}: expected {missing} too')
    for name, spec in specs.items():
        found = (arrays[name].shape[1:], str(arrays[name].dtype))
        if found != (spec.shape[1:], spec.dtype):
            wanted = (spec.shape[1:], spec.dtype)
            raise BundleError(f'{path}: {name} is {found} per observation: expected {wanted}')
    if 'tokens' in specs and rows is not None:
        tokens = arrays['tokens']
        if tokens.size and not (tokens.min() >= 0 and tokens.max() < rows):
            raise BundleError(f'{path}: tokens from {tokens.min()} to {tokens.max()}: expected '
                              f'within 0 to {rows - 1}, rows of the embedding')  # fmt: skip
    count = min(len(arrays[name]) for name in specs)
    return [{name: arrays[name][i : i + 1] for name in specs} for i in range(count)]


def embedded_rows(bundle: str, manifest: Manifest) -> int | None:
    """Rows of the table in which tokens are looked up; None where none is found."""
    embed = manifest.segments.get('embed')
    if embed is None or not (path := Path(bundle).expanduser() / embed.file).is_file():
        return None
    try:
        return looked_up_rows(path, 'tokens')
    except BundleError:
        return None


def _print(console: Output, report: Report, total: int) -> None:
    table = Table(title='segments, on the states of the reference')
    for title in ('', 'segment', 'cosine', 'largest error', 'relative', 'gate error'):
        table.add_column(title, justify='left' if title in ('', 'segment') else 'right')
    for row in report.segments:
        gate = '' if row.gate is None else f'{row.gate:.1e}'
        table.add_row(_mark(row.within), row.name, f'{row.cosine:.7f}', f'{row.largest:.1e}',
                      f'{row.relative:.1e}', gate)  # fmt: skip
    if report.segments:
        console.print(table)
    table = Table(title=f'whole passes, {len(report.passes)} of {total} skip patterns; the worst')
    for title in ('', 'jumps at', 'layers run', 'cosine', 'largest error'):
        table.add_column(title, justify='left' if title in ('', 'jumps at') else 'right')
    # The full pass, then what is above the budget, then the largest errors.
    worst = sorted(report.passes[1:], key=lambda row: (row.within, -row.largest))[:8]
    for one in (report.passes[0], *worst):
        way = ' '.join(map(str, one.allow)) if one.exit_layer is None else f'exit {one.exit_layer}'
        table.add_row(_mark(one.within), way, str(one.layers_run),
                      f'{one.cosine:.7f}', f'{one.largest:.1e}')  # fmt: skip
    console.print(table)
    equal = {True: 'the full pass bit for bit', None: 'nothing to skip',
             False: '[red]differs from the full pass[/]'}[report.resumed_equal]  # fmt: skip
    console.print(f'resumed re-run: {equal}; decisions of live controllers: '
                  f'{report.decided_otherwise} of {report.decisions} differ',
                  soft_wrap=True)  # fmt: skip


def _mark(within: bool) -> str:
    return '[green]ok[/]' if within else '[red]!![/]'
