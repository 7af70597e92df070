"""What a bundle did in closed loop, chunk by chunk: the source of a calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from dysl_vla_ros.control_loop import Delivery
from dysl_vla_ros.evaluation.episodes import arm_limits, run_episode
from dysl_vla_ros.evaluation.options import EvaluateOptions
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.motion import MotionPlanner
from dysl_vla_ros.policy import open_policy
from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.robot_description import urdf
from dysl_vla_ros.sim.world import World


@dataclass(frozen=True)
class RecordedEpisode:
    """One episode: the accepted chunks, the actions played in all, and how it ended."""

    accepted: tuple[Delivery, ...]
    actions: int
    success: bool


def record_episodes(options: EvaluateOptions) -> Iterator[RecordedEpisode]:
    """Play the episodes of ``options`` in mode ``auto``, one after the other.

    Yields:
        One recording per episode, in the order of ``options.specs()``.
    """
    config = replace(options.config, skip=replace(options.config.skip, mode='auto'))
    policy = open_policy(replace(config.engine, path=options.bundle))
    action = policy.manifest.action
    kinematics = ArmKinematics(urdf(), arm.JOINT_NAMES, action.tip_link, action.frame_id)
    planner = MotionPlanner(action, arm_limits(config), kinematics)
    world = World()
    for spec in options.specs():
        accepted: list[Delivery] = []

        def keep(delivery: Delivery, accepted: list[Delivery] = accepted) -> None:
            if delivery.accepted:
                accepted.append(delivery)

        result = run_episode(world, policy, planner, config, spec, latency=options.latency,
                             on_delivery=keep)  # fmt: skip
        yield RecordedEpisode(tuple(accepted), result.actions, result.success)
