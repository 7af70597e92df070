"""A checkpoint named on the command line -> something that can be exported or compared with."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.bundle.manifest import StateSource
from dysl_vla_ros.bundle.ranges import LEAST_CROP
from dysl_vla_ros.cli.failures import pip_line
from dysl_vla_ros.cli.families import add_family_option, export_family, open_family
from dysl_vla_ros.cli.inputs import look_at_checkpoint
from dysl_vla_ros.cli.values import COUNT, number
from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.targets import contents, listed

if TYPE_CHECKING:
    from dysl_vla_ros.engines.engine import Engine
    from dysl_vla_ros.lab.export.openvla_served import OpenVlaServed
    from dysl_vla_ros.lab.export.parts import Described, Exportable
    from dysl_vla_ros.lab.model.checkpoint import Checkpoint
    from dysl_vla_ros.lab.model.openvla_oft_loader import OftCheckpoint
    from dysl_vla_ros.lab.model.published_settings import OftSettings
    from dysl_vla_ros.lab.model.survey import Asked

PROMPT_TOKENS = 40
"""Every token costs time in every layer."""
_BY_KEY = ('cameras', 'horizon', 'bounds', 'libero_units', 'action_space', 'period',
           'proprioception', 'fingers', 'rotate_180', 'crop_area')  # fmt: skip
_EITHER = argparse.BooleanOptionalAction


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Declare what a published folder does not say."""
    group = parser.add_argument_group(
        'OpenVLA-OFT', "what its published folder does not say; by default what its statistics' "
        'key stands for: libero, bridge or aloha')  # fmt: skip
    group.add_argument('--skipping', type=Path,
                       help='controllers and adapters that were distilled for it; without, it is '
                       'dense')  # fmt: skip
    add_published_options(group)
    group.add_argument('--joint-names', nargs='+', default=[], metavar='JOINT',
                       help='joints of its proprioception or actions, in order; a gripper follows '
                       "them where there is one number more. Default: the node's")  # fmt: skip
    group.add_argument('--delta-reference', choices=('commanded', 'measured'),
                       help='what increments add to; default: commanded')  # fmt: skip
    group.add_argument('--frame', default='', help='frame of end-effector actions and poses; '
                       "default: the node's action.frame_id")  # fmt: skip
    group.add_argument('--tip', default='', help="link that they move; default: the node's "
                       'action.tip_link')  # fmt: skip


def add_published_options(group: Any) -> None:
    """Declare what data set and robot of a published folder are, as far as its key does not."""
    group.add_argument('--unnorm-key', default='', help='data set whose statistics are used')
    group.add_argument('--cameras', nargs='+', help='names of the images, third person first')
    group.add_argument('--horizon', type=COUNT, help='actions per chunk')
    group.add_argument('--prompt-tokens', type=COUNT, default=PROMPT_TOKENS,
                       help="longest prompt; LIBERO's 40 tasks need up to 39")  # fmt: skip
    group.add_argument('--bounds', choices=('quantiles', 'extremes'),
                       help='what -1 and 1 stand for: extremes for ALOHA')  # fmt: skip
    group.add_argument('--libero-units', action=_EITHER,
                       help='an action of 1.0 is 5 cm or 0.5 rad')  # fmt: skip
    group.add_argument('--action-space', choices=get_args(ActionSpace), help='what actions are')
    group.add_argument('--period', type=number(0, 10, above=True), help='of one action [s]')
    group.add_argument('--proprioception', choices=(*get_args(StateSource), 'none'),
                       help='what it is made of: joints, or the pose of the tip; none: the model '
                       'was trained without')  # fmt: skip
    group.add_argument('--fingers', nargs='+', type=number(-1000), metavar='POSITION',
                       help='closed and open position of each number that the gripper has in '
                       'the proprioception')  # fmt: skip
    group.add_argument('--rotate-180', action=_EITHER, help='turn images, as for LIBERO')
    group.add_argument('--crop-area', type=number(LEAST_CROP, 1),
                       help='share of the image kept by the centre crop')  # fmt: skip
    add_family_option(group)
    for action in group._group_actions:
        if action.default is None and action.dest in _BY_KEY:
            action.help = f"{action.help}; default: its key's"


def open_exportable(path: Path, given: argparse.Namespace) -> Exportable:
    """A checkpoint file of the bundled policy, or a published folder of a known family.

    Raises:
        BundleError: Neither.
        ConfigError: Something is missing that the folder does not say; names the options.
    """
    _look(path)
    if path.is_file():
        from dysl_vla_ros.lab.export.small_parts import SmallParts
        from dysl_vla_ros.lab.model.checkpoint import load_checkpoint

        return SmallParts(_renamed(load_checkpoint(path), given))
    if (added := open_family(path, given)) is not None:
        return export_family(added, given)
    return _exportable_oft(path, given)


def open_in_torch(path: Path, given: argparse.Namespace) -> tuple[Engine, Described]:
    """What runs a checkpoint or a published folder that was never exported, and what it means.

    Raises:
        BundleError: Neither, or incomplete.
        ConfigError: Something is missing that the folder does not say; names the options.
    """
    _look(path)
    from dysl_vla_ros.lab.export.parts_engine import PartsEngine
    from dysl_vla_ros.lab.model.openvla_survey import is_openvla
    from dysl_vla_ros.lab.workspace import training_device

    device = training_device(given.device)
    if is_openvla(path) and open_family(path, given) is None:
        served = _served_openvla(path, given)
        return served.engine(device), served
    source = open_exportable(path, given)
    return PartsEngine(source, device), source


