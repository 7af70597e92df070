"""The two actions of `control_msgs` that grippers offer: their goals and results, in one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import JointState

from dysl_vla_ros.config import GripperConfig
from dysl_vla_ros.errors import ConfigError

GRIPPER = 'control_msgs/action/GripperCommand'
PARALLEL = 'control_msgs/action/ParallelGripperCommand'
TYPES = {'gripper_command': GRIPPER, 'parallel_gripper_command': PARALLEL}
"""``gripper.action_type`` -> the action's type."""
_FEEDBACK = '_FeedbackMessage'


@dataclass(frozen=True)
class Result:
    """How a goal ended.

    Attributes:
        position: Of the gripper's joint; None where the server said none.
        stalled: It pushes and does not move: most often it holds something.
        reached: It stands where it was sent.
    """

    position: float | None
    stalled: bool
    reached: bool


def installed() -> dict[str, Any]:
    """Name -> type of the actions that this machine knows.

    Raises:
        ConfigError: control_msgs is not installed.
    """
    try:
        import control_msgs.action as known
    except ImportError:
        raise ConfigError(
            'gripper.interface', 'action',
            "'topic', 'joint' or 'forward', or control_msgs installed "
            '(apt: ros-<distro>-control-msgs)',
        ) from None  # fmt: skip
    found = {name: getattr(known, name.rpartition('/')[2], None) for name in TYPES.values()}
    return {name: kind for name, kind in found.items() if kind is not None}


def usable(config: GripperConfig, known: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the known actions that the parameters allow, the older first.

    Raises:
        ConfigError: The type that is asked for is not known here.
    """
    if config.action_type == 'auto':
        return {name: known[name] for name in TYPES.values() if name in known}
    wanted = TYPES[config.action_type]
    if wanted not in known:
        raise ConfigError(
            'gripper.action_type', config.action_type,
            f"'auto', or a newer ros-<distro>-control-msgs: the one installed has no {wanted}",
        )  # fmt: skip
    return {wanted: known[wanted]}


def offered(feedback_type: str) -> str:
    """The action's type, from the type of its feedback topic."""
    return feedback_type.removesuffix(_FEEDBACK)


def goal_of(name: str, kind: Any, position: float, config: GripperConfig) -> Any:
    """A goal.

    Args:
        name: Of the action's type.
        kind: The type.
        position: Wanted, of the gripper's joint.
        config: Its joint and effort.
    """
    goal = kind.Goal()
    if name == PARALLEL:
        effort = [config.max_effort] if config.max_effort else []
        goal.command = JointState(name=[config.joint], position=[position], effort=effort)
    else:
        goal.command.position = position
        goal.command.max_effort = config.max_effort
    return goal


def result_of(name: str, result: Any) -> Result:
    """What a server answered at the end of a goal."""
    if name == PARALLEL:
        positions = list(result.state.position)
        position = float(positions[0]) if positions else None
    else:
        position = float(result.position)
    return Result(position, bool(result.stalled), bool(result.reached_goal))
