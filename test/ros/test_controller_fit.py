"""What is sent against what a controller's parameters say; parameters only, no ROS."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dysl_vla_ros.ros.controller_fit import Sent, judge

ARM = ('a', 'b', 'c')
TRAJECTORY = Sent('joint_trajectory', ARM, 0.12, True)
FORWARD = Sent('joint_commands', ARM, 0.12, True)
JTC = {'joints': [*ARM], 'command_interfaces': ['position']}
GROUP = {'joints': [*ARM], 'interface_name': 'position'}


def test_the_same_joints_fit_in_any_order():
    fit = judge('/jtc', TRAJECTORY, {**JTC, 'joints': ['c', 'a', 'b']})
    assert fit.is_controller and not fit.misfit and not fit.warnings
    assert fit.summary == '3 joints, position'


@pytest.mark.parametrize(
    ('sent', 'joints', 'words'),
    [
        (ARM, ['a', 'b'], 'takes [a, b], and joint_trajectory carries [a, b, c]: it does not have '
                          'c: it refuses all of it'),
        (ARM, ['a', 'b', 'c', 'g'], 'takes [a, b, c, g], and joint_trajectory carries [a, b, c]: '
                                    'g is missing: it refuses all of it'),
        (('x', 'y'), ['a', 'b'], 'it does not have [x, y] and [a, b] is missing'),
    ],
)  # fmt: skip
def test_other_joints_are_a_misfit_that_names_both_sides(sent, joints, words):
    fit = judge('/jtc', replace(TRAJECTORY, joints=sent), {**JTC, 'joints': joints})
    assert fit.misfit.startswith('/jtc takes ') and words in fit.misfit
    assert 'action.joint_names, and gripper.interface' in fit.misfit


def test_a_controller_of_more_joints_fits_where_it_allows_a_part_and_never_one_of_fewer():
    partial = {'allow_partial_joints_goal': True}
    assert not judge('/jtc', TRAJECTORY, {**JTC, 'joints': [*ARM, 'g'], **partial}).misfit
    assert judge('/jtc', TRAJECTORY, {**JTC, 'joints': ['a', 'b'], **partial}).misfit


def test_a_forward_controller_wants_the_same_number_in_the_same_order():
    assert not judge('/f', FORWARD, GROUP).misfit
    more = judge('/f', FORWARD, {**GROUP, 'joints': [*ARM, 'g']}).misfit
    assert 'takes [a, b, c, g], and joint_commands carries [a, b, c]: 3 values for 4' in more
    order = judge('/f', FORWARD, {**GROUP, 'joints': ['b', 'a', 'c']}).misfit
    assert 'takes [b, a, c], and joint_commands carries [a, b, c]' in order
    assert 'the wrong joints would move' in order


def test_a_gripper_that_travels_along_is_one_of_the_joints():
    sent = replace(FORWARD, joints=(*ARM, 'g'))
    assert not judge('/f', sent, {**GROUP, 'joints': [*ARM, 'g']}).misfit
    assert '4 values for 3' in judge('/f', sent, GROUP).misfit


@pytest.mark.parametrize('interface', ['velocity', 'effort'])
def test_positions_for_a_forward_controller_of_something_else_are_a_misfit(interface):
    fit = judge('/f', FORWARD, {**GROUP, 'interface_name': interface})
    assert fit.misfit == (
        f'/f takes {interface} (its interface_name), and joint_commands are positions [rad]: '
        'expected a controller of positions behind the command topic'
    )


@pytest.mark.parametrize(
    'answers',
    [
        {},
        {'joints': [*ARM]},
        {'joints': [*ARM, 'g'], 'interface_name': None},
        {'joints': 'a', 'command_interfaces': ['position']},
        {'joints': [], 'command_interfaces': ['position']},
    ],
)
@pytest.mark.parametrize('sent', [TRAJECTORY, FORWARD], ids=['trajectory', 'forward'])
def test_a_listener_that_does_not_declare_both_is_no_controller_and_no_misfit(sent, answers):
    fit = judge('/relay', sent, answers)
    assert not fit.is_controller and not fit.misfit and not fit.warnings


# ---- what works badly --------------------------------------------------------------------------

DISTRIBUTIONS = {
    'humble': ('open_loop_control',),
    'jazzy': ('open_loop_control', 'interpolate_from_desired_state'),
    'kilted': ('interpolate_from_desired_state',),
}


@pytest.mark.parametrize('names', DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_splines_from_the_measured_state_matter_only_without_a_stamp(names):
    unstamped = replace(TRAJECTORY, stamped=False)
    wrong = {**JTC, **dict.fromkeys(names, False)}
    (warning,) = judge('/jtc', unstamped, wrong).warnings
    assert all(name in warning for name in names) and 'trajectory.stamped is false' in warning
    assert judge('/jtc', TRAJECTORY, wrong).warnings == ()
    assert judge('/jtc', unstamped, {**wrong, names[0]: True}).warnings == ()
    assert judge('/jtc', unstamped, JTC).warnings == ()  # neither is declared
    assert judge('/other', unstamped, dict.fromkeys(names, False)).warnings  # whoever it is


def test_a_path_tolerance_below_the_lead_is_warned_of_with_both_numbers():
    tolerance = 'constraints.b.trajectory'
    (warning,) = judge('/jtc', TRAJECTORY, {**JTC, tolerance: 0.05}).warnings
    assert 'constraints.b.trajectory = 0.05' in warning and 'limits.max_lead is 0.12' in warning
    for fine in (0.0, 0.12, 0.2):
        assert judge('/jtc', TRAJECTORY, {**JTC, tolerance: fine}).warnings == ()


def test_any_path_tolerance_of_a_gripper_that_is_a_joint_is_warned_of():
    sent = replace(TRAJECTORY, joints=(*ARM, 'g'), gripper='g')
    answers = {**JTC, 'joints': [*ARM, 'g'], 'constraints.g.trajectory': 0.5}
    (warning,) = judge('/jtc', sent, answers).warnings
    assert 'constraints.g.trajectory = 0.5' in warning and 'an object' in warning


@pytest.mark.parametrize('interface', ['effort', 'velocity'])
def test_a_controller_that_closes_the_loop_itself_fits_and_needs_gains(interface):
    answers = {**JTC, 'command_interfaces': [interface]}
    gains = {f'gains.{joint}.p': 100.0 for joint in ARM}
    assert judge('/jtc', TRAJECTORY, {**answers, **gains}).warnings == ()
    fit = judge('/jtc', TRAJECTORY, {**answers, **gains, 'gains.b.p': 0.0})
    assert not fit.misfit and 'gains.b.p = 0' in fit.warnings[0]
    fed = {'gains.b.p': 0.0, 'gains.b.ff_velocity_scale': 1.0}
    assert judge('/jtc', TRAJECTORY, {**answers, **gains, **fed}).warnings == ()
    idle = {**JTC, 'gains.b.p': 0.0}  # positions go to the drives: gains are not used
    assert judge('/jtc', TRAJECTORY, idle).warnings == ()


def test_the_questions_cover_what_is_judged():
    asked = set(replace(TRAJECTORY, joints=(*ARM, 'g')).questions)
    assert {'joints', 'command_interfaces', 'allow_nonzero_velocity_at_trajectory_end',
            'interpolate_from_desired_state', 'open_loop_control', 'constraints.g.trajectory',
            'gains.a.p'} <= asked  # fmt: skip
    assert set(FORWARD.questions) == {'joints', 'command_interfaces', 'interface_name'}
    moving = {**JTC, 'allow_nonzero_velocity_at_trajectory_end': True}
    assert judge('/jtc', TRAJECTORY, moving).summary.endswith('do not end at rest')
