"""Batches from demonstrations that lie on the device, augmented there.

The images of a whole run fit into the memory of one GPU as bytes, so no loader process is needed:
a batch is one gather. Batch number ``n`` is the same in every run with the same seed, which is
what makes an interrupted training resumable without storing random states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dysl_vla_ros.lab.data.demonstrations import Demonstrations, normalise
from dysl_vla_ros.lab.model.shapes import Statistics


@dataclass(frozen=True)
class Augmentation:
    """How strongly images are varied.

    Attributes:
        shift: Largest shift [pixels]. Small: the place in the image is the place on the table.
        gain: Largest relative change of brightness.
        tint: Largest relative change of one colour channel.
        noise: Standard deviation of joint noise, in normalised units.
    """

    shift: int = 1
    gain: float = 0.15
    tint: float = 0.06
    noise: float = 0.01


NO_AUGMENTATION = Augmentation(shift=0, gain=0.0, tint=0.0, noise=0.0)


@dataclass(frozen=True)
class Batch:
    """Tensors of one update; see ``Demonstrations`` for the meaning.

    Attributes:
        images: One per camera, (B, 3, H, W) float32 in [-1, 1].
        tokens: (B, T) int64.
        proprioception: Normalised, (B, p).
        chunk: Normalised, (B, horizon, dim).
        point: (B, 2) int64, -1 where unknown.
        offset: [decimetres], (B, 2, 3), NaN where unknown.
        name: Number of the named object's name, (B,) int64.
        goal: Number of the goal, (B,) int64.
    """

    images: tuple[Tensor, ...]
    tokens: Tensor
    proprioception: Tensor
    chunk: Tensor
    point: Tensor
    offset: Tensor
    name: Tensor
    goal: Tensor


class BatchSource:
    """Demonstrations on a device, with the tokens of every phrasing."""

    def __init__(
        self,
        data: Demonstrations,
        table: tuple[NDArray[np.int64], NDArray[np.int64]],
        statistics: Statistics,
        device: torch.device,
        seed: int,
        own_share: float = 0.5,
        names: NDArray[np.int64] | None = None,
    ) -> None:
        """Move everything to the device.

        Args:
            data: Checked demonstrations.
            table: Tokens and phrasings per goal, from ``words.encode_table``.
            statistics: Normalisation.
            device: Where the batches are made.
            seed: Of the order and the augmentation.
            own_share: Share of samples whose goal is the one that was being pursued; the rest
                are other goals named in the same frame.
            names: Number of the target's name per goal, (goals,); None where nothing asks.
        """

        def put(values: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        self.device, self.seed, self.own_share = device, seed, own_share
        self._images = [put(values) for values in data.images.values()]
        self._joints = put(normalise(data.proprioception, statistics.proprioception))
        self._chunk = put(normalise(data.chunk, statistics.action))
        self._frame, self._goal = put(data.frame), put(data.goal)
        self._point, self._offset = put(data.point), put(data.offset * 10.0)
        self._own, self._other = put(np.flatnonzero(data.own)), put(np.flatnonzero(~data.own))
        self._tokens, self._phrasings = put(table[0]), put(table[1])
        self._names = put(np.zeros(len(table[0]), np.int64) if names is None else names)
        self.samples = data.samples

    def draw(self, number: int, size: int, augmentation: Augmentation, rank: int = 0) -> Batch:
        """Random batch ``number``; processes with other ranks draw other samples."""
        generator = torch.Generator(self.device)
        generator.manual_seed(self.seed * 1_000_003 + number * 64 + rank)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=self.device)

        own = round(size * self.own_share) if len(self._other) else size
        own = size if not len(self._own) else own
        pools = [pool for pool in (self._own, self._other) if len(pool)]
        counts = [own, size - own] if len(pools) == 2 else [size]
        index = torch.cat([
            pool[(uniform(count) * len(pool)).long().clamp_(max=len(pool) - 1)]
            for pool, count in zip(pools, counts, strict=True)
        ])  # fmt: skip
        goal = self._goal[index]
        phrasing = (uniform(size) * self._phrasings[goal]).long()
        frame = self._frame[index]
        joints = self._joints[frame]
        noise = torch.randn(joints.shape, generator=generator, device=self.device)
        images = []
        for stored in self._images:
            images.append(_augmented(stored, frame, uniform(size, 2), uniform(size, 3),
                                     uniform(size, 1), augmentation))  # fmt: skip
        return Batch(
            tuple(images), self._tokens[goal, phrasing], joints + augmentation.noise * noise,
            self._chunk[index], self._point[index], self._offset[index], self._names[goal],
            goal,
        )  # fmt: skip


def _augmented(
    stored: Tensor, frame: Tensor, shift: Tensor, tint: Tensor, gain: Tensor, how: Augmentation
) -> Tensor:
    """Gather frames shifted by whole pixels, with brightness and tint changed."""
    _, height, width, _ = stored.shape
    moved = (shift * (2 * how.shift + 1)).long() - how.shift
    rows = (torch.arange(height, device=stored.device) + moved[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=stored.device) + moved[:, 1:]).clamp(0, width - 1)
    image = stored[frame[:, None, None], rows[:, :, None], columns[:, None, :]].float() / 255.0
    factor = (1.0 + how.gain * (2.0 * gain - 1.0)) * (1.0 + how.tint * (2.0 * tint - 1.0))
    image = (image * factor[:, None, None, :]).clamp(0.0, 1.0) * 2.0 - 1.0
    return image.permute(0, 3, 1, 2)
