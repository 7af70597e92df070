"""Labelled frames: what the cameras and joints showed, and what the expert would do for each goal.

A *frame* is one observation. A *sample* is a frame seen with one goal in mind: the expert's clean
chunk for it. One frame has many samples, because every goal that could be named is labelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import NormalisationSpec
from dysl_vla_ros.core import transforms
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.model.shapes import Statistics


@dataclass(frozen=True)
class Demonstrations:
    """Frames and samples.

    Attributes:
        images: Camera name -> (frames, height, width, 3) uint8.
        proprioception: Joint positions [rad] and gripper opening, (frames, p) float32.
        frame: Which frame a sample looks at, (samples,) int64.
        goal: Which goal it has in mind, (samples,) int64.
        own: Whether that is the goal the episode was pursuing, (samples,) bool.
        chunk: The expert's actions from there, (samples, horizon, dim) float32, physical units.
        point: Patch of the first camera that shows the named object and the destination,
            (samples, 2) int64; -1 where there is none or it is out of view.
        offset: Vector from the gripper to both [m], (samples, 2, 3) float32; NaN where none.
        instructions: What each goal is called, by number; empty for the goals of the simulator.
        episode: Number of the episode that a frame is of, (frames,) int64, its frames in the order
            they were taken in; None where it is not kept.
    """

    images: Mapping[str, NDArray[np.uint8]]
    proprioception: NDArray[np.float32]
    frame: NDArray[np.int64]
    goal: NDArray[np.int64]
    own: NDArray[np.bool_]
    chunk: NDArray[np.float32]
    point: NDArray[np.int64]
    offset: NDArray[np.float32]
    instructions: tuple[str, ...] = ()
    episode: NDArray[np.int64] | None = None

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.proprioception)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.frame)

    def check(self, goals: int, horizon: int, action_dim: int, largest_step: float) -> None:
        """Refuse what would spoil a training run, before its first step.

        Args:
            goals: Number of known goals.
            horizon: Actions per chunk.
            action_dim: Numbers per action; the last is the gripper's opening.
            largest_step: Largest translation per action [m]; more means another action space.

        Raises:
            ConfigError: Names the field, what was found, and what would be right.
        """
        frames, samples = self.frames, self.samples
        if not samples:
            raise ConfigError('frame', samples, 'at least one sample')
        for camera, values in self.images.items():
            _shape(f'image.{camera}', values, (frames, None, None, 3), np.uint8)
        _shape('proprioception', self.proprioception, (frames, None), np.float32)
        _shape('goal', self.goal, (samples,), np.int64)
        _shape('own', self.own, (samples,), np.bool_)
        _shape('chunk', self.chunk, (samples, horizon, action_dim), np.float32)
        _shape('point', self.point, (samples, 2), np.int64)
        _shape('offset', self.offset, (samples, 2, 3), np.float32)
        for name, index, count in (('frame', self.frame, frames), ('goal', self.goal, goals)):
            if index.min() < 0 or index.max() >= count:
                found = (int(index.min()), int(index.max()))
                raise ConfigError(name, found, f'indices within 0..{count - 1}')
        for name, numbers in (('proprioception', self.proprioception), ('chunk', self.chunk)):
            if not np.isfinite(numbers).all():
                row = int(np.argwhere(~np.isfinite(numbers))[0][0])
                raise ConfigError(f'{name}[{row}]', numbers[row].tolist(), 'finite numbers')
        step = float(np.abs(self.chunk[..., :3]).max())
        if step > largest_step:
            raise ConfigError(
                'chunk', step, f'translations of at most {largest_step} m per action: '
                'per-action deltas of the end effector, not absolute poses',
            )  # fmt: skip


def join(parts: Sequence[Demonstrations]) -> Demonstrations:
    """One body of data from several; frames are renumbered."""
    if not parts:
        raise ConfigError('datasets', 0, 'at least one dataset')
    if len({part.instructions for part in parts}) > 1:
        raise ConfigError('instructions', len(parts), 'datasets of the same tasks')
    starts = np.cumsum([0, *(part.frames for part in parts[:-1])])
    shifted = [part.frame + start for part, start in zip(parts, starts, strict=True)]
    return Demonstrations(
        images={
            name: np.concatenate([part.images[name] for part in parts]) for name in parts[0].images
        },
        proprioception=np.concatenate([part.proprioception for part in parts]),
        frame=np.concatenate(shifted),
        goal=np.concatenate([part.goal for part in parts]),
        own=np.concatenate([part.own for part in parts]),
        chunk=np.concatenate([part.chunk for part in parts]),
        point=np.concatenate([part.point for part in parts]),
        offset=np.concatenate([part.offset for part in parts]),
        instructions=parts[0].instructions,
        episode=_renumbered([part.episode for part in parts]),
    )


def _renumbered(episodes: Sequence[NDArray[np.int64] | None]) -> NDArray[np.int64] | None:
    """Episodes of several bodies of data, counted on; None where one of them keeps none."""
    known = [numbers for numbers in episodes if numbers is not None]
    if len(known) < len(episodes):
        return None
    starts = np.cumsum([0, *(int(numbers.max(initial=-1)) + 1 for numbers in known[:-1])])
    return np.concatenate([numbers + first for numbers, first in zip(known, starts, strict=True)])


SMALLEST_RANGE = (0.002, 0.002, 0.002, 0.02, 0.02, 0.02)
"""Half-range below which a dimension is not stretched to [-1, 1] [m, rad]: one that hardly moves
would otherwise turn its noise into the loss."""


def statistics(data: Demonstrations) -> Statistics:
    """Quantile normalisation (1 % and 99 %), symmetric for deltas so that rest maps to zero."""
    deltas = np.abs(data.chunk[..., :-1]).reshape(-1, data.chunk.shape[-1] - 1)
    reach = np.maximum(np.quantile(deltas, 0.99, axis=0), SMALLEST_RANGE[: deltas.shape[1]])
    action = NormalisationSpec(
        low=(*(-reach).tolist(), 0.0), high=(*reach.tolist(), 1.0), mask=(True,) * (len(reach) + 1)
    )
    joints = data.proprioception[:, :-1]
    low, high = np.quantile(joints, 0.01, axis=0), np.quantile(joints, 0.99, axis=0)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 0.05)
    proprioception = NormalisationSpec(
        low=(*(middle - half).tolist(), 0.0),
        high=(*(middle + half).tolist(), 1.0),
        mask=(True,) * (len(half) + 1),
    )
    return Statistics(proprioception=proprioception, action=action)


def normalise(values: NDArray[np.float32], spec: NormalisationSpec) -> NDArray[np.float32]:
    """[low, high] -> [-1, 1] on the last axis, where the mask is true; as the robot does it."""
    return transforms.normalise(values, spec.low, spec.high, spec.mask).astype(np.float32)


def unnormalise(values: NDArray[np.float32], spec: NormalisationSpec) -> NDArray[np.float32]:
    """The inverse of ``normalise``."""
    return transforms.unnormalise(values, spec.low, spec.high, spec.mask).astype(np.float32)


def _shape(
    name: str, values: NDArray[np.generic], shape: tuple[int | None, ...], dtype: type
) -> None:
    fits = values.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, values.shape, strict=True)
    )
    if not fits:
        raise ConfigError(f'{name}.shape', values.shape, f'{shape} (None: any size)')
    if values.dtype != dtype:
        raise ConfigError(f'{name}.dtype', str(values.dtype), np.dtype(dtype).name)
