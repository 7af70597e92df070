"""What a policy's numbers mean on the robot that its demonstrations came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from dysl_vla_ros.bundle.manifest import NormalisationSpec, StateSource
from dysl_vla_ros.data_types import ActionSpace, Fit


@dataclass(frozen=True)
class RobotContract:
    """By default, the bundled arm's.

    Attributes:
        joint_names: In the order of the proprioception; of several arms one after the other.
        period_s: How long one action lasts [s].
        frame_id: Frame of end-effector actions.
        tip_link: Link they move.
        gripper_threshold: The demonstrations open and close all the way; what lies between is
            the policy's doubt, not an opening. None takes the opening as it is.
        space: Of the actions.
        delta_reference: What increments add to.
        gripper: Whether an action ends, for each arm, with an opening.
        state_gripper: Whether the proprioception does.
        source: What the proprioception is made of.
        fingers: Of a gripper that has several numbers in it, see ``ProprioceptionSpec``.
        fit: How a picture of another shape is brought in.
        displacement: Range of the steps of absolute actions; None: that of the actions.
    """

    joint_names: tuple[str, ...] = (
        'shoulder_pan_joint', 'shoulder_lift_joint', 'elbow_joint',
        'wrist_1_joint', 'wrist_2_joint', 'wrist_3_joint',
    )  # fmt: skip
    period_s: float = 0.05
    frame_id: str = 'base_link'
    tip_link: str = 'grasp_link'
    gripper_threshold: float | None = 0.5
    space: ActionSpace = 'eef_delta'
    delta_reference: Literal['commanded', 'measured'] = 'commanded'
    gripper: bool = True
    state_gripper: bool = True
    source: StateSource = 'joints'
    fingers: tuple[tuple[float, float], ...] = ()
    # The simulated camera's pixels are square: other pictures are cropped.
    fit: Fit = 'crop'
    displacement: NormalisationSpec | None = None


def contract_from(values: dict[str, Any]) -> RobotContract:
    """The inverse of ``dataclasses.asdict``, after JSON."""
    found: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in values.items()
    }
    found['fingers'] = tuple(tuple(pair) for pair in found.get('fingers', ()))
    if found.get('displacement') is not None:
        parts = found['displacement']
        found['displacement'] = NormalisationSpec(**{n: tuple(v) for n, v in parts.items()})
    return RobotContract(**found)
