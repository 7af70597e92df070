"""A world of another package, whose answers are looked at before they are believed.

What is no answer is told with the world, the call and what would be right; a number of numpy is a
number, and an exception names where it was raised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.data_types import FloatArray, ImageArray
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.lab.evaluation.world import Seen, World
from dysl_vla_ros.lab.other_package import Answer, answer_of

_BEYOND = 0.1
"""Of a measured opening: fingers overshoot a little."""
_SHOWN = 80


def asked(title: str, call: Callable[[], Answer]) -> Answer:
    """An answer of another package.

    Raises:
        EngineError: It raised something that is no error of ours; names the call.
    """
    return answer_of(title, call, EngineError, ': expected what doc/worlds.md lists')


def whole(title: str, value: Any, least: int, most: int | None = None) -> int:
    """A number of the world's, as int.

    Raises:
        EngineError: It is none, or beyond its range.
    """
    right = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not right or value < least or (most is not None and value > most):
        raise _wrong(title, value, f'a whole number, at least {least}' if most is None else
                     f'a whole number within {least} to {most}')  # fmt: skip
    return int(value)


class CheckedWorld:
    """One task; every answer is of the protocol, or an error that names the world."""

    def __init__(self, title: str, world: World, manifest: Manifest) -> None:
        """Look at nothing yet.

        Args:
            title: What errors call the world and the task.
            world: Of the other package.
            manifest: Of the bundle that is played: which cameras and joints it reads.
        """
        self._title, self._world, self._manifest = title, world, manifest

    @property
    def instruction(self) -> str:
        """The task in its true words."""
        title = f'{self._title}: instruction'
        found = asked(title, lambda: self._world.instruction)
        if not isinstance(found, str) or not found.strip():
            raise _wrong(title, found, 'a text that says the task')
        return found

    @property
    def limit(self) -> int:
        """Actions that an episode may take."""
        title = f'{self._title}: limit'
        return whole(title, asked(title, lambda: self._world.limit), 1)

    def start(self, number: int) -> None:
        """Begin an episode."""
        asked(f'{self._title}: start({number})', lambda: self._world.start(number))

    def look(self) -> Seen:
        """What shows now.

        Raises:
            EngineError: A camera of the bundle is missing, or is no picture; joints are others
                than the bundle reads, or not finite.
        """
        title = f'{self._title}: look()'
        found: Any = asked(title, self._world.look)
        missing = [name for name in ('images', 'joints', 'gripper') if not hasattr(found, name)]
        if missing:
            raise _wrong(title, found, f'a Seen: {", ".join(missing)} is missing')
        return Seen(self._images(f'{title}.images', found.images),
                    self._joints(f'{title}.joints', found.joints),
                    self._opening(f'{title}.gripper', found.gripper))  # fmt: skip

    def play(self, actions: FloatArray) -> tuple[bool, int]:
        """Play actions.

        Raises:
            EngineError: The answer is not whether the goal is met and how many were played, or
                nothing was played and the goal is not met: the episode would never end.
        """
        title = f'{self._title}: play({len(actions)} actions)'
        found: Any = asked(title, lambda: self._world.play(actions))
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise _wrong(title, found, 'two values: whether the goal is met, and how many were '
                         'played')  # fmt: skip
        done, played = found
        if not isinstance(done, (bool, np.bool_)):
            raise _wrong(f'{title}[0]', done, 'True or False: whether the goal is met')
        least = 0 if done else 1
        return bool(done), whole(f'{title}[1]', played, least, len(actions))

    def _images(self, title: str, found: Any) -> dict[str, ImageArray]:
        names = [camera.name for camera in self._manifest.cameras]
        if not hasattr(found, 'keys'):
            raise _wrong(title, found, f'pictures by name: {", ".join(names)}')
        images = {}
        for name in names:
            if name not in found:
                raise _wrong(title, sorted(map(str, found)), f'{name!r} too, a camera of the '
                             'bundle')  # fmt: skip
            image = found[name]
            shape, kind = getattr(image, 'shape', None), getattr(image, 'dtype', None)
            if shape is None or len(shape) != 3 or shape[2] != 3 or 0 in shape or kind != np.uint8:
                told = type(image).__name__ if shape is None else f'shape {shape} of {kind}'
                raise _wrong(f'{title}[{name!r}]', told, '(height, width, 3) of uint8')
            images[name] = np.asarray(image)
        return images

    def _joints(self, title: str, found: Any) -> FloatArray:
        size = self._manifest.proprioception.body
        try:
            joints: FloatArray = np.array(found, dtype=np.float64)
        except (ValueError, TypeError):
            raise _wrong(title, found, f'{size} numbers [rad]') from None
        if joints.ndim != 1 or (size and joints.shape != (size,)):
            raise _wrong(title, f'shape {joints.shape}', f'({size},), as the bundle reads them')
        if not np.isfinite(joints).all():
            raise _wrong(title, joints.tolist(), 'finite numbers [rad]')
        return joints

    def _opening(self, title: str, found: Any) -> float:
        right = 'an opening, 0 closed to 1 open'
        if found is None and not self._manifest.proprioception.gripper:
            return 1.0
        try:
            opening = float(found)
        except (ValueError, TypeError):
            raise _wrong(title, found, right) from None
        if not -_BEYOND <= opening <= 1.0 + _BEYOND:
            raise _wrong(title, opening, right)
        return opening


def _wrong(title: str, value: object, expected: str) -> EngineError:
    text = repr(value)
    text = text if len(text) < _SHOWN else f'{text[: _SHOWN - 3]}...'
    return EngineError(f'{title} = {text}: expected {expected}; see doc/worlds.md')
