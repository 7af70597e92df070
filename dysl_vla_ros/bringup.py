"""Which nodes run, with which parameters and remappings: one description, two starters.

``launch/manipulation.launch.py`` turns it into launch actions, ``dysl demo`` into processes. This
module imports neither launch nor rclpy.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dysl_vla_ros import ros_packages, safe_start
from dysl_vla_ros.data_types import COMMAND_TOPICS, SKIP_MODES
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.parameter_check import check_once, check_reach, check_values
from dysl_vla_ros.parameter_file import parameters_for
from dysl_vla_ros.ros_names import RECORDABLE, is_recordable, is_topic
from dysl_vla_ros.sim.robot_description import urdf

PACKAGE = 'dysl_vla_ros'
CUSTOM = 'custom'
"""``robot:=custom``: no preset, all parameters from ``params_file``."""
NODE = 'vla_node'
RECORDER = 'vla_recorder'
SIM, SIM_ARM = 'sim', 'sim_arm'
_REMAPPED = (
    'image', 'wrist_image', 'left_wrist_image', 'right_wrist_image', 'joint_states',
    'robot_description', 'instruction', 'estop', 'enable',
)  # fmt: skip
_NAMES_OF_THE_ARM = (
    'action.joint_names', 'action.frame_id', 'action.tip_link', 'gripper.joint'
)  # fmt: skip
_NEEDS = {
    'rviz': ('rviz2', 'rviz_default_plugins'),
    'foxglove': ('foxglove_bridge',),
}
"""Argument -> packages of other people."""
_LEAST_GB = 0.002
_PREFIX = re.compile(r'[A-Za-z0-9_/]+')
_TRUE_FALSE = ('true', 'false')
_ENCLAVE = re.compile(r'(/[A-Za-z_][A-Za-z0-9_]*)+')
_CAMERA = re.compile(r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z0-9_]+)*')
_NAMESPACE = re.compile(r'(/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*/?)?|/')


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
    LaunchArgument('image_topic', '', 'Remaps image; image/compressed follows'),
    LaunchArgument('wrist_image_topic', '', 'Remaps wrist_image'),
    LaunchArgument('left_wrist_image_topic', '', 'Remaps left_wrist_image'),
    LaunchArgument('right_wrist_image_topic', '', 'Remaps right_wrist_image'),
    LaunchArgument('camera_topics', '', 'Remaps cameras of other names, as the bundle has them: '
                   'NAME=TOPIC, separated by commas'),
    LaunchArgument('joint_states_topic', '', 'Remaps joint_states'),
    LaunchArgument('robot_description_topic', '', 'Remaps robot_description'),
    LaunchArgument('instruction_topic', '', 'Remaps instruction'),
    LaunchArgument('estop_topic', '', 'Remaps estop'),
    LaunchArgument('enable_topic', '', 'Remaps enable, the dead-man'),
    LaunchArgument('command_topic', '', 'Remaps the command topic of command_type'),
    LaunchArgument('gripper_topic', '', 'Remaps gripper_command'),
    LaunchArgument('gripper_action', '', 'Name of the gripper\'s action'),
    LaunchArgument('prefix', '', 'Stands before each joint, frame and link of the preset'),
    LaunchArgument('instruction', '', 'What to do; in simulation, empty lets episodes run'),
    LaunchArgument('skip_mode', '', 'Layer skipping; empty = the preset\'s', ('', *SKIP_MODES)),
    LaunchArgument('exit_layer', '', 'Of skip_mode fixed; empty = the preset\'s or the bundle\'s'),
    LaunchArgument('namespace', '', 'Namespace of all nodes'),
    LaunchArgument('enclave', '',
                   'Parent of the SROS 2 enclaves: /dysl gives /dysl/vla_node; empty = none'),
    LaunchArgument('use_sim_time', 'false', 'Use /clock', _TRUE_FALSE),
    LaunchArgument('autostart', 'true', 'Configure and activate vla_node', _TRUE_FALSE),
    LaunchArgument('record', 'false', 'Record what the model saw and the node\'s topics, as MCAP',
                   _TRUE_FALSE),
    LaunchArgument('record_folder', 'dysl_vla_bags', 'Folder of the recordings'),
    LaunchArgument('record_limit_gb', '10', 'Of that folder; then its oldest file goes'),
    LaunchArgument('record_video', 'false', 'Record the cameras\' own streams too, as JPEG',
                   _TRUE_FALSE),
    LaunchArgument('record_topics', '', 'Further topics, NAME=TYPE, separated by commas'),
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
        essential: Its end, whatever the reason, ends all: it is never started again by itself,
            for a node that is started anew knows nothing of an e-stop.
        arguments: Words before ``--ros-args``.
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
    essential: bool = False
    arguments: tuple[str, ...] = ()

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

        Raises:
            ConfigError: A package that is not ours is not installed.
        """
        if self.package == PACKAGE:
            words = [python, '-m', f'{PACKAGE}.ros.{self.executable}']
        else:
            words = [str(ros_packages.executable_of(self.package, self.executable))]
        words += [*self.arguments, '--ros-args', '-r', f'__node:={self.name}']
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
    if not _NAMESPACE.fullmatch(given['namespace']):
        raise ConfigError('namespace', given['namespace'], "names such as 'left' or '/cell/left'")
    simulated = given['robot'] == SIM
    if simulated:
        safe_start.check_simulation(given, _own_files(given), NODE, presets())
    else:
        safe_start.check_hardware(given, _files(given), NODE)
    named = (NODE, RECORDER, *((SIM_ARM,) if simulated else ()))
    for path in _own_files(given):
        check_once(path)
        check_values(path)
        check_reach(path, [_full_name(given, name) for name in named])
    _check_packages(given)
    _record_topics(given)  # also without record:=true, which somebody will add
    specs = [_vla_node(given)]
    if simulated:
        specs.insert(0, _sim_arm(given))
        if ros_packages.prefix_of('robot_state_publisher') is not None:
            specs.append(_robot_state_publisher(given))
    if given['record'] == 'true':
        specs.append(_recorder(given))
    if given['rviz'] == 'true':
        specs.append(_rviz(given))
    if given['foxglove'] == 'true':
        specs.append(
            NodeSpec('foxglove_bridge', 'foxglove_bridge', given['namespace'], 'foxglove_bridge')
        )
    return tuple(specs)


