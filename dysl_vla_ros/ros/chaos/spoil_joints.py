"""What the relay may do to joint states; see ``spoil``."""

from __future__ import annotations

import array
import copy
import math
import random
from typing import Any

from dysl_vla_ros.ros.chaos.spoil import Filter, changed


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
        message.position = array.array('d', [*message.position, message.position[index] + radians])
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
