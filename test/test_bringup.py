"""One description of the nodes, for the launch file and for the demo."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from dysl_vla_ros import bringup, ros_packages
from dysl_vla_ros.config import from_flat
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.node_parameters import load_yaml

CONFIG = Path(__file__).resolve().parents[1] / 'config'
PRESETS = sorted((CONFIG / 'robots').glob('*.yaml'))


@pytest.fixture(autouse=True)
def no_packages_of_others(monkeypatch):
    """What a sourced ROS 2 has installed decides what is started: here, nothing."""
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)


def names(arguments):
    return [spec.name for spec in bringup.nodes(arguments)]


def vla_node(**arguments):
    return next(spec for spec in bringup.nodes(arguments) if spec.name == 'vla_node')


def test_without_arguments_the_simulated_arm_and_the_node_start():
    assert names({}) == ['sim_arm', 'vla_node']


def test_a_real_robot_starts_no_simulation_and_is_not_armed():
    assert names({'robot': 'ur5e'}) == ['vla_node']
    assert load_yaml(vla_node(robot='ur5e').parameter_files[0]).safety.armed is False


def test_the_simulation_is_armed_and_starts_on_an_instruction():
    config = load_yaml(vla_node().parameter_files[0])
    assert config.safety.armed and config.safety.start_on_instruction


def test_topic_arguments_become_remappings():
    spec = vla_node(robot='ur5e', image_topic='/camera/image_raw',
                    command_topic='/jtc/joint_trajectory')  # fmt: skip
    assert spec.remappings == (
        ('image', '/camera/image_raw'),
        ('joint_trajectory', '/jtc/joint_trajectory'),
    )


def test_cameras_of_any_name_are_remapped_for_the_node_and_its_recorder():
    given = {'robot': 'ur5e', 'camera_topics': 'image_0=/front/color, up/left=/up'}
    assert vla_node(**given).remappings == (('image_0', '/front/color'), ('up/left', '/up'))
    pytest.importorskip('mcap', reason="pip install 'dysl_vla_ros[record]'")
    assert bringup._recorder({**bringup.defaults(), **given}).remappings == (
        ('image_0', '/front/color'), ('up/left', '/up'),
    )  # fmt: skip


@pytest.mark.parametrize(
    ('value', 'said'),
    [
        ('/front/color', 'expected NAME=TOPIC, as in image_0=/camera/color/image_raw'),
        ('image_0=', 'expected NAME=TOPIC'),
        ('image_0=/a b', 'expected NAME=TOPIC'),
        ('image_0=/a,image_0=/b', 'expected one topic for image_0'),
        ('image=/a', 'expected one topic for image'),
        ('estop=/a', 'expected a camera; for estop write estop_topic'),
    ],
)
def test_what_is_no_camera_s_topic_is_refused(value, said):
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        vla_node(robot='ur5e', image_topic='/camera', camera_topics=value)
    assert str(caught.value).startswith("camera_topics = '")


def test_the_command_topic_remaps_what_the_command_type_publishes():
    spec = vla_node(robot='ur5e', command_type='twist', command_topic='/servo/delta_twist_cmds')
    assert spec.remappings == (('twist_commands', '/servo/delta_twist_cmds'),)


def test_the_command_type_of_the_files_decides_what_is_remapped(tmp_path):
    spec = vla_node(robot='so101', command_topic='/x')
    assert spec.remappings == (('joint_trajectory', '/x'),)
    path = written(tmp_path, '/**: {ros__parameters: {command_type: joint_commands}}')
    spec = vla_node(robot='so101', params_file=path, command_topic='/forward/commands')
    assert spec.remappings == (('joint_commands', '/forward/commands'),)
    path = written(tmp_path, 'vla_node: {ros__parameters: {command_type: pose}}')
    spec = vla_node(robot='so101', params_file=path, command_topic='/x')
    assert spec.remappings == (('pose_target', '/x'),)
    path = written(tmp_path, 'vla_node: {ros__parameters: {command_type: [1]}}')
    with pytest.raises(ConfigError, match='command_type'):
        vla_node(robot='so101', params_file=path, command_topic='/x')


def test_arguments_become_parameters_only_when_given():
    assert vla_node().parameters == {'autostart': True, 'simulator': 'sim_arm'}
    spec = vla_node(engine='fake', armed='false', skip_mode='full', command_rate_hz='50')
    assert spec.parameters == {
        'autostart': True,
        'simulator': 'sim_arm',
        'engine.path': 'fake',
        'armed': False,
        'command_rate_hz': 50.0,
        'skip.mode': 'full',
    }


def test_a_fixed_exit_is_launched_with_its_layer():
    parameters = vla_node(skip_mode='fixed', exit_layer='8').parameters
    assert parameters['skip.mode'] == 'fixed' and parameters['skip.exit_layer'] == 8
    with pytest.raises(ConfigError, match="exit_layer = '8.5': expected a whole number"):
        vla_node(skip_mode='fixed', exit_layer='8.5')


def test_a_fixed_instruction_is_published_and_stops_the_episodes():
    arguments = {'instruction': "pick up the 'red' cube", 'namespace': 'left'}
    sim = bringup.nodes(arguments)[0]
    assert sim.parameters['episodes.auto'] is False
    spec = vla_node(**arguments)
    assert spec.parameters['instruction'] == arguments['instruction']
    words = spec.command_line('python3')
    given = next(word for word in words if word.startswith('instruction:='))
    assert yaml.safe_load(given.partition(':=')[2]) == arguments['instruction']


@pytest.mark.parametrize('text', ['a: b', '12', "it's", 'true', '- x'])
def test_an_instruction_that_looks_like_yaml_stays_text(text):
    words = vla_node(instruction=text).command_line('python3')
    given = next(word for word in words if word.startswith('instruction:='))
    assert yaml.safe_load(given.partition(':=')[2]) == text


def test_the_command_line_carries_files_parameters_and_remappings():
    spec = vla_node(robot='ur5e', namespace='left', image_topic='/cam')
    words = spec.command_line('python3')
    assert words[:4] == ['python3', '-m', 'dysl_vla_ros.ros.vla_node', '--ros-args']
    assert '__ns:=/left' in words and 'image:=/cam' in words and 'autostart:=true' in words


def test_every_node_gets_an_enclave_of_its_own_below_the_one_given():
    words = [spec.command_line('python3') for spec in bringup.nodes({'enclave': '/dysl'})]
    assert [line[line.index('--enclave') + 1] for line in words] == [
        '/dysl/sim_arm', '/dysl/vla_node'
    ]  # fmt: skip
    assert all('--enclave' not in spec.command_line('python3') for spec in bringup.nodes({}))


def test_the_enclaves_are_those_of_the_policy():
    pytest.importorskip('mcap', reason="python3 -m pip install 'mcap>=1.5,<2'")
    policy = ElementTree.parse(CONFIG / 'sros2' / 'policy.xml').getroot()
    paths = {enclave.get('path') for enclave in policy.iter('enclave')}
    asked = bringup.nodes({'enclave': '/dysl', 'record': 'true'})
    assert paths == {spec.enclave for spec in asked}


@pytest.mark.ros
def test_a_started_node_is_in_its_enclave(tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    rclpy = pytest.importorskip('rclpy', reason='source ROS 2, or make test')
    from rclpy.context import Context
    from rclpy.node import Node

    from dysl_vla_ros.demo.domain import ReservedDomain
    from dysl_vla_ros.demo.processes import environment

    reserved = ReservedDomain()
    env = environment(reserved.number) | {
        'ROS_LOG_DIR': str(tmp_path), 'PYTHONPATH': str(CONFIG.parent)
    }  # fmt: skip
    spec = vla_node(robot='ur5e', enclave='/dysl', autostart='false')
    child = subprocess.Popen(spec.command_line(sys.executable), env=env, cwd=CONFIG.parent)
    context = Context()
    rclpy.init(context=context, domain_id=reserved.number, args=[])
    node = Node('looks', context=context)
    try:
        until, found = time.monotonic() + 30, []
        while ('vla_node', '/', '/dysl/vla_node') not in found:
            assert time.monotonic() < until and child.poll() is None, found
            found = node.get_node_names_and_namespaces_with_enclaves()
            time.sleep(0.05)
    finally:
        child.terminate()
        child.wait(20)
        node.destroy_node()
        context.try_shutdown()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'enclave': 'dysl'}, "enclave = 'dysl': expected a name such as"),
        ({'enclave': '/dysl/../x'}, 'expected a name such as'),
        ({'enclave': '/dysl --enclave /x'}, 'expected a name such as'),
        ({'robot': 'ur55'}, "robot = 'ur55': expected a preset: .*ur5e"),
        ({'robot': '../sim'}, 'expected a preset'),
        ({'skip_mode': 'fast'}, "skip_mode = 'fast': expected one of"),
        ({'immage_topic': '/x'}, 'a launch argument'),
        ({'params_file': '/no/such.yaml'}, 'a file that exists'),
        ({'command_rate_hz': 'fast'}, "command_rate_hz = 'fast': expected a number"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(arguments, message):
    with pytest.raises(ConfigError, match=message):
        bringup.nodes(arguments)


def test_every_argument_is_described():
    assert all(len(argument.description) > 8 for argument in bringup.ARGUMENTS)


@pytest.mark.parametrize('path', PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_a_valid_parameter_file(path):
    assert load_yaml(path)


@pytest.mark.parametrize('command_type', ['joint_commands', 'twist', 'pose'])
def test_a_gripper_joint_without_a_trajectory_that_carries_it_is_refused(command_type):
    wrong = {'gripper.interface': 'joint', 'command_type': command_type}
    with pytest.raises(ConfigError, match=f"'none' with command_type = '{command_type}'"):
        from_flat(wrong)
    assert from_flat({**wrong, 'command_type': 'joint_trajectory'})
    assert from_flat({**wrong, 'gripper.interface': 'topic'})


# ---- robot:=sim is no real arm -----------------------------------------------------------------


def written(folder, text):
    path = folder / 'params.yaml'
    path.write_text(text, encoding='utf-8')
    return str(path)


@pytest.mark.parametrize(
    'arguments',
    [
        {'armed': 'true'}, {'command_topic': '/jtc'}, {'joint_states_topic': '/joint_states'},
        {'image_topic': '/camera/image_raw'}, {'wrist_image_topic': '/wrist/image_raw'},
        {'left_wrist_image_topic': '/l'}, {'right_wrist_image_topic': '/r'},
        {'robot_description_topic': '/robot_description'}, {'gripper_topic': '/g'},
        {'camera_topics': 'image_0=/camera'}, {'prefix': 'left_'},
    ],
    ids=lambda arguments: next(iter(arguments)),
)  # fmt: skip
def test_the_simulated_arm_takes_no_argument_of_a_real_one(arguments):
    ((name, value),) = arguments.items()
    for given in (arguments, {**arguments, 'robot': 'sim'}):
        with pytest.raises(ConfigError) as caught:
            bringup.nodes(given)
        text = str(caught.value)
        assert text.startswith(f"{name} = '{value}': expected nothing of a real arm")
        assert 'robot:=custom params_file:=FILE' in text and 'panda, so100, so101, ur5e' in text
    assert bringup.nodes({**arguments, 'robot': 'ur5e'})


BODIES = {
    'action.joint_names': 'action: {joint_names: [a, b]}',
    'command_type': 'command_type: joint_trajectory',
    'gripper.interface': 'gripper.interface: topic',
    'gripper.open_value': 'gripper: {open_value: 0.8}',
    'armed': 'armed: false',
}
SECTIONS = {
    'every': '/**: {ros__parameters: {%s}}',
    'name': 'vla_node: {ros__parameters: {%s}}',
    'full name': '/vla_node: {ros__parameters: {%s}}',
    'star': '/*: {ros__parameters: {%s}}',
    'any namespace': '/**/vla_node: {ros__parameters: {%s}}',
    'nested namespace': 'left: {vla_node: {ros__parameters: {%s}}}',
    'twice': '/**: {ros__parameters: {%s}}\n/**: {ros__parameters: {command_rate_hz: 30.0}}',
    'second': 'other: {ros__parameters: {armed: 1}}\nvla_node: {ros__parameters: {%s}}',
}


NAMESPACES = {'nested namespace': 'left'}


@pytest.mark.parametrize('section', SECTIONS)
@pytest.mark.parametrize('name', BODIES)
def test_the_simulated_arm_takes_no_parameter_of_a_real_one(tmp_path, section, name):
    path = written(tmp_path, SECTIONS[section] % BODIES[name])
    with pytest.raises(ConfigError, match=f'params.yaml: {name} = .*robot:=custom'):
        bringup.nodes({'params_file': path})
    given = {'params_file': path, 'robot': 'custom', 'namespace': NAMESPACES.get(section, '')}
    assert len(bringup.nodes(given)) == 1


@pytest.mark.parametrize(
    'text',
    [
        '/**: {ros__parameters: {command_rate_hz: 40.0, skip: {mode: full}}}',
        'sim_arm: {ros__parameters: {armed: true}}',
        '/**: {ros__parameters: {start_on_instruction: false, timeout.image_s: 1.0}}',
    ],
)
def test_the_simulated_arm_takes_what_changes_the_policy_alone(tmp_path, text):
    path = written(tmp_path, text)
    assert [spec.name for spec in bringup.nodes({'params_file': path})] == ['sim_arm', 'vla_node']


@pytest.mark.parametrize('text', ['a: [', '\ta: 1', 'a: !!python/object:os.x {}\nb: ]', 'a: 1: 2'])
def test_what_is_no_yaml_is_refused_in_one_line(tmp_path, text):
    with pytest.raises(ConfigError, match='a YAML parameter file') as caught:
        bringup.nodes({'params_file': written(tmp_path, text)})
    assert '\n' not in str(caught.value)


# ---- a real arm is armed by somebody -----------------------------------------------------------


@pytest.mark.parametrize('section', SECTIONS)
def test_no_parameter_file_arms_a_real_arm(tmp_path, section):
    path = written(tmp_path, SECTIONS[section] % 'armed: true')
    for robot in ('custom', 'ur5e'):
        refused = 'params.yaml: armed = True: .*call ~/arm, or .*:=true'
        with pytest.raises(ConfigError, match=refused):
            bringup.nodes({'robot': robot, 'params_file': path})
        for armed in ('true', 'false'):  # somebody's own words, here and now
            spec = vla_node(robot=robot, params_file=path, armed=armed,
                            namespace=NAMESPACES.get(section, ''))  # fmt: skip
            assert spec.parameters['armed'] is (armed == 'true')


def test_a_real_arm_that_is_armed_from_the_start_does_not_start_by_itself(tmp_path):
    path = written(tmp_path, '/**: {ros__parameters: {start_on_instruction: true}}')
    arguments = {'robot': 'ur5e', 'params_file': path}
    refused = 'start_on_instruction = True: .*must not start by itself'
    with pytest.raises(ConfigError, match=refused):
        bringup.nodes({**arguments, 'armed': 'true', 'instruction': 'go'})
    assert bringup.nodes({**arguments, 'armed': 'false'}) and bringup.nodes(arguments)


def test_no_preset_but_the_simulation_is_armed_or_starts_by_itself():
    for path in PRESETS:
        body = yaml.safe_load(path.read_text())['/**']['ros__parameters']
        own = {body.get('armed', False), body.get('start_on_instruction', False)}
        assert own == {path.stem == 'sim'}, path


# ---- arguments ---------------------------------------------------------------------------------


def test_every_topic_argument_remaps_its_topic():
    topics = [argument.name for argument in bringup.ARGUMENTS if argument.name.endswith('_topic')]
    assert len(topics) == 11
    special = {'command_topic': 'joint_trajectory', 'gripper_topic': 'gripper_command'}
    for name in topics:
        (remapping,) = vla_node(robot='ur5e', **{name: '/there'}).remappings
        assert remapping == (special.get(name, name.removesuffix('_topic')), '/there')


def test_the_simulated_arm_gives_its_instructions_where_the_node_hears_them():
    specs = bringup.nodes({'instruction_topic': '/told'})
    assert [spec.remappings for spec in specs] == [(('instruction', '/told'),)] * 2


def test_a_prefix_stands_before_every_name_of_the_preset():
    parameters = vla_node(robot='ur5e', prefix='left_').parameters
    assert parameters['action.joint_names'][0] == 'left_shoulder_pan_joint'
    assert len(parameters['action.joint_names']) == 6
    assert parameters['action.tip_link'] == 'left_tool0'
    assert parameters['action.frame_id'] == 'left_base_link'
    assert parameters['gripper.joint'] == 'left_robotiq_85_left_knuckle_joint'


def test_names_of_a_parameter_file_stay_as_they_are_written(tmp_path):
    path = written(tmp_path, 'vla_node: {ros__parameters: {gripper: {joint: claw}}}')
    parameters = vla_node(robot='ur5e', prefix='left_', params_file=path).parameters
    assert 'gripper.joint' not in parameters and parameters['action.tip_link'] == 'left_tool0'
    with pytest.raises(ConfigError, match='prefix = .*robot:=custom: write the names as they are'):
        bringup.nodes({'robot': 'custom', 'prefix': 'left_', 'params_file': path})


@pytest.mark.parametrize(
    ('argument', 'interface'), [('gripper_topic', 'action'), ('gripper_action', 'topic')]
)
def test_a_gripper_argument_that_its_interface_does_not_use_is_refused(
    tmp_path, argument, interface
):
    section = SECTIONS['every']
    path = written(tmp_path, section % f'gripper.interface: {interface}')
    arguments = {'robot': 'ur5e', 'params_file': path, argument: '/there'}
    refused = f"{argument} = .* where gripper.interface is '{interface}'"
    with pytest.raises(ConfigError, match=refused):
        bringup.nodes(arguments)
    other = 'topic' if interface == 'action' else 'action'
    path = written(tmp_path, section % f'gripper.interface: {other}')
    spec = vla_node(**arguments)
    assert ('gripper_command', '/there') in spec.remappings or (
        spec.parameters['gripper.action_name'] == '/there'
    )


# ---- packages of other people ----------------------------------------------------------------


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Makes ROS packages exist, as far as the ament index tells."""
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere:{tmp_path}')
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')

    def install(*packages, executable=''):
        index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
        index.mkdir(parents=True, exist_ok=True)
        for package in packages:
            (index / package).touch()
            path = tmp_path / 'lib' / package / (executable or package)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('#!/bin/sh\n')
            path.chmod(0o755)

    return install


