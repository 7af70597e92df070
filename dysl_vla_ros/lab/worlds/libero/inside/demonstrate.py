"""One demonstration: noisy execution, clean labels, for the goal pursued and for others named.

Starts are drawn anew from the task's own placement, never the official ones, with the arm's noise
of the official states. In most episodes the objects change places and another object of the scene
is asked for: in the suite as it is every object lies within 5 mm of one place per task, so that a
policy could learn words to places, and would read nothing. In most episodes some things also have
colours that the benchmark does not give them: else a policy would know them by colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dysl_vla_ros.lab.worlds.libero.inside.expert import FREE, expert_of
from dysl_vla_ros.lab.worlds.libero.inside.goals import kind
from dysl_vla_ros.lab.worlds.libero.inside.looks import Looks
from dysl_vla_ros.lab.worlds.libero.inside.pictures import Camera
from dysl_vla_ros.lab.worlds.libero.inside.world import Floats, LiberoWorld
from dysl_vla_ros.lab.worlds.libero.suites import CAMERAS

_ARM_NOISE = 0.02
_SHUFFLED, _JITTER = 0.65, 0.015
_ONWARD_NOISE = 0.4
"""Of a correction, as of the calm quarter of the demonstrations."""


@dataclass(frozen=True)
class Frame:
    """One observation with its labels; plain arrays.

    Attributes:
        images: By camera, as bytes.
        state: (8,) float32.
        action: Clean, for the goal that is pursued, (7,) in the controller's units.
        hand: (3,) [m].
        labels: One of (goal, clean actions ahead (n, 7)) per other goal that could be named.
        places: Goal -> object and destination (2, 3) [m], and their pixels (2, 2) or NaN.
    """

    images: dict[str, Any]
    state: Any
    action: Floats
    hand: Floats
    labels: dict[int, Floats]
    places: dict[int, tuple[Floats, Floats]]


class Demonstrator:
    """Plays episodes of one scene."""

    def __init__(self, world: LiberoWorld, camera: Camera, limit: int, horizon: int) -> None:
        """Join the parts; ``limit`` is the longest episode in actions."""
        self._world, self._camera = world, camera
        self._limit, self._horizon = limit, horizon
        self._looks = Looks(world)
        self._experts = {goal: expert_of(world, goal) for goal in world.goals.values()}

    def episode(self, seed: int) -> tuple[int, list[Frame], bool]:
        """Goal, frames, and whether it was reached; the same for the same seed."""
        world = self._world
        generator = np.random.default_rng([seed, world.number, 23])
        shuffled = len(world.goals) > 1 and generator.random() < _SHUFFLED
        goal = world.number
        if shuffled:
            goal = int(generator.choice(sorted(world.goals)))
        world.ask_for(world.goals[goal])
        lay_out(world, generator, shuffled and self._interchangeable)
        self.begin()
        noise = _Disturbance(generator, 0.4 if seed % 4 == 0 else 1.0)
        self._looks.draw(np.random.default_rng([seed, world.number, 31]))
        try:
            return goal, *self._played(goal, noise)
        finally:
            self._looks.restore()

    def begin(self) -> None:
        """The experts forget the last episode, and see how things lie in this one."""
        for expert in self._experts.values():
            expert.begin()

    def onward(self, seed: int) -> tuple[int, list[Frame], bool]:
        """As ``episode``, of the task's own goal, from wherever something else has led."""
        generator = np.random.default_rng([seed, self._world.number, 37])
        return self._world.number, *self._played(
            self._world.number, _Disturbance(generator, _ONWARD_NOISE)
        )

    def _played(self, goal: int, noise: _Disturbance) -> tuple[list[Frame], bool]:
        """Frames up to the goal or the limit, and whether it was reached."""
        world = self._world
        frames: list[Frame] = []
        for _ in range(self._limit):
            action, phase = self._experts[world.goal].action()
            frames.append(self._frame(action, phase, goal))
            if world.step(noise(action)):
                return frames, True
        return frames, False

    @property
    def _interchangeable(self) -> bool:
        """Whether things may change places: not where the words name places, old or new ones."""
        goals = self._world.goals.values()
        return len({kind(goal.thing) for goal in goals}) > 1 == len({goal.place for goal in goals})

    def _frame(self, action: Floats, phase: str, goal: int) -> Frame:
        world, camera = self._world, self._camera
        labels: dict[int, Floats] = {}
        if phase in FREE and not world.shut:
            for other, named in world.goals.items():
                actions = None if other == goal else self._experts[named].ahead(self._horizon)
                if actions is not None:
                    labels[other] = actions
        places = {}
        for number in (goal, *labels):
            found = np.array(self._experts[world.goals[number]].places())
            seen = [camera.pixel(CAMERAS['image'][0], place) or (np.nan, np.nan)
                    for place in found]  # fmt: skip
            places[number] = (found, np.array(seen))
        images = {name: camera.picture(*view) for name, view in CAMERAS.items()}
        hand = world.hand()[0]
        return Frame(images, world.proprioception(), action, hand, labels, places)


def lay_out(world: LiberoWorld, generator: np.random.Generator, shuffled: bool) -> None:
    """Draw a start from the task's own placement, with the arm's noise of the official ones.

    Args:
        world: Its episode begins anew.
        generator: Of everything that is drawn.
        shuffled: Whether the things that words can mean change places.
    """
    world.draw(int(generator.integers(2**31)))
    data, robot = world.data, world.robot
    data.qpos[world.joints] = robot.init_qpos + generator.normal(0, _ARM_NOISE, 7)
    data.qvel[:] = 0
    if shuffled:
        joints = [_free_joint(world, goal.thing) for goal in world.goals.values()]
        spots = np.array([data.qpos[first : first + 2] for first in joints])
        order = generator.permutation(len(joints))
        for first, spot in zip(joints, spots[order]):  # noqa: B905
            data.qpos[first : first + 2] = spot + generator.uniform(-_JITTER, _JITTER, 2)
    world.start_from(world.inner.sim.get_state().flatten())


def _free_joint(world: LiberoWorld, name: str) -> int:
    """Where an object's position begins in qpos."""
    joint = world.model.body_jntadr[world.inner.obj_body_id[name]]
    return int(world.model.jnt_qposadr[joint])


class _Disturbance:
    """Drift with memory on the action, now and then a push, now and then a slipping gripper."""

    def __init__(self, generator: np.random.Generator, factor: float) -> None:
        self._random, self._factor = generator, factor
        self._drift, self._push = np.zeros(6), np.zeros(3)
        self._pushes = self._slips = 0

    def __call__(self, action: Floats) -> Floats:
        random, factor = self._random, self._factor
        spread = np.array((0.12,) * 3 + (0.02, 0.02, 0.04))
        self._drift = 0.7 * self._drift + random.normal(0, 1, 6) * factor * spread
        if not self._pushes and random.random() < 0.012 * factor:
            way = random.normal(0, 1, 3)
            self._push = way / np.linalg.norm(way) * random.uniform(0.4, 1.0)
            self._pushes = int(random.integers(4, 9))
        if not self._slips and random.random() < 0.003 * factor:
            self._slips = int(random.integers(4, 9))
        played = action.copy()
        played[:6] += self._drift
        if self._pushes:
            self._pushes -= 1
            played[:3] += self._push
        if self._slips:
            self._slips -= 1
            played[6] = -played[6]
        return np.clip(played, -1, 1)
