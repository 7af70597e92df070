"""A checkpoint named on the command line -> something that can be exported or compared with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from dysl_vla_ros.lab.export.parts import Exportable


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Declare what a published folder does not say."""
    group = parser.add_argument_group('OpenVLA-OFT', 'what its published folder does not say')
    group.add_argument('--skipping', type=Path,
                       help='controllers and adapters that were distilled for it')  # fmt: skip
    group.add_argument('--joint-names', nargs='+', default=[], metavar='JOINT',
                       help='joints of its proprioception, in order; a gripper follows them where '
                       'it has one number more. LIBERO checkpoints read the pose of the end '
                       'effector instead, which the node does not feed')  # fmt: skip
    group.add_argument('--unnorm-key', default='', help='data set whose statistics are used')
    group.add_argument('--cameras', nargs='+', default=['image', 'wrist_image'],
                       help='names of the images, third person first')  # fmt: skip
    group.add_argument('--horizon', type=int, default=8, help='actions per chunk')
    group.add_argument('--prompt-tokens', type=int, default=35, help='longest prompt')
    group.add_argument('--bounds', default='quantiles', choices=('quantiles', 'extremes'),
                       help='what -1 and 1 stand for: extremes for ALOHA')  # fmt: skip
    group.add_argument('--libero-units', action='store_true',
                       help='an action of 1.0 is 5 cm or 0.5 rad')  # fmt: skip
    group.add_argument('--action-space', default='eef_delta', choices=get_args(ActionSpace))
    group.add_argument('--period', type=float, default=0.05, help='of one action [s]')
    group.add_argument('--delta-reference', default='commanded',
                       choices=('commanded', 'measured'))  # fmt: skip
    group.add_argument('--frame', default='base_link', help='frame of end-effector actions')
    group.add_argument('--tip', default='grasp_link', help='link that they move')
    group.add_argument('--rotate-180', action='store_true', help='turn images, as for LIBERO')
    group.add_argument('--crop-area', type=float, default=0.9,
                       help='share of the image kept by the centre crop')  # fmt: skip


def open_exportable(path: Path, given: argparse.Namespace) -> Exportable:
    """A checkpoint file of the bundled policy, or a published OpenVLA-OFT folder.

    Raises:
        BundleError: Neither.
        ConfigError: Something is missing that the folder does not say; names the option.
    """
    if not path.exists():
        raise BundleError(f'{path}: no such file or folder; expected a checkpoint')
    try:
        import torch  # noqa: F401
    except ImportError:
        raise BundleError(
            f"{path}: reading a checkpoint needs torch: pip install 'dysl_vla_ros[train]'"
        ) from None
    if path.is_file():
        from dysl_vla_ros.lab.export.small_parts import SmallParts
        from dysl_vla_ros.lab.model.checkpoint import load_checkpoint

        return SmallParts(load_checkpoint(path))
    return _open_oft(path, given)


def _open_oft(folder: Path, given: argparse.Namespace) -> Exportable:
    from dysl_vla_ros.lab.export.oft_parts import OftExport, OftRobot
    from dysl_vla_ros.lab.model.oft_skipping import load_oft_skipping
    from dysl_vla_ros.lab.model.openvla_oft_loader import open_oft
    from dysl_vla_ros.lab.model.published_statistics import LIBERO_UNITS

    checkpoint = open_oft(
        folder, given.unnorm_key, cameras=tuple(given.cameras), action_horizon=given.horizon,
        prompt_tokens=given.prompt_tokens, bounds=given.bounds,
        units=LIBERO_UNITS if given.libero_units else (),
    )  # fmt: skip
    if given.skipping is None:
        raise ConfigError('--skipping', None, 'the file with its controllers and adapters')
    robot = OftRobot(
        joint_names=tuple(given.joint_names), space=given.action_space, period_s=given.period,
        delta_reference=given.delta_reference, frame_id=given.frame, tip_link=given.tip,
        rotate_180=given.rotate_180, crop_area=given.crop_area,
    )  # fmt: skip
    return OftExport(checkpoint, load_oft_skipping(given.skipping, checkpoint.config), robot)
