"""Weights of a published folder, one tensor at a time: a 7B model is never in memory twice.

Reads sharded or single safetensors, and sharded or single ``.bin`` / ``.pt`` files of torch with
``weights_only=True``: nothing from outside is unpickled. Files are mapped, not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dysl_vla_ros.bundle.git_lfs import refuse_pointer
from dysl_vla_ros.bundle.strict_json import LARGEST_PUBLISHED, load
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.tensor_values import check_finite, check_kind, kind_of_header

_SINGLE = ('model.safetensors', 'pytorch_model.bin')


@runtime_checkable
class Shaped(Protocol):
    """Tensors that are made when they are read; their shapes are known before."""

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Of one of them."""


class TensorFiles:
    """Names -> tensors, spread over files; a tensor is read when it is asked for."""

    def __init__(
        self, where: Mapping[str, Path], title: str, opened: Mapping[Path, Any] | None = None
    ) -> None:
        """Take the map.

        Args:
            where: Name of a tensor -> its file.
            title: What this is, for messages.
            opened: Files that are open already.
        """
        self._where = dict(where)
        self._title = title
        self._open: dict[Path, Any] = dict(opened or {})

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._where))

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU, backed by its file.

        Raises:
            BundleError: There is no such tensor; lists the names that come near. Or its numbers
                are none of floating point.
        """
        path = self._where.get(name)
        if path is None:
            raise BundleError(f'{self._title}: no tensor {name!r}; {self._near(name)}')
        source = self._source(path)
        if isinstance(source, Mapping):
            tensor = source.get(name)
        else:
            tensor = source.get_tensor(name) if name in source.keys() else None  # noqa: SIM118
        if not isinstance(tensor, Tensor):
            raise BundleError(
                f'{path}: no tensor {name!r}, though the index says so; download the file again'
            )
        check_kind(f'{path}: {name}', tensor.dtype)
        return tensor

    def fill(self, module: nn.Module, prefix: str, dtype: torch.dtype | None = None) -> None:
        """Replace every parameter of a module, which may be on the meta device.

        Args:
            module: Its parameter names decide what is read.
            prefix: In front of each name in the files.
            dtype: Convert to this type; None keeps the file's.

        Raises:
            BundleError: Tensors are missing, of another shape or of whole numbers; they are
                listed. Or one holds what is no number.
        """
        if wrong := self.lacking(module, prefix):
            raise BundleError(f'{self._title}: {few(wrong)}')
        for name, _ in list(module.named_parameters()):
            tensor = self.read(prefix + name)
            # A copy: the file can be closed, and nothing can write through to it.
            kept = tensor.to(dtype or tensor.dtype, copy=True)
            check_finite(f'{self._title}: {prefix}{name}', kept)
            owner, _, leaf = name.rpartition('.')
            setattr(module.get_submodule(owner), leaf, nn.Parameter(kept, requires_grad=False))

    def lacking(self, module: nn.Module, prefix: str) -> list[str]:
        """What ``fill`` would refuse: tensors that are missing, of another shape or kind.

        Names and headers are looked at, no weight is read.
        """
        wrong: list[str] = []
        for name, parameter in module.named_parameters():
            stored = prefix + name
            if stored not in self._where:
                # Of a layer that is missing as a whole one look around is enough.
                near = '' if wrong else f'; {self._near(stored)}'
                wrong.append(f'{stored} is missing{near}')
                continue
            try:
                found = self.shape(stored)
                check_kind(stored, self._kind(stored))
            except BundleError as error:
                wrong.append(str(error))
                continue
            if found != tuple(parameter.shape):
                wrong.append(f'{stored} has the shape {found}: expected {tuple(parameter.shape)}')
        return wrong

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor; its weights are not read.

        Raises:
            BundleError: There is no such tensor.
        """
        path = self._where.get(name)
        source = None if path is None else self._source(path)
        if isinstance(source, Shaped):
            return source.shape_of(name)
        if source is None or isinstance(source, Mapping) or name not in source.keys():  # noqa: SIM118
            return tuple(self.read(name).shape)
        return tuple(source.get_slice(name).get_shape())

    def _kind(self, name: str) -> torch.dtype | str | None:
        """Of the numbers in a tensor; None where it is made of others, which are looked at."""
        source = self._source(self._where[name])
        if isinstance(source, Shaped):
            return None
        if isinstance(source, Mapping):
            return self.read(name).dtype
        return kind_of_header(source.get_slice(name).get_dtype())

    def _source(self, path: Path) -> Any:
        if path not in self._open:
            self._open[path] = open_file(path)
        return self._open[path]

    def _near(self, name: str) -> str:
        """The names that share the longest dotted beginning with ``name``."""
        parts = name.split('.')
        for size in range(len(parts), 0, -1):
            found = [n for n in self.names() if n.startswith('.'.join(parts[:size]))]
            if found:
                return f'there are {_some(found)}'
        return f'there are {_some(self.names())}'


