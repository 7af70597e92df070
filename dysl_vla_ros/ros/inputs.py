"""Cameras, joints and instruction together: are they fresh, and what does the policy see?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from rclpy.node import Node

from dysl_vla_ros.action_columns import action_columns
from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.config import CARRIES_GRIPPER, NodeConfig
from dysl_vla_ros.contract import camera_views
from dysl_vla_ros.core.run_state import InputStatus
from dysl_vla_ros.data_types import FloatArray, ImageArray, Observation, frozen_array
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.ros.arrival import Arrival
from dysl_vla_ros.ros.camera_check import CameraCheck
from dysl_vla_ros.ros.cameras import Camera
from dysl_vla_ros.ros.joints import Joints
from dysl_vla_ros.ros.streams import JointSample, Newest, Stream


class Inputs:
    """Callbacks only keep the newest message; everything else is asked for."""

    def __init__(
        self,
        node: Node,
        manifest: Manifest,
        config: NodeConfig,
        joint_names: tuple[str, ...],
        references: Mapping[str, ImageArray],
        commanded: Callable[[], tuple[float, ...]] = lambda: (1.0,),
    ) -> None:
        """Subscribe to all that the bundle lists.

        Args:
            node: Owner of the subscriptions.
            manifest: Names the cameras.
            config: Timeouts and the gripper's joint.
            joint_names: Joints of the arm, in the policy's order.
            references: Camera -> what the model saw in training.
            commanded: Opening of each gripper commanded last, for ``gripper.opening_source``.
        """
        limits = config.inputs
        arrival = Arrival(node, limits.max_observation_age_s)
        reads = manifest.proprioception.gripper
        self._arms = action_columns(reads, config.arms.sizes) if config.arms.names else None
        measured = tuple(
            gripper
            if gripper.opening_source == 'measured'
            and (reads or gripper.interface in CARRIES_GRIPPER)
            else None
            for gripper in config.grippers
        )
        self._told = tuple(
            reads and gripper.opening_source == 'commanded' for gripper in config.grippers
        )
        self._commanded = commanded
        views = camera_views(limits, manifest)
        self._limits = limits
        self.instruction = ''
        self.cameras: Mapping[str, Camera] = {
            spec.name: Camera(node, spec, limits, views[spec.name], arrival)
            for spec in manifest.cameras
        }
        self._check = CameraCheck(node, self.cameras, references)
        self.joints = Joints(
            node,
            joint_names,
            measured if any(measured) else None,
            limits.joint_states_timeout_s,
            arrival,
            config.gripper.timeout_s,
        )

    @property
    def streams(self) -> tuple[Stream, ...]:
        """All stamped streams, cameras first."""
        return (*(camera.stream for camera in self.cameras.values()), self.joints.stream)

    def destroy(self) -> None:
        """Drop all subscriptions."""
        for camera in self.cameras.values():
            camera.destroy()
        self._check.destroy()
        self.joints.destroy()

    def follow_cameras(self) -> None:
        """Let every camera follow what is published, and how; compare what it shows."""
        for camera in self.cameras.values():
            camera.follow()
        self._check.poll()

    def camera_warning(self, now: float) -> str:
        """What is wrong with pictures that come, for people; '' when nothing is."""
        warnings = [camera.warning(now) for camera in self.cameras.values()]
        return '; '.join(text for text in (*warnings, self._check.warning()) if text)

    def camera_values(self) -> dict[str, str]:
        """How pictures come and what they show, for diagnostics."""
        found = {
            f'{name}.{key}': value
            for name, camera in self.cameras.items() for key, value in camera.values().items()
        }  # fmt: skip
        return {**found, **self._check.values()}

    def measured(self) -> FloatArray | None:
        """Newest joint positions, shape (n,) [rad]; None before the first."""
        sample = self.joints.newest
        return None if sample is None else sample.positions

    def status(self, now: float) -> InputStatus:
        """Whether every stream is fresh and the cameras belong together."""
        found = [camera.stream.problem(now) for camera in self.cameras.values()]
        problems = list(filter(None, (*found, self.joints.problem(now))))
        if not problems:
            problems = list(filter(None, (self.joints.gripper_unseen(), self._skew_problem())))
        return InputStatus(not problems, '; '.join(problems))

    def camera_skew(self) -> float | None:
        """Between the pictures that a pass would use [s]; None with fewer than two."""
        stamps = [picture.stamp for picture in self._together().values()]
        return max(stamps) - min(stamps) if len(stamps) > 1 else None

    def _together(self) -> dict[str, Newest]:
        """The newest picture of every camera, or those nearest to the oldest of them.

        The latter where the newest are too far apart: two cameras of 10 Hz that take turns are so
        now and then, and a slow one beside a fast one.
        """
        recent = {name: camera.stream.recent for name, camera in self.cameras.items()}
        newest = {name: pictures[-1] for name, pictures in recent.items() if pictures}
        stamps = [picture.stamp for picture in newest.values()]
        if len(stamps) < 2 or max(stamps) - min(stamps) <= self._limits.max_camera_skew_s:
            return newest
        return {name: min(recent[name], key=lambda picture: abs(picture.stamp - min(stamps)))
                for name in newest}  # fmt: skip

    def opening(self) -> str:
        """The opening that a policy would read now, and where it comes from, for people."""
        sample = self.joints.newest
        if sample is None:
            return 'n/a'
        return ', '.join(
            'n/a' if value is None else f'{value:.2f} {"commanded" if told else "measured"}'
            for value, told in zip(self._openings(sample), self._told, strict=True)
        )

    def _openings(self, sample: JointSample) -> list[float | None]:
        """Of every gripper, measured or commanded; within 0 and 1, as in training."""
        measured = [None if value is None else min(max(value, 0.0), 1.0)
                    for value in (sample.gripper, *sample.more_grippers)]  # fmt: skip
        measured += [None] * (len(self._told) - len(measured))
        pairs = zip(measured, self._commanded(), self._told, strict=True)
        return [commanded if told else value for value, commanded, told in pairs]

    def _readings(self, sample: JointSample) -> tuple[FloatArray, float | None]:
        """Joints and last opening, as ``Observation`` holds them.

        Of several arms, the openings of all but the last stand among the joints: each at the end
        of its arm, as in the policy's actions.
        """
        openings = self._openings(sample)
        if self._arms is None:
            return sample.positions, openings[0]
        if not self._arms.grippers:
            return sample.positions, None
        readings = np.empty(len(self._arms.motion) + len(self._arms.grippers))
        readings[list(self._arms.motion)] = sample.positions
        readings[list(self._arms.grippers)] = [
            np.nan if value is None else value for value in openings
        ]
        return frozen_array(readings[:-1]), float(readings[-1])

    def observation(self) -> Observation:
        """The newest that belongs together; joints are those measured nearest to its last image.

        Raises:
            InputError: Something is missing, stale, or cannot be decoded.
        """
        status = self.status(time.monotonic())
        if not status.ready:
            raise InputError(status.reason)
        images, joints = self._together(), self.joints.newest
        if joints is None or len(images) < len(self.cameras):
            raise InputError('an input was never received')
        stamp = max((image.stamp for image in images.values()), default=joints.stamp)
        sample = self.joints.history.nearest(stamp) or joints
        positions, gripper = self._readings(sample)
        return Observation(
            stamp=stamp,
            images={name: self.cameras[name].picture(image) for name, image in images.items()},
            joints=positions,
            gripper=gripper,
            instruction=self.instruction,
        )

    def _skew_problem(self) -> str:
        skew = self.camera_skew()
        if skew is None or skew <= self._limits.max_camera_skew_s:
            return ''
        return (
            f'{" and ".join(self.cameras)} were taken {skew:.3f} s apart, expected at most '
            f'max_camera_skew_s = {self._limits.max_camera_skew_s:g}'
        )
