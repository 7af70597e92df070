"""Do our commands fit the controller that listens? Judged from its parameters; no ROS in here.

The facts are those of ros2_controllers: a `joint_trajectory_controller` refuses a trajectory that
names a joint it does not have, or leaves one out; a forward controller takes its values by
position, refuses another number of them, and cannot know that two were exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dysl_vla_ros.config import CARRIES_GRIPPER, GripperConfig, NodeConfig

Value = bool | float | str | list[str] | None
"""A parameter's value; None when it is not declared, or of no type that is asked for."""
Answers = Mapping[str, Value]

TRAJECTORY, FORWARD = 'joint_trajectory', 'joint_commands'
CHECKED = (TRAJECTORY, FORWARD)
"""Command types behind which a controller of ros2_controllers listens."""
_SPLINES = ('interpolate_from_desired_state', 'open_loop_control')
_COMMON = ('joints', 'command_interfaces', 'interface_name')


@dataclass(frozen=True)
class Sent:
    """What the node sends.

    Attributes:
        command_type: Of the parameters.
        joints: Names in the order of the values, a gripper that travels with them last.
        max_lead: Largest distance of the command from the measured joint [rad].
        stamped: Whether trajectories are stamped.
        gripper: The joint among them that is a gripper; '' without.
    """

    command_type: str
    joints: tuple[str, ...]
    max_lead: float
    stamped: bool
    gripper: str = ''

    @property
    def questions(self) -> tuple[str, ...]:
        """Parameters of the controller that tell whether this fits."""
        if self.command_type == FORWARD:
            return _COMMON
        of_joints = [
            f'{group}.{joint}.{name}'
            for joint in self.joints
            for group, name in (
                ('constraints', 'trajectory'), ('gains', 'p'), ('gains', 'ff_velocity_scale'),
            )
        ]  # fmt: skip
        return (
            *_COMMON, 'allow_partial_joints_goal', 'allow_nonzero_velocity_at_trajectory_end',
            *_SPLINES, *of_joints,
        )  # fmt: skip


def sent_by(config: NodeConfig, names: tuple[str, ...], gripper: GripperConfig) -> Sent:
    """What a command topic carries: the joints, and a gripper that travels with them.

    Args:
        config: Validated parameters.
        names: Joints of the arm, in the policy's order.
        gripper: Of the same arm.
    """
    carried = gripper.joint if gripper.interface in CARRIES_GRIPPER else ''
    joints = (*names, carried) if carried else names
    safety = config.safety
    return Sent(config.action.command_type, joints, safety.max_lead, safety.stamped, carried)


@dataclass(frozen=True)
class Fit:
    """What one listener makes of it.

    Attributes:
        is_controller: Whether it declares joints and an interface, as controllers do.
        misfit: Why it will not do what we mean; '' when it will.
        warnings: What it will do badly.
        summary: For diagnostics: what it takes.
    """

    is_controller: bool
    misfit: str = ''
    warnings: tuple[str, ...] = ()
    summary: str = ''


def judge(controller: str, sent: Sent, answers: Answers) -> Fit:
    """Compare both sides.

    Args:
        controller: Its full name.
        sent: Ours.
        answers: Its parameters, of ``sent.questions``.
    """
    joints, interfaces = _names(answers.get('joints')), _interfaces(answers)
    warnings = _splines(controller, sent, answers)
    if not joints or not interfaces:
        return Fit(False, warnings=tuple(warnings))
    if sent.command_type == FORWARD:
        misfit = _forward(controller, sent, joints, interfaces)
    else:
        partial = answers.get('allow_partial_joints_goal') is True
        misfit = _trajectory(controller, sent, joints, partial)
        warnings += _warnings(controller, sent, interfaces, answers)
    takes = f'{len(joints)} joints, {" and ".join(interfaces)}'
    if answers.get('allow_nonzero_velocity_at_trajectory_end') is True:
        takes += ', trajectories that do not end at rest'
    return Fit(True, misfit, tuple(warnings), takes)


