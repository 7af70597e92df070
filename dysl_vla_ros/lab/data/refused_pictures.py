"""Pictures of a recording that the robot would not take either: left out, counted, and said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from dysl_vla_ros.errors import InputError

_Result = TypeVar('_Result')


class RefusedPictures:
    """What was refused, by topic; the node, too, goes on with the picture before."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._good: set[str] = set()
        self._read: set[str] = set()
        self._broken: set[str] = set()
        self._left_out: Counter[str] = Counter()
        self._why: dict[str, InputError] = {}

    def checked(self, topic: str, look: Callable[[], object]) -> bool:
        """Whether a picture may be used, as far as ``look`` sees: its header."""
        try:
            look()
        except InputError as error:
            self._refuse(topic, error)
            return False
        self._good.add(topic)
        return True

    def read(self, topic: str, look: Callable[[], _Result]) -> _Result | None:
        """What ``look`` makes of a picture; None where it cannot be used."""
        try:
            found = look()
        except InputError as error:
            self._refuse(topic, error)
            self._broken.add(topic)
            return None
        self._read.add(topic)
        return found

    def settle(self) -> list[str]:
        """What was left out, in words.

        Raises:
            InputError: Of some topic no picture can be used: what the node would say of the first.
        """
        for topic, error in self._why.items():
            untried = topic in self._good and topic not in self._broken
            if topic not in self._read and not untried:
                raise error
        return [f'{count} picture{" is" if count == 1 else "s are"} left out: {self._why[topic]}'
                for topic, count in self._left_out.items()]  # fmt: skip

    def _refuse(self, topic: str, error: InputError) -> None:
        self._left_out[topic] += 1
        self._why.setdefault(topic, error)
