"""Keys of `/**` may be another node's; what stands under the node's own name is the node's."""

from __future__ import annotations

import pytest

from dysl_vla_ros.config import parameters
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.node_parameters import load_yaml
from dysl_vla_ros.parameter_file import of_others


def written(folder, text, name='params.yaml'):
    path = folder / name
    path.write_text(text, encoding='utf-8')
    return path


OTHERS = [
    'publish_rate: 50', 'robot_ip: 10.0.0.1', 'planning: {plugin: ompl}', 'frame_id: world',
    'joints: [a, b]', 'tf_prefix: left', 'depth_module.profile: 640x480x30', 'max_velocity: 1.0',
]  # fmt: skip


@pytest.mark.parametrize('key', OTHERS)
def test_what_others_keep_in_a_section_for_all_is_not_ours_to_refuse(tmp_path, key):
    path = written(tmp_path, f'/**: {{ros__parameters: {{{key}, command_rate_hz: 40.0}}}}')
    assert load_yaml(path).timing.command_rate_hz == 40.0


@pytest.mark.parametrize('key', OTHERS)
def test_the_same_under_the_name_of_the_node_is_an_error(tmp_path, key):
    path = written(tmp_path, f'vla_node: {{ros__parameters: {{{key}}}}}')
    with pytest.raises(ConfigError, match='expected a known parameter'):
        load_yaml(path)


@pytest.mark.parametrize(
    ('key', 'meant'),
    [
        ('comand_rate_hz: 40.0', 'command_rate_hz'),
        ('limits: {velocty_scale: 0.1}', 'limits.velocity_scale'),
        ('limits.max_led: 0.1', 'limits.max_lead'),
        ('workspace.mini: [0.0, 0.0, 0.0]', 'workspace.min'),
        ('dead_man_timeout_s: 0.3', 'deadman_timeout_s'),
    ],
)
def test_a_slip_of_the_pen_loses_no_limit_in_either_section(tmp_path, key, meant):
    for section in ('/**', 'vla_node'):
        path = written(tmp_path, f'{section}: {{ros__parameters: {{{key}}}}}')
        with pytest.raises(ConfigError, match=f'did you mean {meant}'):
            load_yaml(path)


@pytest.mark.parametrize('parameter', [p.name for p in parameters() if len(p.name) > 6])
def test_every_name_with_a_letter_too_few_is_seen(tmp_path, parameter):
    path = written(tmp_path, f'/**: {{ros__parameters: {{{parameter[:-3] + parameter[-2:]}: 1}}}}')
    with pytest.raises(ConfigError):
        load_yaml(path)


def test_a_name_that_a_section_of_the_node_repeats_is_the_nodes(tmp_path):
    one = written(tmp_path, '/**: {ros__parameters: {a: 1, b: {c: 2}}}\n'
                            'sim_arm: {ros__parameters: {d: 1}}', 'one.yaml')  # fmt: skip
    two = written(tmp_path, '/left/vla_node: {ros__parameters: {a: 1}}', 'two.yaml')
    assert of_others([one], 'vla_node') == {'a', 'b.c'}
    assert of_others([one, two], 'vla_node') == {'b.c'}
