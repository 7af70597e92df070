"""Which nodes run, with which parameters and remappings: one description, two starters.

``launch/manipulation.launch.py`` turns it into launch actions, ``dysl demo`` into processes. This
module imports neither launch nor rclpy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dysl_vla_ros.data_types import COMMAND_TOPICS, SKIP_MODES
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.parameter_file import parameters_for

PACKAGE = 'dysl_vla_ros'
CUSTOM = 'custom'
"""``robot:=custom``: no preset, all parameters from ``params_file``."""
NODE = 'vla_node'
_OF_REAL_ARMS = ('action.joint_names', 'armed', 'command_type')
"""Parameters, beside those of the gripper, that nobody sets for the simulated arm."""
_TRUE_FALSE = ('true', 'false')
_ENCLAVE = re.compile(r'(/[A-Za-z_][A-Za-z0-9_]*)+')


@dataclass(frozen=True)
class LaunchArgument:
    """One argument of the launch file.

    Attributes:
        name: As in ``name:=value``.
        default: Text; empty means "not set" unless the description says otherwise.
        description: For ``ros2 launch --show-args``.
        choices: Legal values; empty when free.
    """

    name: str
    default: str
    description: str
    choices: tuple[str, ...] = ()


ARGUMENTS: tuple[LaunchArgument, ...] = (
    LaunchArgument('robot', 'sim', 'Preset in config/robots; sim starts the simulated arm too, '
                   'custom is an arm of your own: params_file alone'),
    LaunchArgument('params_file', '', 'Parameter file that overrides the preset'),
    LaunchArgument('engine', '', 'Folder of the bundle, or fake; empty = the bundled model'),
    LaunchArgument('armed', '', 'Send commands to the arm; empty = true in simulation only',
                   ('', *_TRUE_FALSE)),
    LaunchArgument('command_type', '', 'What is sent; empty = the preset\'s',
                   ('', *COMMAND_TOPICS)),
    LaunchArgument('command_rate_hz', '', 'Commands per second [Hz]; empty = the preset\'s'),
    LaunchArgument('image_topic', '', 'Remaps image'),
    LaunchArgument('wrist_image_topic', '', 'Remaps wrist_image'),
    LaunchArgument('joint_states_topic', '', 'Remaps joint_states'),
    LaunchArgument('instruction_topic', '', 'Remaps instruction'),
    LaunchArgument('command_topic', '', 'Remaps the command topic of command_type'),
    LaunchArgument('instruction', '', 'What to do; in simulation, empty lets episodes run'),
    LaunchArgument('skip_mode', '', 'Layer skipping; empty = the preset\'s', ('', *SKIP_MODES)),
    LaunchArgument('exit_layer', '', 'Of skip_mode fixed; empty = the preset\'s or the bundle\'s'),
    LaunchArgument('namespace', '', 'Namespace of all nodes'),
    LaunchArgument('enclave', '',
                   'Parent of the SROS 2 enclaves: /dysl gives /dysl/vla_node; empty = none'),
    LaunchArgument('use_sim_time', 'false', 'Use /clock', _TRUE_FALSE),
    LaunchArgument('autostart', 'true', 'Configure and activate vla_node', _TRUE_FALSE),
    LaunchArgument('record', 'false', 'Record everything with ros2 bag', _TRUE_FALSE),
    LaunchArgument('rviz', 'false', 'Start rviz2', _TRUE_FALSE),
    LaunchArgument('foxglove', 'false', 'Start foxglove_bridge', _TRUE_FALSE),
    LaunchArgument('log_level', 'info', 'Of our nodes', ('debug', 'info', 'warn', 'error')),
    LaunchArgument('seed', '0', 'Simulation: seed of the first episode'),
)  # fmt: skip


@dataclass(frozen=True)
class NodeSpec:
    """One node to start.

    Attributes:
        executable: Console script of its package.
        name: Node name.
        namespace: Its namespace, or ''.
        package: ROS package.
        parameter_files: In order; later ones win.
        parameters: Override the files.
        remappings: (from, to).
        lifecycle: Whether it is a lifecycle node.
        log_level: Of the node; '' for the default.
        enclave: Full name of its SROS 2 enclave; '' for none.
    """

    executable: str
    name: str
    namespace: str = ''
    package: str = PACKAGE
    parameter_files: tuple[Path, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()
    lifecycle: bool = False
    log_level: str = ''
    enclave: str = ''

    @property
    def ros_arguments(self) -> list[str]:
        """What both starters append after ``--ros-args``."""
        words = []
        if self.log_level:
            words += ['--log-level', f'{self.name}:={self.log_level}']
        if self.enclave:
            words += ['--enclave', self.enclave]
        return words

    def command_line(self, python: str) -> list[str]:
        """The command that starts this node without ``ros2 launch``.

        Args:
            python: Interpreter of the environment the package is installed in.
        """
        words = [python, '-m', f'{PACKAGE}.ros.{self.executable}', '--ros-args']
        words += ['-r', f'__node:={self.name}']
        if self.namespace:
            words += ['-r', f'__ns:=/{self.namespace.strip("/")}']
        for path in self.parameter_files:
            words += ['--params-file', str(path)]
        for name, value in self.parameters.items():
            words += ['-p', f'{name}:={_as_yaml(value)}']
        for source, target in self.remappings:
            words += ['-r', f'{source}:={target}']
        return words + self.ros_arguments


def defaults() -> dict[str, str]:
    """Every argument at its default."""
    return {argument.name: argument.default for argument in ARGUMENTS}


def config_folder() -> Path:
    """``config/`` of the source tree, or of ``share/dysl_vla_ros`` when installed.

    Raises:
        ConfigError: Neither is there.
    """
    package = Path(__file__).resolve().parent
    places = [package.parent / 'config']
    places += [parent / 'share' / PACKAGE / 'config' for parent in package.parents[1:5]]
    for place in places:
        if (place / 'robots').is_dir():
            return place
    raise ConfigError('config', [str(place) for place in places], 'one of these folders')


def check(arguments: Mapping[str, str]) -> dict[str, str]:
    """All arguments, the missing ones at their defaults.

    Raises:
        ConfigError: An unknown name, or a value that is not among the choices.
    """
    known = {argument.name: argument for argument in ARGUMENTS}
    for name, value in arguments.items():
        if name not in known:
            raise ConfigError(name, value, 'a launch argument: ' + ', '.join(known))
        choices = known[name].choices
        if choices and value not in choices:
            raise ConfigError(name, value, 'one of ' + ', '.join(map(repr, choices)))
    return {**defaults(), **arguments}


def nodes(arguments: Mapping[str, str]) -> tuple[NodeSpec, ...]:
    """The nodes of a launch.

    Args:
        arguments: Name -> text; what is missing keeps its default.

    Raises:
        ConfigError: An argument or preset is unknown.
    """
    given = check(arguments)
    if given['robot'] == 'sim':
        _refuse_real_arm(given)
    specs = [_vla_node(given)]
    if given['robot'] == 'sim':
        specs.insert(0, _sim_arm(given))
    if given['rviz'] == 'true':
        specs.append(NodeSpec('rviz2', 'rviz2', given['namespace'], 'rviz2'))
    if given['foxglove'] == 'true':
        specs.append(
            NodeSpec('foxglove_bridge', 'foxglove_bridge', given['namespace'], 'foxglove_bridge')
        )
    return tuple(specs)


def record_command(arguments: Mapping[str, str]) -> list[str]:
    """``ros2 bag record`` when asked for, else nothing."""
    if check(arguments)['record'] != 'true':
        return []
    return ['ros2', 'bag', 'record', '--all', '--storage', 'mcap']


def instruction_command(arguments: Mapping[str, str]) -> list[str]:
    """Gives a fixed instruction once a subscriber is there, else nothing."""
    given = check(arguments)
    if not given['instruction']:
        return []
    topic = given['instruction_topic'] or 'instruction'
    prefix = f'/{given["namespace"].strip("/")}' if given['namespace'] else ''
    name = topic if topic.startswith('/') else f'{prefix}/{topic}'
    message = '{data: ' + _as_yaml(given['instruction']) + '}'
    return [
        'ros2',
        'topic',
        'pub',
        '-w',
        '1',
        '--times',
        '3',
        name,
        'std_msgs/msg/String',
        message,
    ]


def _vla_node(given: Mapping[str, str]) -> NodeSpec:
    parameters: dict[str, Any] = {'autostart': given['autostart'] == 'true'}
    if given['engine']:
        parameters['engine.path'] = given['engine']
    if given['armed']:
        parameters['armed'] = given['armed'] == 'true'
    if given['command_type']:
        parameters['command_type'] = given['command_type']
    if given['command_rate_hz']:
        parameters['command_rate_hz'] = _number('command_rate_hz', given['command_rate_hz'])
    if given['skip_mode']:
        parameters['skip.mode'] = given['skip_mode']
    if given['exit_layer']:
        parameters['skip.exit_layer'] = _whole('exit_layer', given['exit_layer'])
    if given['use_sim_time'] == 'true':
        parameters['use_sim_time'] = True
    remappings = [
        (name, given[f'{name}_topic'])
        for name in ('image', 'wrist_image', 'joint_states', 'instruction')
        if given[f'{name}_topic']
    ]
    files = [] if given['robot'] == CUSTOM else [_preset(given['robot'])]
    if given['params_file']:
        files.append(_existing(given['params_file']))
    elif given['robot'] == CUSTOM:
        raise ConfigError('params_file', '', 'a file with the parameters of the arm: '
                          'robot:=custom has no preset')  # fmt: skip
    if given['command_topic']:
        remappings.append((_command_topic(given['command_type'], files), given['command_topic']))
    return NodeSpec(
        NODE,
        NODE,
        given['namespace'],
        parameter_files=tuple(files),
        parameters=parameters,
        remappings=tuple(remappings),
        lifecycle=True,
        log_level=given['log_level'],
        enclave=_enclave(given['enclave'], 'vla_node'),
    )


def _refuse_real_arm(given: Mapping[str, str]) -> None:
    """Whoever describes an arm of their own must not get the simulated one, which is armed.

    Raises:
        ConfigError: Names the argument, or file and parameter, and what to write instead.
    """
    instead = (
        'nothing of a real arm: robot:=sim, the default, simulates one, and is armed; write '
        'robot:=custom params_file:=FILE for an arm of your own, or robot:=PRESET, one of '
        + ', '.join(name for name in _presets() if name != 'sim')
    )
    for name in ('armed', 'command_topic', 'joint_states_topic'):
        if given[name] and (name, given[name]) != ('armed', 'false'):
            raise ConfigError(name, given[name], instead)
    if given['params_file']:
        path = _existing(given['params_file'])
        for name, value in parameters_for(path, NODE):
            if name in _OF_REAL_ARMS or name.startswith('gripper.'):
                raise ConfigError(f'{path.name}: {name}', value, instead)


def _command_topic(command_type: str, files: list[Path]) -> str:
    """The topic that the node will publish: of the argument, else of the last file."""
    kind = command_type
    if not kind:
        set_by = [value for path in files for name, value in parameters_for(path, NODE)
                  if name == 'command_type']  # fmt: skip
        kind = str(set_by[-1]) if set_by else 'joint_trajectory'
    if kind not in COMMAND_TOPICS:
        raise ConfigError('command_type', kind, 'one of ' + ', '.join(COMMAND_TOPICS))
    return COMMAND_TOPICS[kind]


def _sim_arm(given: Mapping[str, str]) -> NodeSpec:
    parameters: dict[str, Any] = {
        'seed': int(_number('seed', given['seed'])),
        'episodes.auto': not given['instruction'],
    }
    return NodeSpec(
        'sim_arm', 'sim_arm', given['namespace'], parameters=parameters,
        log_level=given['log_level'], enclave=_enclave(given['enclave'], 'sim_arm'),
    )  # fmt: skip


def _enclave(parent: str, node: str) -> str:
    """Each node has an enclave of its own, so that its keys open its own topics only."""
    if not parent:
        return ''
    if not _ENCLAVE.fullmatch(parent):
        raise ConfigError('enclave', parent, "a name such as '/dysl'")
    return f'{parent}/{node}'


def _preset(robot: str) -> Path:
    folder = config_folder() / 'robots'
    path = folder / f'{robot}.yaml'
    if not path.is_file() or path.parent != folder:
        raise ConfigError('robot', robot, f'a preset: {", ".join(_presets())}; or {CUSTOM}, with '
                          'params_file')  # fmt: skip
    return path


def _presets() -> list[str]:
    return sorted(item.stem for item in (config_folder() / 'robots').glob('*.yaml'))


def _existing(path: str) -> Path:
    found = Path(path).expanduser()
    if not found.is_file():
        raise ConfigError('params_file', path, 'a file that exists')
    return found


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(name, text, 'a number') from None


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(name, text, 'a whole number') from None


def _as_yaml(value: Any) -> str:
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, (list, tuple)):
        return '[' + ', '.join(_as_yaml(item) for item in value) + ']'
    return repr(value)
