"""Model families of other packages: an entry point brings one in, nothing here is edited.

A package that adds a family says so in its metadata,

    [project.entry-points.'dysl_vla_ros.families']
    my_vla = 'my_package.family:MyFamily'

and from then on ``dysl inspect``, ``export``, ``verify``, ``calibrate`` and ``distill`` take its
folders. What they get goes into an ordinary bundle: the robot never imports the package.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

import torch

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import BundleError, DyslError, as_list
from dysl_vla_ros.lab.checked_family import CheckedFamily
from dysl_vla_ros.lab.data.lerobot import LerobotSet
from dysl_vla_ros.lab.export.parts import Exportable
from dysl_vla_ros.lab.learn.dense_model import DenseModel
from dysl_vla_ros.lab.model.family import detect_family, read_config
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.model.skipping_file import Skipping

GROUP = 'dysl_vla_ros.families'
_log = logging.getLogger(__name__)


class Published(Protocol):
    """A published folder of a family, opened: its contract is known, its weights are not read."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Names and values for ``dysl inspect``."""

    @property
    def layers(self) -> int:
        """Depth of the backbone."""

    def modules(self, layout: LayerLayout, rank: int) -> SkipModules:
        """Untrained controllers and adapters; ``SkipModules`` where there is no padding."""

    def export(self, skipping: Skipping | None) -> Exportable:
        """The model as parts; None exports it dense."""

    def dense(self, device: torch.device) -> DenseModel:
        """The frozen model on a device, for ``calibrate`` and ``distill``."""

    def batches(self, data: LerobotSet, size: int, seed: int) -> Iterator[Any]:
        """Batches for the dense model's ``encode``, without an end.

        Raises:
            ConfigError: The set lacks what the model reads; lists all of it.
        """


class Family(Protocol):
    """What an entry point names: an object like this, or a class that makes one."""

    def recognises(self, folder: Path, config: Mapping[str, Any]) -> bool:
        """Whether a folder is of this family; ``config`` is its config.json, or empty."""

    def open(self, folder: Path, options: Mapping[str, str]) -> Published:
        """Open a folder.

        Args:
            folder: That was recognised.
            options: What ``--option NAME=VALUE`` gave: what the folder does not say.

        Raises:
            BundleError: The folder is incomplete; lists all that is missing.
            ConfigError: An option is wrong or missing.
        """


def family_of(folder: Path) -> tuple[str, Family] | None:
    """Name and family of a folder, of those that other packages brought in.

    Raises:
        BundleError: Two claim the folder; or nobody does, and a package that brings a family in
            cannot be loaded or fails: where the folder is of another family that is only told.
    """
    if not folder.is_dir():
        return None
    points = installed()
    if not points:
        return None
    try:
        config = read_config(folder)
    except BundleError:
        config = {}
    found: list[tuple[str, Family]] = []
    problems: list[str] = []
    for name, point in points.items():
        try:
            family = CheckedFamily(_title(point), _loaded(point))
            if family.recognises(folder, config):
                found.append((name, family))
        except DyslError as error:
            problems.append(str(error))
    if len(found) > 1:
        raise BundleError(f'{folder}: {", ".join(name for name, _ in found)}: expected one family '
                          'to recognise it; uninstall the others')  # fmt: skip
    if problems and not found:
        _refuse_unknown(folder, problems)
    for problem in problems:
        _log.warning('%s; left out', problem)
    return found[0] if found else None


def _refuse_unknown(folder: Path, problems: list[str]) -> None:
    """A folder of no family that is known here may be of one that does not answer."""
    try:
        detect_family(folder)
    except BundleError as error:
        raise BundleError(f'{error}; beside it {as_list(problems)}') from None


def _title(point: EntryPoint) -> str:
    return f'{GROUP}: {point.name} = {point.value!r}'


def installed() -> dict[str, EntryPoint]:
    """Families of other packages, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def _loaded(point: EntryPoint) -> Family:
    try:
        found = point.load()
        family: Family = found() if isinstance(found, type) else found
    except Exception as error:
        raise BundleError(f'{_title(point)} cannot be loaded: {error!r}; '
                          'install its package again, or uninstall it') from error  # fmt: skip
    missing = [name for name in ('recognises', 'open')
               if not callable(getattr(family, name, None))]  # fmt: skip
    if missing:
        raise BundleError(f'{_title(point)} has no {missing}: expected a '
                          'family as dysl_vla_ros.lab.families.Family describes it')  # fmt: skip
    return family
