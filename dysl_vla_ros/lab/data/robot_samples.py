"""Frames of a data set of any robot as demonstrations: what was seen, and what was done then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.data_types import Fit
from dysl_vla_ros.engines.image_tensor import as_seen
from dysl_vla_ros.errors import ConfigError, InputError
from dysl_vla_ros.lab.data.dataset_format import OURS
from dysl_vla_ros.lab.data.demonstrations import Demonstrations
from dysl_vla_ros.lab.data.joint_order import Layout, arrange
from dysl_vla_ros.lab.data.lerobot import LerobotSet, open_lerobot
from dysl_vla_ros.lab.data.lerobot_frames import EpisodeRows, read_pictures, read_rows
from dysl_vla_ros.lab.data.robot_reading import Reading, settle
from dysl_vla_ros.lab.data.same_robot import alike, same_units
from dysl_vla_ros.lab.data.set_choice import SetChoice
from dysl_vla_ros.lab.data.set_facts import with_facts

FIT: Fit = 'squash'
"""Sizes are chosen near the picture's own shape, so hardly anything is stretched."""
MOST_FRAMES = 20_000
UNNAMED = 'do the task'
"""What is said where a set has no words."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RobotSamples:
    """A set, loaded.

    Attributes:
        training: Frames to learn from.
        held_out: Frames of episodes that are not learnt from.
        before: Action in front of each held-out frame, (frames, dim).
        episodes: Numbers of the held-out episodes.
        starts: First frame of each held-out episode, among them.
        every: Frames of the set per frame that was loaded.
    """

    training: Demonstrations
    held_out: Demonstrations
    before: NDArray[np.float32]
    episodes: tuple[int, ...]
    starts: tuple[int, ...]
    every: float = 1.0

    def passes(self, played: int) -> list[NDArray[np.int64]]:
        """Held-out frames that passes would see, episode by episode.

        Args:
            played: Actions of a chunk that are played before the next pass.
        """
        step = max(round(played / self.every), 1)
        ends = (*self.starts[1:], self.held_out.frames)
        return [np.arange(first, end, step) for first, end in zip(self.starts, ends, strict=True)]


def read_set(
    folder: str | LerobotSet, choice: SetChoice, known: Reading | None = None
) -> tuple[LerobotSet, Reading, list[EpisodeRows]]:
    """Description and numbers of a set, and how it is read; no picture yet.

    Args:
        folder: Of the set.
        choice: What the user says.
        known: How a checkpoint's set was read; then this one is read alike.

    Raises:
        ConfigError: It cannot be read; lists what is missing. It is of another robot.
    """
    from pathlib import Path

    data = open_lerobot(Path(folder)) if isinstance(folder, str) else folder
    if known is not None:
        reading = alike(data, known)
        rows = list(read_rows(data, _columns(reading), every_frame=True))
        same_units(data, reading, [entry.numbers for entry in rows])
        return data, reading, rows
    known_of_it = with_facts(data.folder, choice)
    layout = arrange(data, known_of_it)
    rows = list(read_rows(data, _columns(layout), every_frame=True))
    reading = settle(data, layout, known_of_it, [entry.numbers for entry in rows])
    if known_of_it != choice:
        told = (f'units, openings and action space as {OURS} of the set says', *reading.told)
        reading = replace(reading, told=told)
    if not all(text.strip() for entry in rows for text in entry.instruction):
        unnamed = f'frames without words: {UNNAMED!r} asks for them'
        reading = replace(reading, told=(*reading.told, unnamed))
    return data, reading, rows


def _columns(of: Reading | Layout) -> list[str]:
    return [*of.state.columns, *of.action.columns]


def load_robot_samples(
    data: LerobotSet, reading: Reading, rows: Sequence[EpisodeRows], most: int = 0,
    progress: Progress | None = None,
) -> RobotSamples:  # fmt: skip
    """Decode the pictures and cut the chunks.

    Args:
        data: The set.
        reading: How it is read.
        rows: Its numbers.
        most: Frames in all, evenly spread; 0 for ``MOST_FRAMES``.
        progress: Called with episodes read and all.

    Raises:
        ConfigError: A picture cannot be read.
    """
    texts = sorted({_text(text) for entry in rows for text in entry.instruction})
    order = np.random.default_rng(reading.seed).permutation(len(rows))
    count = min(max(round(reading.held_out * len(rows)), 1), len(rows) - 1)
    chosen = {int(number) for number in order[:count]}
    every = max(data.frames / (most or MOST_FRAMES), 1.0)
    kept: dict[bool, list[_Part]] = {True: [], False: []}
    passed = 0
    for number, entry in enumerate(rows):
        places = np.arange(entry.episode.length)
        due = places[np.floor((passed + places + 1) / every) > np.floor((passed + places) / every)]
        passed += entry.episode.length
        if len(due):
            kept[number in chosen].append(_part(data, reading, entry, due, texts))
        if progress is not None:
            progress(number + 1, len(rows))
    for what, found in (('training', kept[False]), ('held out', kept[True])):
        if not found:
            raise ConfigError(f'frames {what}', 0, 'more frames: --max-frames')
    unseen = kept[True]
    starts = np.cumsum([0, *(len(part.before) for part in unseen[:-1])])
    return RobotSamples(
        _joined(kept[False], texts), _joined(unseen, texts),
        np.concatenate([part.before for part in unseen]),
        tuple(part.episode for part in unseen), tuple(int(start) for start in starts), every,
    )  # fmt: skip


@dataclass(frozen=True)
class _Part:
    episode: int
    images: dict[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    goal: NDArray[np.int64]
    chunk: NDArray[np.float32]
    before: NDArray[np.float32]


def _part(
    data: LerobotSet, reading: Reading, rows: EpisodeRows, places: NDArray[np.int64],
    texts: Sequence[str],
) -> _Part:  # fmt: skip
    actions = reading.action.read(rows.numbers)
    state = reading.state.read(rows.numbers)
    images = {}
    for shape in reading.cameras:
        camera = CameraSpec(shape.name, shape.height, shape.width, fit=FIT)
        try:
            images[shape.name] = np.stack([
                as_seen(np.ascontiguousarray(picture), camera) for picture in
                read_pictures(data, rows, reading.columns[shape.name], places.tolist())
            ])  # fmt: skip
        except InputError as error:
            raise ConfigError(
                f'{reading.columns[shape.name]}, episode {rows.episode.index}',
                str(error),
                'larger pictures, or --image-size',
            ) from None
    numbers = [texts.index(_text(rows.instruction[place])) for place in places]
    return _Part(
        rows.episode.index, images, state[places], np.array(numbers, np.int64),
        chunks(actions, places, reading), actions[np.maximum(places - 1, 0)],
    )  # fmt: skip


def chunks(
    actions: NDArray[np.float32], places: NDArray[np.int64], reading: Reading
) -> NDArray[np.float32]:
    """Actions from each place on; behind the end absolute ones stay, increments are 0."""
    after = places[:, None] + np.arange(reading.horizon)[None]
    found = actions[np.minimum(after, len(actions) - 1)]
    if reading.space.endswith('delta'):
        motion = [n for n in range(actions.shape[1]) if n not in reading.action.gripper]
        past = after >= len(actions)
        found[..., motion] = np.where(past[..., None], 0.0, found[..., motion])
    return found


def _text(instruction: str) -> str:
    return instruction.strip() or UNNAMED


def _joined(parts: Sequence[_Part], texts: Sequence[str]) -> Demonstrations:
    state = np.concatenate([part.state for part in parts])
    frames = len(state)
    return Demonstrations(
        images={name: np.concatenate([part.images[name] for part in parts])
                for name in parts[0].images},
        proprioception=state, frame=np.arange(frames),
        goal=np.concatenate([part.goal for part in parts]), own=np.ones(frames, np.bool_),
        chunk=np.concatenate([part.chunk for part in parts]),
        point=np.full((frames, 2), -1, np.int64),
        offset=np.full((frames, 2, 3), np.nan, np.float32),
        instructions=tuple(texts),
    )  # fmt: skip
