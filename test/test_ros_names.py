"""A name that ROS 2 would refuse is refused before a node starts."""

from __future__ import annotations

import pytest

from dysl_vla_ros.config import from_flat
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.ros_names import is_name, is_topic


@pytest.mark.parametrize('name', ['image', '/image', 'camera/color/image_raw', '_a/b0'])
def test_relative_and_absolute_names_are_names(name):
    assert is_name(name) and is_topic(name)


@pytest.mark.parametrize(
    'name', ['', '/', 'a//b', 'a/', '/a/', '0image', 'a/0b', 'a b', 'gréifer', 'a-b', '~', 'a\n']
)
def test_what_a_node_would_refuse_is_no_name(name):
    assert not is_name(name) and not is_topic(name)


@pytest.mark.parametrize(('name', 'taken'), [('~/a', True), ('~a', False), ('~//a', False)])
def test_a_nodes_own_topic_begins_with_a_tilde_and_a_slash(name, taken):
    assert is_topic(name) == taken and not is_name(name)


def test_a_letter_that_ros_does_not_know_is_refused_in_an_actions_name():
    with pytest.raises(ConfigError, match='gripper.action_name'):
        from_flat({'gripper.interface': 'action', 'gripper.action_name': 'gréifer/gripper_cmd'})


@pytest.mark.ros
@pytest.mark.parametrize(
    'name', ['image', '/image', 'a/b', '~/a', 'a//b', 'a/', '0image', 'a/0b', 'gréifer']
)
def test_rclpy_says_the_same(name):
    from rclpy.exceptions import InvalidTopicNameException
    from rclpy.expand_topic_name import expand_topic_name
    from rclpy.validate_full_topic_name import validate_full_topic_name

    try:
        validate_full_topic_name(expand_topic_name(name, 'node', '/here'))
        taken = True
    except (InvalidTopicNameException, ValueError):
        taken = False
    assert taken == is_topic(name)
