"""What a policy did on the robot, as the calibration needs it: accepted chunks, seams included.

A chunk is known by its displacements in the model's normalised space, by how many of its actions
were already played when it arrived, and by a counter of all played actions: the difference of
the counters of two chunks says how much of the first was executed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.guidance.calibrate import RecordedPass


@dataclass(frozen=True)
class AcceptedChunk:
    """One accepted chunk.

    Attributes:
        epoch: Of the control loop: a new one has forgotten the motion before it.
        displacements: Of all its actions, (horizon, dim), normalised.
        dropped: Its actions that were played before it arrived.
        counter: Actions that the loop had played, in all, when it arrived.
        scores: Dynamic layer -> score of its controller, where one was asked.
    """

    epoch: int
    displacements: FloatArray
    dropped: int
    counter: int
    scores: Mapping[int, float] = field(default_factory=dict)


def episodes_of(
    chunks: Sequence[AcceptedChunk], counter: int | None = None
) -> list[list[RecordedPass]]:
    """Group chunks into runs of uninterrupted motion.

    A run ends with its epoch, and where a chunk was played to its end before the next one came:
    the arm held, and the loop forgot the motion.

    Args:
        chunks: Of one control loop, in order.
        counter: Actions played at the end of the recording; without it nothing of the last chunk
            counts as played.
    """
    episodes: list[list[RecordedPass]] = []
    begins = True
    for chunk, after in zip_longest(chunks, chunks[1:]):
        rest = chunk.displacements[chunk.dropped :]
        end = counter if after is None else after.counter
        played = 0 if end is None else min(max(end - chunk.counter, 0), len(rest))
        if begins:
            episodes.append([])
        episodes[-1].append(RecordedPass(rest, played, chunk.scores))
        begins = after is not None and (after.epoch != chunk.epoch or played == len(rest))
    return episodes


def check_recording(episodes: Iterable[Sequence[RecordedPass]], dim: int, source: str) -> None:
    """Refuse a recording from which nothing can be learnt.

    Raises:
        ConfigError: Too few chunks, or actions of another size.
    """
    passes = [entry for episode in episodes for entry in episode]
    played = sum(entry.played for entry in passes)
    if len(passes) < 2 or played < 2:
        raise ConfigError(source, f'{len(passes)} chunks, {played} actions played',
                          'a recording in which the policy moved the arm')  # fmt: skip
    for entry in passes:
        if entry.chunk.shape[1:] != (dim,):
            raise ConfigError(source, entry.chunk.shape, f'chunks of {dim} numbers per action, '
                              'as the model has; was another policy recorded?')  # fmt: skip
        if not np.isfinite(entry.chunk).all():
            raise ConfigError(source, 'a chunk with a number that is not finite', 'finite numbers')
