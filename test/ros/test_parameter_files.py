"""The real node with other people's parameter files."""

from __future__ import annotations

import sys

import pytest
from conftest import DOMAIN

pytestmark = pytest.mark.ros


@pytest.fixture
def node_with(tmp_path, monkeypatch):
    """A node that was given a parameter file."""
    import rclpy
    from rclpy.context import Context

    made = []

    def make(text):
        from dysl_vla_ros.ros.lifecycle_node import VlaNode

        path = tmp_path / 'params.yaml'
        path.write_text(text, encoding='utf-8')
        words = ['vla_node', '--ros-args', '--params-file', str(path)]
        monkeypatch.setattr(sys, 'argv', words)
        context = Context()
        made.append(context)
        rclpy.init(context=context, domain_id=DOMAIN, args=words)
        return VlaNode(context=context)

    yield make
    for context in made:
        context.try_shutdown()


def test_a_section_for_all_may_hold_what_is_not_ours(node_with):
    node = node_with('/**: {ros__parameters: {publish_rate: 50, command_rate_hz: 40.0}}')
    assert node.config.timing.command_rate_hz == 40.0
    assert not node.has_parameter('publish_rate')
    node.destroy_node()


@pytest.mark.parametrize(
    'text',
    [
        'vla_node: {ros__parameters: {publish_rate: 50}}',
        '/**: {ros__parameters: {publish_rate: 50}}\n'
        'vla_node: {ros__parameters: {publish_rate: 50}}',
        '/**: {ros__parameters: {limits: {velocty_scale: 0.1}}}',
    ],
)
def test_a_key_of_the_node_or_a_slip_of_the_pen_ends_it(node_with, text):
    from dysl_vla_ros.errors import ConfigError

    with pytest.raises(ConfigError, match='expected a known parameter'):
        node_with(text)


def test_what_stands_twice_ends_it_also_where_no_launch_file_looked(node_with):
    from dysl_vla_ros.errors import ConfigError

    limit = 'limits.velocity_scale: {}'.format
    text = f'vla_node: {{ros__parameters: {{{limit(0.1)}, {limit(1.0)}}}}}'
    with pytest.raises(ConfigError, match=r'limits.velocity_scale = \[0.1, 1.0\]: expected one'):
        node_with(text)


def test_a_file_for_somebody_else_is_warned_of(node_with, capfd):
    node = node_with('/vla/vla_node: {ros__parameters: {limits.velocity_scale: 0.1}}')
    assert node.config.safety.velocity_scale == 1.0
    node.destroy_node()
    said = ' '.join(capfd.readouterr().err.split())
    assert 'it has /vla/vla_node: nothing of it is in force here' in said
