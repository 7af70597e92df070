"""What the relay may do to pictures; see ``spoil``."""

from __future__ import annotations

import array
from typing import Any

from dysl_vla_ros.ros.chaos.spoil import Filter, changed


def image_size(height: int, width: int) -> Filter:
    """A black picture of another size."""
    data = array.array('B', bytes(3 * height * width))

    def change(message: Any) -> None:
        message.height, message.width, message.step = height, width, 3 * width
        message.data = data

    return changed(change)


def image_claims(height: int, width: int) -> Filter:
    """A header that claims more than the data holds."""

    def change(message: Any) -> None:
        message.height, message.width, message.step = height, width, 3 * width

    return changed(change)


def image_encoding(encoding: str) -> Filter:
    """The same bytes under another name."""
    return changed(lambda message: setattr(message, 'encoding', encoding))


def image_black(message: Any) -> list[Any]:
    """A covered lens."""
    message.data = array.array('B', bytes(len(message.data)))
    return [message]


def image_cut(message: Any) -> list[Any]:
    """Half of the bytes."""
    message.data = message.data[: len(message.data) // 2]
    return [message]


def image_empty(message: Any) -> list[Any]:
    """No bytes at all."""
    message.data = array.array('B')
    message.height = message.width = message.step = 0
    return [message]


def image_frozen() -> Filter:
    """The first picture again and again, with new stamps."""
    first: list[Any] = []

    def change(message: Any) -> None:
        if not first:
            first.append(message.data)
        message.data = first[0]

    return changed(change)
