"""The same policy over the same link, played by openpi's own ``ActionChunkBroker``: to compare.

The broker gives out one action per period and asks again when the chunk is used up: while it waits
for the answer, the arm gets no command and stands at its last target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.gripper_filter import GripperFilter
from dysl_vla_ros.data_types import FloatArray, Observation
from dysl_vla_ros.engines.remote.contract import contract_of
from dysl_vla_ros.engines.remote.request import request_of
from dysl_vla_ros.errors import DyslError, EngineError
from dysl_vla_ros.lab.evaluation.episodes import SUCCESS_HELD_S, EpisodeResult, EpisodeSpec
from dysl_vla_ros.lab.evaluation.link_weather import WeatherLink
from dysl_vla_ros.lab.evaluation.smoothness import smoothness
from dysl_vla_ros.motion import MotionPlanner
from dysl_vla_ros.policy import Policy
from dysl_vla_ros.sim.world import World

_STEP = 1.0 / 60.0
"""Divides the action period of 0.05 s and, twice, the tick at which paths are compared."""
_DEADLINE_S = 60.0


class _Served:
    """What the broker wraps."""

    def __init__(self, link: WeatherLink) -> None:
        self._link = link
        self.chunks = 0

    def infer(self, obs: Mapping[str, Any]) -> dict[str, Any]:
        self.chunks += 1
        answer = self._link.ask(obs, _DEADLINE_S)
        return {'actions': answer['actions']}

    def reset(self) -> None:
        """Nothing is kept here."""


class _Arm:
    """The simulated arm, advanced in steps, with the path that it took."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._steps = 0
        self.path: list[FloatArray] = [world.joint_positions]

    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / _STEP)):
            self.world.advance(_STEP)
            self._steps += 1
            if self._steps % 2 == 0:
                self.path.append(self.world.joint_positions)


def broker_episode(
    world: World, policy: Policy, planner: MotionPlanner, config: NodeConfig, spec: EpisodeSpec,
    link: WeatherLink, latency: float,
) -> EpisodeResult:  # fmt: skip
    """One episode; arguments as ``run_episode``.

    Raises:
        EngineError: openpi's client is not installed.
    """
    try:
        from openpi_client.action_chunk_broker import ActionChunkBroker
    except ImportError as error:
        raise EngineError(f'mode broker: {error}: pip install openpi-client') from None
    manifest = policy.manifest
    contract, period = contract_of(manifest), manifest.action.period_s
    episode = world.reset(spec.seed, spec.family, spec.split)
    told, served = spec.instruction or episode.instruction, _Served(link)
    broker = ActionChunkBroker(served, manifest.action.horizon)
    arm, gripper = _Arm(world), GripperFilter(config.gripper)
    commanded, actions, succeeded_at = world.joint_positions, 0, None
    while world.time < spec.time_limit:
        images = {camera.name: world.render(camera.name, camera.height)
                  for camera in manifest.cameras}  # fmt: skip
        seen = Observation(world.time, images, world.joint_positions, world.gripper_opening, told)
        chunks = served.chunks
        try:
            row = contract.physical(broker.infer(request_of(seen, contract))['actions'][None])
            if served.chunks > chunks:
                arm.advance(latency + link.take())
            target = planner.targets(row, commanded)[-1]
        except DyslError:  # the reference would hang or end here
            break
        speed, commanded = (target - commanded) / period, target
        # Kind to it: the arm arrives at the speed of the action, and brakes where none follows.
        world.command_trajectory(
            np.array([period, 2 * period]),
            np.array([target, target + 0.5 * period * speed]),
            np.array([speed, np.zeros_like(speed)]),
        )
        opening = gripper.update(float(np.clip(row[0, -1], 0.0, 1.0)), True, world.time)
        if opening is not None:
            world.command_gripper(opening)
        arm.advance(period)
        actions += 1
        succeeded_at = (succeeded_at or world.time) if world.success() else None
        if succeeded_at is not None and world.time - succeeded_at >= SUCCESS_HELD_S:
            break
    still, jerk = smoothness(arm.path)
    return EpisodeResult(
        spec=spec, instruction=told, success=world.success(), seconds=world.time,
        actions=actions, chunks=served.chunks, reruns=0, layers_run=0, controllers=0,
        layers_total=manifest.layers_total, static_layers=len(manifest.static_layers),
        phase_layers={}, pass_seconds=(), backbone_seconds=(), holds=0, commands=actions,
        limited=0, lost=link.lost, longest_still_s=still, jerk_rms=jerk,
    )  # fmt: skip
