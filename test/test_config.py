"""Parameters: what is legal, what makes no sense together, and what a wrong key is answered."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest

from dysl_vla_ros.config import NodeConfig, from_flat, parameters
from dysl_vla_ros.errors import ConfigError

KNOWN = {parameter.name: parameter for parameter in parameters()}


def refusal(call):
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


def refused(**flat):
    return refusal(lambda: from_flat(flat))


# ---- single values ------------------------------------------------------------------------------


def bounds(which):
    return [name for name, parameter in KNOWN.items() if getattr(parameter, which) is not None]


@pytest.mark.parametrize('name', bounds('low'))
def test_a_value_below_the_lowest_legal_one_is_refused_and_the_lowest_is_taken(name):
    parameter = KNOWN[name]
    assert parameter.check(parameter.kind(parameter.low)) == parameter.low
    below = parameter.low - (1 if parameter.kind is int else 1e-6)
    words = refusal(lambda: parameter.check(below))
    assert words == f'{name} = {below!r}: expected ' + (
        f'at least {parameter.low:g}' if parameter.high is None else
        f'a number within [{parameter.low:g}, {parameter.high:g}]'
    )  # fmt: skip


@pytest.mark.parametrize('name', bounds('high'))
def test_a_value_above_the_highest_legal_one_is_refused_and_the_highest_is_taken(name):
    parameter = KNOWN[name]
    assert parameter.check(parameter.kind(parameter.high)) == parameter.high
    above = parameter.high + (1 if parameter.kind is int else 1e-3)
    assert refusal(lambda: parameter.check(above)).endswith(
        f'expected a number within [{parameter.low:g}, {parameter.high:g}]'
    )


def test_every_default_is_legal_and_every_number_that_moves_the_arm_has_bounds():
    assert NodeConfig() == from_flat({})
    free = {name for name, p in KNOWN.items() if p.kind in (int, float) and p.low is None}
    assert free == {'gripper.open_value', 'gripper.closed_value'}
    assert {name for name, p in KNOWN.items() if p.dynamic} == {
        'skip.mode', 'limits.velocity_scale', 'speed.scale',
    }  # fmt: skip


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(value):
    assert refused(**{'gripper.open_value': value}) == (
        f'gripper.open_value = {value!r}: expected a finite number'
    )


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('armed', 1, 'expected a bool'), ('armed', 'true', 'expected a bool'),
        ('engine.warmup_runs', 3.0, 'expected a int'),
        ('engine.warmup_runs', True, 'expected a int'),
        ('limits.velocity_scale', True, 'expected a float'),
        ('limits.velocity_scale', '1.0', 'expected a float'),
        ('engine.path', 7, 'expected a str'),
        ('continuity.weights', 1.0, 'expected a list of float'),
        ('continuity.weights', ['1'], 'expected a float'),
        ('action.joint_names', 'elbow', 'expected a list of str'),
        ('action.joint_names', [1], 'expected a str'),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(name, value, words):
    shown = value[0] if isinstance(value, list) else value
    assert refused(**{name: value}) == f'{name} = {shown!r}: {words}'


def test_a_whole_number_is_a_number_and_a_list_becomes_a_tuple():
    config = from_flat({'limits.velocity_scale': 1, 'continuity.weights': [1, 0.5]})
    assert type(config.safety.velocity_scale) is float
    assert config.continuity.weights == (1.0, 0.5)


def test_a_word_that_is_no_choice_is_refused_with_the_choices():
    assert refused(command_type='torque') == (
        "command_type = 'torque': expected one of 'joint_trajectory', 'joint_commands', "
        "'joint_state', 'twist', 'pose'"
    )


def test_a_configuration_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        NodeConfig().safety.armed = True


def test_values_are_checked_too_where_the_dataclasses_are_built_by_hand():
    from dysl_vla_ros.config import SafetyConfig

    assert refusal(lambda: NodeConfig(safety=SafetyConfig(velocity_scale=1.5))).startswith(
        'limits.velocity_scale = 1.5: expected'
    )


# ---- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('limits.velocity_skale', 'a known parameter; did you mean limits.velocity_scale?'),
        ('limits.max_led', 'a known parameter; did you mean limits.max_lead?'),
        ('qqqqqqqq', 'a known parameter'),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_one(name, words):
    assert refused(**{name: 1}) == f'{name} = 1: expected {words}'


def test_names_are_unique_and_every_parameter_says_what_it_means():
    assert len(list(parameters())) == len(KNOWN)
    assert all(len(parameter.text) > 10 for parameter in KNOWN.values())


# ---- values that make no sense together ---------------------------------------------------------


@pytest.mark.parametrize(
    ('flat', 'words'),
    [
        ({'workspace.min': [0.0, 0.0]}, 'workspace.min = (0.0, 0.0): expected 3 numbers or none'),
        ({'workspace.min': [0, 0, 0]}, 'workspace.max = (): expected 3 numbers, as workspace.min '
         'has'),
        ({'workspace.max': [1, 1, 1]}, 'workspace.max = (1.0, 1.0, 1.0): expected 0 numbers, as '
         'workspace.min has'),
        ({'workspace.min': [0, 1, 0], 'workspace.max': [1, 1, 1]},
         'workspace.min = 1.0: expected less than workspace.max = 1.0'),
        ({'workspace.planes': [0, 0, 1]},
         'workspace.planes = (0.0, 0.0, 1.0): expected four numbers per plane: nx, ny, nz, d'),
        ({'workspace.planes': [0, 0, 1, 0, 0, 0, 0, 1]},
         'workspace.planes = (0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0): expected a normal, not '
         '(0.0, 0.0, 0.0)'),
        ({'skip.expected_min': 0.6, 'skip.expected_max': 0.5},
         'skip.expected_min = 0.6: expected at most skip.expected_max = 0.5'),
        ({'timeout.image_s': 1.2},
         'timeout.image_s = 1.2: expected at most max_observation_age_s = 1.0: a camera that is '
         'gone would be told as a model that is slow'),
        ({'starvation_hold_s': 3.0, 'starvation_fault_s': 2.0},
         'starvation_hold_s = 3.0: expected at most starvation_fault_s = 2.0'),
        ({'command_window_s': 0.05, 'command_rate_hz': 19.9},
         'command_rate_hz = 19.9: expected a number within [20, 500]'),
        ({'gripper.open_value': 0.3, 'gripper.closed_value': 0.3},
         'gripper.open_value = 0.3: expected another value than gripper.closed_value = 0.3'),
        ({'continuity.threshold': 0.2, 'continuity.hysteresis': 0.3},
         'continuity.threshold = 0.2: expected at least continuity.hysteresis = 0.3'),
        ({'gripper.interface': 'joint', 'command_type': 'joint_commands'},
         "gripper.interface = 'joint': expected 'forward', 'topic', 'action' or 'none' with "
         "command_type = 'joint_commands': 'joint' goes with joint_trajectory or "
         'joint_state alone, so that the gripper is never reached'),
        ({'gripper.interface': 'forward', 'command_type': 'pose'},
         "gripper.interface = 'forward': expected 'topic', 'action' or 'none' with command_type = "
         "'pose': 'forward' goes with joint_commands alone, so that the gripper is never "
         'reached'),
        ({'gripper.interface': 'joint', 'gripper.joint': 'b', 'action.joint_names': ['a', 'b']},
         "gripper.joint = 'b': expected the name of a joint that is none of the joint_names, "
         "as gripper.interface = 'joint' commands it beside them"),
        ({'gripper.interface': 'forward', 'command_type': 'joint_commands',
          'gripper.opening_source': 'commanded'},
         "gripper.opening_source = 'commanded': expected 'measured' with gripper.interface = "
         "'forward': the first value commanded must be where the gripper is, or it jumps"),
        ({'gripper.interface': 'action', 'gripper.action_name': 'left gripper'},
         "gripper.action_name = 'left gripper': expected the name of an action, "
         "'robotiq_gripper_controller/gripper_cmd'"),
        ({'unsupported': 'the controller rejects it'},
         "unsupported = 'the controller rejects it': expected '': mend what it says in a "
         "params_file, and set unsupported: '' there"),
        ({'continuity.weights': [1.0, -0.1]},
         'continuity.weights = (1.0, -0.1): expected no negative weight'),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_together_are_refused(flat, words):
    assert refused(**flat) == words


@pytest.mark.parametrize(
    'flat',
    [
        {'workspace.min': [0, 0, 0], 'workspace.max': [1, 1, 1]},
        {'workspace.planes': [0, 0, 1, 0, 1e-3, 0, 0, -1]},
        {'skip.expected_min': 0.5, 'skip.expected_max': 0.5},
        {'timeout.image_s': 2.0, 'max_observation_age_s': 2.0},
        {'starvation_hold_s': 2.0, 'starvation_fault_s': 2.0},
        {'command_window_s': 0.05, 'command_rate_hz': 20.0},
        {'continuity.threshold': 0.2, 'continuity.hysteresis': 0.2},
        {'continuity.hysteresis': 0.3},  # the threshold is the bundle's
        {'gripper.interface': 'joint'},
        {'gripper.interface': 'topic', 'command_type': 'joint_commands'},
        {'gripper.interface': 'forward', 'command_type': 'joint_commands'},
        {'gripper.interface': 'action', 'gripper.action_name': '/left/grip_2/gripper_cmd'},
        {'gripper.interface': 'none', 'gripper.opening_source': 'commanded'},
        {'continuity.weights': [0.0, 1.0]},
    ],
)
def test_values_at_the_edge_of_sense_are_taken(flat):
    from_flat(flat)


# ---- files --------------------------------------------------------------------------------------
