"""The simulated robot at its table: physics, drives, cameras, and a judge of success."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco  # type: ignore[import-untyped]
import numpy as np

from dysl_vla_ros.data_types import FloatArray, ImageArray
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.sim import arm, scene
from dysl_vla_ros.sim.camera import Look, RayCamera
from dysl_vla_ros.sim.expert_state import ExpertState
from dysl_vla_ros.sim.goals import Episode, Family, Split
from dysl_vla_ros.sim.judge import succeeded
from dysl_vla_ros.sim.observer import Observer, Phase
from dysl_vla_ros.sim.tasks import draw_episode
from dysl_vla_ros.sim.trajectory_controller import TrajectoryController

CONTROL_STEPS = 2
"""Physics steps per cycle of the trajectory controller: 250 Hz."""
GRIPPER_RATE = 0.8
"""Speed of the gripper [openings/s]."""
_GRIPPER_LEAD = 0.06
_START_JITTER = 0.02


class World:
    """One arm, one table. Not shared between threads.

    Args:
        interpolate_from_desired_state: Option of the trajectory controller of that name.
    """

    def __init__(self, interpolate_from_desired_state: bool = True) -> None:
        self.controller = TrajectoryController(arm.JOINT_NAMES, interpolate_from_desired_state)
        self.reset(0)

    def reset(self, seed: int, family: Family | None = None, split: Split = 'train') -> Episode:
        """Lay out a new episode, with the arm near its home pose and time at 0."""
        return self.lay_out(draw_episode(seed, family, split))

    def lay_out(self, episode: Episode) -> Episode:
        """The same for an episode that was drawn elsewhere."""
        self.episode = episode
        things = episode.things
        generator = np.random.default_rng([episode.seed, 7])
        shapes = tuple(thing.shape for thing in things)
        # Made anew each time (2 ms): kept, the models of all scenes would be 8 MB.
        self._model = mujoco.MjModel.from_xml_string(scene.mjcf(shapes))
        self._data = mujoco.MjData(self._model)
        self._bin = self._model.body('bin').id
        self._observer = Observer(self._model, self._data, shapes)
        self._model.body_pos[self._bin, :2] = self.episode.bin_position
        offset = generator.uniform(-_START_JITTER, _START_JITTER, 3)
        joints = arm.inverse(
            arm.home_joints(), np.array(arm.HOME_POSITION) + offset, arm.pointing_down(0.0)
        )
        self._data.qpos[:6] = joints
        self._data.qpos[6:8] = 0.5 * arm.GRIPPER_STROKE
        for index, thing in enumerate(things):
            half = 0.5 * thing.yaw
            at = 8 + 7 * index
            self._data.qpos[at : at + 3] = thing.position
            self._data.qpos[at + 3 : at + 7] = (np.cos(half), 0.0, 0.0, np.sin(half))
        self._steps = 0
        self._gripper_target = self._gripper_reference = 1.0
        self.controller.reset(0.0, joints)
        self._cameras = RayCamera(
            self._model, tuple(thing.colour for thing in things), Look.drawn(generator)
        )
        self._refresh()
        return self.episode

    def _refresh(self) -> None:
        mujoco.mj_forward(self._model, self._data)

    @property
    def time(self) -> float:
        """Simulated seconds since the reset."""
        return self._steps * scene.PHYSICS_STEP

    @property
    def joint_positions(self) -> FloatArray:
        """Measured, shape (6,) [rad], in the order of `arm.JOINT_NAMES`."""
        return np.array(self._data.qpos[:6])

    @property
    def joint_velocities(self) -> FloatArray:
        """Measured, shape (6,) [rad/s]."""
        return np.array(self._data.qvel[:6])

    @property
    def joint_efforts(self) -> FloatArray:
        """Torques of the drives, shape (6,) [N m]."""
        return np.array(self._data.qfrc_actuator[:6])

    @property
    def gripper_opening(self) -> float:
        """Measured, 0.0 closed .. 1.0 open."""
        opening = float(self._data.qpos[6] + self._data.qpos[7]) / arm.GRIPPER_STROKE
        return min(1.0, max(0.0, opening))

    def command_trajectory(
        self,
        times: FloatArray,
        positions: FloatArray,
        velocities: FloatArray,
        stamp: float = 0.0,
        joint_names: Sequence[str] | None = None,
    ) -> None:
        """Hand a trajectory to the controller; see `TrajectoryController.accept`."""
        self.controller.accept(
            times, positions, velocities, self.time,
            (self.joint_positions, self.joint_velocities), stamp, joint_names,
        )  # fmt: skip

    def command_gripper(self, opening: float) -> None:
        """Set the opening that the gripper moves to, 0.0 closed .. 1.0 open."""
        if not 0.0 <= opening <= 1.0:
            raise InputError(f'gripper opening = {opening}: expected 0.0 closed .. 1.0 open')
        self._gripper_target = float(opening)

    def advance(self, seconds: float) -> None:
        """Let time pass; rounded to whole physics steps of 2 ms."""
        end = self._steps + round(seconds / scene.PHYSICS_STEP)
        step = GRIPPER_RATE * scene.PHYSICS_STEP * CONTROL_STEPS
        while self._steps < end:
            count = min(CONTROL_STEPS, end - self._steps)
            self._data.ctrl[:6] = self.controller.sample(self.time)[0]
            # The reference stays near the fingers: a blocked gripper reverses without delay.
            opening = self.gripper_opening
            reference = self._gripper_reference
            reference += min(step, max(-step, self._gripper_target - reference))
            reference = min(opening + _GRIPPER_LEAD, max(opening - _GRIPPER_LEAD, reference))
            self._gripper_reference = reference
            self._data.ctrl[6:8] = 0.5 * arm.GRIPPER_STROKE * reference
            mujoco.mj_step(self._model, self._data, count)
            self._steps += count
        self._refresh()

    def render(
        self, camera: str, height: int, width: int | None = None, at: FloatArray | None = None
    ) -> ImageArray:
        """Picture of ``image`` or ``wrist_image``, shape (height, width or height, 3), RGB.

        Args:
            camera: Its name.
            height: Of the picture [pixels].
            width: The same; None is a square.
            at: ``snapshot`` of an earlier moment of this episode; None is now.
        """
        data = self._data
        if at is not None:
            data = mujoco.MjData(self._model)
            data.qpos[:] = at
            mujoco.mj_forward(self._model, data)
        return self._cameras.render(data, camera, height, width or height)

    def snapshot(self) -> FloatArray:
        """All that a picture of this moment needs: a few numbers, where a picture costs time."""
        return np.array(self._data.qpos)

    @property
    def object_positions(self) -> FloatArray:
        """Privileged: middles of the objects, shape (n, 3) [m]. No policy may see this."""
        return self._observer.positions()

    def held_object(self) -> int | None:
        """Privileged: index of the object between the fingers, touched by both."""
        return self._observer.held_object(self.gripper_opening)

    def phase(self) -> Phase:
        """Privileged: what the arm is doing, from contacts and the gripper's command."""
        return self._observer.phase(
            self.episode.family, self._gripper_target < 0.5, self.gripper_opening
        )

    def success(self) -> bool:
        """Whether the instruction is fulfilled in the state as it is now."""
        return succeeded(
            self.episode,
            self.object_positions,
            self.held_object(),
            self._observer.object_speeds(),
        )

    @property
    def grasp_position(self) -> FloatArray:
        """Measured position of ``grasp_link``, shape (3,) [m]."""
        return np.array(self._data.site_xpos[0])

    def forward(self, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pose of ``grasp_link``: position (3,) [m] and rotation (3, 3)."""
        return arm.forward(joints)

    def inverse(
        self, position: FloatArray, rotation: FloatArray, seed: FloatArray | None = None
    ) -> FloatArray:
        """Joint angles of a pose, near ``seed`` (default: the desired joints)."""
        start = self.controller.sample(self.time)[0] if seed is None else seed
        return arm.inverse(start, position, rotation)

    def commanded_pose(self) -> tuple[FloatArray, FloatArray]:
        """Pose that the trajectory controller asks for now: the expert's reference."""
        return arm.forward(self.controller.sample(self.time)[0])

    def expert_state(self, commanded: tuple[FloatArray, FloatArray] | None = None) -> ExpertState:
        """Privileged: everything that the scripted expert looks at.

        Args:
            commanded: Position and rotation that actions start from; default `commanded_pose`.
        """
        position, rotation = self.commanded_pose() if commanded is None else commanded
        held = self.held_object()
        x, y, z = (float(value) for value in position)
        return ExpertState(
            position=(x, y, z),
            yaw=float(np.arctan2(rotation[1, 0], rotation[0, 0])),
            tilt=(float(rotation[1, 2]), float(-rotation[0, 2])),
            gripper_command=self._gripper_target,
            opening=self.gripper_opening,
            held=held,
            # What is held goes where the commanded pose goes, ahead of the measured one.
            objects=self._observer.object_poses(held, position - self.grasp_position),
            bin_position=self.episode.bin_position,
        )
