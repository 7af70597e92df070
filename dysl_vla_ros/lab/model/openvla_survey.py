"""A published OpenVLA folder, looked at as a whole; no weight is read."""

from __future__ import annotations

from pathlib import Path

from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.family import detect_family
from dysl_vla_ros.lab.model.openvla import OpenVlaCheckpoint, action_numbers, open_openvla
from dysl_vla_ros.lab.model.published_settings import OftSettings, settle_openvla
from dysl_vla_ros.lab.model.published_statistics import (
    all_statistics,
    check_ranges,
    statistics_key,
)
from dysl_vla_ros.lab.model.survey import Asked, Steps


def is_openvla(folder: Path) -> bool:
    """Whether a folder is a plain OpenVLA: one that writes its actions as words."""
    try:
        return detect_family(folder) == 'openvla'
    except BundleError:
        return False


def survey_openvla(folder: Path, asked: Asked) -> tuple[OpenVlaCheckpoint, OftSettings]:
    """Open it, with what its key and the caller say of its data set.

    Raises:
        BundleError: Something is wrong with the folder; lists all of it.
        ConfigError: One setting is wrong, or is not known.
    """
    steps = Steps(folder)
    statistics = steps.take(lambda: all_statistics(folder)) or {}
    key = steps.take(lambda: statistics_key(folder, statistics, asked.unnorm_key)) if (
        statistics) else None  # fmt: skip
    settings = checkpoint = None
    if key is not None:
        name = key
        settings = steps.take(
            lambda: settle_openvla(name, dict(asked.given), action_numbers(statistics[name]))
        )
    if settings is not None and key is not None:
        chosen, name = settings, key
        checkpoint = steps.take(lambda: open_openvla(
            folder, name, camera=chosen.cameras[0], prompt_tokens=asked.prompt_tokens,
            bounds=chosen.bounds, units=chosen.units))  # fmt: skip
    if checkpoint is None:
        steps.files()
    elif settings is not None:
        action, space, bounds = checkpoint.action, settings.space, settings.bounds
        steps.take(lambda: check_ranges(action, space, bounds))
        steps.inside(checkpoint.tokenizer, checkpoint.instruction,
                     checkpoint.config.text.vocabulary, checkpoint.lacking(),
                     checkpoint.unread())  # fmt: skip
    steps.refuse()
    assert checkpoint is not None
    assert settings is not None
    return checkpoint, settings
