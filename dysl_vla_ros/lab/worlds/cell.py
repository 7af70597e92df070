"""One simulated world from the trainer's side: play actions, observe, ask the expert.

The policy only ever gets what ``observe`` returns; the labels are the teacher's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import FloatArray, ImageArray
from dysl_vla_ros.errors import KinematicsError
from dysl_vla_ros.lab.model.shapes import PATCH
from dysl_vla_ros.lab.worlds.goals import goal_number
from dysl_vla_ros.sim import scene
from dysl_vla_ros.sim.camera import CAMERAS
from dysl_vla_ros.sim.expert import expert_chunk
from dysl_vla_ros.sim.expert_state import ExpertState
from dysl_vla_ros.sim.goals import Episode, Family, Goal, Split
from dysl_vla_ros.sim.relabel import sensible_goals
from dysl_vla_ros.sim.tracker import Tracker
from dysl_vla_ros.sim.world import World

CAMERA_SIZES: dict[str, int] = {'image': CAMERAS['image']}
"""The bundled policy sees the third-person camera alone: every token costs time in every layer."""
DROPPED_ROWS = 2
"""Rows of patches, from the top of that picture, in which no object ever shows."""
HORIZON = 8
ACTION_DIM = 7
HELD_ACTIONS = 10
"""Success counts once it has lasted this many actions."""


@dataclass(frozen=True)
class EpisodeSpec:
    """Which episode, and when it ends at the latest."""

    seed: int
    family: Family | None = None
    split: Split = 'train'
    max_actions: int = 300


@dataclass(frozen=True)
class Outcome:
    """How an episode stands."""

    done: bool
    success: bool
    actions: int


@dataclass(frozen=True)
class Labels:
    """What the expert would do from one state, for several goals.

    Attributes: as in ``Demonstrations``, with one row per goal.
    """

    goal: NDArray[np.int64]
    own: NDArray[np.bool_]
    chunk: NDArray[np.float32]
    point: NDArray[np.int64]
    offset: NDArray[np.float32]


class Cell:
    """A world being played by a policy."""

    def __init__(self) -> None:
        self.world = World()

    def reset(self, spec: EpisodeSpec) -> None:
        """Lay out an episode."""
        self.spec = spec
        self.episode = self.world.reset(spec.seed, spec.family, spec.split)
        self.tracker = Tracker(self.world)
        self.actions = self._held_for = 0
        self.instruction = self.episode.instruction
        self.goal = goal_number(self.episode.things, self.episode.goal)

    def play(self, action: NDArray[np.float32]) -> str:
        """Play one action, shape (7,), physical units; return the phase it was played in.

        An action that the arm cannot follow is a rest of the same length.
        """
        phase = str(self.world.phase())
        try:
            self.tracker.play(action.astype(np.float64))
        except KinematicsError:
            rest = np.zeros(7)
            rest[6] = action[6]
            self.tracker.play(rest)
        self.actions += 1
        self._held_for = self._held_for + 1 if self.world.success() else 0
        return phase

    def observe(self) -> tuple[dict[str, ImageArray], NDArray[np.float32]]:
        """Pictures, and joint positions with the gripper's opening, shape (7,)."""
        images = {name: self.world.render(name, size) for name, size in CAMERA_SIZES.items()}
        return images, proprioception(self.world)

    def outcome(self) -> Outcome:
        """Whether it is over; success must have lasted for ``HELD_ACTIONS``."""
        success = self._held_for >= HELD_ACTIONS
        return Outcome(success or self.actions >= self.spec.max_actions, success, self.actions)

    def label(self, count: int, generator: np.random.Generator) -> Labels:
        """Ask the expert, for the episode's goal and for ``count - 1`` others."""
        state = self.world.expert_state((self.tracker.position, self.tracker.rotation))
        return label_state(self.episode, state, count, generator)


