"""Playing actions on a World, the way the node streams them."""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.rotations import rotation_matrix
from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.expert import ACTION_PERIOD
from dysl_vla_ros.sim.world import World

_BRAKE = 0.10


class Tracker:
    """Streams Cartesian targets to a World the way the node does it.

    Every action sends a short trajectory: the target of the action with a velocity, then a
    braking tail that ends at rest.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.position, self.rotation = world.commanded_pose()
        self._joints = world.controller.sample(world.time)[0]

    def play(self, action: FloatArray, seconds: float = ACTION_PERIOD) -> None:
        """Move the commanded pose by one action, shape (7,), and let time pass.

        Raises:
            KinematicsError: If the arm cannot reach the new pose; nothing has moved then.
        """
        position = self.position + action[:3]
        rotation = rotation_matrix(action[3:6]) @ self.rotation
        joints = arm.inverse(self._joints, position, rotation)
        velocity = (joints - self._joints) / seconds
        self.world.command_gripper(float(np.clip(action[6], 0.0, 1.0)))
        self.world.command_trajectory(
            np.array((seconds, seconds + _BRAKE)),
            np.array((joints, joints + 0.5 * _BRAKE * velocity)),
            np.array((velocity, np.zeros(6))),
        )
        self.world.advance(seconds)
        self.position, self.rotation, self._joints = position, rotation, joints