@pytest.mark.parametrize(
    ('argument', 'package', 'all_of_them'),
    [
        ('rviz', 'ros-jazzy-rviz2', ('rviz2', 'rviz_default_plugins')),
        ('foxglove', 'ros-jazzy-foxglove-bridge', ('foxglove_bridge',)),
    ],
)
def test_a_view_or_recorder_that_is_not_installed_is_an_error_before_any_node(
    installed, argument, package, all_of_them
):
    missing = f"{argument} = 'true': expected the package .*{package}"
    with pytest.raises(ConfigError, match=missing):
        bringup.nodes({argument: 'true'})
    installed(all_of_them[0])
    if len(all_of_them) > 1:
        with pytest.raises(ConfigError, match=f'the package {all_of_them[1]}'):
            bringup.nodes({argument: 'true'})
    installed(*all_of_them)
    bringup.nodes({argument: 'true'})


def test_the_simulated_arm_has_tf_where_robot_state_publisher_is_installed(installed):
    assert names({}) == ['sim_arm', 'vla_node']
    installed('robot_state_publisher')
    assert names({'robot': 'ur5e'}) == ['vla_node']  # its driver starts one
    spec = bringup.nodes({})[-1]
    assert spec.parameters['robot_description'].startswith('<') and not spec.essential
    # Not on the topic of the arm, where sim_arm tolerates nobody.
    assert dict(spec.remappings)['robot_description'] != 'robot_description'
    words = spec.command_line('python3')
    assert words[0].endswith('lib/robot_state_publisher/robot_state_publisher')


