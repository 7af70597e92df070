"""``dysl inspect``, ``calibrate``, ``distill`` on a folder of a family that a package adds."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.stages import StageBars
from dysl_vla_ros.cli.values import options_of
from dysl_vla_ros.errors import ConfigError

if TYPE_CHECKING:
    from dysl_vla_ros.lab.export.parts import Exportable
    from dysl_vla_ros.lab.families import Published
    from dysl_vla_ros.lab.learn.distill import DistillSettings

OpenedFamily = tuple[str, 'Published']


def add_family_option(group: Any) -> None:
    """Declare how a family is told what its folder does not say."""
    group.add_argument('--option', nargs='+', default=[], metavar='NAME=VALUE',
                       help='of a family that another package adds: what its folder does not '
                       'say')  # fmt: skip


def open_family(folder: Path, given: argparse.Namespace) -> OpenedFamily | None:
    """A folder of a family that a package adds; None for any other.

    Raises:
        BundleError: Its family cannot be loaded, or it is incomplete.
        ConfigError: An option is wrong or missing.
    """
    from dysl_vla_ros.lab.families import family_of

    found = family_of(folder)
    if found is None:
        return None
    name, family = found
    return name, family.open(folder, options_of(given.option))


def export_family(opened: OpenedFamily, given: argparse.Namespace) -> Exportable:
    """Dense, or with what was distilled."""
    from dysl_vla_ros.lab.model.skipping_file import load_skipping

    name, published = opened
    if given.skipping is None:
        return published.export(None)
    return published.export(
        load_skipping(given.skipping, name, published.layers, published.modules)
    )


def calibrate_family(opened: OpenedFamily, given: argparse.Namespace) -> int:
    """Score the layers on batches of a data set."""
    from dysl_vla_ros.lab.data.lerobot import open_lerobot
    from dysl_vla_ros.lab.learn.static_layers import LAYERS, score_layers
    from dysl_vla_ros.lab.workspace import Workspace, training_device

    _, published = opened
    if given.skipping is not None:
        raise ConfigError('skipping', str(given.skipping), 'none for this family: export it, then '
                          'dysl calibrate BUNDLE --bag sets when to skip')  # fmt: skip
    data, folder = open_lerobot(_one(given)), given.target
    out, device = given.out or folder.parent / f'{folder.name}_calibration', training_device(
        given.device)  # fmt: skip
    console = Output()
    with StageBars(console) as bars:
        space = Workspace(out, out, device, bars.progress, bars.told)
        layout = score_layers(
            published.dense(device), published.batches(data, given.batch, 3), space,
            given.static_share, given.tokens, given.batch, given.batches,
        )  # fmt: skip
    console.say(f'{out / LAYERS}: static layers {list(layout.static_layers)} of '
                f'{layout.layers_total}')  # fmt: skip
    return 0


def distill_family(opened: OpenedFamily, given: argparse.Namespace) -> int:
    """Adapters and controllers; when to skip is set by ``dysl calibrate BUNDLE``."""
    from dysl_vla_ros.lab.begun_with import Stages, folder_digest
    from dysl_vla_ros.lab.data.lerobot import open_lerobot
    from dysl_vla_ros.lab.learn.distilling import STATE
    from dysl_vla_ros.lab.learn.family_distilling import distil_family
    from dysl_vla_ros.lab.learn.made_of import shaping
    from dysl_vla_ros.lab.learn.static_layers import read_layers, score_layers
    from dysl_vla_ros.lab.model.skipping_file import Skipping, save_skipping
    from dysl_vla_ros.lab.workspace import Workspace, training_device

    name, published = opened
    data, settings = open_lerobot(_one(given)), published_settings(given)
    layout = None if given.layers is None else read_layers(given.layers, published.layers)
    device, console = training_device(given.device), Output()
    with StageBars(console) as bars:
        space = Workspace(given.out, given.out, device, bars.progress, bars.told)
        path, stages = given.out / 'skipping.safetensors', Stages(given.out, space.say, space.main)
        made_of = {'family': name, 'model': folder_digest(given.checkpoint), 'seed': settings.seed,
                   'data': folder_digest(data.folder)}  # fmt: skip
        whole = {
            **made_of, 'distill': shaping(settings), 'rank': given.rank or 0,
            'layers': None if layout is None else list(layout.static_layers),
            'static_share': None if layout else given.static_share or 0.2,
        }  # fmt: skip
        if stages.there(path, whole):
            return 0
        dense, stream = published.dense(device), published.batches(
            data, settings.batch, settings.seed + 1000 * space.process)  # fmt: skip
        if layout is None:
            layout = score_layers(dense, published.batches(data, settings.batch, 3), space,
                                  given.static_share or 0.2, batch=settings.batch)  # fmt: skip
        modules = published.modules(layout, given.rank or 0)
        distil_family(dense, modules, stream, settings, space, given.note_every, made_of)
        if space.main:
            stages.note(path, whole)
            card = {'dataset': data.folder.name, 'report': dict(space.report)}
            save_skipping(path, Skipping(modules.cpu(), None, card), name)
            (given.out / STATE).unlink(missing_ok=True)
    console.say(f'{path}: static layers {list(layout.static_layers)} of {layout.layers_total}; '
                f'now dysl export {given.checkpoint} BUNDLE --skipping {path}')  # fmt: skip
    return 0


def published_settings(given: argparse.Namespace) -> DistillSettings:
    """How a published folder is distilled, unless the command line says otherwise."""
    from dysl_vla_ros.lab.learn.distill import DistillSettings

    changed = {name: getattr(given, name) for name in
               ('skip_weight', 'adapter_steps', 'controller_steps', 'batch', 'task_share')
               if getattr(given, name) is not None}  # fmt: skip
    return replace(DistillSettings(batch=8, task_share=0.0, seed=given.seed), **changed)


def _one(given: argparse.Namespace) -> Path:
    if len(given.dataset) != 1:
        raise ConfigError('dataset', [str(path) for path in given.dataset], 'one LeRobot data set')
    path: Path = given.dataset[0]
    return path
