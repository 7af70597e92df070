"""``dysl export``: a checkpoint, distilled or published -> a bundle, one graph per part."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.cli.checkpoints import add_checkpoint_options, open_exportable
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.stages import listed
from dysl_vla_ros.cli.values import COUNT_FROM_0
from dysl_vla_ros.errors import ConfigError

EXAMPLE = 'dysl export runs/dysl/policy.safetensors runs/bundle'
KEPT = 'the bundle that was there stays; the same command goes on'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('checkpoint', type=Path,
                        help='distilled checkpoint, or published OpenVLA-OFT folder, which needs '
                        'no distillation: it is exported dense')  # fmt: skip
    parser.add_argument('bundle', type=Path, help='folder to write: new, empty, or a bundle, '
                        'which is replaced when the new one is complete')  # fmt: skip
    parser.add_argument('--name', default='', help="of the model; default: the folder's")
    parser.add_argument('--precision', default='fp32', choices=('fp32', 'fp16'),
                        help='fp32 for a CPU and as the reference, fp16 for TensorRT')  # fmt: skip
    parser.add_argument('--half-weights', action='store_true',
                        help='fp32 in half the space: store weights as float16')  # fmt: skip
    parser.add_argument('--external-from-mib', type=COUNT_FROM_0, default=32,
                        help='weights of this size and more go to a file beside their '
                        'graph')  # fmt: skip
    parser.add_argument('--reference', action='append', default=[], metavar='CAMERA=FILE',
                        help='a picture of the training data, kept in the bundle to compare '
                        'cameras with')  # fmt: skip
    parser.add_argument('--dataset', type=Path, help='take the first picture of each camera '
                        'from a dataset instead')  # fmt: skip
    parser.add_argument('--force', action='store_true',
                        help='replace a bundle although its calibration, plans or added files '
                        'are lost; where the graphs are the same, plans stay')  # fmt: skip
    parser.add_argument('--contract-only', action='store_true',
                        help='keep the graphs of the bundle that is there, and write only what '
                        'its manifest says: a frame, a key, a name')  # fmt: skip
    add_checkpoint_options(parser)


def run(given: argparse.Namespace) -> int:
    """Export; a second call goes on where an interrupted one stopped."""
    from dysl_vla_ros.lab.export.replaced import check_bundle

    folder = check_bundle(given.bundle, given.force)
    source = open_exportable(given.checkpoint.expanduser(), given)
    from dysl_vla_ros.lab.export.onnx_files import FileSettings
    from dysl_vla_ros.lab.export.small_parts import SmallParts
    from dysl_vla_ros.lab.export.write_bundle import ExportSettings, write_bundle

    files = FileSettings(given.half_weights, given.external_from_mib << 20)
    settings = ExportSettings(given.precision, files)
    known = source.pictures if isinstance(source, SmallParts) else {}
    references = _references(given, source.contract().cameras, known)
    console = Output()
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task('reading')

        def tell(done: int, total: int, name: str) -> None:
            bar.update(task, description=name, completed=done, total=total)

        manifest = write_bundle(source, folder, given.name or folder.name, settings, tell,
                                given.force, references,
                                contract_only=given.contract_only)  # fmt: skip
    size = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    console.say(
        f'{manifest.name} ({manifest.precision}): {len(manifest.segments)} graphs, {size:.1f} MB, '
        f'static layers {listed(manifest.static_layers)} of {manifest.layers_total}: {folder}'
    )
    return 0


def _references(
    given: argparse.Namespace, cameras: tuple[CameraSpec, ...], known: Mapping[str, str]
) -> dict[str, bytes]:
    """Camera -> PNG, of what the user has of the training data."""
    if not given.reference and given.dataset is None:
        return {}
    from dysl_vla_ros.lab.data.references import from_dataset, from_file

    shapes = {camera.name: camera for camera in cameras}
    found = {}
    if given.dataset is not None:
        found = from_dataset(given.dataset.expanduser(), cameras, known)
    for entry in given.reference:
        name, equals, path = entry.partition('=')
        if not equals or name not in shapes:
            raise ConfigError('reference', entry, f'CAMERA=FILE, of {", ".join(shapes)}')
        found[name] = from_file(Path(path).expanduser(), shapes[name])
    return found
