"""What a parameter file makes of the node, without ROS."""

from __future__ import annotations

import pytest

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.node_parameters import load_yaml, node_parameters, nodes_of


def refusal(call):
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


def yaml_file(tmp_path, text):
    path = tmp_path / 'own.yaml'
    path.write_text(text, encoding='utf-8')
    return path


@pytest.mark.parametrize('section', ['vla_node', '/vla_node', '/**'])
def test_the_file_of_the_node_is_read_nested_or_flat(tmp_path, section):
    text = (
        f'{section}:\n  ros__parameters:\n    limits:\n      max_lead: 0.2\n'
        '    limits.velocity_scale: 0.5\n    armed: true\n    action.joint_names: [a, b]\n'
    )
    config = load_yaml(yaml_file(tmp_path, text))
    assert (config.safety.max_lead, config.safety.velocity_scale) == (0.2, 0.5)
    assert config.safety.armed and config.action.joint_names == ('a', 'b')


def test_the_node_s_own_section_outranks_the_one_for_all(tmp_path):
    text = (
        'vla_node: {ros__parameters: {limits.max_lead: 0.2}}\n'
        '/**: {ros__parameters: {limits.max_lead: 0.5, limits.acceleration: 4.0}}\n'
        'other: {ros__parameters: {nonsense: 1}}\n'
    )
    safety = load_yaml(yaml_file(tmp_path, text)).safety
    assert (safety.max_lead, safety.acceleration) == (0.2, 4.0)


def test_another_node_s_name_may_be_asked_for(tmp_path):
    path = yaml_file(tmp_path, 'left: {ros__parameters: {limits.max_lead: 0.2}}\n')
    assert load_yaml(path, 'left').safety.max_lead == 0.2
    assert 'expected a section vla_node or /**; it has left' in refusal(lambda: load_yaml(path))


def test_an_empty_section_changes_nothing(tmp_path):
    path = yaml_file(tmp_path, 'vla_node: {ros__parameters: {}}\n')
    assert load_yaml(path) == NodeConfig()


def test_what_is_of_ros_or_of_the_node_alone_is_read_and_checked_too(tmp_path):
    text = 'vla_node: {ros__parameters: {use_sim_time: true, autostart: true, instruction: %s}}'
    assert load_yaml(yaml_file(tmp_path, text % 'go')) == NodeConfig()
    assert 'instruction = 3' in refusal(lambda: load_yaml(yaml_file(tmp_path, text % '3')))


def test_each_node_of_the_name_has_its_own_and_what_is_for_all(tmp_path):
    text = 'left: {vla_node: {ros__parameters: {limits.max_lead: 0.2}}}\n'
    path = yaml_file(tmp_path, text + '/**: {ros__parameters: {limits.acceleration: 4.0}}\n')
    assert nodes_of(path) == ['/left/vla_node']
    assert load_yaml(path).safety.max_lead == 0.2 and load_yaml(path).safety.acceleration == 4.0
    path = yaml_file(tmp_path, text + text.replace('left', 'right').replace('0.2', '0.3'))
    assert node_parameters(path, '/right/vla_node').config.safety.max_lead == 0.3
    assert 'one vla_node: it has /left/vla_node, /right' in refusal(lambda: load_yaml(path))


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'a section vla_node or /**; it has none with ros__parameters'),
        ('[1, 2]', 'expected sections, each of a node'),
        ('vla_node: {parameters: {}}', 'it has none with ros__parameters'),
        ('vla_node: {ros__parameters: }', '= None: expected a mapping of parameters'),
        ('vla_node: {ros__parameters: {}, more: 1}',
         'own.yaml: /vla_node/more = 1: expected a section that holds ros__parameters'),
        ('vla_node: {ros__parameters: {limits: {max_led: 1.0}}}',
         'limits.max_led = 1.0: expected a known parameter; did you mean limits.max_lead?'),
        ('vla_node: {ros__parameters: {limits: {max_lead: 9.0}}}',
         'limits.max_lead = 9.0: expected a number within [0.01, 3]'),
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_the_node_is_refused_by_what_is_wrong(tmp_path, text, words):
    assert refusal(lambda: load_yaml(yaml_file(tmp_path, text))).endswith(words)
