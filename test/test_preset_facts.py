"""Every preset against what its vendor published: joints, controller, gripper, and its page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from preset_facts import ARMS, ROOT, launch_arguments, page, resolved

from dysl_vla_ros import bringup
from dysl_vla_ros.config import from_flat
from dysl_vla_ros.parameter_file import parameters_for
from dysl_vla_ros.ros.controller_fit import judge, sent_by

PRESETS = {path.stem: path for path in (ROOT / 'config' / 'robots').glob('*.yaml')}
BOTH = [(name, controller) for name, arm in ARMS.items() for controller in arm.controllers]
LABELS = [f'{name}{c.name.replace("/", "-")}{"-changed" * bool(c.changes)}' for name, c in BOTH]
robots = pytest.mark.parametrize('robot', sorted(ARMS))
controllers = pytest.mark.parametrize(('robot', 'controller'), BOTH, ids=LABELS)


def parameters(robot):
    return dict(parameters_for(PRESETS[robot], 'vla_node'))


def configured(robot, controller=None):
    changes = ARMS[robot].controllers[0].changes if controller is None else controller.changes
    return from_flat({**parameters(robot), **changes})


def declared(arm, controller):
    """The controller's parameters, as it answers for them."""
    return {'joints': list(controller.joints or arm.names), **controller.parameters}


def test_every_preset_of_a_real_arm_has_facts_and_a_page():
    assert set(PRESETS) == {*ARMS, 'sim'}
    assert {path.stem for path in (ROOT / 'doc' / 'robots').glob('*.md')} == set(ARMS)


@robots
def test_joints_and_frames_are_those_of_the_description(robot):
    action, arm = configured(robot).action, ARMS[robot]
    assert action.joint_names == arm.names
    assert (action.frame_id, action.tip_link) == (arm.base, arm.tip)
    assert not action.unsupported


@controllers
def test_the_controller_takes_what_the_preset_sends(robot, controller):
    arm, config = ARMS[robot], configured(robot, controller)
    assert config.action.command_type == controller.command_type
    sent = sent_by(config, arm.names, config.gripper)
    fit = judge(controller.name, sent, declared(arm, controller))
    assert fit.is_controller and fit.misfit == '' and fit.warnings == ()


@controllers
def test_a_joint_more_less_or_renamed_would_be_noticed(robot, controller):
    arm, config = ARMS[robot], configured(robot, controller)
    sent = sent_by(config, arm.names, config.gripper)
    for joints in (sent.joints[1:], (*sent.joints, 'x'), ('x', *sent.joints[1:])):
        wrong = replace(sent, joints=joints)
        assert judge(controller.name, wrong, declared(arm, controller)).misfit


@controllers
def test_the_gripper_is_reached_by_what_its_vendor_offers(robot, controller):
    config, gripper = configured(robot, controller).gripper, ARMS[robot].gripper
    assert config.joint == gripper.joint
    if config.interface in ('joint', 'forward'):
        assert (controller.joints or ('',))[-1] == gripper.joint
        return
    if config.interface == 'topic':  # what stands behind it is the user's
        assert not gripper.ships and config.opening_source == 'commanded'
        return
    assert config.interface == 'action' and config.action_type == 'auto' and gripper.types
    assert config.opening_source == 'measured'
    namespace = controller.name.rsplit('/', 1)[0]
    assert f'{namespace}/{config.action_name}' == gripper.action


@robots
def test_open_and_closed_are_the_ends_of_the_published_joint(robot):
    config, gripper = configured(robot).gripper, ARMS[robot].gripper
    ends = (config.closed_value, config.open_value)
    assert all(gripper.lower <= value <= gripper.upper for value in ends)
    assert (config.open_value > config.closed_value) == gripper.open_at_upper
    assert abs(ends[1] - ends[0]) > 0.7 * (gripper.upper - gripper.lower)


@robots
def test_the_preset_is_slow_and_comes_to_rest_in_time(robot):
    safety = configured(robot).safety
    fastest = max(joint.velocity for joint in ARMS[robot].joints) * safety.velocity_scale
    assert fastest <= 1.1 and fastest / safety.acceleration <= safety.rest_s
    assert not safety.armed and not safety.start_on_instruction


# ---- the pages ---------------------------------------------------------------------------------


@robots
def test_the_launch_line_of_the_page_leads_to_the_controller_and_the_joint_states(robot):
    arguments, arm = launch_arguments(robot), ARMS[robot]
    (spec,) = bringup.nodes(arguments)
    assert arguments['robot'] == robot and spec.parameter_files == (PRESETS[robot],)
    topics = dict(spec.remappings)
    assert resolved(topics['joint_trajectory'], arguments) == arm.controllers[0].topic
    states = topics.get('joint_states', 'joint_states')
    assert resolved(states, arguments) == arm.joint_states
    gripper = configured(robot).gripper
    if gripper.interface == 'action':
        assert resolved(gripper.action_name, arguments) == arm.gripper.action


@robots
def test_the_page_names_its_sources_and_says_what_was_never_tried(robot):
    text, arm = page(robot), ARMS[robot]
    assert 'never run on hardware' in text
    for source in arm.sources:
        repository, file = source.split(': ')
        assert repository in text and Path(file).name in text, source
    for controller in arm.controllers:
        assert controller.name.rsplit('/', 1)[1] in text
        for name, value in controller.changes.items():
            short = name.removeprefix('gripper.')
            assert f'{name}: {value}' in text or f'{short}: {value}' in text, name
    for heading in ('## Driver', '## Shadow', '## First motion', '## When the node dies',
                    '## Gripper', '## Facts'):  # fmt: skip
        assert heading in text


def test_the_index_names_every_page():
    text = (ROOT / 'doc' / 'real_arm.md').read_text(encoding='utf-8')
    assert all(f'(robots/{robot}.md)' in text for robot in ARMS)
