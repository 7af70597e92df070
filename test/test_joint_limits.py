"""Limits of the description, narrowed or settled by parameters; metres are no radians."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.description import read_description
from dysl_vla_ros.errors import ConfigError, KinematicsError
from dysl_vla_ros.joint_limits import GivenLimits, doubts, joint_limits

NAMES = ('turn', 'slide')
SLIDE = '<limit lower="0.021" upper="0.057" effort="5" velocity="1"/>'


def read(limit='<limit lower="-3" upper="3" velocity="2"/>', kind='revolute', **given):
    text = (
        '<robot name="r"><link name="a"/><link name="b"/><link name="c"/>'
        f'<joint name="turn" type="{kind}"><parent link="a"/><child link="b"/>{limit}</joint>'
        '<joint name="slide" type="prismatic"><parent link="b"/><child link="c"/>'
        f'{SLIDE}</joint></robot>'
    )
    return joint_limits(read_description(text), NAMES, GivenLimits(**given))


def refusal(error, **given):
    with pytest.raises(error) as caught:
        read(**given)
    return str(caught.value)


def test_the_description_s_limits_are_taken_with_their_units():
    limits = read()
    assert limits.names == NAMES and limits.units == ('rad', 'm')
    assert limits.lower.tolist() == [-3.0, 0.021] and limits.upper.tolist() == [3.0, 0.057]
    assert limits.velocity.tolist() == [2.0, 1.0]
    assert read(kind='continuous').lower.tolist() == [-np.inf, 0.021]


def test_given_limits_narrow_and_never_widen():
    limits = read(lower=[-1, 0.0], upper=[9, 0.05], velocity=[5, 0.1])
    assert limits.lower.tolist() == [-1.0, 0.021] and limits.upper.tolist() == [3.0, 0.05]
    assert limits.velocity.tolist() == [2.0, 0.1]
    assert read(velocity=[0.5]).velocity.tolist() == [0.5, 0.5]  # one for all


@pytest.mark.parametrize(
    ('limit', 'kind', 'words'),
    [
        ('', 'continuous', 'no velocity limit'),
        ('<limit effort="0" velocity="0"/>', 'continuous', 'velocity limit 0 rad/s'),
        ('<limit lower="-3" upper="3" velocity="0"/>', 'revolute', 'velocity limit 0 rad/s'),
        ('<limit lower="-3" upper="3" velocity="-3"/>', 'revolute', 'velocity limit -3 rad/s'),
        ('<limit lower="-3" upper="3"/>', 'revolute', 'no velocity limit'),
    ],
)  # fmt: skip
def test_a_joint_without_a_speed_is_refused_by_name_and_settled_by_limits_velocity(
    limit, kind, words
):
    assert refusal(KinematicsError, limit=limit, kind=kind) == (
        f'joint turn ({kind}): {words} in robot_description: expected more than 0; '
        'limits.velocity settles it, one number or one per joint [rad/s]'
    )
    assert read(limit=limit, kind=kind, velocity=[1.5]).velocity.tolist() == [1.5, 1.0]


@pytest.mark.parametrize(
    ('limit', 'words'),
    [
        ('', 'no <limit>'),
        ('<limit lower="0" upper="0" velocity="0"/>', 'limits 0 to 0 rad'),
        ('<limit velocity="2"/>', 'limits 0 to 0 rad'),
        ('<limit lower="1" upper="-1" velocity="2"/>', 'limits 1 to -1 rad'),
    ],
)
def test_a_joint_without_a_range_is_refused_by_name_and_settled_by_lower_and_upper(limit, words):
    given = {'limit': limit, 'velocity': [1.0]}
    assert refusal(KinematicsError, **given) == (
        f'joint turn (revolute): {words} in robot_description: expected lower < upper; '
        'limits.lower and limits.upper settle it, one number per joint [rad]'
    )
    limits = read(**given, lower=[-1.5, 0], upper=[2, 0])  # 0 and 0: as the description has it
    assert limits.lower.tolist() == [-1.5, 0.021] and limits.upper.tolist() == [2.0, 0.057]


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        ({'lower': [1.0], 'upper': [2.0]}, 'limits.lower = [1.0]: expected 2 numbers, one per'),
        ({'lower': [1.0, 2.0]}, 'limits.lower = [1.0, 2.0]: expected limits.upper beside it'),
        ({'velocity': [1.0, 2.0, 3.0]}, 'limits.velocity = [1.0, 2.0, 3.0]: expected one'),
        ({'velocity': [0.0]}, 'limits.velocity = [0.0]: expected one number above 0'),
        ({'lower': [0, 0.06], 'upper': [0, 0.07]},
         'limits.lower of slide = 0.06: expected less than 0.057 m'),
    ],
)  # fmt: skip
def test_given_limits_that_contradict_are_refused(given, words):
    assert refusal(ConfigError, **given).startswith(words)


def test_degrees_in_place_of_radians_are_doubted_aloud():
    limits = read('<limit lower="-165" upper="165" velocity="180"/>')
    assert limits.lower[0] == -165  # the numbers of the text all the same
    assert doubts(limits) == (
        'limits of robot_description that may be degrees: turn = -165 to 165 rad (limits.lower, '
        'limits.upper); turn = 180 rad/s (limits.velocity)'
    )
    assert doubts(read()) == '' and doubts(read(kind='continuous')) == ''
