"""A published folder, looked at as a whole: everything that is wrong, at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dysl_vla_ros.bundle.git_lfs import pointers_in
from dysl_vla_ros.bundle.manifest import InstructionSpec
from dysl_vla_ros.bundle.vocabulary import check_rows
from dysl_vla_ros.errors import BundleError, ConfigError, as_list
from dysl_vla_ros.lab.model.family import read_config
from dysl_vla_ros.lab.model.film_vision import open_film
from dysl_vla_ros.lab.model.published_model import (
    TOKENIZER,
    image_size,
    read_colours,
    read_tokenizer,
    text_shape,
    tower_shapes,
)
from dysl_vla_ros.lab.model.published_statistics import all_statistics
from dysl_vla_ros.lab.model.tensor_files import few, listing, open_folder

Found = TypeVar('Found')
Wrong = BundleError | ConfigError
_SHOWN = 3


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


class Steps:
    """Steps of a survey; one that fails does not keep the others from being taken.

    Attributes:
        wrong: What failed so far.
    """

    def __init__(self, folder: Path) -> None:
        """Begin with what git did not bring."""
        self._folder = folder
        pointers = pointers_in(folder) if folder.is_dir() else ()
        self.wrong: list[Wrong] = [_pointers(folder, pointers)] if pointers else []
        self._holds, self._pointers = f'; {listing(folder)}', [str(path) for path in pointers]

    def take(self, step: Callable[[], Found]) -> Found | None:
        """What a step finds; None where it failed."""
        try:
            return step()
        except (BundleError, ConfigError) as error:
            self._add(error)
            return None

    def files(self) -> None:
        """Take a look at each file by itself."""
        folder = self._folder
        weights = self.take(lambda: open_folder(folder))
        config = self.take(lambda: read_config(folder))
        self.take(lambda: all_statistics(folder))
        self.take(lambda: read_tokenizer(folder))
        self.take(lambda: read_colours(folder))
        self.take(lambda: open_film(folder))
        if config is not None:
            self.take(lambda: text_shape(config, folder))
            self.take(lambda: image_size(config, folder))
            if weights is not None:
                self.take(lambda: tower_shapes(config, weights, folder))

    def inside(
        self, tokenizer: str, instruction: InstructionSpec, rows: int, lacking: list[str],
        unread: list[str],
    ) -> None:  # fmt: skip
        """Compare the tokenizer with the table of words, and note tensors that do not fit.

        Args:
            tokenizer: JSON of the ``tokenizers`` library.
            instruction: Adds ids for padding and end.
            rows: Of the table of words.
            lacking: Tensors that are missing or wrong.
            unread: Tensors that nothing reads; where others are missing they only have other
                names.
        """
        self.take(
            lambda: check_rows(
                json.loads(tokenizer), f'{self._folder}/{TOKENIZER}', instruction, rows
            )
        )
        lacking = [text for text in lacking if not self._is_pointer(text)]
        if lacking:
            are = f'{len(lacking)} tensors' if len(lacking) > 1 else '1 tensor'
            self.wrong.append(BundleError(f'{self._folder}: {are}: {few(lacking)}'))
        elif unread:
            are = f'{len(unread)} tensors' if len(unread) > 1 else '1 tensor'
            first = ', '.join(unread[:_SHOWN]) + (', ...' if len(unread) > _SHOWN else '')
            self.wrong.append(BundleError(
                f'{self._folder}: {are} that nothing reads ({first}): expected only what the '
                'model of config.json has; this one is another, and would act otherwise without '
                'them'))  # fmt: skip

    def refuse(self) -> None:
        """Raise what is wrong, if anything is.

        Raises:
            BundleError: Something is wrong with the folder; lists all of it.
            ConfigError: One setting is wrong, or is not known.
        """
        refuse(self._folder, tuple(self.wrong))

    def _add(self, error: Wrong) -> None:
        """Say each thing once, and once what the folder holds."""
        text, said = str(error), [str(known) for known in self.wrong]
        if text in said or self._is_pointer(text):
            return
        plain = text.removesuffix(self._holds)
        if plain == text or not any(known.endswith(self._holds) for known in said):
            self.wrong.append(error)
        elif not any(known.startswith(plain) for known in said):
            self.wrong.append(BundleError(plain))

    def _is_pointer(self, text: str) -> bool:
        """Whether a text is about a file that is named among the pointers already."""
        return any(text.startswith(f'{path}: this is') for path in self._pointers)


def refuse(folder: Path, wrong: tuple[Wrong, ...]) -> None:
    """Raise what is wrong with a folder: the one thing as it is, several as a list."""
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise BundleError(f'{folder}: {len(wrong)} things are missing or wrong: {as_list(wrong)}')


def _pointers(folder: Path, found: tuple[Path, ...]) -> BundleError:
    names = ', '.join(path.name for path in found[:5]) + (', ...' if len(found) > 5 else '')
    are = f'{len(found)} files are Git LFS pointers' if len(found) > 1 else (
        '1 file is a Git LFS pointer')  # fmt: skip
    return BundleError(f'{folder}: {are} ({names}): run git lfs install and git lfs pull in '
                       f'{folder}')  # fmt: skip