def _full_name(given: Mapping[str, str], node: str) -> str:
    return '/'.join(('', *filter(None, given['namespace'].split('/')), node))


def environment() -> dict[str, str]:
    """Variables that every node gets: the Fast DDS profile, unless the user has their own."""
    return ros_packages.fast_dds_profile(config_folder() / 'fastdds.xml')


def _vla_node(given: Mapping[str, str]) -> NodeSpec:
    parameters: dict[str, Any] = {'autostart': given['autostart'] == 'true'}
    if given['robot'] == SIM:
        parameters['simulator'] = SIM_ARM
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
    if given['instruction']:
        parameters['instruction'] = given['instruction']
    if given['gripper_action']:
        parameters['gripper.action_name'] = given['gripper_action']
    files = _files(given)
    _check_outputs(given, files)
    parameters.update(_prefixed(given, files))
    remappings = _topic_remappings(given)
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
        essential=True,
    )


def _topic_remappings(given: Mapping[str, str]) -> list[tuple[str, str]]:
    remappings = [(name, given[f'{name}_topic']) for name in _REMAPPED if given[f'{name}_topic']]
    remappings += _cameras(given)
    if given['gripper_topic']:
        remappings.append(('gripper_command', given['gripper_topic']))
    return remappings


def _cameras(given: Mapping[str, str]) -> list[tuple[str, str]]:
    """Of ``camera_topics``; a name that has an argument of its own may stand here instead."""
    found: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in given['camera_topics'].split(','))):
        name, topic = (part.strip() for part in (*entry.split('=', 1), '')[:2])
        if not (_CAMERA.fullmatch(name) and is_topic(topic)):
            raise ConfigError(
                'camera_topics', entry, 'NAME=TOPIC, as in image_0=/camera/color/image_raw'
            )
        if name in found or given.get(f'{name}_topic'):
            raise ConfigError('camera_topics', entry, f'one topic for {name}: it has another too')
        if name in _REMAPPED and 'image' not in name:
            raise ConfigError('camera_topics', entry, f'a camera; for {name} write {name}_topic')
        found[name] = topic
    return [*found.items()]


