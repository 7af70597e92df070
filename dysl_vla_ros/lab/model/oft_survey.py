"""A published OpenVLA-OFT folder, looked at as a whole: everything that is wrong, at once.

Headers, names and shapes are compared with what every part needs, so that nothing is found out in
the middle of an export. No weight is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.family import expect_oft, read_config
from dysl_vla_ros.lab.model.openvla_oft_loader import OftCheckpoint, open_ends, open_oft
from dysl_vla_ros.lab.model.published_settings import NO_STATE, OftSettings, settle
from dysl_vla_ros.lab.model.published_statistics import (
    all_statistics,
    check_ranges,
    normalisation,
    statistics_key,
)
from dysl_vla_ros.lab.model.published_values import part
from dysl_vla_ros.lab.model.survey import Asked, Steps, Wrong, refuse


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
        refuse(self.folder, self.wrong)
        assert self.checkpoint is not None
        assert self.settings is not None
        return self.checkpoint, self.settings


def survey_oft(folder: Path, asked: Asked, dtype: torch.dtype = torch.float32) -> Survey:
    """Look at everything that an export, a calibration and a distillation need.

    Args:
        folder: Of a published model.
        asked: What the caller knows of it.
        dtype: Of the weights that the opened checkpoint will hand out.
    """
    steps = Steps(folder)
    if steps.take(lambda: _expected(folder)) is None:
        if _may_be_oft(folder):
            steps.files()
        return Survey(folder, False, tuple(steps.wrong))
    statistics = steps.take(lambda: all_statistics(folder)) or {}
    key = steps.take(lambda: statistics_key(folder, statistics, asked.unnorm_key)) if (
        statistics) else None  # fmt: skip
    ends = steps.take(lambda: open_ends(folder))
    settings, checkpoint, dims = None, None, None
    if ends is not None:
        dims = ends[2:]
        if key is not None:
            steps.take(lambda: _expect_projector(folder, statistics[key], asked, dims[1]))
            settings = steps.take(lambda: settle(key, dict(asked.given), *dims))
    if settings is not None and key is not None:
        chosen, name = settings, key
        checkpoint = steps.take(lambda: open_oft(
            folder, name, cameras=chosen.cameras, action_horizon=chosen.horizon,
            prompt_tokens=asked.prompt_tokens, bounds=chosen.bounds, units=chosen.units,
            dtype=dtype))  # fmt: skip
    if checkpoint is None:
        steps.files()
        if key is not None and dims is not None and settings is not None:
            _numbers(statistics[key], dims, settings, steps)
    elif settings is not None:
        opened, chosen = checkpoint, settings
        steps.take(lambda: _check_ranges(opened, chosen))
        steps.inside(checkpoint.tokenizer, checkpoint.instruction,
                     checkpoint.config.text.vocabulary, checkpoint.lacking(),
                     checkpoint.unread())  # fmt: skip
    return Survey(folder, True, tuple(steps.wrong), statistics, key or '', dims, settings,
                  None if steps.wrong else checkpoint)  # fmt: skip


def _expected(folder: Path) -> bool:
    expect_oft(folder)
    return True


def _may_be_oft(folder: Path) -> bool:
    """Whether more can be told of a folder whose family is not certain."""
    if not folder.is_dir():
        return False
    try:
        config = read_config(folder)
    except BundleError:
        return any(folder.glob('*checkpoint*.pt')) and not any(folder.glob('*lora*'))
    return config.get('model_type') == 'openvla' and not any(folder.glob('noisy_action_*'))


def _expect_projector(
    folder: Path, statistics: Mapping[str, Any], asked: Asked, state_dim: int
) -> None:
    """Refuse a model that would be blind to the arm where its data set was not."""
    if state_dim or asked.given.get('source') == NO_STATE:
        return
    columns = part(statistics, 'proprio', 'statistics: ')
    # A data set that was read without has zeros.
    if any(value for column in columns.values() if isinstance(column, list) for value in column):
        raise BundleError(
            f'{folder}: no proprio_projector--*_checkpoint.pt, and the statistics have proprio: '
            'expected the projector beside the head; copy it, or, of a model that was trained '
            'without, give --proprioception none'
        )


def _numbers(
    statistics: Mapping[str, Any], dims: tuple[int, int], settings: OftSettings, steps: Steps
) -> None:
    steps.take(lambda: normalisation(statistics, 'action', dims[0], settings.bounds,
                                     settings.units))  # fmt: skip
    if dims[1]:
        steps.take(lambda: normalisation(statistics, 'proprio', dims[1], settings.bounds))


def _check_ranges(checkpoint: OftCheckpoint, settings: OftSettings) -> None:
    grip = max(len(settings.fingers), 1) if settings.state_gripper else 0
    check_ranges(checkpoint.action, settings.space, settings.bounds, checkpoint.proprioception,
                 checkpoint.config.proprioception_dim - grip)  # fmt: skip