def open_folder(folder: Path) -> TensorFiles:
    """The model's weights, from whichever of the four layouts the folder has.

    Raises:
        BundleError: No weights, an index that names missing files, or one that is not JSON.
    """
    for single in _SINGLE:
        index = folder / f'{single}.index.json'
        if index.is_file():
            return TensorFiles(_from_index(index), str(folder))
        if (folder / single).is_file():
            names = names_of(open_file(folder / single))
            return TensorFiles(dict.fromkeys(names, folder / single), str(folder))
    wanted = ', '.join(f'{single}, {single}.index.json' for single in _SINGLE)
    raise BundleError(f'{folder}: no weights; expected one of {wanted}; {listing(folder)}')


def open_part(folder: Path, stem: str) -> TensorFiles | None:
    """Weights of a part saved beside the model: ``<stem>--<step>_checkpoint.pt``.

    As upstream, any name with the stem and ``checkpoint`` in it will do. A ``module.`` in front of
    every name, left by distributed training, is stripped.

    Returns:
        None where there is no such file.

    Raises:
        BundleError: Several steps lie there; which one belongs to the weights is not ours to say.
    """
    found = parts_of(folder, stem)
    if not found:
        return None
    if len(found) > 1:
        raise BundleError(
            f'{folder}: {_some([path.name for path in found])}: expected one {stem}; move the '
            'steps away that do not belong to the weights'
        )
    path = found[0]
    state = open_file(path)
    plain = {name.removeprefix('module.'): tensor for name, tensor in state.items()}
    return TensorFiles(dict.fromkeys(plain, path), str(path), {path: plain})


def parts_of(folder: Path, stem: str) -> list[Path]:
    """Files of a part that was saved beside the model, sorted."""
    return sorted(folder.glob(f'{stem}*checkpoint*.pt'))


def open_file(path: Path) -> Any:
    """A mapped file: a dict of tensors, or a safetensors reader.

    Raises:
        BundleError: Missing, damaged, or holding more than tensors.
    """
    if not path.is_file():
        raise BundleError(f'{path}: no such file; {listing(path.parent)}')
    refuse_pointer(path)
    try:
        if path.suffix == '.safetensors':
            return safe_open(str(path), framework='pt')
        state = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except (SafetensorError, OSError) as error:
        raise BundleError(f'{path}: {error}; download it again') from error
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, ValueError, ...
        raise BundleError(
            f'{path}: not a torch file of tensors only: it is damaged, of the format before torch '
            '1.6, or holds other Python objects, which are not opened, for they could run code; '
            'download it again, or convert it to safetensors where you trust it'
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BundleError(f'{path}: expected a mapping of names to tensors')
    return state


def names_of(source: Any) -> Iterable[str]:
    """Names in what ``open_file`` returned."""
    names: Iterable[str] = source.keys()
    return names


def listing(folder: Path) -> str:
    """What a folder holds, for messages."""
    if not folder.is_dir():
        return f'{folder} is no folder'
    found = sorted(path.name for path in folder.iterdir())
    return f'{folder} holds {_some(found) if found else "nothing"}'


def _from_index(index: Path) -> dict[str, Path]:
    refuse_pointer(index)
    try:
        document = load(index, LARGEST_PUBLISHED)
        pairs = document['weight_map'].items()
        where = {str(name): index.parent / Path(str(file)).name for name, file in pairs}
    except (TypeError, KeyError, AttributeError) as error:
        raise BundleError(f'{index}: {error!r}; expected JSON with a weight_map') from error
    missing = sorted({path.name for path in where.values() if not path.is_file()})
    if missing:
        raise BundleError(f'{index}: names {_some(missing)}, not there; {listing(index.parent)}')
    return where


def few(wrong: Sequence[str], most: int = 8) -> str:
    """What is wrong, one to a line; of a long list the first."""
    more = f'\n... and {len(wrong) - most} more' if len(wrong) > most else ''
    return '\n'.join(wrong[:most]) + more


def _some(names: Iterable[str], most: int = 8) -> str:
    found = list(names)
    more = f', ... ({len(found)} in all)' if len(found) > most else ''
    return ', '.join(found[:most]) + more
