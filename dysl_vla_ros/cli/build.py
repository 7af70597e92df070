"""``dysl build``: compile a bundle for the GPU of this machine, segment by segment."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.inputs import look_at_bundle
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.values import COUNT_FROM_0, whole
from dysl_vla_ros.engines.tensorrt.api import load_tensorrt
from dysl_vla_ros.engines.tensorrt.build import BuildOptions, Event, build_plans, check_root
from dysl_vla_ros.engines.tensorrt.cuda_driver import open_driver
from dysl_vla_ros.engines.tensorrt.plans import plans_root, target_of

EXAMPLE = 'dysl build runs/bundle'
KEPT = 'finished plans; the same command goes on'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('bundle', type=Path, help='folder written by dysl export')
    parser.add_argument('--plans', default='', help='where to; default: plans/ in the bundle')
    parser.add_argument('--workspace-mib', type=COUNT_FROM_0, default=0,
                        help='scratch memory a kernel may use; default: all')  # fmt: skip
    parser.add_argument('--optimization-level', type=whole(0, 5), default=3,
                        help='0 builds fast, 5 gives the fastest plans')  # fmt: skip
    parser.add_argument('--force', action='store_true', help='build again what is there')
    parser.add_argument('--json', type=Path, help='write what was built here')


def run(given: argparse.Namespace) -> int:
    """Build; a second call goes on where an interrupted one stopped."""
    check_json(given.json)
    look_at_bundle('bundle', given.bundle)
    options = BuildOptions(given.workspace_mib << 20, given.optimization_level, given.force)
    # The driver first: TensorRT must not be touched without one.
    driver = open_driver()
    trt = load_tensorrt()
    bundle = open_bundle(given.bundle.expanduser())
    root = check_root(plans_root(bundle, given.plans))
    target = target_of(driver.gpu, str(trt.__version__), bundle.manifest)
    console = Console()
    console.print(
        f'{bundle.manifest.name} ({bundle.manifest.precision}) for {target.gpu}, '
        f'TensorRT {target.tensorrt}, CUDA {target.cuda}'
    )
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task('', total=len(bundle.manifest.segments))

        def tell(number: int, total: int, name: str, event: Event) -> None:
            done = number - (event == 'building')
            bar.update(task, description=f'{name} {event}', completed=done, total=total)

        report = build_plans(bundle, root, target, trt, options, tell)
    console.print(
        f'{len(report.built)} built, {len(report.kept)} kept, {report.seconds:.0f} s: '
        f'{report.folder}'
    )
    if given.json is not None:
        write_json(given.json, {**asdict(report), 'folder': str(report.folder),
                                'target': asdict(target)})  # fmt: skip
    return 0
