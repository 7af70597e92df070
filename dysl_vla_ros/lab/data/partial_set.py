"""The folder beside its place in which a set grows: one import at a time, and nobody else's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.targets import contents, folder_target, lock_folder

_OWN = {'data', 'meta', 'videos'}


def set_target(field: str, folder: Path) -> Path:
    """The place of a new set, beside which it may grow; nothing is touched.

    Args:
        field: Name of the argument, for the message.
        folder: As the user gave it.

    Raises:
        ConfigError: Something is there, or something else where the set would grow.
    """
    place = folder_target(field, folder, lambda there: False, 'no other: a set is not replaced')
    folder_target(field, _beside(place), _is_partial, 'what an interrupted import left')
    return place


class PartialSet:
    """Held from its beginning to its end; what an interrupted import left in it is removed.

    Attributes:
        path: Where the files go.
    """

    def __init__(self, folder: Path) -> None:
        """Take it.

        Args:
            folder: Where the set will be, from ``set_target``.

        Raises:
            ConfigError: Another import is writing there.
        """
        self.path, self._folder = _beside(folder), folder
        handle = lock_folder(self.path)
        if handle is None:
            raise ConfigError('out', str(folder), f'another place, or to wait: another import is '
                              f'writing in {self.path}')  # fmt: skip
        self._handle = handle
        for name in contents(self.path):
            shutil.rmtree(self.path / name)

    def publish(self) -> None:
        """Give it the name of the set."""
        if self._folder.is_dir():  # empty, as it was checked in the beginning
            self._folder.rmdir()
        self.path.rename(self._folder)
        os.close(self._handle)

    def drop(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._handle)


def _beside(folder: Path) -> Path:
    return folder.with_name(f'.{folder.name}.partial')


def _is_partial(folder: Path) -> bool:
    return all(name in _OWN and (folder / name).is_dir() for name in contents(folder))
