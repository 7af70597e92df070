"""The policy without a model, made for one arm: its joints, and its gripper where it has one.

``engine.path: fake`` is to try a robot's wiring. Which robot is said in the path that the engine
is opened with, since the model's process is given nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.action_columns import ActionColumns, action_columns
from dysl_vla_ros.bundle.manifest import Manifest, NormalisationSpec, ProprioceptionSpec
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.errors import BundleError

FAKE = 'fake'
_STEP_RAD = 0.005
"""Of one action of 0.05 s: 0.1 rad/s."""
_SWEEP_RAD = 0.15
_NEAR_RAD = 0.03
_GAIN = 20.0
_PATIENCE = 40
"""Passes without progress after which it turns round: a limit may lie in its way."""
_PROGRESS_RAD = 1e-3


@dataclass(frozen=True)
class FakeArm:
    """What the fake policy moves.

    Attributes:
        joints: Names in the order of the actions.
        gripper: Whether the last action is an opening, and the last reading a measured one; of
            each arm where there are several.
        sizes: Joints of each of several arms; () = one.
    """

    joints: tuple[str, ...]
    gripper: bool
    sizes: tuple[int, ...] = ()

    @property
    def path(self) -> str:
        """The path that opens this."""
        return FAKE + json.dumps(
            {'joints': self.joints, 'gripper': self.gripper, 'sizes': self.sizes}
        )

    @property
    def columns(self) -> ActionColumns:
        """Where joints and openings stand."""
        return action_columns(self.gripper, self.sizes or (len(self.joints),))

    @property
    def manifest(self) -> Manifest:
        """Its contract: steps of joints, whatever their number."""
        base, columns = fake_manifest(), self.columns
        dim = len(columns.motion) + len(columns.grippers)
        turns = [column in columns.motion for column in range(dim)]
        moves = NormalisationSpec(
            low=tuple(-_STEP_RAD if turn else 0.0 for turn in turns),
            high=tuple(_STEP_RAD if turn else 1.0 for turn in turns),
            mask=tuple(turns),
        )
        as_it_is = NormalisationSpec((0.0,) * dim, (1.0,) * dim, (False,) * dim)
        return replace(
            base,
            proprioception=ProprioceptionSpec(dim, self.gripper, as_it_is),
            action=replace(
                base.action, space='joint_delta', dim=dim, gripper=self.gripper,
                normalisation=moves, displacement=moves, joint_names=self.joints,
            ),
            calibration=replace(base.calibration, weights=(1.0,) * dim),
        )  # fmt: skip


def is_fake_path(path: str) -> bool:
    """Whether a path opens the policy without a model."""
    return path == FAKE or path.startswith(FAKE + '{')


def arm_of(path: str) -> FakeArm | None:
    """The arm that a path names; None where it names none.

    Raises:
        BundleError: It is not of the form that ``FakeArm.path`` has.
    """
    if path == FAKE:
        return None
    try:
        found = json.loads(path.removeprefix(FAKE))
        return FakeArm(
            tuple(map(str, found['joints'])), bool(found['gripper']),
            tuple(map(int, found.get('sizes', ()))),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        raise BundleError(f"engine.path = {path!r}: expected a folder, or 'fake'") from None


def no_model(path: str) -> Manifest:
    """The contract of a path without a model.

    Raises:
        BundleError: As ``arm_of``.
    """
    arm = arm_of(path)
    return fake_manifest() if arm is None else arm.manifest


class JointSweep:
    """Chunks that turn the first joint a little to and fro; the gripper closes on the way back."""

    def __init__(self, arm: FakeArm, horizon: int) -> None:
        """Home is where the first observation finds the joint."""
        self._grippers = list(arm.columns.grippers)
        self._shape = (horizon, len(arm.columns.motion) + len(arm.columns.grippers))
        self._home: float | None = None
        self._side = 1.0
        self._last = 0.0
        self._still = 0

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> FloatArray:
        """Normalised actions, shape (horizon, dim)."""
        chunk = np.zeros(self._shape)
        chunk[:, self._grippers] = 1.0
        if not inputs['tokens'].any():  # the blank observation of a warm-up: joints of no arm
            return chunk
        angle = float(inputs['proprioception'][0, 0])
        if self._home is None:
            self._home = self._last = angle
        self._turn(angle)
        goal = self._home + self._side * _SWEEP_RAD
        for row in chunk:
            row[0] = np.clip(_GAIN * (goal - angle), -1.0, 1.0)
            angle += row[0] * _STEP_RAD
        chunk[:, self._grippers] = float(self._side > 0)
        return chunk

    def _turn(self, angle: float) -> None:
        """The other way at either end, or where it does not get on."""
        assert self._home is not None
        if abs(angle - self._last) > _PROGRESS_RAD:
            self._last, self._still = angle, 0
        self._still += 1
        there = self._side * (angle - self._home) > _SWEEP_RAD - _NEAR_RAD
        if there or self._still > _PATIENCE:
            self._side, self._still = -self._side, 0
