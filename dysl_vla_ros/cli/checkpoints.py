"""A checkpoint named on the command line -> something that can be exported or compared with."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dysl_vla_ros.bundle.manifest import StateSource
from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from dysl_vla_ros.lab.export.parts import Exportable
    from dysl_vla_ros.lab.model.checkpoint import Checkpoint
    from dysl_vla_ros.lab.model.openvla_oft_loader import OftCheckpoint
    from dysl_vla_ros.lab.model.published_settings import OftSettings

PROMPT_TOKENS = 40
"""Every token costs time in every layer."""
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
    group.add_argument('--horizon', type=int, help='actions per chunk')
    group.add_argument('--prompt-tokens', type=int, default=PROMPT_TOKENS,
                       help="longest prompt; LIBERO's 40 tasks need up to 39")  # fmt: skip
    group.add_argument('--bounds', choices=('quantiles', 'extremes'),
                       help='what -1 and 1 stand for: extremes for ALOHA')  # fmt: skip
    group.add_argument('--libero-units', action=_EITHER,
                       help='an action of 1.0 is 5 cm or 0.5 rad')  # fmt: skip
    group.add_argument('--action-space', choices=get_args(ActionSpace))
    group.add_argument('--period', type=float, help='of one action [s]')
    group.add_argument('--proprioception', choices=get_args(StateSource),
                       help='what it is made of: joints, or the pose of the tip')  # fmt: skip
    group.add_argument('--fingers', nargs='+', type=float, metavar='POSITION',
                       help='closed and open position of each number that the gripper has in '
                       'the proprioception')  # fmt: skip
    group.add_argument('--rotate-180', action=_EITHER, help='turn images, as for LIBERO')
    group.add_argument('--crop-area', type=float,
                       help='share of the image kept by the centre crop')  # fmt: skip


def open_exportable(path: Path, given: argparse.Namespace) -> Exportable:
    """A checkpoint file of the bundled policy, or a published OpenVLA-OFT folder.

    Raises:
        BundleError: Neither.
        ConfigError: Something is missing that the folder does not say; names the options.
    """
    if not path.exists():
        raise BundleError(f'{path}: no such file or folder; expected a checkpoint')
    need_torch(path)
    if path.is_file():
        from dysl_vla_ros.lab.export.small_parts import SmallParts
        from dysl_vla_ros.lab.model.checkpoint import load_checkpoint

        return SmallParts(_renamed(load_checkpoint(path), given))
    return _exportable_oft(path, given)


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
            f"{path}: reading a checkpoint needs torch: pip install 'dysl_vla_ros[train]'"
        ) from None


def published_settings(folder: Path, given: argparse.Namespace) -> tuple[str, OftSettings]:
    """Name of the data set whose statistics are used, and what it means.

    Raises:
        BundleError: Another family, or an incomplete folder.
        ConfigError: Neither key nor options say it; lists the options.
    """
    from dysl_vla_ros.lab.model.family import expect_oft
    from dysl_vla_ros.lab.model.openvla_oft_loader import open_ends
    from dysl_vla_ros.lab.model.published_settings import settle
    from dysl_vla_ros.lab.model.published_statistics import all_statistics, statistics_key

    expect_oft(folder)
    key = statistics_key(folder, all_statistics(folder), given.unnorm_key)
    _, _, action_dim, state_dim = open_ends(folder)
    return key, settle(key, given_settings(given), action_dim, state_dim)


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
    """
    import torch

    from dysl_vla_ros.lab.model.openvla_oft_loader import open_oft

    key, settings = published_settings(folder, given)
    checkpoint = open_oft(
        folder, key, cameras=settings.cameras, action_horizon=settings.horizon,
        prompt_tokens=given.prompt_tokens, bounds=settings.bounds, units=settings.units,
        dtype=dtype or torch.float32,
    )  # fmt: skip
    return checkpoint, settings


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
