"""What ``engine.path: fake`` pretends to be: a contract, a tokenizer, and a gentle sweep.

Tries a robot's wiring without a model: the tip moves sideways and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import (
    FORMAT,
    FORMAT_VERSION,
    ActionSpec,
    CalibrationSpec,
    CameraSpec,
    InstructionSpec,
    Manifest,
    NormalisationSpec,
    ProprioceptionSpec,
)
from dysl_vla_ros.bundle.no_files import TOKENIZER_NAME, no_files
from dysl_vla_ros.data_types import FloatArray, LayerLayout

_JOINTS = (
    'shoulder_pan_joint', 'shoulder_lift_joint', 'elbow_joint',
    'wrist_1_joint', 'wrist_2_joint', 'wrist_3_joint',
)  # fmt: skip
_SWEEP_RAD = 0.15
_GAIN = 5.0
_METRES_PER_RADIAN = 0.5
"""How far the tip is from the first joint's axis, roughly."""


class Sweep:
    """Chunks that move the tip sideways and back, guided by the first joint alone."""

    def __init__(self, action: ActionSpec) -> None:
        """Take the contract: ``eef_delta``, the second dimension pointing sideways."""
        self._action = action
        self._home: float | None = None
        self._side = 1.0

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> FloatArray:
        """Normalised actions, shape (horizon, dim); the gripper stays open."""
        chunk = np.zeros((self._action.horizon, self._action.dim))
        chunk[:, -1] = 1.0
        joints = inputs['proprioception'][0]
        if not joints.any():  # the blank observation of a warm-up says nothing about home
            return chunk
        angle = float(joints[0])
        if self._home is None:
            self._home = angle
        goal = self._home + self._side * _SWEEP_RAD
        if abs(goal - angle) < 0.2 * _SWEEP_RAD:
            self._side = -self._side
            goal = self._home + self._side * _SWEEP_RAD
        step = self._action.normalisation.high[1]
        for row in chunk:
            row[1] = np.clip(_GAIN * (goal - angle), -1.0, 1.0)
            angle += row[1] * step / _METRES_PER_RADIAN
        return chunk


def is_fake(manifest: Manifest) -> bool:
    """Whether this is the contract of ``engine.path: fake``, which was trained in no frame."""
    return manifest.family == 'fake' and manifest.action == fake_manifest().action


def fake_manifest(
    layers: int = 24, static_layers: tuple[int, ...] = (0, 5, 11, 17, 23)
) -> Manifest:
    """The contract of the bundled policy, with nothing behind it."""
    layout = LayerLayout(layers, static_layers)
    names = ['vision', 'embed', 'head', *(f'layer_{i:02d}' for i in range(layers))]
    names += [f'bridge_{i:02d}' for i in layout.dynamic_layers]
    limits = (0.01, 0.01, 0.01, 0.05, 0.05, 0.05, 1.0)
    moves = NormalisationSpec(
        low=tuple(-value for value in limits[:6]) + (0.0,),
        high=limits,
        mask=(True,) * 6 + (False,),
    )
    size = len(_JOINTS) + 1
    return Manifest(
        format=FORMAT,
        version=FORMAT_VERSION,
        name='fake',
        family='fake',
        precision='fp32',
        opset=18,
        layers_total=layers,
        static_layers=static_layers,
        hidden_tokens=9,
        hidden_width=7,
        cameras=(CameraSpec('image', 96, 96),),
        proprioception=ProprioceptionSpec(
            size, True, NormalisationSpec((0.0,) * size, (1.0,) * size, (False,) * size)
        ),
        instruction=InstructionSpec(TOKENIZER_NAME, 64),
        action=ActionSpec(
            space='eef_delta', dim=7, horizon=8, period_s=0.05, gripper=True,
            delta_reference='commanded', normalisation=moves, displacement=moves,
            joint_names=_JOINTS,
        ),
        calibration=CalibrationSpec(
            eta=0.1, window=5, threshold=0.5, hysteresis=0.2, weights=(1.0,) * 7
        ),
        **no_files(names),
    )  # fmt: skip
