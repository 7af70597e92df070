"""What the user says of a data set of any robot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.model.shapes import PATCH

Units = Literal['auto', 'radians', 'degrees', 'as-stored']
UNITS: tuple[Units, ...] = ('auto', 'radians', 'degrees', 'as-stored')


@dataclass(frozen=True)
class SetChoice:
    """What the user says of a set; empty leaves it to the set.

    Attributes:
        cameras: Pictures, without ``observation.images.``; ``name=picture`` renames one.
        state: Columns that make the proprioception.
        action: Column of the actions.
        space: Of the actions.
        gripper: Names of the numbers that are openings; ``none`` for none.
        gripper_range: Closed and open, in the set's units.
        action_scale: Metres and radians of each number of an action that is no opening.
        units: Of the joints.
        joint_names: Other names for the joints, in order.
        horizon: Actions per chunk.
        image_size: Shorter side of a picture as the policy sees it [pixels].
        held_out: Share of the episodes that is held out.
        max_frames: Frames loaded, evenly spread.
        seed: Of what is held out.
        only: Names of the numbers that are read and moved, in order; empty is all.
        action_names: Names of the state for the numbers of an action, in its order.
        action_units: Of the joints of an action; '' is those of the state.
    """

    cameras: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    action: str = ''
    space: ActionSpace | Literal[''] = ''
    gripper: tuple[str, ...] = ()
    gripper_range: tuple[float, float] | None = None
    action_scale: tuple[float, ...] = ()
    units: Units = 'auto'
    joint_names: tuple[str, ...] = ()
    horizon: int = 0
    image_size: int = 96
    held_out: float = 0.1
    max_frames: int = 0
    seed: int = 0
    only: tuple[str, ...] = ()
    action_names: tuple[str, ...] = ()
    action_units: Units | Literal[''] = ''

    def __post_init__(self) -> None:
        """Refuse what would read nothing."""
        if self.horizon and not 2 <= self.horizon <= 200:
            raise ConfigError('horizon', self.horizon, 'actions per chunk, 2 to 200')
        if not PATCH <= self.image_size <= 512:
            raise ConfigError('image-size', self.image_size, f'{PATCH} to 512 pixels')
        if not 0.0 < self.held_out < 1.0:
            raise ConfigError('held-out', self.held_out, 'a share of the episodes, above 0 and '
                              'below 1')  # fmt: skip
        if self.gripper_range is not None and self.gripper_range[0] == self.gripper_range[1]:
            raise ConfigError('gripper-range', self.gripper_range, 'two different numbers: closed '
                              'and open')  # fmt: skip