def _files(given: Mapping[str, str]) -> list[Path]:
    """Parameter files in order: the preset's, then the user's."""
    preset = [] if given['robot'] == CUSTOM else [_preset(given['robot'])]
    own = _own_files(given)
    if not preset and not own:
        raise ConfigError('params_file', '', 'a file with the parameters of the arm: '
                          'robot:=custom has no preset')  # fmt: skip
    return preset + own


def _own_files(given: Mapping[str, str]) -> list[Path]:
    return [_existing(given['params_file'])] if given['params_file'] else []


def _prefixed(given: Mapping[str, str], files: list[Path]) -> dict[str, Any]:
    """The preset's names behind ``prefix``; those of a params_file stay as they are written."""
    prefix = given['prefix']
    if not prefix:
        return {}
    if given['robot'] == CUSTOM:
        raise ConfigError('prefix', prefix, 'nothing with robot:=custom: write the names as they '
                          'are into the params_file')  # fmt: skip
    if not _PREFIX.fullmatch(prefix):
        raise ConfigError('prefix', prefix, "letters, digits, '_' and '/', as in 'left_'")
    preset, *own = ([*parameters_for(path, NODE)] for path in files)
    named = {name for parameters in own for name, _ in parameters}
    found: dict[str, Any] = {}
    for name, value in preset:
        if name not in _NAMES_OF_THE_ARM or name in named or not value:
            continue
        several = isinstance(value, list)
        found[name] = [prefix + item for item in value] if several else f'{prefix}{value}'
    return found


def _check_packages(given: Mapping[str, str]) -> None:
    """What was asked for and is not installed is an error before any node starts."""
    for argument, packages in _NEEDS.items():
        if given[argument] == 'true':
            ros_packages.require(argument, *packages)


def _check_outputs(given: Mapping[str, str], files: list[Path]) -> None:
    """A topic or action that is not used, by several arms or by a gripper, reaches nobody."""
    several = _last('arms.names', files, '[]') != '[]'
    for argument in ('command_topic', 'gripper_topic', 'gripper_action'):
        if several and given[argument]:
            raise ConfigError(
                argument, given[argument], 'nothing beside arms.names: each arm has its own, '
                'arms.<name>.command_topic and arms.<name>.gripper, in the params_file',
            )  # fmt: skip
    interface = _last('gripper.interface', files, 'topic')
    for argument, needed in (('gripper_topic', 'topic'), ('gripper_action', 'action')):
        if given[argument] and interface != needed:
            raise ConfigError(
                argument, given[argument], f'nothing where gripper.interface is {interface!r}: '
                f'set it to {needed!r} in a params_file',
            )  # fmt: skip


def _last(parameter: str, files: list[Path], default: str) -> str:
    """What the last file that sets a parameter says, as ROS reads them."""
    set_by = [value for path in files for name, value in parameters_for(path, NODE)
              if name == parameter]  # fmt: skip
    return str(set_by[-1]) if set_by else default


def _command_topic(command_type: str, files: list[Path]) -> str:
    """The topic that the node will publish: of the argument, else of the last file."""
    kind = command_type or _last('command_type', files, 'joint_trajectory')
    if kind not in COMMAND_TOPICS:
        raise ConfigError('command_type', kind, 'one of ' + ', '.join(COMMAND_TOPICS))
    return COMMAND_TOPICS[kind]


def _sim_arm(given: Mapping[str, str]) -> NodeSpec:
    parameters: dict[str, Any] = {
        'seed': _whole('seed', given['seed']),
        'episodes.auto': not given['instruction'],
    }
    heard = ('instruction', given['instruction_topic'])  # sim_arm gives them
    engine = given['engine'] or _engine_of_file(given['params_file'])
    if engine:  # its cameras
        parameters['engine'] = engine
    return NodeSpec(
        SIM_ARM, SIM_ARM, given['namespace'], parameters=parameters,
        remappings=(heard,) if given['instruction_topic'] else (),
        log_level=given['log_level'], enclave=_enclave(given['enclave'], SIM_ARM),
        essential=True,
    )  # fmt: skip


