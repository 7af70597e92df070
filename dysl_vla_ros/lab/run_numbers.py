"""With which numbers a run of ``dysl recipe`` was made, by what it left in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.begun_with import STAGES, flat
from dysl_vla_ros.lab.folders import REPORT


def recipe_told(folder: Path) -> dict[str, Any]:
    """The recipe of its report; {} where the report is elsewhere (``--results``) or names none.

    Raises:
        ConfigError: The report is no JSON of ours.
    """
    found = _read(folder / REPORT).get('recipe', {})
    if not isinstance(found, dict):
        raise ConfigError(f'{folder / REPORT}: recipe', found, 'the numbers of the run, by name')
    return found


def network_told(folder: Path) -> dict[str, Any]:
    """Changes to the network's default shape, by name with dots; {} where nothing tells.

    Raises:
        ConfigError: What is there is no JSON of ours.
    """
    told = recipe_told(folder).get('network')
    if isinstance(told, dict):
        return flat(told)
    stages = _read(folder / STAGES).get('dense.safetensors', {})
    begun = stages if isinstance(stages, dict) else {}
    mark = 'network.'
    return {name.removeprefix(mark): value for name, value in begun.items()
            if name.startswith(mark)}  # fmt: skip


def check_preset(folder: Path, preset: str, networks: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a preset that the run was not made with.

    Args:
        folder: Of the run.
        preset: That is asked for.
        networks: Preset -> its network. A run of numbers that none of them has is not judged.

    Raises:
        ConfigError: It was made with another of them.
    """
    told = network_told(folder)
    had = [name for name, network in networks.items() if told and flat(network) == told]
    if had and preset not in had:
        raise ConfigError('preset', preset, f'{had[0]}, with which {folder} was made: what is '
                          'compared with a run has its numbers')  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text('utf-8'))
    except ValueError as error:
        raise ConfigError('folder', str(path), f'the JSON that dysl recipe wrote: {error}'
                          ) from None  # fmt: skip
    return found if isinstance(found, dict) else {}
