"""A LeRobot data set of any robot -> batches of an OpenVLA-OFT, prepared as on the robot.

What the model needs and the set lacks is one list. Actions are asked for only where they are
used: the layers' scores and a distillation that imitates the dense model need none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from dysl_vla_ros.bundle.manifest import NormalisationSpec
from dysl_vla_ros.engines.openvla_image import lanczos_then_crop
from dysl_vla_ros.errors import ConfigError, InputError, as_list
from dysl_vla_ros.lab.data.dataset_format import ACTION, STATE
from dysl_vla_ros.lab.data.demonstrations import normalise
from dysl_vla_ros.lab.data.lerobot import LerobotSet
from dysl_vla_ros.lab.data.lerobot_frames import EpisodeRows, read_pictures, read_rows
from dysl_vla_ros.lab.learn.oft_dense import OftBatch
from dysl_vla_ros.lab.model.openvla_oft_loader import OftCheckpoint
from dysl_vla_ros.lab.model.published_settings import OftSettings
from dysl_vla_ros.policy import instruction_tokens

_LONGEST_SHOWN = 5
_ACTIONS = (ACTION, 'actions')
"""lerobot's name, and the one of sets that were converted for openpi."""


@dataclass(frozen=True)
class Choice:
    """Which parts of a data set are what the model reads.

    Attributes:
        pictures: Camera of the model -> picture of the set, without ``observation.images.``;
            cameras that are left out have the same name there.
        state: Columns that make the proprioception, in order; empty for ``observation.state``, or
            ``state``.
        turned: Whether the pictures are turned already, as in training; None asks where it
            matters.
        actions: Whether the demonstrated actions are needed.
        frames: Most frames that are loaded, spread evenly over all episodes.
        seed: Of the order of batches.
    """

    pictures: Mapping[str, str] = field(default_factory=dict)
    state: Sequence[str] = ()
    turned: bool | None = None
    actions: bool = False
    frames: int = 2000
    seed: int = 0


@dataclass(frozen=True)
class OftSamples:
    """Frames of a data set, as the model takes them.

    Attributes:
        images: One per camera, (frames, 3, size, size) uint8.
        tokens: int64 (frames, prompt_tokens).
        proprioception: Normalised, (frames, dim); None for a model without.
        chunk: Normalised actions from each frame on, (frames, horizon, dim); None where they
            were not asked for.
        episode: Number of the episode, (frames,).
        number: Of the frame within it, (frames,).
    """

    images: tuple[Tensor, ...]
    tokens: Tensor
    proprioception: Tensor | None
    chunk: Tensor | None
    episode: NDArray[np.int64]
    number: NDArray[np.int64]

    def batch(self, rows: Sequence[int] | Tensor) -> OftBatch:
        """Some frames."""
        index = torch.as_tensor(rows)
        state, chunk = self.proprioception, self.chunk
        return OftBatch(
            tuple(images[index].float() / 255.0 for images in self.images), self.tokens[index],
            None if state is None else state[index], None if chunk is None else chunk[index],
        )  # fmt: skip

    def stream(self, size: int, seed: int) -> Iterator[OftBatch]:
        """Random batches without an end."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield self.batch(torch.randint(len(self.tokens), (size,), generator=generator))


def check_fits(
    data: LerobotSet, checkpoint: OftCheckpoint, settings: OftSettings, choice: Choice
) -> None:
    """Refuse a set that lacks what the model needs.

    Raises:
        ConfigError: Lists everything that is missing, and the option that would name it.
    """
    config, lacking = checkpoint.config, list[str]()
    cameras = data.cameras
    for camera in config.cameras:
        name = choice.pictures.get(camera, camera)
        if not data.picture(name):
            lacking.append(f'picture {name!r} for camera {camera!r}: it has {sorted(cameras)}; '
                           f'--pictures {camera}=NAME')  # fmt: skip
    if unknown := sorted({*choice.pictures} - {*config.cameras}):
        lacking.append(f'camera {unknown}: the model has {list(config.cameras)}')
    state = state_columns(data, choice)
    missing = [name for name in state if name not in data.columns]
    wanted = config.proprioception_dim
    sizes = [data.columns[name].shape for name in state if name in data.columns]
    found = sum(int(np.prod(shape)) for shape in sizes)
    if wanted and missing:
        lacking.append(f'column {missing} for the proprioception: --state COLUMN ...')
    elif wanted and found != wanted:
        names = [name for column in state for name in data.columns[column].names]
        lacking.append(f'{wanted} numbers of proprioception ({settings.source}): '
                       f'{" + ".join(state)} has {found} {names or ""}; '
                       '--state COLUMN ...')  # fmt: skip
    if settings.rotate_180 and choice.turned is None:
        lacking.append('a word on its pictures: the model saw them turned by 180 degrees; '
                       '--turned where those of the set are, --no-turned where not')  # fmt: skip
    if choice.actions:
        lacking += _lacking_actions(data, checkpoint, settings)
    if not data.tasks:
        lacking.append('instructions: meta/tasks is empty')
    if lacking:
        listed = as_list(lacking)
        raise ConfigError(str(data.folder), f'a set of {data.robot} that lacks {len(lacking)} '
                          'things', f'what {checkpoint.folder} reads: {listed}')  # fmt: skip


def state_columns(data: LerobotSet, choice: Choice) -> tuple[str, ...]:
    """Columns that make the proprioception."""
    return tuple(choice.state) or (data.column(STATE, 'state'),)


def _lacking_actions(
    data: LerobotSet, checkpoint: OftCheckpoint, settings: OftSettings
) -> list[str]:
    lacking, column = [], data.columns.get(data.column(*_ACTIONS))
    dim = checkpoint.config.action_dim
    if column is None or int(np.prod(column.shape)) != dim:
        lacking.append(f'actions of {dim} numbers: it has {None if column is None else column}; '
                       '--task-share 0 needs none')  # fmt: skip
    if abs(data.fps * settings.period_s - 1.0) > 0.02:
        lacking.append(f'a rate of {1 / settings.period_s:g} Hz, at which the model acts: its is '
                       f'{data.fps:g}; --task-share 0 needs no actions')  # fmt: skip
    return lacking


def load_oft_samples(
    data: LerobotSet, checkpoint: OftCheckpoint, settings: OftSettings, choice: Choice
) -> OftSamples:
    """Frames spread evenly over the set.

    Raises:
        ConfigError: The set lacks something, or a frame cannot be read.
    """
    check_fits(data, checkpoint, settings, choice)
    _check_words(data, checkpoint)
    columns = [*(state_columns(data, choice) if checkpoint.config.proprioception_dim else ()),
               *((data.column(*_ACTIONS),) if choice.actions else ())]  # fmt: skip
    every = max(data.frames / choice.frames, 1.0) if choice.frames else 1.0
    parts: list[OftSamples] = []
    passed = 0
    for rows in read_rows(data, columns, every_frame=choice.actions):
        numbers = np.arange(rows.episode.length)
        due = np.floor((passed + numbers + 1) / every) > np.floor((passed + numbers) / every)
        passed += rows.episode.length
        if due.any():
            parts.append(_part(data, checkpoint, settings, choice, rows, numbers[due]))
    if not parts:
        raise ConfigError(str(data.folder), 'no frame', 'at least one')
    return _joined(parts)


def samples_of_episode(
    data: LerobotSet, checkpoint: OftCheckpoint, settings: OftSettings, choice: Choice,
    rows: EpisodeRows, every: int,
) -> OftSamples:  # fmt: skip
    """Every so many frames of one episode: what the model would be asked on its way."""
    numbers = np.arange(0, rows.episode.length, every)
    return _part(data, checkpoint, settings, choice, rows, numbers)


def _part(
    data: LerobotSet, checkpoint: OftCheckpoint, settings: OftSettings, choice: Choice,
    rows: EpisodeRows, numbers: NDArray[np.int64],
) -> OftSamples:  # fmt: skip
    config = checkpoint.config
    turn = settings.rotate_180 and not choice.turned
    images = []
    for camera in config.cameras:
        column = data.picture(choice.pictures.get(camera, camera))
        pictures = [
            _prepared(picture[::-1, ::-1] if turn else picture, config.image_size, settings)
            for picture in read_pictures(data, rows, column, numbers.tolist())
        ]
        images.append(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous())
    state = None
    if config.proprioception_dim:
        assert checkpoint.proprioception is not None
        columns = state_columns(data, choice)
        joined = np.concatenate([rows.numbers[name] for name in columns], axis=1)[numbers]
        state = torch.from_numpy(np.clip(normalise(joined, checkpoint.proprioception), -1.0, 1.0))
    known = {text: words(checkpoint, text) for text in {*rows.instruction}}
    tokens = np.concatenate([known[rows.instruction[number]] for number in numbers])
    chunk = None
    if choice.actions:
        actions = rows.numbers[data.column(*_ACTIONS)]
        chunk = _chunks(actions, numbers, checkpoint.action, settings)
    episode = np.full(len(numbers), rows.episode.index, np.int64)
    return OftSamples(tuple(images), torch.from_numpy(tokens), state, chunk, episode, numbers)


def _prepared(picture: NDArray[np.uint8], size: int, settings: OftSettings) -> NDArray[np.uint8]:
    """As the robot's camera image is: whole numbers, so that a byte holds them."""
    found = lanczos_then_crop(np.ascontiguousarray(picture), size, size, settings.crop_area)
    return found.astype(np.uint8)


