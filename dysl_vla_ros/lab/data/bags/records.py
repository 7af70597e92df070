"""What a recording holds, whatever it is stored in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dysl_vla_ros.errors import ConfigError


@dataclass(frozen=True)
class Channel:
    """One topic of a file.

    Attributes:
        topic: Its name.
        kind: Type of its messages, ``package/msg/Name``.
        definition: Text of the type; '' where the file has none.
        language: Of the text: ``ros2msg`` or ``ros2idl``.
        encoding: Of the messages; only ``cdr`` is read.
        count: Messages that the file has of it.
    """

    topic: str
    kind: str
    definition: str = ''
    language: str = 'ros2msg'
    encoding: str = 'cdr'
    count: int = 0


class Raw(NamedTuple):
    """A message as it is stored: topic, when it was recorded [ns], its bytes."""

    topic: str
    time_ns: int
    data: bytes


class Message(NamedTuple):
    """A message, read.

    Attributes:
        topic: Its name.
        kind: Its type.
        stamp: When it was recorded, on the recorder's clock [ns].
        message: With the fields of its type; lists of numbers are numpy arrays.
        part: Number of the stretch of the recording: one more each time that the clock jumped
            back. Times of two parts cannot be compared.
    """

    topic: str
    kind: str
    stamp: int
    message: Any
    part: int


class Storage(Protocol):
    """One file of a bag."""

    @property
    def channels(self) -> Mapping[str, Channel]:
        """Topics of the file."""

    @property
    def notes(self) -> list[str]:
        """What was worked around; grows while the file is read."""

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Raw]:
        """Messages in the order in which they were stored, all topics or some."""


def add_once(notes: list[str], text: str) -> None:
    """Note what was worked around, unless it was noted before: files are read more than once."""
    if text not in notes:
        notes.append(text)


def unreadable(path: Path, found: object, right: str) -> ConfigError:
    """The error of a file or folder that is no recording."""
    return ConfigError('bag', f'{path}: {found}', right)
