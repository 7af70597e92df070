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
