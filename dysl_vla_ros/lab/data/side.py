"""The numbers of a state, or of an action, in the policy's order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.data.pose_names import Rotation


@dataclass(frozen=True)
class Side:
    """Numbers of a state, or of an action, in the policy's order.

    Attributes:
        columns: They come from, joined.
        names: Of each number; of a quaternion, which is read as a vector, three.
        order: Place of each stored number in the joined columns.
        gripper: Places of openings, among ``names``.
        rotation: Of a pose: what follows its position, as it is stored.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    order: tuple[int, ...]
    gripper: tuple[int, ...] = ()
    rotation: Rotation = ''

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of what is no opening."""
        return tuple(name for n, name in enumerate(self.names) if n not in self.gripper)

    @property
    def opened(self) -> tuple[str, ...]:
        """Names of the openings."""
        return tuple(self.names[n] for n in self.gripper)

    def of(self, numbers: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Stored numbers of an episode, (frames, size), in the policy's order."""
        joined = np.concatenate([numbers[name] for name in self.columns], axis=1)
        return joined[:, list(self.order)]
