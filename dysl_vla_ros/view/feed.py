"""What the page shows, kept by one thread and read by another: the newest, and what was new."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dysl_vla_ros.data_types import ImageArray

PASSES = 400
"""So many passes are kept for a page that is opened later."""
EVENTS = 200
PICTURE_HZ = 10.0
"""Of a camera, at most."""


@dataclass(frozen=True)
class Answer:
    """Whether a request was taken, and a sentence for people."""

    success: bool
    message: str


@dataclass(frozen=True)
class Cursor:
    """How far a page has been told: passes, events, and the version of the description."""

    passes: int = 0
    events: int = 0
    arm: int = 0


@dataclass(frozen=True)
class Shot:
    """One picture of a camera.

    Attributes:
        number: Goes up with every picture.
        image: Shape (height, width, 3), RGB; or the bytes of a JPEG or PNG file, as received.
    """

    number: int
    image: ImageArray | bytes


@dataclass
class _Numbered:
    """A list whose items are counted from the beginning, although only the newest are kept."""

    items: deque[Any]
    count: int = 0

    def add(self, item: Any) -> None:
        self.items.append(item)
        self.count += 1

    def after(self, seen: int) -> list[Any]:
        new = min(self.count - seen, len(self.items))
        return list(self.items)[len(self.items) - new :] if new > 0 else []


@dataclass
class Feed:
    """Written by the node's thread, read by the server's."""

    _values: dict[str, Any] = field(default_factory=dict)
    _passes: _Numbered = field(default_factory=lambda: _Numbered(deque(maxlen=PASSES)))
    _events: _Numbered = field(default_factory=lambda: _Numbered(deque(maxlen=EVENTS)))
    _arm: tuple[int, list[dict[str, Any]]] = (0, [])
    _shots: dict[str, Shot] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, key: str, value: Any) -> None:
        """Keep the newest of something: ``state``, ``joints``, ``commands``, ..."""
        with self._lock:
            self._values[key] = value

    def get(self, key: str, default: Any = None) -> Any:
        """The newest of something."""
        with self._lock:
            return self._values.get(key, default)

    def add_pass(self, values: Mapping[str, Any]) -> None:
        """One pass of the model."""
        with self._lock:
            self._passes.add(dict(values))

    def add_event(self, level: str, text: str) -> None:
        """A line for people.

        Args:
            level: ``info``, ``warn``, ``error``, or ``asked`` for what the page asked for.
            text: What happened.
        """
        with self._lock:
            self._events.add({'at': time.time(), 'level': level, 'text': text})

    def set_arm(self, joints: list[dict[str, Any]]) -> None:
        """What ``skeleton`` made of the robot's description."""
        with self._lock:
            self._arm = (self._arm[0] + 1, joints)

    def add_shot(self, camera: str, image: ImageArray | bytes) -> None:
        """A picture of a camera."""
        with self._lock:
            before = self._shots.get(camera)
            self._shots[camera] = Shot(0 if before is None else before.number + 1, image)

    def forget_shot(self, camera: str) -> None:
        """A camera that nobody looks at any more."""
        with self._lock:
            self._shots.pop(camera, None)

    def shots(self) -> dict[str, Shot]:
        """The newest picture of each camera."""
        with self._lock:
            return dict(self._shots)

    def since(self, cursor: Cursor) -> tuple[dict[str, Any], Cursor]:
        """What a page needs that was told so much, and how much it knows then."""
        with self._lock:
            told: dict[str, Any] = dict(self._values)
            told['passes'] = self._passes.after(cursor.passes)
            told['events'] = self._events.after(cursor.events)
            version, joints = self._arm
            if version != cursor.arm:
                told['arm'] = joints
            return told, Cursor(self._passes.count, self._events.count, version)
