"""The simulated arm as a program sees it that sends one joint target per period of the policy."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.gripper_filter import GripperFilter
from dysl_vla_ros.data_types import FloatArray, Observation
from dysl_vla_ros.lab.evaluation.episodes import (
    SUCCESS_HELD_S,
    EpisodeResult,
    EpisodeSpec,
    arm_limits,
    last_speed,
    window_within,
)
from dysl_vla_ros.lab.evaluation.smoothness import AT_REST, TICK_S, smoothness
from dysl_vla_ros.lab.evaluation.tally import Tally
from dysl_vla_ros.policy import Policy
from dysl_vla_ros.sim.world import World

_STEP = 1.0 / 60.0
"""Divides the action period of 0.05 s and, twice, the tick at which paths are compared."""


class SteppedArm:
    """Advanced in steps, with the path that it took.

    Attributes:
        commanded: The last target, shape (n,) [rad].
        actions: Targets played.
        path: Measured joints at every second step.
    """

    def __init__(self, world: World, config: NodeConfig, period: float) -> None:
        """At rest where the world's arm is.

        Args:
            world: Laid out.
            config: Of the gripper and the limits.
            period: Of the targets [s].
        """
        self.world = world
        self.commanded: FloatArray = world.joint_positions
        self.actions = 0
        self.path: list[FloatArray] = [world.joint_positions]
        self._period = period
        self._limits = arm_limits(config)
        self._unsafe, self._waited = 0, 0
        self._gripper = GripperFilter(config.gripper)
        self._steps = 0
        self._won_at: float | None = None

    def observe(self, policy: Policy, instruction: str) -> Observation:
        """What the policy reads now."""
        images = {camera.name: self.world.render(camera.name, camera.height)
                  for camera in policy.manifest.cameras}  # fmt: skip
        return Observation(self.world.time, images, self.world.joint_positions,
                           self.world.gripper_opening, instruction)  # fmt: skip

    def play(self, target: FloatArray, opening: float) -> None:
        """One target, for one period.

        Args:
            target: Shape (n,) [rad].
            opening: Of the gripper, 0 to 1.
        """
        speed = (target - self.commanded) / self._period
        self.commanded = target
        # Kind to it: the arm arrives at the speed of the action, and brakes where none follows.
        positions = np.array([target, target + 0.5 * self._period * speed])
        speeds = np.array([speed, np.zeros_like(speed)])
        self._unsafe += not window_within(positions, speeds, self._limits)
        times = np.array([self._period, 2 * self._period])
        self.world.command_trajectory(times, positions, speeds)
        wanted = self._gripper.update(float(np.clip(opening, 0.0, 1.0)), True, self.world.time)
        if wanted is not None:
            self.world.command_gripper(wanted)
        self._advance(self._period)
        self.actions += 1

    def wait(self, seconds: float) -> None:
        """Let time pass without a further target, in whole steps, one at least."""
        before = self._steps
        self._advance(seconds)
        self._waited += self._steps - before

    def _advance(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / _STEP))):
            self.world.advance(_STEP)
            self._steps += 1
            if self._steps % 2 == 0:
                self.path.append(self.world.joint_positions)

    def result(
        self, spec: EpisodeSpec, told: str, policy: Policy, chunks: int, cost: Tally,
        limited: int = 0, lost: int = 0,
    ) -> EpisodeResult:  # fmt: skip
        """What the episode came to; arguments as of ``EpisodeResult``, and what passes cost."""
        manifest = policy.manifest
        holds = round(self._waited * _STEP / self._period)
        return EpisodeResult(
            spec=spec, instruction=told, success=self.world.success(), seconds=self.world.time,
            actions=self.actions, chunks=chunks, reruns=cost.reruns, layers_run=cost.layers,
            controllers=cost.controllers, layers_total=manifest.layers_total,
            static_layers=len(manifest.static_layers), phase_layers={},
            pass_seconds=tuple(cost.pass_seconds), backbone_seconds=tuple(cost.backbone_seconds),
            holds=holds, commands=self.actions + holds, limited=limited, lost=lost,
            unsafe=self._unsafe, resting=last_speed(self.path, TICK_S) < AT_REST,
            **asdict(smoothness(self.path)),
        )  # fmt: skip

    @property
    def won(self) -> bool:
        """Whether success has lasted for long enough; to be asked after each target."""
        now = self.world.time
        self._won_at = (self._won_at or now) if self.world.success() else None
        return self._won_at is not None and now - self._won_at >= SUCCESS_HELD_S
