"""What the relay may do to a message on its way; each maker gives a filter of one trial.

A filter takes a message and returns the messages to pass on. It may change the one it gets.
"""

from __future__ import annotations

import array
import copy
import math
import random
import time
from collections.abc import Callable
from typing import Any

Filter = Callable[[Any], list[Any]]


def silent(message: Any) -> list[Any]:
    """Nothing arrives."""
    return []


def changed(change: Callable[[Any], None]) -> Filter:
    """Every message, changed in place."""

    def run(message: Any) -> list[Any]:
        change(message)
        return [message]

    return run


def only(count: int, inner: Filter) -> Filter:
    """The first ``count`` messages are spoilt."""
    left = [count]

    def run(message: Any) -> list[Any]:
        left[0] -= 1
        return inner(message) if left[0] >= 0 else [message]

    return run


def every(nth: int, inner: Filter) -> Filter:
    """Each n-th message is spoilt."""
    seen = [0]

    def run(message: Any) -> list[Any]:
        seen[0] += 1
        return inner(message) if seen[0] % nth == 0 else [message]

    return run


def flood(times: int) -> Filter:
    """Each message several times."""
    return lambda message: [message] * times


def late(seconds: float) -> Filter:
    """Messages are held back, and come with their old stamps."""
    waiting: list[tuple[float, Any]] = []

    def run(message: Any) -> list[Any]:
        now = time.monotonic()
        waiting.append((now, message))
        ready = [m for at, m in waiting if now - at >= seconds]
        del waiting[: len(ready)]
        return ready

    return run


def restamped(offset_s: float) -> Filter:
    """Stamps moved by so much."""

    def change(message: Any) -> None:
        stamp = message.header.stamp
        total = max(0, stamp.sec * 10**9 + stamp.nanosec + round(offset_s * 1e9))
        stamp.sec, stamp.nanosec = total // 10**9, total % 10**9

    return changed(change)


def unstamped() -> Filter:
    """Stamps of zero."""

    def change(message: Any) -> None:
        message.header.stamp.sec = message.header.stamp.nanosec = 0

    return changed(change)


# ---- joint states ------------------------------------------------------------------------------


def joint(index: int, value: float) -> Filter:
    """One joint reads a constant."""
    return changed(lambda message: message.position.__setitem__(index, value))


def offset(index: int, radians: float) -> Filter:
    """One joint reads so much more."""
    return changed(
        lambda message: message.position.__setitem__(index, message.position[index] + radians)
    )


def all_joints(value: float) -> Filter:
    """Every joint reads the same."""

    def change(message: Any) -> None:
        message.position = array.array('d', [value] * len(message.position))

    return changed(change)


def noise(radians: float, seed: int) -> Filter:
    """Gaussian noise on every joint but the last, the gripper."""
    source = random.Random(seed)

    def change(message: Any) -> None:
        for index in range(len(message.position) - 1):
            message.position[index] += source.gauss(0.0, radians)

    return changed(change)


def frozen() -> Filter:
    """The first reading again and again, with new stamps."""
    first: list[Any] = []

    def change(message: Any) -> None:
        if not first:
            first.append(array.array('d', message.position))
        message.position = array.array('d', first[0])

    return changed(change)


def second_opinion(index: int, radians: float) -> Filter:
    """Two publishers that disagree."""

    def run(message: Any) -> list[Any]:
        other = copy.deepcopy(message)
        other.position[index] += radians
        return [message, other]

    return run


def contradicted(index: int, radians: float) -> Filter:
    """A joint named twice, with two positions."""

    def change(message: Any) -> None:
        message.name = [*message.name, message.name[index]]
        message.position = array.array(
            'd', [*message.position, message.position[index] + radians]
        )
        message.velocity = array.array('d')

    return changed(change)


def renamed(index: int, name: str) -> Filter:
    """One joint has another name."""

    def change(message: Any) -> None:
        names = list(message.name)
        names[index] = name
        message.name = names

    return changed(change)


def reversed_order(message: Any) -> list[Any]:
    """Names and values in another order: nothing is wrong with it."""
    message.name = list(message.name)[::-1]
    message.position = message.position[::-1]
    message.velocity = message.velocity[::-1]
    return [message]


def truncated(message: Any) -> list[Any]:
    """Fewer positions than names."""
    message.position = message.position[:3]
    return [message]


def empty_joints(message: Any) -> list[Any]:
    """No names, no values."""
    message.name, message.position, message.velocity = [], array.array('d'), array.array('d')
    return [message]


def many_joints(count: int) -> Filter:
    """A message with so many further joints beside each good one."""
    names = [f'extra_{i}' for i in range(count)]
    values = array.array('d', [math.pi]) * count

    def run(message: Any) -> list[Any]:
        big = copy.deepcopy(message)
        big.name = [*message.name, *names]
        big.position = message.position + values
        big.velocity = array.array('d')
        return [message, big]

    return run


# ---- camera ------------------------------------------------------------------------------------


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