def _recorder(given: Mapping[str, str]) -> NodeSpec:
    """Beside the node, with its names; nobody depends on it."""
    limit = _number('record_limit_gb', given['record_limit_gb'])
    if limit < _LEAST_GB:
        raise ConfigError('record_limit_gb', limit, f'at least {_LEAST_GB:g}')
    if importlib.util.find_spec('mcap') is None:
        raise ConfigError('record', 'true', 'the library mcap: python3 -m pip install '
                          "'mcap>=1.5,<2'; or record:=false")  # fmt: skip
    if not given['record_folder'].strip():
        raise ConfigError(
            'record_folder', given['record_folder'], 'a folder; . is the current one'
        )
    folder = Path(given['record_folder']).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ConfigError('record_folder', str(folder), 'a folder: this is a file')
    files = _files(given)
    topics = [*_record_topics(given), *_topics_of_arms(files)]
    parameters: dict[str, Any] = {
        'folder': str(folder), 'limit_gb': limit, 'video': given['record_video'] == 'true',
    }  # fmt: skip
    if topics:
        parameters['topics'] = topics
    if given['use_sim_time'] == 'true':
        parameters['use_sim_time'] = True
    remappings = _topic_remappings(given)
    if given['command_topic']:
        remappings.append((_command_topic(given['command_type'], files), given['command_topic']))
    return NodeSpec(
        RECORDER, RECORDER, given['namespace'], parameters=parameters,
        remappings=tuple(remappings), log_level=given['log_level'],
        enclave=_enclave(given['enclave'], RECORDER),
    )  # fmt: skip


def _record_topics(given: Mapping[str, str]) -> list[str]:
    topics = [entry.strip() for entry in given['record_topics'].split(',') if entry.strip()]
    for entry in topics:
        if not is_recordable(entry):
            raise ConfigError('record_topics', entry, 'NAME=TYPE, with one of '
                              + ', '.join(RECORDABLE))  # fmt: skip
    return topics


def _topics_of_arms(files: list[Path]) -> list[str]:
    """Command topics of several arms, and their grippers', live and in shadow."""
    found = []
    named = [value for path in files for name, value in parameters_for(path, NODE)
             if name == 'arms.names' and isinstance(value, list)]  # fmt: skip
    for name in named[-1] if named else ():
        topic = _last(f'arms.{name}.command_topic', files, '')
        for own, kind in (
            (topic, 'trajectory_msgs/msg/JointTrajectory'),
            (f'{name}/gripper_command', 'std_msgs/msg/Float64MultiArray'),
        ):  # fmt: skip
            if own:
                found += [f'{own}={kind}', f'{NODE}/shadow/{own.lstrip("/")}={kind}']
    return found


def _rviz(given: Mapping[str, str]) -> NodeSpec:
    words = ['-d', str(config_folder() / 'views' / 'manipulation.rviz')]
    frame = _last('action.frame_id', _files(given), '')
    frame = str(_prefixed(given, _files(given)).get('action.frame_id', frame))
    if frame:
        words += ['-f', frame]
    return NodeSpec(
        'rviz2', 'rviz2', given['namespace'], 'rviz2', arguments=tuple(words),
        remappings=tuple(_topic_remappings(given)),
    )  # fmt: skip


def _robot_state_publisher(given: Mapping[str, str]) -> NodeSpec:
    """TF of the simulated arm. Its own copy of the description is kept off the arm's topic."""
    name = 'robot_state_publisher'
    return NodeSpec(
        name, name, given['namespace'], name, parameters={'robot_description': urdf()},
        remappings=(('robot_description', f'{name}/robot_description'),),
    )  # fmt: skip


def _engine_of_file(params_file: str) -> str:
    """``engine.path`` of the user's parameter file, which the simulated arm goes by, too."""
    if not params_file:
        return ''
    found = [value for name, value in parameters_for(_existing(params_file), NODE)
             if name == 'engine.path']  # fmt: skip
    return str(found[-1]) if found else ''


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
        raise ConfigError('robot', robot, f'a preset: {", ".join(presets())}; or {CUSTOM}, with '
                          'params_file')  # fmt: skip
    return path


def presets() -> list[str]:
    """Names for ``robot:=``, in alphabetical order."""
    return sorted(item.stem for item in (config_folder() / 'robots').glob('*.yaml'))


def _existing(path: str) -> Path:
    found = Path(path).expanduser()
    if not found.is_file():
        raise ConfigError('params_file', path, 'a file that exists')
    return found


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ConfigError(name, text, 'a number') from None
    if not math.isfinite(number):
        raise ConfigError(name, text, 'a finite number')
    return number


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
