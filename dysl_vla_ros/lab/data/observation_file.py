"""Demonstrated states as ``--observations`` reads them: a ``.npz`` of plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.demonstrations import Demonstrations
from dysl_vla_ros.targets import write_whole

OBSERVATIONS: Final = 'observations.npz'
MOST: Final = 300
"""States: enough for an error's 95 % quantile, few enough to lie beside a checkpoint."""


def write_observations(
    path: Path, data: Demonstrations, chosen: NDArray[np.int64], hand: int,
    when: Mapping[str, NDArray[Any]],
) -> None:  # fmt: skip
    """Write states of demonstrations, atomically.

    Args:
        path: Of the file.
        data: The demonstrations; they have instructions of their own.
        chosen: Numbers of the samples.
        hand: Numbers of the gripper at the end of the proprioception.
        when: ``episode`` and ``stamp`` [s] of each, where they are known.

    Raises:
        ConfigError: A camera is called as one of the other arrays.
    """
    frames = data.frame[chosen]
    state = data.proprioception[frames]
    body = state.shape[1] - hand
    arrays = {
        'joints': state[:, :body],
        'instruction': np.array([data.instructions[goal] for goal in data.goal[chosen]]),
        **when,
    }
    if hand:
        arrays['gripper'] = state[:, body:].mean(axis=1)
    if taken := sorted({'gripper', *arrays} & set(data.images)):
        raise ConfigError(OBSERVATIONS, taken, 'another name for this camera: an array of '
                          'the file is called so')  # fmt: skip
    pictures = {name: images[frames] for name, images in data.images.items()}
    write_whole(path, partial(_save, {**arrays, **pictures}))


def _save(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    with path.open('wb') as stream:  # of a name, numpy would make another that ends with .npz
        np.savez(stream, **arrays)  # type: ignore[arg-type]
