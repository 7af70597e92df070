"""``dysl inspect``: what a folder is, what is supported, what is missing, what each step takes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from dysl_vla_ros import targets
from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.bundle.folder import is_bundle, open_bundle
from dysl_vla_ros.bundle.manifest import CalibrationSpec, Manifest
from dysl_vla_ros.cli.checkpoints import add_published_options, asked_of, need_torch
from dysl_vla_ros.cli.families import open_family
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.values import COUNT, POSITIVE
from dysl_vla_ros.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from dysl_vla_ros.lab.model.inspection import Report, Step

_WEIGHTS = ('.safetensors', '.bin', '.pt', '.pth', '.ckpt')

EXAMPLE = 'dysl inspect runs/bundle'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('folder', type=Path, help='of a published model, or a bundle')
    parser.add_argument('--batch', type=COUNT, default=8, help='of the distillation')
    parser.add_argument('--tflops', type=POSITIVE, default=100.0,
                        help='what the GPU sustains, for the times [TFLOP/s]; an H100 did 400 in '
                        'FP16')  # fmt: skip
    parser.add_argument('--json', type=Path, help='write the report here too')
    add_published_options(parser.add_argument_group('OpenVLA-OFT', 'as for dysl export'))


def run(given: argparse.Namespace) -> int:
    """Look and print; exit code 1 where the folder cannot be exported."""
    check_json(given.json, 'inspect')
    if not given.folder.is_dir():
        found = 'this is a file' if given.folder.exists() else 'there is nothing of this name'
        raise ConfigError('folder', str(given.folder),
                          f'the folder of a bundle or of a published model: {found}')  # fmt: skip
    if (given.folder / MANIFEST_NAME).is_file():
        open_bundle(given.folder)
    elif not any(given.folder.glob('*.json')):
        there = targets.listed(targets.contents(given.folder)) or 'nothing'
        raise ConfigError(
            'folder',
            str(given.folder),
            'the folder of a bundle, or of a model '
            f'with its config.json: in this one there is {there}',
        )
    elif not any(_is_of_a_model(path) for path in given.folder.iterdir()):
        there = targets.listed(targets.contents(given.folder))
        raise ConfigError(
            'folder',
            str(given.folder),
            'the folder of a bundle, or of a model with its config.json and weights: in this one '
            f'there is {there}, and no model',
        )
    console = Output(highlight=False)
    if is_bundle(given.folder):
        document = _bundle(open_bundle(given.folder).manifest)
        console.print(_facts(document))
        supported = True
    else:
        need_torch(given.folder)
        report = _published(given.folder.expanduser(), given)
        document, supported = report.document(), report.supported
        _print(console, report, given.tflops)
    if given.json is not None:
        write_json(given.json, document)
    return 0 if supported else 1


def _is_of_a_model(path: Path) -> bool:
    """Whether a folder with such a file may hold a published model, whole or not."""
    return path.name == 'config.json' or path.suffix in _WEIGHTS


def _published(folder: Path, given: argparse.Namespace) -> Report:
    from dysl_vla_ros.lab.model.inspection import Report, inspect_folder

    try:
        if (added := open_family(folder, given)) is not None:
            return Report(added[0], {'folder': str(folder), 'layers': added[1].layers,
                                     **added[1].facts})  # fmt: skip
    except (BundleError, ConfigError) as error:
        return Report('', {'folder': str(folder)}, (str(error),))
    return inspect_folder(folder, asked_of(given))


def _print(console: Output, report: Report, tflops: float) -> None:
    console.print(_facts({'family': report.family or 'none that is supported', **report.facts}))
    if report.steps:
        table = Table(title='computed beforehand, nothing was measured on this machine')
        for title in ('step', 'memory', 'disk', 'time', ''):
            table.add_column(title)
        for step in report.steps:
            table.add_row(step.command, _bytes(step.memory), _bytes(step.disk),
                          _time(step, tflops), step.note)  # fmt: skip
        console.print(table)
    if report.steps and not report.only:
        console.tell(f'Training at {tflops:g} TFLOP/s sustained; on one core of a CPU about a '
                     'thousand times as long. Export and verify on one core.')  # fmt: skip
    for text in report.missing:
        console.print(f'[red]missing[/]: {escape(text)}', soft_wrap=True)
    if report.only:
        console.say(f'only: {report.only}')
    if report.supported:
        console.tell('supported: dense at once (dysl export FOLDER BUNDLE); with skipping after '
                     'dysl calibrate and dysl distill')  # fmt: skip


def _facts(document: dict[str, Any]) -> Table:
    table = Table('', '', show_header=False)
    for name, value in document.items():
        table.add_row(escape(name), escape(_words(value)))
    return table


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{key} ({kind or "unknown: its settings are asked for"})'
                         for key, kind in value.items())  # fmt: skip
    if isinstance(value, list):
        return ', '.join(str(entry) for entry in value) or '-'
    return f'{value:,}' if isinstance(value, int) and value > 9999 else str(value)


def _bytes(count: float) -> str:
    for size, unit in ((1e9, 'GB'), (1e6, 'MB'), (1e3, 'kB')):
        if count >= size:
            return f'{count / size:.1f} {unit}'
    return f'{count:.0f} B' if count else '-'


def _time(step: Step, tflops: float) -> str:
    seconds = step.flops / (tflops * 1e12) + step.seconds
    for size, unit in ((3600.0, 'h'), (60.0, 'min'), (1.0, 's')):
        if seconds >= size:
            return f'{seconds / size:.1f} {unit}'
    return 'below 1 s'


def _mode(spec: CalibrationSpec) -> str:
    """What runs unless parameters say another."""
    if spec.mode == 'by_instruction':
        exits = ', '.join(map(str, sorted(set(spec.exit_by_instruction.values()))))
        return f'by_instruction, {len(spec.exit_by_instruction)} of them, at {exits}'
    return f'fixed, exit at layer {spec.exit_layer}' if spec.mode == 'fixed' else spec.mode


def _bundle(manifest: Manifest) -> dict[str, Any]:
    action = manifest.action
    return {
        'bundle': manifest.name, 'family': manifest.family, 'precision': manifest.precision,
        'layers': manifest.layers_total, 'static layers': list(manifest.static_layers),
        'cameras': [f'{c.name} {c.width}x{c.height}' for c in manifest.cameras],
        'skip mode': _mode(manifest.calibration),
        'action': f'{action.space}, {action.horizon} of {action.dim} numbers, '
        f'{action.period_s:g} s each',
        'proprioception': f'{manifest.proprioception.dim} numbers, '
        f'{manifest.proprioception.source}',
        'joints': list(action.joint_names) or "the node's parameters",
        'frame, tip': f'{action.frame_id or "parameters"}, {action.tip_link or "parameters"}',
        'prompt, longest [tokens]': manifest.instruction.tokens,
        'size [bytes]': sum(entry.bytes for entry in manifest.files.values()),
    }  # fmt: skip