def _chunks(
    actions: NDArray[np.float32], numbers: NDArray[np.int64], spec: NormalisationSpec,
    settings: OftSettings,
) -> Tensor:  # fmt: skip
    """Actions from each frame on; the last one is repeated behind the end."""
    after = numbers[:, None] + np.arange(settings.horizon)[None]
    chosen = actions[np.minimum(after, len(actions) - 1)]
    if settings.units:
        chosen = chosen * np.asarray(settings.units, np.float32)
    return torch.from_numpy(normalise(chosen, spec))


def words(checkpoint: OftCheckpoint, instruction: str) -> NDArray[np.int64]:
    """Tokens of an instruction, (1, prompt_tokens), as the bundle's policy makes them.

    Raises:
        InputError: It is empty or too long.
    """
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer)
    return instruction_tokens(checkpoint.instruction, tokenizer, instruction)


def _check_words(data: LerobotSet, checkpoint: OftCheckpoint) -> None:
    wrong = []
    for text in data.tasks.values():
        try:
            words(checkpoint, text)
        except InputError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError(
            '--prompt-tokens',
            checkpoint.config.prompt_tokens,
            'as many as the '
            f'instructions of {data.folder} have; {len(wrong)} of '
            f'{len(data.tasks)} do not fit: {as_list(wrong[:_LONGEST_SHOWN])}',
        )


def _joined(parts: Sequence[OftSamples]) -> OftSamples:
    first = parts[0]

    def joined(name: str) -> Tensor | None:
        found = [getattr(part, name) for part in parts]
        return None if found[0] is None else torch.cat(found)

    tokens = torch.cat([part.tokens for part in parts])
    images = tuple(torch.cat([part.images[i] for part in parts])
                   for i in range(len(first.images)))  # fmt: skip
    return OftSamples(
        images, tokens, joined('proprioception'), joined('chunk'),
        np.concatenate([part.episode for part in parts]),
        np.concatenate([part.number for part in parts]),
    )  # fmt: skip
