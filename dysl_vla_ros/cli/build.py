"""``dysl build``: compile a bundle for the GPU of this machine, piece by piece."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.inputs import look_at_bundle
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.values import COUNT_FROM_0, whole
from dysl_vla_ros.engines.tensorrt.api import load_tensorrt
from dysl_vla_ros.engines.tensorrt.build import (
    BuildOptions,
    BuildReport,
    Event,
    build_plans,
    check_root,
)
from dysl_vla_ros.engines.tensorrt.cuda_driver import open_driver
from dysl_vla_ros.engines.tensorrt.plans import plans_root, target_of
from dysl_vla_ros.errors import ConfigError, EngineError

EXAMPLE = 'dysl build runs/bundle'
KEPT = 'finished plans; the same command goes on'
_LEVEL = 3
"""TensorRT's default."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('bundle', type=Path, help='folder written by dysl export')
    parser.add_argument('--backend', default='tensorrt', choices=('tensorrt', 'cuda'),
                        help='tensorrt; cuda compiles for torch, on a workstation')  # fmt: skip
    parser.add_argument('--plans', default='', help='where to; default: plans/ in the bundle')
    parser.add_argument('--workspace-mib', type=COUNT_FROM_0, default=0,
                        help='scratch memory a kernel may use; default: all')  # fmt: skip
    parser.add_argument('--optimization-level', type=whole(0, 5), default=_LEVEL,
                        help='0 builds fast, 5 gives the fastest plans')  # fmt: skip
    parser.add_argument('--force', action='store_true', help='build again what is there')
    parser.add_argument('--json', type=Path, help='write what was built here')


def run(given: argparse.Namespace) -> int:
    """Build; a second call goes on where an interrupted one stopped."""
    check_json(given.json, 'build')
    look_at_bundle('bundle', given.bundle)
    if given.backend == 'cuda':
        return _run_cuda(given)
    options = BuildOptions(given.workspace_mib << 20, given.optimization_level, given.force)
    # The driver first: TensorRT must not be touched without one.
    driver = open_driver()
    trt = load_tensorrt()
    bundle = open_bundle(given.bundle.expanduser())
    root = check_root(plans_root(bundle, given.plans))
    target = target_of(driver.gpu, str(trt.__version__), bundle.manifest)
    console = Output()
    console.say(
        f'{bundle.manifest.name} ({bundle.manifest.precision}) for {target.gpu}, '
        f'TensorRT {target.tensorrt}, CUDA {target.cuda}'
    )
    with _bar(console) as bar:
        report = build_plans(bundle, root, target, trt, options, _teller(bar))
    _print(console, report)
    if given.json is not None:
        write_json(given.json, {**asdict(report), 'folder': str(report.folder),
                                'target': asdict(target)})  # fmt: skip
    return 0


def _run_cuda(given: argparse.Namespace) -> int:
    """With Inductor; imported here, for it needs torch."""
    if given.workspace_mib or given.optimization_level != _LEVEL:
        raise ConfigError(
            '--backend', 'cuda', 'tensorrt: --workspace-mib and --optimization-level are its own'
        )
    try:
        from dysl_vla_ros.engines.cuda.build import build_compiled
        from dysl_vla_ros.engines.cuda.compiled import target_of as torch_target_of
        from dysl_vla_ros.engines.cuda.stream import CudaStream
    except ImportError as error:
        raise EngineError(
            f"--backend cuda: {error}: pip install 'dysl_vla_ros[cuda]', with the torch that fits "
            'your driver'
        ) from None
    stream = CudaStream()
    bundle = open_bundle(given.bundle.expanduser())
    root = check_root(plans_root(bundle, given.plans))
    console = Output()
    console.say(f'{bundle.manifest.name} ({bundle.manifest.precision}) for {stream.name}')
    with _bar(console) as bar:
        report = build_compiled(bundle, root, stream.device, given.force, _teller(bar))
    _print(console, report)
    if given.json is not None:
        target = torch_target_of(stream.device, bundle.manifest)
        write_json(given.json, {**asdict(report), 'folder': str(report.folder),
                                'target': asdict(target)})  # fmt: skip
    return 0


def _bar(console: Output) -> Progress:
    return Progress(
        TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console,
    )  # fmt: skip


def _teller(bar: Progress) -> Callable[[int, int, str, Event], None]:
    task = bar.add_task('', total=None)

    def tell(number: int, total: int, name: str, event: Event) -> None:
        done = number - (event == 'building')
        bar.update(task, description=f'{name} {event}', completed=done, total=total)

    return tell


def _print(console: Output, report: BuildReport) -> None:
    console.say(
        f'{len(report.built)} built, {len(report.kept)} kept, {report.seconds:.0f} s: '
        f'{report.folder}'
    )