def test_the_arm_and_the_node_end_everything_and_a_closed_window_nothing(installed):
    installed('rviz2', 'rviz_default_plugins', 'foxglove_bridge')
    pytest.importorskip('mcap', reason="pip install 'dysl_vla_ros[record]'")
    specs = bringup.nodes({'rviz': 'true', 'foxglove': 'true', 'record': 'true'})
    assert {spec.name: spec.essential for spec in specs} == {
        'sim_arm': True, 'vla_node': True, 'rviz2': False, 'foxglove_bridge': False,
        'vla_recorder': False,
    }  # fmt: skip


def test_rviz_shows_the_arm_in_its_own_frame_with_the_topics_of_the_launch_line(installed):
    installed('rviz2', 'rviz_default_plugins')
    arguments = {'robot': 'panda', 'rviz': 'true', 'prefix': 'left_', 'image_topic': '/camera'}
    view = bringup.nodes(arguments)[-1]
    assert view.remappings == (('image', '/camera'),)
    assert view.arguments[2:] == ('-f', 'left_panda_link0') and Path(view.arguments[1]).is_file()


def test_the_fast_dds_profile_is_set_unless_somebody_has_their_own(monkeypatch):
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE',
                 'FASTDDS_BUILTIN_TRANSPORTS', 'RMW_IMPLEMENTATION'):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    profile = str(CONFIG / 'fastdds.xml')
    ours = {'FASTRTPS_DEFAULT_PROFILES_FILE': profile, 'FASTDDS_DEFAULT_PROFILES_FILE': profile}
    assert bringup.environment() == ours
    for name, value in (('FASTDDS_DEFAULT_PROFILES_FILE', '/mine.xml'),
                        ('FASTDDS_BUILTIN_TRANSPORTS', 'LARGE_DATA'),
                        ('RMW_IMPLEMENTATION', 'rmw_cyclonedds_cpp')):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert ros_packages.fast_dds_profile(CONFIG / 'fastdds.xml', os.environ) == {}
    monkeypatch.setenv('RMW_IMPLEMENTATION', 'rmw_fastrtps_dynamic_cpp')
    assert bringup.environment() == ours


