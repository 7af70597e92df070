"""A published OpenVLA-OFT folder, looked at as a whole: everything that is wrong, at once.

Headers, names and shapes are compared with what every part needs, so that nothing is found out in
the middle of an export. No weight is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from dysl_vla_ros.bundle.git_lfs import pointers_in
from dysl_vla_ros.bundle.vocabulary import check_rows
from dysl_vla_ros.errors import BundleError, ConfigError, as_list
from dysl_vla_ros.lab.model.family import expect_oft, read_config
from dysl_vla_ros.lab.model.film_vision import open_film
from dysl_vla_ros.lab.model.openvla_oft_loader import OftCheckpoint, open_ends, open_oft
from dysl_vla_ros.lab.model.published_model import (
    TOKENIZER,
    image_size,
    read_colours,
    read_tokenizer,
    text_shape,
    tower_shapes,
)
from dysl_vla_ros.lab.model.published_settings import OftSettings, settle
from dysl_vla_ros.lab.model.published_statistics import (
    all_statistics,
    normalisation,
    statistics_key,
)
from dysl_vla_ros.lab.model.tensor_files import few, listing, open_folder

Found = TypeVar('Found')
Wrong = BundleError | ConfigError


@dataclass(frozen=True)
class Asked:
    """What the caller knows of the folder.

    Attributes:
        unnorm_key: Data set whose statistics are used; may be empty where there is one.
        given: Settings that take the place of what its key says.
        prompt_tokens: Longest prompt.
        batch: Samples per update of a distillation.
    """

    unnorm_key: str = ''
    given: Mapping[str, Any] = field(default_factory=dict)
    prompt_tokens: int = 40
    batch: int = 8


@dataclass(frozen=True)
class Survey:
    """As much as can be told of a folder.

    Attributes:
        folder: The folder.
        oft: Whether it is an OpenVLA-OFT with its L1 head.
        wrong: All that keeps it from being used.
        statistics: Of every data set, by name.
        unnorm_key: The data set that is meant; '' where nothing says which.
        dims: Numbers per action, and of the proprioception; None where the head is missing.
        settings: Of the data set and its robot; None where they are not known.
        checkpoint: Opened; None where something is wrong.
    """

    folder: Path
    oft: bool
    wrong: tuple[Wrong, ...]
    statistics: Mapping[str, Any] = field(default_factory=dict)
    unnorm_key: str = ''
    dims: tuple[int, int] | None = None
    settings: OftSettings | None = None
    checkpoint: OftCheckpoint | None = None

    def opened(self) -> tuple[OftCheckpoint, OftSettings]:
        """What can be used.

        Raises:
            BundleError: Something is wrong with the folder; lists all of it.
            ConfigError: One setting is wrong, or is not known.
        """
        if len(self.wrong) == 1:
            raise self.wrong[0]
        if self.checkpoint is None or self.settings is None:
            listed = as_list(self.wrong)
            raise BundleError(f'{self.folder}: {len(self.wrong)} things are missing or wrong: '
                              f'{listed}')  # fmt: skip
        return self.checkpoint, self.settings


class _Steps:
    """Steps of a survey; one that fails does not keep the others from being taken."""

    def __init__(self, folder: Path) -> None:
        """Begin with what git did not bring."""
        pointers = pointers_in(folder) if folder.is_dir() else ()
        self.wrong: list[Wrong] = [_pointers(folder, pointers)] if pointers else []
        self._holds, self._pointers = f'; {listing(folder)}', [str(path) for path in pointers]

    def take(self, step: Callable[[], Found]) -> Found | None:
        try:
            return step()
        except (BundleError, ConfigError) as error:
            self._add(error)
            return None

    def _add(self, error: Wrong) -> None:
        """Say each thing once, and once what the folder holds."""
        text, said = str(error), [str(known) for known in self.wrong]
        if text in said or any(text.startswith(f'{path}: this is') for path in self._pointers):
            return
        plain = text.removesuffix(self._holds)
        if plain == text or not any(known.endswith(self._holds) for known in said):
            self.wrong.append(error)
        elif not any(known.startswith(plain) for known in said):
            self.wrong.append(BundleError(plain))


def survey_oft(folder: Path, asked: Asked, dtype: torch.dtype = torch.float32) -> Survey:
    """Look at everything that an export, a calibration and a distillation need.

    Args:
        folder: Of a published model.
        asked: What the caller knows of it.
        dtype: Of the weights that the opened checkpoint will hand out.
    """
    steps = _Steps(folder)
    if steps.take(lambda: _expected(folder)) is None:
        if _may_be_oft(folder):
            _files(folder, steps)
        return Survey(folder, False, tuple(steps.wrong))
    statistics = steps.take(lambda: all_statistics(folder)) or {}
    key = steps.take(lambda: statistics_key(folder, statistics, asked.unnorm_key)) if (
        statistics) else None  # fmt: skip
    ends = steps.take(lambda: open_ends(folder))
    settings, checkpoint, dims = None, None, None
    if ends is not None:
        dims = ends[2:]
        if key is not None:
            settings = steps.take(lambda: settle(key, dict(asked.given), *dims))
    if settings is not None and key is not None:
        chosen, name = settings, key
        checkpoint = steps.take(lambda: open_oft(
            folder, name, cameras=chosen.cameras, action_horizon=chosen.horizon,
            prompt_tokens=asked.prompt_tokens, bounds=chosen.bounds, units=chosen.units,
            dtype=dtype))  # fmt: skip
    if checkpoint is None:
        _files(folder, steps)
        if key is not None and dims is not None and settings is not None:
            _numbers(statistics[key], dims, settings, steps)
    else:
        opened = checkpoint
        steps.take(
            lambda: check_rows(
                json.loads(opened.tokenizer),
                f'{folder}/{TOKENIZER}',
                opened.instruction,
                opened.config.text.vocabulary,
            )
        )
        if lacking := opened.lacking():
            steps.wrong.append(BundleError(f'{folder}: {len(lacking)} tensors: {few(lacking)}'))
    return Survey(folder, True, tuple(steps.wrong), statistics, key or '', dims, settings,
                  None if steps.wrong else checkpoint)  # fmt: skip


def _expected(folder: Path) -> bool:
    expect_oft(folder)
    return True


def _pointers(folder: Path, found: tuple[Path, ...]) -> BundleError:
    names = ', '.join(path.name for path in found[:5]) + (', ...' if len(found) > 5 else '')
    are = f'{len(found)} files are Git LFS pointers' if len(found) > 1 else (
        '1 file is a Git LFS pointer')  # fmt: skip
    return BundleError(f'{folder}: {are} ({names}): run git lfs install and git lfs pull in '
                       f'{folder}')  # fmt: skip


def _may_be_oft(folder: Path) -> bool:
    """Whether more can be told of a folder whose family is not certain."""
    if not folder.is_dir():
        return False
    try:
        config = read_config(folder)
    except BundleError:
        return any(folder.glob('*checkpoint*.pt')) and not any(folder.glob('*lora*'))
    return config.get('model_type') == 'openvla' and not any(folder.glob('noisy_action_*'))


def _files(folder: Path, steps: _Steps) -> None:
    """Each file by itself."""
    weights = steps.take(lambda: open_folder(folder))
    config = steps.take(lambda: read_config(folder))
    steps.take(lambda: all_statistics(folder))
    steps.take(lambda: read_tokenizer(folder))
    steps.take(lambda: read_colours(folder))
    steps.take(lambda: open_film(folder))
    if config is not None:
        steps.take(lambda: text_shape(config, folder))
        steps.take(lambda: image_size(config, folder))
        if weights is not None:
            steps.take(lambda: tower_shapes(config, weights, folder))


def _numbers(
    statistics: Mapping[str, Any], dims: tuple[int, int], settings: OftSettings, steps: _Steps
) -> None:
    steps.take(lambda: normalisation(statistics, 'action', dims[0], settings.bounds,
                                     settings.units))  # fmt: skip
    if dims[1]:
        steps.take(lambda: normalisation(statistics, 'proprio', dims[1], settings.bounds))
