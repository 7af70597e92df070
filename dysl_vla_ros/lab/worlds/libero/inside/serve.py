"""The benchmark behind a Unix socket: ``python -m ...inside.serve SOCKET``.

Only bytes and plain values cross it: numpy 1.26 here and 2 there do not read each other's pickles.
"""

from __future__ import annotations

import io
import sys
from multiprocessing.connection import Client
from typing import Any

import numpy as np
from PIL import Image

from dysl_vla_ros.lab.worlds.libero.inside.demonstrate import (
    Demonstrator,
    Frame,
    lay_out,
)
from dysl_vla_ros.lab.worlds.libero.inside.expert import expert_of
from dysl_vla_ros.lab.worlds.libero.inside.goals import places
from dysl_vla_ros.lab.worlds.libero.inside.pictures import Camera
from dysl_vla_ros.lab.worlds.libero.inside.world import (
    LiberoWorld,
    official_episode,
    suite_of,
)
from dysl_vla_ros.lab.worlds.libero.suites import CAMERAS, STEP_LIMITS, family_of

_QUALITY = 95


class Server:
    """Answers one request after the other; each method that begins with no underscore is one."""

    def __init__(self) -> None:
        """Begin without a scene."""
        self._world: LiberoWorld | None = None

    def words(self, suite: str) -> list[str]:
        """Every task's words."""
        bench = suite_of(suite)
        return [str(bench.get_task(number).language) for number in range(bench.n_tasks)]

    def open(self, suite: str, task: int, keep: float, draws: bool = True) -> dict[str, Any]:
        """Build a scene."""
        if self._world is not None:
            self._world.close()
        self._world = LiberoWorld(suite, task, draws)
        self._limit = STEP_LIMITS[family_of(suite)]
        self._camera = Camera(self._world, keep) if draws else None
        self._demonstrator: Demonstrator | None = None
        return {
            'instruction': self._world.instruction,
            'starts': len(self._world.states),
            'limit': self._limit,
            'goals': self._world.liftable,
            'places': places_of(suite, task),
        }

    def start(self, number: int) -> None:
        """Begin an episode at an official start state."""
        world = self._open()
        world.ask_for(world.own)
        world.start(number)

    def fresh(self, seed: int) -> None:
        """Begin at a start drawn anew from the task's own placement, never an official one."""
        world = self._open()
        world.ask_for(world.own)
        lay_out(world, np.random.default_rng([seed, world.number, 29]), shuffled=False)

    def look(self) -> list[bytes]:
        """The pictures, in the order of ``CAMERAS``, empty where none are drawn, and the state."""
        world, camera = self._open(), self._camera
        pictures = [b'' if camera is None else camera.picture(*view).tobytes()
                    for view in CAMERAS.values()]  # fmt: skip
        return [*pictures, world.proprioception().tobytes()]

    def play(self, actions: bytes) -> tuple[bool, int]:
        """Play actions (n, 7) float32 until the goal is met; whether it is, and how many."""
        world, done, count = self._open(), False, 0
        for action in np.frombuffer(actions, np.float32).reshape(-1, 7):
            done = world.step(action.astype(np.float64))
            count += 1
            if done:
                break
        return done, count

    def lifted(self) -> dict[str, float]:
        """How far each object was lifted in this episode [m]."""
        return dict(self._open().lifted)

    def expert(self, number: int) -> tuple[bool, int, bytes]:
        """The scripted expert from an official start: success, actions, and what it played."""
        world = self._open()
        self.start(number)
        expert, done = expert_of(world, world.goal), False
        expert.begin()
        played: list[Any] = []
        while not done and len(played) < self._limit:
            action, _ = expert.action()
            played.append(action)
            done = world.step(action)
        return done, len(played), np.array(played).tobytes()

    def positions(self) -> bytes:
        """All joint positions, float64."""
        return bytes(self._open().data.qpos.tobytes())

    def official(self, suite: str, task: int, number: int, actions: bytes) -> tuple[bytes, bool]:
        """The same actions after a full official reset: final positions, and success."""
        found, done = official_episode(suite, task, number,
                                       np.frombuffer(actions).reshape(-1, 7))  # fmt: skip
        return found.tobytes(), done

    def demonstrate(self, seed: int, horizon: int) -> dict[str, Any]:
        """A noise-injected demonstration with clean labels; pictures as JPEG."""
        return _shown(*self._expert(horizon).episode(seed))

    def follow(self, horizon: int) -> None:
        """The experts see how things lie at the start of an episode."""
        self._expert(horizon).begin()

    def onward(self, seed: int, horizon: int) -> dict[str, Any]:
        """As ``demonstrate``, from wherever the episode that ``follow`` saw begin has come to."""
        return _shown(*self._expert(horizon).onward(seed))

    def _expert(self, horizon: int) -> Demonstrator:
        world = self._open()
        assert self._camera is not None
        if self._demonstrator is None:
            self._demonstrator = Demonstrator(world, self._camera, self._limit, horizon)
        return self._demonstrator

    def _open(self) -> LiberoWorld:
        assert self._world is not None, 'open a task first'
        return self._world


def places_of(suite: str, task: int) -> dict[str, str]:
    """Object -> where it lies at the start."""
    return places(suite_of(suite).get_task(task))


def _shown(goal: int, frames: list[Frame], won: bool) -> dict[str, Any]:
    return {'goal': goal, 'won': won, 'frames': [_packed(frame) for frame in frames]}


def _packed(frame: Frame) -> dict[str, Any]:
    return {
        'images': {name: _jpeg(image) for name, image in frame.images.items()},
        'state': frame.state.tobytes(), 'action': frame.action.tobytes(),
        'hand': frame.hand.tobytes(),
        'labels': {goal: actions.tobytes() for goal, actions in frame.labels.items()},
        'places': {goal: (found.tobytes(), seen.tobytes())
                   for goal, (found, seen) in frame.places.items()},
    }  # fmt: skip


def _jpeg(image: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, 'JPEG', quality=_QUALITY, subsampling=0)
    return stream.getvalue()


def main() -> None:
    """Serve until the other side closes."""
    server = Server()
    with Client(sys.argv[1], 'AF_UNIX') as pipe:
        while True:
            try:
                name, *arguments = pipe.recv()
            except EOFError:
                return
            try:
                pipe.send((True, getattr(server, name)(*arguments)))
            except Exception as error:  # the other side raises it
                pipe.send((False, f'{type(error).__name__}: {error}'))


if __name__ == '__main__':
    main()
