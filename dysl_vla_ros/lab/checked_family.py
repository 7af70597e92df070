"""A model family of another package: what fails inside it is told with the package and the part.

A family is asked at many places, from ``dysl inspect`` to the last update of a distillation. So
what it hands out stays wrapped: an exception names the family, its entry point and the call, and
what lacks a part is refused when it is handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.data.lerobot import LerobotSet
from dysl_vla_ros.lab.export.parts import Contract, Exportable, Part
from dysl_vla_ros.lab.learn.dense_model import DenseModel
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.model.skipping_file import Skipping
from dysl_vla_ros.lab.other_package import Answer, answer_of

PUBLISHED = ('facts', 'layers', 'modules', 'export', 'dense', 'batches')
_EXPORTABLE = ('layout', 'contract', 'fingerprint', 'part')
_DENSE = ('layers_total', 'slots', 'device', 'encode', 'layer', 'head')
_WHERE = 'see doc/add_a_model.md'
Kind = TypeVar('Kind')


def asked(title: str, call: Callable[[], Answer]) -> Answer:
    """An answer of another package.

    Raises:
        BundleError: It raised what is no error of ours; names the call.
    """
    return answer_of(title, call, BundleError, '; it is its package that has to be mended, or '
                     f'uninstalled; {_WHERE}', (StopIteration,))  # fmt: skip


def complete(title: str, part: Any, wanted: Sequence[str]) -> None:
    """Refuse what lacks a part.

    Raises:
        BundleError: Names what is missing, and what was given instead.
    """
    missing = [name for name in wanted
               if not hasattr(type(part), name) and not hasattr(part, name)]  # fmt: skip
    if missing:
        raise BundleError(f'{title} gives a {type(part).__name__} without {", ".join(missing)}: '
                          f'expected what {_WHERE.removeprefix("see ")} lists')  # fmt: skip


class Guarded:
    """Something of another package, whose every call names it when it fails."""

    def __init__(self, title: str, inner: Any) -> None:
        """Wrap ``inner``; errors call it ``title``."""
        self._title, self._inner = title, inner

    def __getattr__(self, name: str) -> Any:
        """The part itself, or a call of it that names itself."""
        title = f'{self._title}.{name}'
        if not hasattr(type(self._inner), name) and not hasattr(self._inner, name):
            raise AttributeError(f'{title} is not there')
        found = asked(title, lambda: getattr(self._inner, name))
        if not callable(found):
            return found
        return lambda *given, **named: asked(title, lambda: found(*given, **named))


class _CheckedExport(Guarded):
    """The model taken apart, whose parts are what they should be."""

    def part(self, name: str) -> Part:
        """One part by its name."""
        return _kind(f'{self._title}.part({name!r})', self.__getattr__('part')(name), Part)

    def contract(self) -> Contract:
        """What the numbers of the bundle mean."""
        return _kind(f'{self._title}.contract()', self.__getattr__('contract')(), Contract)


def _kind(title: str, found: object, wanted: type[Kind]) -> Kind:
    if not isinstance(found, wanted):
        raise BundleError(f'{title} = {found!r:.80}: expected a {wanted.__name__} of '
                          f'lab/export/parts.py; {_WHERE}')  # fmt: skip
    return found


class CheckedPublished:
    """An opened folder of a family; see ``families.Published``."""

    def __init__(self, title: str, inner: Any) -> None:
        """Refuse what lacks a part."""
        complete(f'{title}: open()', inner, PUBLISHED)
        self._title, self._inner = title, inner

    @property
    def facts(self) -> Mapping[str, Any]:
        """Names and values for ``dysl inspect``."""
        found = asked(f'{self._title}: facts', lambda: self._inner.facts)
        if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
            raise self._wrong('facts', found, 'names and values')
        return found

    @property
    def layers(self) -> int:
        """Depth of the backbone."""
        found = asked(f'{self._title}: layers', lambda: self._inner.layers)
        if not isinstance(found, int) or isinstance(found, bool) or found < 1:
            raise self._wrong('layers', found, 'a whole number, at least 1')
        return found

    def modules(self, layout: LayerLayout, rank: int) -> SkipModules:
        """Untrained controllers and adapters."""
        found = asked(f'{self._title}: modules()', lambda: self._inner.modules(layout, rank))
        if not isinstance(found, SkipModules):
            raise self._wrong('modules()', found, 'SkipModules, or a class of yours made from it')
        return found

    def export(self, skipping: Skipping | None) -> Exportable:
        """The model as parts."""
        title = f'{self._title}: export()'
        found = asked(title, lambda: self._inner.export(skipping))
        complete(title, found, _EXPORTABLE)
        return cast(Exportable, _CheckedExport(title, found))

    def dense(self, device: torch.device) -> DenseModel:
        """The frozen model on a device."""
        title = f'{self._title}: dense()'
        found = asked(title, lambda: self._inner.dense(device))
        complete(title, found, _DENSE)
        return cast(DenseModel, Guarded(title, found))

    def batches(self, data: LerobotSet, size: int, seed: int) -> Iterator[Any]:
        """Batches for the dense model's ``encode``."""
        title = f'{self._title}: batches()'
        stream = asked(title, lambda: iter(self._inner.batches(data, size, seed)))

        def each() -> Iterator[Any]:
            while True:
                try:
                    batch = asked(title, lambda: next(stream))
                except StopIteration:
                    return
                yield batch

        return each()

    def _wrong(self, part: str, found: object, expected: str) -> BundleError:
        return BundleError(f'{self._title}: {part} = {found!r:.80}: expected {expected}; {_WHERE}')


class CheckedFamily:
    """A family whose entry point was loaded; see ``families.Family``."""

    def __init__(self, title: str, inner: Any) -> None:
        """Args: what errors call it, and the family."""
        self._title, self._inner = title, inner

    def recognises(self, folder: Path, config: Mapping[str, Any]) -> bool:
        """Whether a folder is of this family.

        Raises:
            BundleError: It fails, or answers neither yes nor no.
        """
        title = f'{self._title}: recognises()'
        found: Any = asked(title, lambda: self._inner.recognises(folder, config))
        if not isinstance(found, bool) and str(getattr(found, 'dtype', '')) != 'bool':
            raise BundleError(f'{title} = {found!r:.80}: expected True or False; {_WHERE}')
        return bool(found)

    def open(self, folder: Path, options: Mapping[str, str]) -> CheckedPublished:
        """Open a folder.

        Raises:
            BundleError: The folder is incomplete, or the package fails or lacks a part.
            ConfigError: An option is wrong or missing.
        """
        title = f'{self._title}: open()'
        return CheckedPublished(
            self._title, asked(title, lambda: self._inner.open(folder, options))
        )
