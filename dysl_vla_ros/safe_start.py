"""What a launch refuses because an arm could move that nobody meant to move.

Simulation and hardware are not mixed: the simulated arm is armed, and starts by itself. A real
arm is armed by somebody, in words of their own, and started by somebody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.parameter_file import parameters_for

_ARGUMENTS_OF_REAL_ARMS = (
    'armed', 'command_topic', 'joint_states_topic', 'robot_description_topic', 'gripper_topic',
    'gripper_action', 'prefix', 'image_topic', 'wrist_image_topic', 'left_wrist_image_topic',
    'right_wrist_image_topic', 'camera_topics',
)  # fmt: skip
_PARAMETERS_OF_REAL_ARMS = ('action.joint_names', 'armed', 'command_type')
_SIMULATED = 'joint_trajectory'
_GROUPS_OF_REAL_ARMS = ('gripper.', 'arms.')
"""Nobody sets these, of the gripper and of several arms, for the simulated arm."""


def check_simulation(given: Mapping[str, str], files: Iterable[Path], node: str,
                     presets: Iterable[str]) -> None:  # fmt: skip
    """Whoever describes an arm or camera of their own must not get the simulated arm.

    Args:
        given: Arguments of a launch with ``robot:=sim``.
        files: Parameter files of the user.
        node: Whose parameters count.
        presets: Names for the message.

    Raises:
        ConfigError: Names the argument, or file and parameter, and what to write instead.
    """
    instead = (
        'nothing of a real arm: robot:=sim, the default, simulates one, and is armed; write '
        'robot:=custom params_file:=FILE for an arm of your own, or robot:=PRESET, one of '
        + ', '.join(name for name in presets if name != 'sim')
    )
    for name in _ARGUMENTS_OF_REAL_ARMS:
        if given[name] and (name, given[name]) != ('armed', 'false'):
            raise ConfigError(name, given[name], instead)
    if given['command_type'] not in ('', _SIMULATED):
        raise ConfigError(
            'command_type', given['command_type'],
            f'{_SIMULATED} with robot:=sim: the simulated arm follows no other',
        )  # fmt: skip
    for path in files:
        for name, value in parameters_for(path, node):
            if name in _PARAMETERS_OF_REAL_ARMS or name.startswith(_GROUPS_OF_REAL_ARMS):
                raise ConfigError(f'{path.name}: {name}', value, instead)


def check_hardware(given: Mapping[str, str], files: Iterable[Path], node: str) -> None:
    """No file arms a real arm, and an armed one does not start by itself.

    Args:
        given: Arguments of a launch of a real arm.
        files: Preset and parameter files, in order.
        node: Whose parameters count.

    Raises:
        ConfigError: Names file and parameter, and what to write instead.
    """
    if given['armed'] == 'false':  # overrides every file
        return
    for path in files:
        for name, value in parameters_for(path, node):
            if name == 'armed' and value is not False and not given['armed']:
                raise ConfigError(
                    f'{path.name}: armed', value, 'false: no file arms a real arm; call ~/arm, '
                    'or write armed:=true in the launch line',
                )  # fmt: skip
            if name == 'start_on_instruction' and value is not False and given['armed']:
                raise ConfigError(
                    f'{path.name}: start_on_instruction', value, 'false with armed:=true: a real '
                    'arm that is armed from the start must not start by itself; call ~/arm later, '
                    'or ~/start',
                )  # fmt: skip