def proprioception(world: World) -> NDArray[np.float32]:
    """Measured joint positions and gripper opening, shape (7,)."""
    return np.array([*world.joint_positions, world.gripper_opening], dtype=np.float32)


def label_state(
    episode: Episode, state: ExpertState, count: int, generator: np.random.Generator
) -> Labels:
    """The expert's chunks for the episode's own goal and some others.

    Others are drawn relation first: there are many more ways to put two things together than
    to pick one up.
    """
    sensible = sensible_goals(state, episode.things)
    by_relation: dict[str, list[Goal]] = {}
    for goal in sensible:
        if goal != episode.goal:
            by_relation.setdefault(goal.relation, []).append(goal)
    # A goal that the state has made impossible has no lesson in it.
    goals = [goal for goal in sensible if goal == episode.goal]
    while len(goals) < count and by_relation:
        relation = sorted(by_relation)[int(generator.integers(len(by_relation)))]
        choices = by_relation[relation]
        goals.append(choices.pop(int(generator.integers(len(choices)))))
        if not choices:
            del by_relation[relation]
    hand = np.array(state.position)
    point = np.full((len(goals), 2), -1, dtype=np.int64)
    offset = np.full((len(goals), 2, 3), np.nan, dtype=np.float32)
    for row, goal in enumerate(goals):
        for column, place in enumerate(_places(state, goal)):
            if place is not None:
                point[row, column] = patch_of(place)
                offset[row, column] = place - hand
    chunks = [expert_chunk(state, goal, HORIZON) for goal in goals]
    return Labels(
        goal=np.array([goal_number(episode.things, goal) for goal in goals], dtype=np.int64),
        own=np.array([goal == episode.goal for goal in goals], dtype=np.bool_),
        chunk=np.array(chunks, dtype=np.float32).reshape(len(goals), HORIZON, ACTION_DIM),
        point=point,
        offset=offset,
    )


def _places(state: ExpertState, goal: Goal) -> tuple[FloatArray, FloatArray | None]:
    """Where the named object and the destination are [m]."""
    thing = state.objects[goal.target]
    target = np.array((thing.x, thing.y, thing.z))
    if goal.reference is not None:
        other = state.objects[goal.reference]
        return target, np.array((other.x, other.y, other.z))
    if goal.family == 'bin':
        return target, np.array((*state.bin_position, 0.03))
    if goal.family == 'push':
        side = -1.0 if goal.relation == 'left' else 1.0
        return target, np.array((thing.x, side * scene.PUSH_LINE, thing.z))
    return target, None


@lru_cache(maxsize=1)
def _camera() -> tuple[FloatArray, FloatArray, float]:
    """Position, orientation and half the opening of the third-person camera, from the scene."""
    camera = ElementTree.fromstring(scene.mjcf(('cube',))).find(".//camera[@name='image']")
    assert camera is not None
    position = np.array(camera.get('pos', '').split(), dtype=np.float64)
    right, up = np.array(camera.get('xyaxes', '').split(), dtype=np.float64).reshape(2, 3)
    right /= np.linalg.norm(right)
    up -= right * (up @ right)
    up /= np.linalg.norm(up)
    half = math.tan(0.5 * math.radians(float(camera.get('fovy', ''))))
    return position, np.column_stack((right, up, np.cross(right, up))), half


def patch_of(place: FloatArray) -> int:
    """Which patch of the third-person picture shows a place (3,) [m]; -1 outside the picture.

    The camera's small errors of an episode are left out: a patch is wider than they are.
    """
    origin, rotation, half = _camera()
    x, y, z = rotation.T @ (place - origin)
    if z >= 0.0:
        return -1
    side = CAMERA_SIZES['image'] // PATCH
    column = math.floor((x / -z / half + 1.0) / 2.0 * side)
    row = math.floor((1.0 - y / -z / half) / 2.0 * side)
    inside = DROPPED_ROWS <= row < side and 0 <= column < side
    return (row - DROPPED_ROWS) * side + column if inside else -1
