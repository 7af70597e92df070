"""Episodes of the scripted expert, disturbed on purpose: the source of demonstrations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.data_types import FloatArray, ImageArray
from dysl_vla_ros.errors import KinematicsError
from dysl_vla_ros.sim import scene
from dysl_vla_ros.sim.camera import CAMERAS
from dysl_vla_ros.sim.expert import expert_action
from dysl_vla_ros.sim.expert_state import ExpertState
from dysl_vla_ros.sim.goals import Episode, Family, Split
from dysl_vla_ros.sim.noise import Disturbance, Noise
from dysl_vla_ros.sim.observer import Phase
from dysl_vla_ros.sim.tracker import Tracker
from dysl_vla_ros.sim.world import World


@dataclass(frozen=True)
class Frame:
    """What is recorded once per action.

    Attributes:
        images: Camera -> picture, shape (size, size, 3), uint8; empty if not rendered.
        joints: Measured joint positions (6,) [rad].
        opening: Measured gripper opening, 0..1.
        commanded_position: Commanded grasp point (3,) [m].
        commanded_rotation: Its orientation (3, 3).
        expert_state: What the expert saw, for labels of any goal; privileged.
        instruction: The episode's instruction.
        action: The clean expert action (7,) for the episode's own goal.
        played: The action that was executed, disturbed (7,).
        phase: From contacts and gripper command.
        success: Whether the goal is reached in this state.
        time: Simulated seconds since the start.
    """

    images: dict[str, ImageArray]
    joints: FloatArray
    opening: float
    commanded_position: FloatArray
    commanded_rotation: FloatArray
    expert_state: ExpertState
    instruction: str
    action: FloatArray
    played: FloatArray
    phase: Phase
    success: bool
    time: float


def _inside_workspace(tracker: Tracker, played: FloatArray) -> FloatArray:
    """Keep a disturbed action above the table and in reach."""
    after = np.clip(tracker.position + played[:3], (0.27, -0.32, 0.014), (0.74, 0.36, 0.36))
    played = played.copy()
    played[:3] = after - tracker.position
    return played


def _lost(state: ExpertState, episode: Episode) -> bool:
    """Whether the target rolled or fell where the expert cannot fetch it."""
    thing = state.objects[episode.goal.target]
    bx, by = episode.bin_position
    if max(abs(thing.x - bx), abs(thing.y - by)) < scene.BIN_HALF:
        return False
    return thing.z < 0.0 or not (0.34 < thing.x < 0.73 and abs(thing.y) < 0.33)


def _random_start(world: World, tracker: Tracker, generator: np.random.Generator) -> None:
    """Move, undisturbed and unrecorded, to a random pose above the table."""
    goal = generator.uniform((0.38, -0.22, 0.09), (0.66, 0.22, 0.30))
    turn = float(generator.normal(0.0, 0.25))
    gripper = float(generator.random() < 0.7)
    count = int(np.ceil(np.linalg.norm(goal - tracker.position) / 0.012)) + 1
    step = np.zeros(7)
    step[:3] = (goal - tracker.position) / count
    step[5], step[6] = turn / count, gripper
    for _ in range(count):
        tracker.play(step)


def expert_episode(
    seed: int,
    family: Family | None = None,
    noise: Noise | None = None,
    split: Split = 'train',
    cameras: dict[str, int] | None = None,
    max_actions: int = 360,
    linger: int = 12,
    world: World | None = None,
) -> Iterator[Frame]:
    """Yield one `Frame` per action of an expert episode, and the last state.

    Args:
        seed: Of layout, look and disturbances.
        family: None draws one.
        noise: None plays the clean expert.
        split: See `draw_episode`.
        cameras: Camera -> picture edge [pixels]; default both cameras, ``{}`` renders none.
        max_actions: The episode is cut after this many.
        linger: How many actions it goes on after success.
        world: A World to reuse; saves its set-up time.
    """
    world = World() if world is None else world
    cameras = CAMERAS if cameras is None else cameras
    episode = world.reset(seed, family, split)
    generator = np.random.default_rng([seed, 11])
    disturbance = None if noise is None else Disturbance(noise, generator)
    tracker = Tracker(world)
    if noise is not None and generator.random() < noise.start_rate:
        _random_start(world, tracker, generator)
    left = linger
    for _ in range(max_actions):
        state = world.expert_state((tracker.position, tracker.rotation))
        action = played = expert_action(state, episode.goal)
        if disturbance is not None:
            played = _inside_workspace(tracker, disturbance.apply(action))
        success = world.success()
        yield Frame(
            images={name: world.render(name, size) for name, size in cameras.items()},
            joints=world.joint_positions,
            opening=world.gripper_opening,
            commanded_position=tracker.position.copy(),
            commanded_rotation=tracker.rotation.copy(),
            expert_state=state,
            instruction=episode.instruction,
            action=action,
            played=played,
            phase=world.phase(),
            success=success,
            time=world.time,
        )
        if _lost(state, episode):
            return
        left = left - 1 if success and np.abs(action[:3]).max() < 4e-3 else left
        if left < 0:
            return
        try:
            tracker.play(played)
        except KinematicsError:
            return
