"""The simulated arm as a program sees it that sends one joint target per period of the policy."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.gripper_filter import GripperFilter
from dysl_vla_ros.data_types import FloatArray, Observation
from dysl_vla_ros.lab.evaluation.episodes import SUCCESS_HELD_S, EpisodeResult, EpisodeSpec
from dysl_vla_ros.lab.evaluation.smoothness import smoothness
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
            config: Of the gripper.
            period: Of the targets [s].
        """
        self.world = world
        self.commanded: FloatArray = world.joint_positions
        self.actions = 0
        self.path: list[FloatArray] = [world.joint_positions]
        self._period = period
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
        self.world.command_trajectory(
            np.array([self._period, 2 * self._period]),
            np.array([target, target + 0.5 * self._period * speed]),
            np.array([speed, np.zeros_like(speed)]),
        )
        wanted = self._gripper.update(float(np.clip(opening, 0.0, 1.0)), True, self.world.time)
        if wanted is not None:
            self.world.command_gripper(wanted)
        self.wait(self._period)
        self.actions += 1

    def wait(self, seconds: float) -> None:
        """Let time pass without a further target, in whole steps, one at least."""
        for _ in range(max(1, round(seconds / _STEP))):
            self.world.advance(_STEP)
            self._steps += 1
            if self._steps % 2 == 0:
                self.path.append(self.world.joint_positions)

    def result(
        self, spec: EpisodeSpec, told: str, policy: Policy, chunks: int, layers_run: int = 0,
        pass_seconds: tuple[float, ...] = (), lost: int = 0,
    ) -> EpisodeResult:  # fmt: skip
        """What the episode came to; arguments as of ``EpisodeResult``."""
        manifest = policy.manifest
        return EpisodeResult(
            spec=spec, instruction=told, success=self.world.success(), seconds=self.world.time,
            actions=self.actions, chunks=chunks, reruns=0, layers_run=layers_run, controllers=0,
            layers_total=manifest.layers_total, static_layers=len(manifest.static_layers),
            phase_layers={}, pass_seconds=pass_seconds, backbone_seconds=(), holds=0,
            commands=self.actions, limited=0, lost=lost, **asdict(smoothness(self.path)),
        )  # fmt: skip

    @property
    def won(self) -> bool:
        """Whether success has lasted for long enough; to be asked after each target."""
        now = self.world.time
        self._won_at = (self._won_at or now) if self.world.success() else None
        return self._won_at is not None and now - self._won_at >= SUCCESS_HELD_S
