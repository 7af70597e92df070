"""Drives, gripper, success and reproducibility of the simulated robot."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.errors import InputError
from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.goals import FAMILIES
from dysl_vla_ros.sim.noise import Noise
from dysl_vla_ros.sim.rollout import expert_episode
from dysl_vla_ros.sim.world import World


def _sweep(world: World, speed: float = 0.5, seconds: float = 1.0) -> None:
    """Turn the first joint at a constant speed, then brake."""
    turn = np.array((1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    start = world.joint_positions
    times = np.array((0.2, seconds, seconds + 0.2))
    angles = speed * np.array((0.1, seconds - 0.1, seconds))
    speeds = speed * np.array((1.0, 1.0, 0.0))
    world.command_trajectory(times, start + angles[:, None] * turn, speeds[:, None] * turn)


def test_the_drives_trail_a_moving_target_by_their_lag(world: World) -> None:
    _sweep(world)
    world.advance(0.8)
    desired, velocity = world.controller.sample(world.time)
    lag = (desired - world.joint_positions)[0] / velocity[0]
    assert 0.02 < lag < 0.04


def test_the_arm_comes_to_rest_when_commands_stop(world: World) -> None:
    _sweep(world)
    world.advance(2.0)
    assert np.abs(world.joint_velocities).max() < 1e-3
    np.testing.assert_allclose(
        world.joint_positions, world.controller.sample(world.time)[0], atol=1e-4
    )


def test_without_commands_the_arm_stays_where_it_is(world: World) -> None:
    before = world.joint_positions
    world.advance(1.0)
    np.testing.assert_allclose(world.joint_positions, before, atol=1e-4)


def test_no_drive_exceeds_its_torque(world: World) -> None:
    limits = np.array([joint.effort for joint in arm.JOINTS])
    leap = world.joint_positions + 1.0
    world.command_trajectory(np.array((0.05,)), leap[None], np.zeros((1, 6)))
    seen = np.zeros(6)
    for _ in range(50):
        world.advance(0.004)
        seen = np.maximum(seen, np.abs(world.joint_efforts))
    assert (seen <= limits + 1e-6).all()
    assert (seen > 0.99 * limits).any()


def test_the_gripper_moves_at_a_finite_speed_and_reverses_at_once(world: World) -> None:
    world.command_gripper(0.0)
    world.advance(0.4)
    assert 0.6 < world.gripper_opening < 0.8
    world.advance(2.0)
    assert world.gripper_opening < 0.02
    world.command_gripper(1.0)
    world.advance(0.3)
    assert world.gripper_opening > 0.1


def test_a_gripper_target_outside_its_range_is_refused(world: World) -> None:
    with pytest.raises(InputError, match='1.2'):
        world.command_gripper(1.2)


def test_time_is_counted_in_whole_physics_steps(world: World) -> None:
    for _ in range(30):
        world.advance(1.0 / 30.0)
    assert world.time == pytest.approx(30 * 0.034, abs=1e-9)


def test_no_episode_begins_successful(world: World) -> None:
    for family in FAMILIES:
        for seed in range(20):
            world.reset(seed, family)
            world.advance(0.1)
            assert not world.success()
            assert world.held_object() is None
            assert world.phase() == 'reach'


def test_an_episode_repeats_bit_by_bit(world: World) -> None:
    def played(where: World) -> list[bytes]:
        frames = expert_episode(11, 'place', Noise(), max_actions=60, world=where)
        return [
            b''.join((f.images['image'].tobytes(), f.images['wrist_image'].tobytes(),
                      f.joints.tobytes(), f.action.tobytes(), f.played.tobytes()))
            for f in frames
        ]  # fmt: skip

    assert played(world) == played(World())


def test_what_a_world_hands_out_cannot_change_it(world: World) -> None:
    before = world.joint_positions
    world.joint_positions[:] = 9.0
    world.joint_velocities[:] = 9.0
    world.object_positions[:] = 9.0
    np.testing.assert_array_equal(world.joint_positions, before)
    assert np.abs(world.object_positions).max() < 1.0
