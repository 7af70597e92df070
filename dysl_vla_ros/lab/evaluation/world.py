"""What a world must offer, and one episode in it: look, predict a chunk, play part of it, again.

The protocol of published benchmarks (LIBERO, CALVIN): the world waits while the policy computes,
so there is no latency and nothing to blend; what skips, verifies and re-runs is the robot's own
(``core.skip_policy`` over the one ``forward``). See doc/worlds.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.skip_policy import SkipPolicy
from dysl_vla_ros.data_types import FloatArray, ImageArray, Observation, SkipMode
from dysl_vla_ros.errors import ConfigError, InputError
from dysl_vla_ros.lab.evaluation.tally import Tally, TimedPasses
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.policy import Pass
from dysl_vla_ros.verified_pass import displacements, physical_actions, verified


@dataclass(frozen=True)
class Seen:
    """What a policy may see of a world.

    Attributes:
        images: Camera name of the bundle -> upright picture (height, width, 3) uint8.
        joints: Joint positions [rad].
        gripper: Opening, 0 closed to 1 open.
    """

    images: dict[str, ImageArray]
    joints: FloatArray
    gripper: float


class World(Protocol):
    """One task at a time; opened by whoever makes it."""

    @property
    def instruction(self) -> str:
        """The task in its true words."""

    @property
    def limit(self) -> int:
        """Actions that an episode may take."""

    def start(self, number: int) -> None:
        """Begin an episode at start state ``number``; the same number is the same state."""

    def look(self) -> Seen:
        """What shows now; drawn only when somebody asks."""

    def play(self, actions: FloatArray) -> tuple[bool, int]:
        """Play actions (n, dim), in the bundle's physical units, until the goal is met.

        Returns:
            Whether the world's own check says so, and how many were played.
        """


@dataclass(frozen=True)
class Executed:
    """A chunk of which something was played.

    Attributes:
        seen: What the world showed before it; ``blank`` does not show here.
        passes: The pass, and where it was run again that one too; the last is what was played.
        continuity: Of the motion after its first action; None while there is too little.
        before: Actions of the episode played before it.
        played: Actions of it.
    """

    seen: Seen
    passes: tuple[Pass, ...]
    continuity: float | None
    before: int
    played: int


@dataclass(frozen=True)
class Played:
    """One episode in a world.

    Attributes:
        success: As the world judges.
        actions: Played.
        chunks: Accepted.
        reruns: Passes run again in full.
        layers_run: Layers executed, re-runs included.
        controllers: Controllers evaluated.
        layers_total: Depth of the backbone.
        pass_seconds: Wall time of each accepted chunk's passes, re-runs included [s].
        backbone_seconds: The backbone's part of them [s].
        refused: Why the policy does not take the instruction; then nothing was played.
    """

    success: bool
    actions: int
    chunks: int
    reruns: int
    layers_run: int
    controllers: int
    layers_total: int
    pass_seconds: tuple[float, ...]
    backbone_seconds: tuple[float, ...]
    refused: str = ''


def play_episode(
    world: World, policy: Any, config: NodeConfig, number: int, instruction: str, replan: int,
    blank: bool = False, on_chunk: Callable[[Executed], None] | None = None,
) -> Played:  # fmt: skip
    """One episode from start ``number`` to success or to the world's limit.

    Args:
        world: Opened on a task.
        policy: Opened; ``mode_policy`` of it for a baseline.
        config: Of the skip policy, filled in with the bundle.
        number: Start state.
        instruction: What the policy is told: the task's words, or others.
        replan: Actions of each chunk that are played before the next look.
        blank: Show grey pictures: what does the policy do without eyes?
        on_chunk: Called with each chunk after it was played.

    Raises:
        ConfigError: ``replan`` is not within the chunk.
    """
    manifest = policy.manifest
    if not 1 <= replan <= manifest.action.horizon:
        raise ConfigError('replan', replan, f'1 to {manifest.action.horizon} actions of a chunk')
    skip = SkipPolicy(manifest.layout.segments, skip_settings(config, manifest.calibration))
    mode: SkipMode = config.skip.mode  # type: ignore[assignment]
    tally, count, done = Tally(), 0, False
    try:
        policy.tokens(instruction)
    except InputError as error:
        return _played(manifest.layers_total, tally, False, 0, str(error))
    world.start(number)
    while not done and count < world.limit:
        seen = world.look()
        images = {name: np.full_like(image, 127) if blank else image
                  for name, image in seen.images.items()}  # fmt: skip
        observation = Observation(stamp=float(count), images=images, joints=seen.joints,
                                  gripper=seen.gripper, instruction=instruction)  # fmt: skip
        chunk = TimedPasses(policy)
        first_pass = chunk.predict(observation, skip.plan(mode, instruction))
        due = min(getattr(policy, 'plays', replan), world.limit - count)
        # Only what will be played is verified: the next look replaces the rest.
        result, steps, verdict = verified(
            skip, first_pass, partial(_steps, manifest, observation), due, chunk.rerun
        )
        tally.add(chunk)
        done, played = world.play(physical_actions(manifest, result.normalised[:due]))
        for displacement in steps[:played]:
            skip.played(displacement)
        if on_chunk is not None:
            first = verdict.continuity[0] if verdict.continuity else None
            on_chunk(Executed(seen, tuple(chunk.passes), first, count, played))
        count += played
    return _played(manifest.layers_total, tally, done, count)


def _steps(manifest: Manifest, observation: Observation, one: Pass) -> FloatArray:
    return displacements(manifest, one.normalised, observation)


def _played(total: int, tally: Tally, success: bool, count: int, refused: str = '') -> Played:
    return Played(
        success=success, actions=count, chunks=len(tally.pass_seconds), reruns=tally.reruns,
        layers_run=tally.layers, controllers=tally.controllers, layers_total=total,
        pass_seconds=tuple(tally.pass_seconds), backbone_seconds=tuple(tally.backbone_seconds),
        refused=refused,
    )  # fmt: skip