def _look(path: Path) -> None:
    """Refuse what is no checkpoint and no published folder, and a machine without torch."""
    if not path.is_dir():
        look_at_checkpoint('checkpoint', path)
    elif (path / MANIFEST_NAME).is_file():
        raise ConfigError('checkpoint', str(path), 'a checkpoint, or a published folder: this is '
                          'a bundle, which is exported already')  # fmt: skip
    elif not any(path.glob('*.json')):
        raise ConfigError(
            'checkpoint',
            str(path),
            'a checkpoint, or a published folder with a '
            f'config.json: here there is {listed(contents(path)) or "nothing"}',
        )
    need_torch(path)


def _renamed(checkpoint: Checkpoint, given: argparse.Namespace) -> Checkpoint:
    """A checkpoint of any robot, with the names that the command line gives its parts."""
    if checkpoint.robot is None:
        return checkpoint
    names = tuple(given.joint_names)
    known = checkpoint.robot.joint_names
    if names and len(names) != len(known):
        raise ConfigError('joint-names', names, f'{len(known)} names, of {", ".join(known)}')
    changes: dict[str, Any] = {name: value for name, value in (
        ('joint_names', names), ('frame_id', given.frame), ('tip_link', given.tip),
        ('delta_reference', given.delta_reference)) if value}  # fmt: skip
    return replace(checkpoint, robot=replace(checkpoint.robot, **changes))


def need_torch(path: Path) -> None:
    """Say what reading a checkpoint takes.

    Raises:
        BundleError: torch is missing.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise BundleError(
            f'{path}: reading a checkpoint needs torch; {pip_line("train")}'
        ) from None


def given_settings(given: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of a data set; None leaves it to the key.

    Raises:
        ConfigError: A finger has only one position.
    """
    from dysl_vla_ros.lab.model.published_statistics import LIBERO_UNITS

    units = {None: None, True: LIBERO_UNITS, False: ()}[given.libero_units]
    ends = given.fingers
    if ends is not None and len(ends) % 2:
        raise ConfigError('fingers', ends, 'two numbers per finger: closed and open')
    pairs = None if ends is None else tuple(zip(ends[::2], ends[1::2], strict=True))
    return {
        'cameras': given.cameras and tuple(given.cameras), 'horizon': given.horizon,
        'bounds': given.bounds, 'units': units, 'space': given.action_space,
        'period_s': given.period, 'source': given.proprioception, 'fingers': pairs,
        'rotate_180': given.rotate_180, 'crop_area': given.crop_area,
        'delta_reference': getattr(given, 'delta_reference', None),
    }  # fmt: skip


def open_published(
    folder: Path, given: argparse.Namespace, dtype: Any = None
) -> tuple[OftCheckpoint, OftSettings]:
    """A published OpenVLA-OFT folder as the command line describes it.

    Args:
        folder: The folder.
        given: The command line.
        dtype: Of the weights; None is float32.

    Raises:
        BundleError: Another family, or an incomplete folder; lists all that is wrong.
        ConfigError: Neither key nor options say what the data set is; lists the options.
    """
    import torch

    from dysl_vla_ros.lab.model.oft_survey import survey_oft

    return survey_oft(folder, asked_of(given), dtype or torch.float32).opened()


def _served_openvla(folder: Path, given: argparse.Namespace) -> OpenVlaServed:
    from dysl_vla_ros.lab.export.openvla_served import OpenVlaServed
    from dysl_vla_ros.lab.model.openvla_survey import survey_openvla

    checkpoint, settings = survey_openvla(folder, asked_of(given))
    return OpenVlaServed(checkpoint, settings, given.skipping, tuple(given.joint_names),
                         given.frame, given.tip)  # fmt: skip


def asked_of(given: argparse.Namespace) -> Asked:
    """What the command line says of a published folder."""
    from dysl_vla_ros.lab.model.survey import Asked

    return Asked(given.unnorm_key, given_settings(given), given.prompt_tokens,
                 getattr(given, 'batch', None) or 8)  # fmt: skip


def _exportable_oft(folder: Path, given: argparse.Namespace) -> Exportable:
    from dysl_vla_ros.lab.export.oft_parts import OftExport, OftRobot
    from dysl_vla_ros.lab.model.oft_skipping import load_oft_skipping

    checkpoint, settings = open_published(folder, given)
    robot = OftRobot(
        joint_names=tuple(given.joint_names), space=settings.space, period_s=settings.period_s,
        delta_reference=settings.delta_reference, frame_id=given.frame, tip_link=given.tip,
        rotate_180=settings.rotate_180, crop_area=settings.crop_area, source=settings.source,
        fingers=settings.fingers, state_gripper=settings.state_gripper,
        action_gripper=settings.action_gripper,
    )  # fmt: skip
    skipping = None if given.skipping is None else load_oft_skipping(
        given.skipping, checkpoint.config)  # fmt: skip
    return OftExport(checkpoint, skipping, robot)