def test_an_arm_of_ones_own_needs_a_parameter_file_and_takes_no_preset(tmp_path):
    with pytest.raises(ConfigError, match="params_file = '': expected a file with the parameters"):
        bringup.nodes({'robot': 'custom'})
    path = written(tmp_path, 'vla_node: {ros__parameters: {command_type: twist}}')
    (spec,) = bringup.nodes({'robot': 'custom', 'params_file': path, 'command_topic': '/servo'})
    assert spec.parameter_files == (Path(path),)
    assert spec.remappings == (('twist_commands', '/servo'),)
    assert load_yaml(spec.parameter_files[0]).safety.armed is False


def test_the_launch_file_declares_every_argument_and_starts_every_node():
    pytest.importorskip('launch_ros', reason='launch is not on PyPI; runs in a sourced ROS 2')
    path = CONFIG.parent / 'launch' / 'manipulation.launch.py'
    module_spec = importlib.util.spec_from_file_location('manipulation', path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    description = module.generate_launch_description()
    declared = [item.name for item in description.get_launch_arguments()]
    assert declared == [argument.name for argument in bringup.ARGUMENTS]


def sim_parameters(**arguments):
    return next(spec for spec in bringup.nodes(arguments) if spec.name == 'sim_arm').parameters


def test_the_simulated_arm_shows_the_cameras_of_the_bundle_that_runs(tmp_path):
    assert 'engine' not in sim_parameters()
    assert sim_parameters(engine='fake')['engine'] == 'fake'
    path = tmp_path / 'own.yaml'
    path.write_text('vla_node:\n  ros__parameters:\n    engine.path: bundles/mine\n')
    assert sim_parameters(params_file=str(path))['engine'] == 'bundles/mine'
    assert sim_parameters(params_file=str(path), engine='fake')['engine'] == 'fake'


@pytest.mark.parametrize('kind', ['joint_commands', 'joint_state', 'twist', 'pose'])
def test_the_simulated_arm_is_sent_nothing_that_it_does_not_follow(kind):
    with pytest.raises(ConfigError, match='expected joint_trajectory with robot:=sim'):
        bringup.nodes({'command_type': kind})
    assert names({'command_type': 'joint_trajectory'})[:1] == ['sim_arm']


@pytest.mark.parametrize('argument', ['command_topic', 'gripper_topic', 'gripper_action'])
def test_one_topic_for_several_arms_is_refused_with_where_theirs_stand(tmp_path, argument):
    text = 'vla_node: {ros__parameters: {arms: {names: [left, right]}}}'
    given = {'robot': 'custom', 'params_file': written(tmp_path, text), argument: '/there'}
    with pytest.raises(ConfigError, match=r'arms.<name>.command_topic and arms.<name>.gripper'):
        bringup.nodes(given)
    assert bringup.nodes({**given, argument: ''})


# ---- the recorder ------------------------------------------------------------------------------


def recorder(**arguments):
    pytest.importorskip('mcap', reason="pip install 'dysl_vla_ros[record]'")
    specs = bringup.nodes({'record': 'true', **arguments})
    return next(spec for spec in specs if spec.name == 'vla_recorder')


def test_the_recorder_hears_the_names_that_the_node_speaks():
    given = {'robot': 'ur5e', 'joint_states_topic': '/arm/joint_states', 'namespace': 'left',
             'command_topic': '/arm/joint_trajectory', 'enclave': '/dysl'}  # fmt: skip
    spec = recorder(**given)
    node = next(s for s in bringup.nodes(given) if s.name == 'vla_node')
    assert spec.remappings == node.remappings and spec.namespace == 'left'
    assert spec.enclave == '/dysl/vla_recorder'
    assert spec.command_line('python3')[:3] == ['python3', '-m', 'dysl_vla_ros.ros.vla_recorder']


def test_the_recorder_hears_every_arm_of_a_parameter_file(tmp_path):
    path = tmp_path / 'two.yaml'
    path.write_text(
        '/**: {ros__parameters: {arms: {names: [a, b], a: {command_topic: a_arm/joint_trajectory},'
        ' b: {command_topic: /b/joint_trajectory}}}}'
    )
    topics = recorder(robot='custom', params_file=str(path), engine='fake').parameters['topics']
    names = {topic.partition('=')[0] for topic in topics}
    assert {'a_arm/joint_trajectory', '/b/joint_trajectory', 'a/gripper_command',
            'vla_node/shadow/b/joint_trajectory'} <= names  # fmt: skip


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'record_limit_gb': '0'}, 'record_limit_gb = 0.0: expected at least'),
        ({'record_limit_gb': 'much'}, "record_limit_gb = 'much': expected a number"),
        ({'record_video': 'yes'}, "record_video = 'yes'"),
        ({'record_folder': __file__}, 'expected a folder: this is a file'),
        ({'record_folder': ''}, "record_folder = '': expected a folder"),
        ({'record_topics': '/a=std_msgs/msg/Strng'}, "record_topics = '/a=std_msgs/msg/Strng'"),
        ({'record_topics': '/a=std_msgs/msg/Bool,/b'}, "record_topics = '/b': expected NAME=TYPE"),
        ({'record_topics': 'a b=std_msgs/msg/Bool'}, "record_topics = 'a b=std_msgs"),
    ],
)
def test_a_wrong_argument_of_the_recorder_is_named_before_any_node(arguments, message):
    with pytest.raises(ConfigError, match=message):
        recorder(**arguments)


def test_topics_to_record_are_judged_also_where_nothing_is_recorded():
    with pytest.raises(ConfigError, match="record_topics = '/foo': expected NAME=TYPE"):
        bringup.nodes({'record_topics': '/foo'})


def test_without_its_library_a_recording_is_refused_with_the_line_that_gets_it(monkeypatch):
    monkeypatch.setattr(bringup.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install .mcap'):
        bringup.nodes({'record': 'true'})
    assert names({}) == ['sim_arm', 'vla_node']
