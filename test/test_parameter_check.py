"""What a parameter file would lose without a word is refused: a limit, a section for nobody."""

from __future__ import annotations

import pytest

from dysl_vla_ros import bringup
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.parameter_check import check_once, check_reach, check_values, reaches

SLOW = 'limits.velocity_scale: 0.02'


def file(folder, text):
    path = folder / 'own.yaml'
    path.write_text(text, encoding='utf-8')
    return path


def body(*lines, section='vla_node'):
    return f'{section}:\n  ros__parameters:\n' + ''.join(f'    {line}\n' for line in lines)


@pytest.mark.parametrize(
    'text',
    [
        body(SLOW, 'limits.velocity_scale: 1.0'),
        body(SLOW, 'limits:', '  velocity_scale: 1.0'),
        body(SLOW) + body('limits.velocity_scale: 1.0'),
        body(SLOW) + body('limits.velocity_scale: 1.0', section='/vla_node'),
    ],
    ids=['flat', 'nested', 'section twice', 'section by its full name'],
)
def test_a_limit_that_stands_twice_is_refused_with_both_values(tmp_path, text):
    path = file(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        bringup.nodes({'robot': 'ur5e', 'params_file': str(path)})
    words = 'own.yaml: limits.velocity_scale = [0.02, 1.0]: expected one value'
    assert str(caught.value).startswith(words) and 'twice' in str(caught.value)


@pytest.mark.parametrize(
    'text',
    [
        body(SLOW, 'limits.velocity_scale: 0.02'),
        body('limits.velocity_scale: 1.0', section='/**') + body(SLOW),
    ],
    ids=['the same twice', 'of everybody, and its own'],
)
def test_one_value_and_values_that_ros_puts_in_order_are_not_twice(tmp_path, text):
    path = file(tmp_path, text)
    check_once(path)
    assert bringup.nodes({'robot': 'ur5e', 'params_file': str(path)})


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (body(SLOW, section='vla_nod'), 'section = .vla_nod.: expected vla_node or /..'),
        (body(SLOW, section='/**') + body(SLOW, section='vla-node'), 'section = .vla-node.'),
        (body(SLOW, section='/vla/vla_node'), 'a section vla_node or /..; it has /vla/vla_node'),
        (body(SLOW, section='moveit'), 'it has moveit'),
        (
            'vla_node:\n  ros_parameters:\n    a: 1\n',
            'vla_node/ros_parameters/a = 1: expected a section that',
        ),
        ('', 'none with ros__parameters'),
    ],
)
def test_a_file_that_reaches_nobody_is_refused_by_the_name_of_its_section(tmp_path, text, words):
    for robot in ('ur5e', 'custom', 'sim'):
        given = {'robot': robot, 'params_file': str(file(tmp_path, text))}
        with pytest.raises(ConfigError, match=words):
            bringup.nodes(given)


def test_a_namespace_is_asked_for_where_the_node_has_one(tmp_path):
    text = body(SLOW, section='/left/vla_node') + body(SLOW, section='/right/vla_node')
    path = str(file(tmp_path, text))
    for namespace in ('left', '/right'):
        assert bringup.nodes({'robot': 'ur5e', 'params_file': path, 'namespace': namespace})
    with pytest.raises(ConfigError, match='a section /middle/vla_node or /..'):
        bringup.nodes({'robot': 'ur5e', 'params_file': path, 'namespace': 'middle'})


def test_parameters_of_the_simulated_arm_alone_are_a_file_for_the_simulation_alone(tmp_path):
    path = file(tmp_path, body('seed: 3', section='sim_arm'))
    assert bringup.nodes({'params_file': str(path)})
    with pytest.raises(ConfigError, match='it has sim_arm'):
        bringup.nodes({'robot': 'ur5e', 'params_file': str(path)})


@pytest.mark.parametrize(
    ('section', 'node', 'does'),
    [
        ('/**', '/vla_node', True), ('/**', '/a/b/vla_node', True), ('/*', '/vla_node', True),
        ('/*', '/a/vla_node', False), ('/**/vla_node', '/vla_node', True),
        ('/*/vla_node', '/a/vla_node', True), ('/*/vla_node', '/vla_node', False),
        ('/vla_node', '/a/vla_node', False), ('/vla_nodes', '/vla_node', False),
    ],
)  # fmt: skip
def test_sections_reach_the_nodes_that_ros_gives_them(section, node, does):
    assert reaches(section, node) is does


def test_the_presets_say_everything_once_and_reach_the_node():
    for name in (name for name in bringup.presets() if name != 'sim'):
        path = bringup.config_folder() / 'robots' / f'{name}.yaml'
        check_once(path)
        check_reach(path, ['/vla_node'])


@pytest.mark.parametrize(
    ('line', 'words'),
    [
        ('limits.accelerations: [1, 2.5]', 'of one kind'),
        ('limits.accelerations: [[1.0, 2.0]]', 'without lists'),
        ('armed: ', 'armed = .nothing.: expected a value'),
        ('x: &x 1', 'ok'),
        ('<<: {armed: true}', 'ok'),  # the node knows no <<.armed
        ('limits.accelerations: [1e3, 2.5]', 'ok'),
    ],
)
def test_values_that_ros_cannot_read_are_refused_by_name_and_no_others(tmp_path, line, words):
    rclpy = pytest.importorskip('rclpy', reason='source ROS 2, or make test')
    from rclpy.context import Context

    path = file(tmp_path, body(line))
    context, refused = Context(), ''
    try:
        rclpy.init(args=['--ros-args', '--params-file', str(path)], context=context)
        context.shutdown()
    except Exception as error:
        refused = str(error)
    if words == 'ok':
        assert refused == ''
        check_values(path)
        return
    with pytest.raises(ConfigError, match=words):
        check_values(path)
    if 'without' not in words:  # one list in a list it takes apart
        assert "Couldn't parse params file" in refused