def _trajectory(controller: str, sent: Sent, joints: tuple[str, ...], partial: bool) -> str:
    """Matched by name: any order is right."""
    unknown = [name for name in sent.joints if name not in joints]
    missing = [] if partial else [name for name in joints if name not in sent.joints]
    if not unknown and not missing:
        return ''
    wrong = [f'it does not have {_list(unknown)}'] if unknown else []
    wrong += [f'{_list(missing)} is missing'] if missing else []
    return _sentence(controller, sent, joints, ' and '.join(wrong) + ': it refuses all of it')


def _forward(
    controller: str, sent: Sent, joints: tuple[str, ...], interfaces: tuple[str, ...]
) -> str:
    """Matched by position: the order counts, and nobody else would notice."""
    if interfaces != ('position',):
        return (
            f'{controller} takes {_list(interfaces)} (its interface_name), and joint_commands are '
            'positions [rad]: expected a controller of positions behind the command topic'
        )
    if len(joints) != len(sent.joints):
        wrong = f'{len(sent.joints)} values for {len(joints)}: it refuses all of it'
        return _sentence(controller, sent, joints, wrong)
    if joints != sent.joints:
        wrong = 'it takes them in its own order, so that the wrong joints would move'
        return _sentence(controller, sent, joints, wrong)
    return ''


def _sentence(controller: str, sent: Sent, joints: tuple[str, ...], wrong: str) -> str:
    return (
        f'{controller} takes {_list(joints)}, and {sent.command_type} carries '
        f'{_list(sent.joints)}: {wrong}; expected the same joints: action.joint_names, and '
        'gripper.interface, which may add gripper.joint'
    )


def _splines(controller: str, sent: Sent, answers: Answers) -> list[str]:
    """A stamped trajectory leaves the controller no segment of its own to get wrong."""
    declared = {name: answers.get(name) for name in _SPLINES if answers.get(name) is not None}
    if sent.stamped or not declared or any(declared.values()):
        return []
    return [
        f'{controller} has {" and ".join(sorted(declared))} false, and trajectory.stamped is '
        'false: it restarts each spline from the measured state, so that motion lags; set one of '
        'the two to true'
    ]


def _warnings(
    controller: str, sent: Sent, interfaces: tuple[str, ...], answers: Answers
) -> list[str]:
    warnings = []
    given = {joint: answers.get(f'constraints.{joint}.trajectory') for joint in sent.joints}
    bounds = {joint: v for joint, v in given.items() if isinstance(v, float) and v > 0.0}
    grip = bounds.pop(sent.gripper, 0.0)
    if grip:
        warnings.append(
            f'{controller} has constraints.{sent.gripper}.trajectory = {grip:g}: it drops the '
            'motion and holds when the gripper is kept open by an object; expected 0 (none)'
        )
    tight = {joint: value for joint, value in bounds.items() if value < sent.max_lead}
    if tight:
        joint = min(tight, key=lambda name: tight[name])
        warnings.append(
            f'{controller} has constraints.{joint}.trajectory = {tight[joint]:g}, and '
            f'limits.max_lead is {sent.max_lead:g}: it drops the motion and holds when the arm '
            'trails by more; expected limits.max_lead to be less, or the tolerance more'
        )
    if 'position' not in interfaces:
        idle = [joint for joint in sent.joints if _is_zero(answers, joint)]
        if idle:
            warnings.append(
                f'{controller} commands {_list(interfaces)} and has gains.{idle[0]}.p = 0: it '
                f'will not follow positions; expected gains for {_list(idle)}'
            )
    return warnings


def _is_zero(answers: Answers, joint: str) -> bool:
    """Whether a joint is known to have neither a proportional gain nor a feed-forward."""
    p, forward = answers.get(f'gains.{joint}.p'), answers.get(f'gains.{joint}.ff_velocity_scale')
    return p == 0.0 and not forward


def _interfaces(answers: Answers) -> tuple[str, ...]:
    single = answers.get('interface_name')
    return _names(answers.get('command_interfaces')) or (
        (single,) if isinstance(single, str) and single else ()
    )


def _names(value: Value) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else ()


def _list(names: tuple[str, ...] | list[str]) -> str:
    return f'[{", ".join(names)}]' if len(names) != 1 else names[0]
