"""``dysl calibrate FOLDER``, ``dysl distill FOLDER``: a published OpenVLA-OFT and a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dysl_vla_ros.cli.checkpoints import add_published_options, need_torch, open_published
from dysl_vla_ros.cli.families import (
    calibrate_family,
    distill_family,
    open_family,
    published_settings,
)
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.stages import StageBars, listed
from dysl_vla_ros.cli.values import COUNT_FROM_0
from dysl_vla_ros.errors import ConfigError

if TYPE_CHECKING:
    from dysl_vla_ros.lab.data.lerobot import LerobotSet
    from dysl_vla_ros.lab.learn.oft_data import Choice, OftSamples
    from dysl_vla_ros.lab.learn.oft_dense import OftDense
    from dysl_vla_ros.lab.model.openvla_oft_loader import OftCheckpoint
    from dysl_vla_ros.lab.model.published_settings import OftSettings

_TURNED = argparse.BooleanOptionalAction


def is_published(path: Path) -> bool:
    """Whether a path is the folder of a published model rather than a bundle or a file."""
    return path.is_dir() and not (path / 'manifest.json').is_file()


def add_published(parser: argparse.ArgumentParser) -> None:
    """Declare what both commands take of a published folder and of a data set."""
    group = parser.add_argument_group(
        'a published OpenVLA-OFT folder', 'and a LeRobot data set of its robot: version 2.0, 2.1 '
        "or 3.0, pictures or videos, any names and rate. What the folder's statistics do not "
        'say and the names in the set')  # fmt: skip
    group.add_argument('--pictures', nargs='+', default=[], metavar='CAMERA=NAME',
                       help='picture of the set for a camera of the model')  # fmt: skip
    group.add_argument('--state', nargs='+', default=[], metavar='COLUMN',
                       help='columns of the set that make the proprioception; default: '
                       'observation.state')  # fmt: skip
    group.add_argument('--turned', action=_TURNED,
                       help='whether the pictures of the set are turned by 180 degrees already, '
                       'where the model saw turned ones')  # fmt: skip
    group.add_argument('--frames', type=COUNT_FROM_0, default=2000,
                       help='frames used, evenly spread; 0 for all')  # fmt: skip
    group.add_argument('--shard', action='store_true', help='under torchrun: split the frozen '
                       'weights over the GPUs (FSDP), where one is too small')  # fmt: skip
    add_published_options(group)


class Opened:
    """A folder and a data set that fit each other, before any weight is read."""

    def __init__(self, folder: Path, given: argparse.Namespace, actions: bool) -> None:
        """Open both.

        Raises:
            BundleError: The folder is of another family, or incomplete.
            ConfigError: The set is wrong, or lacks what the model reads.
        """
        need_torch(folder)
        import torch

        from dysl_vla_ros.lab.data.lerobot import open_lerobot
        from dysl_vla_ros.lab.learn.oft_data import Choice, check_fits
        from dysl_vla_ros.lab.workspace import training_device

        if len(given.dataset) != 1:
            raise ConfigError('dataset', [str(path) for path in given.dataset],
                              'one LeRobot data set')  # fmt: skip
        if given.frames < 0:
            raise ConfigError('frames', given.frames, 'at least 0; 0 uses all')
        self.device, self._shard = training_device(given.device), bool(given.shard)
        half = torch.bfloat16 if self.device.type == 'cuda' else torch.float32
        opened = open_published(folder, given, half)
        self.checkpoint: OftCheckpoint = opened[0]
        self.settings: OftSettings = opened[1]
        self.data: LerobotSet = open_lerobot(given.dataset[0])
        self.choice: Choice = Choice(_pairs(given.pictures), tuple(given.state),
                                     given.turned, actions, given.frames,
                                     getattr(given, 'seed', 0))  # fmt: skip
        check_fits(self.data, self.checkpoint, self.settings, self.choice)

    def samples(self) -> OftSamples:
        """Frames of the set."""
        from dysl_vla_ros.lab.learn.oft_data import load_oft_samples

        return load_oft_samples(self.data, self.checkpoint, self.settings, self.choice)

    def dense(self) -> OftDense:
        """The network, frozen, on the device; with ``--shard`` a share of each part."""
        from dysl_vla_ros.lab.learn.oft_dense import OftDense

        if not self._shard:
            return OftDense(self.checkpoint.network(), self.device)
        from dysl_vla_ros.lab.learn.sharding import sharded

        return OftDense(self.checkpoint.network(sharded(self.device)), self.device, placed=True)


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = [text.partition('=') for text in given]
    if bad := [a + b + c for a, b, c in pairs if not (a and b and c)]:
        raise ConfigError('pictures', bad, 'CAMERA=NAME')
    return {camera: name for camera, _, name in pairs}


def calibrate_published(given: argparse.Namespace) -> int:
    """Score the layers of a published folder; with ``--skipping``, guide what was distilled."""
    from dysl_vla_ros.lab.learn.static_layers import LAYERS, score_layers
    from dysl_vla_ros.lab.workspace import Workspace

    folder = given.target
    need_torch(folder)
    if (added := open_family(folder, given)) is not None:
        return calibrate_family(added, given)
    opened = Opened(folder, given, actions=False)
    out = given.out or folder.parent / f'{folder.name}_calibration'
    console = Output()
    with StageBars(console) as bars:
        space = Workspace(out, out, opened.device, bars.progress, bars.told)
        if given.skipping is not None:
            return _guide(given, opened, space, console)
        samples = opened.samples()
        layout = score_layers(opened.dense(), samples.stream(given.batch, 3), space,
                              given.static_share, given.tokens,
                              given.batch, given.batches)  # fmt: skip
    console.say(f'{out / LAYERS}: static layers {listed(layout.static_layers)} of '
                f'{layout.layers_total}; now dysl distill {folder} --dataset '
                f'{given.dataset[0]} --layers {out / LAYERS} --out FOLDER')  # fmt: skip
    return 0


def _guide(given: argparse.Namespace, opened: Opened, space: Any, console: Output) -> int:
    from dysl_vla_ros.lab.learn.oft_distilling import guide, record_episodes, with_calibration
    from dysl_vla_ros.lab.model.oft_skipping import load_oft_skipping, save_oft_skipping

    skipping = load_oft_skipping(given.skipping, opened.checkpoint.config)
    recording = record_episodes(
        opened.dense(), skipping.modules, opened.checkpoint, opened.data, opened.settings,
        opened.choice, given.episodes, space)  # fmt: skip
    spec = guide(recording, skipping.modules.layout, space, str(opened.data.folder),
                 given.depth, given.drop_rate)  # fmt: skip
    skipping.modules.cpu()
    save_oft_skipping(given.skipping, with_calibration(skipping, spec))
    console.say(f'{given.skipping}: calibration written; report and plots in {space.results}')
    return 0


def _memory(opened: Opened, batch: int, rank: int, shard: bool) -> str:
    """What the distillation will take, before it is begun."""
    from accelerate import PartialState

    from dysl_vla_ros.lab.model.inspection import evenly
    from dysl_vla_ros.lab.model.oft_costs import distillation_bytes

    config, size = opened.checkpoint.config, 2 if opened.device.type == 'cuda' else 4
    shares = int(PartialState().num_processes) if shard else 1
    found = distillation_bytes(config, evenly(config.layers), batch, rank, size, size, shares)
    return (
        f'memory of {opened.device.type}, computed: {found["all"] / 1e9:.2f} GB, of it '
        f'{found["weights"] / 1e9:.2f} for the frozen weights; a smaller --batch takes less'
    )


def distill_published(given: argparse.Namespace) -> int:
    """Adapters and controllers for a published folder, and when to skip."""
    from dysl_vla_ros.lab.begun_with import Stages, folder_digest
    from dysl_vla_ros.lab.learn.distilling import STATE
    from dysl_vla_ros.lab.learn.made_of import oft_data_of, shaping
    from dysl_vla_ros.lab.learn.oft_distilling import (
        SKIPPING,
        card,
        distil_oft,
        guide,
        record_episodes,
    )
    from dysl_vla_ros.lab.learn.static_layers import read_layers, score_layers
    from dysl_vla_ros.lab.model.oft_skipping import save_oft_skipping
    from dysl_vla_ros.lab.model.skipping_file import Skipping
    from dysl_vla_ros.lab.workspace import Workspace

    folder = given.checkpoint
    need_torch(folder)
    if (added := open_family(folder, given)) is not None:
        return distill_family(added, given)
    settings = published_settings(given)
    opened = Opened(folder, given, actions=settings.task_share > 0.0)
    layout = None if given.layers is None else read_layers(
        given.layers, opened.checkpoint.config.layers)  # fmt: skip
    console = Output()
    console.say(_memory(opened, settings.batch, given.rank or 0, given.shard))
    with StageBars(console) as bars:
        space = Workspace(given.out, given.out, opened.device, bars.progress, bars.told)
        samples, path = opened.samples(), given.out / SKIPPING
        stages = Stages(given.out, space.say, space.main)
        made_of = {
            'model': folder_digest(opened.checkpoint.folder), 'data': oft_data_of(samples),
            'distill': shaping(settings), 'rank': given.rank or 0, 'seed': given.seed,
            'layers': None if layout is None else list(layout.static_layers),
            'static_share': None if layout else given.static_share or 0.2,
            'episodes': given.episodes,
        }  # fmt: skip
        if stages.there(path, made_of):
            return 0
        dense = opened.dense()
        if layout is None:
            layout = score_layers(dense, samples.stream(settings.batch, 3), space,
                                  given.static_share or 0.2,
                                  batch=settings.batch)  # fmt: skip
        modules = distil_oft(dense, opened.checkpoint, layout, samples, settings, space,
                             given.rank or 0, given.note_every, given.seed)  # fmt: skip
        recording = record_episodes(
            dense,
            modules,
            opened.checkpoint,
            opened.data,
            opened.settings,
            opened.choice,
            given.episodes,
            space,
        )
        spec = guide(recording, layout, space, str(opened.data.folder))
        modules.cpu()
        if space.main:
            stages.note(path, made_of)
            about = card(space, given.unnorm_key, opened.data)
            save_oft_skipping(path, Skipping(modules, spec, about))
            (given.out / STATE).unlink(missing_ok=True)
    console.say(f'{path}: static layers {listed(layout.static_layers)} of '
                f'{layout.layers_total}; '
                f'now dysl export {folder} BUNDLE --skipping {path}')  # fmt: skip
    return 0
