"""What must not go on for too long: when it is said, when it is a fault, and in which words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.core.watchdogs import Facts, Finding, Patience, Watchdogs

LIMITS = MotionLimits(('pan', 'lift'), [-2.0] * 2, [2.0] * 2, [1.0] * 2, 10.0, 0.2)
PATIENCE = Patience(starvation_hold=0.5, starvation_fault=2.0, follow_fault=1.0, pass_age=0.8)
MAX_JUMP = 0.1
QUIET = Facts(
    now=0.0, state='running', reason='', pass_began=None, lead=None, measured=np.zeros(2),
    going=True, standing=False,
)  # fmt: skip
SLOW = (
    'the model has been at this pass for 0.9 s: a chunk is of use for max_observation_age_s = 0.8'
)


def looks(*facts, step=0.1):
    """Findings of looks ``step`` seconds apart."""
    dogs = Watchdogs(PATIENCE, LIMITS, MAX_JUMP)
    return [dogs.look(replace(QUIET, now=step * i, **item)) for i, item in enumerate(facts)]


def first(findings, field):
    """Index of the first finding that says something."""
    return next((i for i, item in enumerate(findings) if getattr(item, field)), None)


def leading(pan=0.0, lift=0.0, **more):
    return {'lead': np.array([pan, lift]), **more}


def test_while_all_is_well_nothing_is_said():
    assert looks(*[leading(0.05)] * 60) == [Finding()] * 60


def test_a_hold_counts_as_one_starvation_once_it_has_lasted():
    findings = looks(*[{'state': 'holding'}] * 12)
    assert [item.starved for item in findings] == [False] * 5 + [True] + [False] * 6


def test_a_second_hold_is_a_second_starvation_and_its_time_counts_from_its_own_begin():
    hold, play = {'state': 'holding'}, {'state': 'running'}
    findings = looks(*[hold] * 8, play, *[hold] * 8)
    assert [i for i, item in enumerate(findings) if item.starved] == [5, 14]


def test_a_hold_without_a_chunk_becomes_a_fault_with_its_reason():
    findings = looks(*[{'state': 'holding', 'reason': 'camera dark'}] * 21)
    assert first(findings, 'fault') == 20
    assert findings[20].fault == 'no chunk for 2.0 s: camera dark'


def test_a_fault_for_want_of_a_chunk_names_a_model_that_is_still_at_its_pass():
    findings = looks(*[{'state': 'holding', 'reason': 'first', 'pass_began': 1.1}] * 21)
    assert findings[20].fault == f'no chunk for 2.0 s: {SLOW}'


def test_a_pass_that_is_too_slow_is_named_as_such_and_one_in_time_is_not():
    findings = looks(*[{'pass_began': 0.0}] * 10)
    assert [item.warning for item in findings] == [''] * 9 + [SLOW]
    assert first(looks(*[{'pass_began': None}] * 30), 'warning') is None


def test_verifying_for_ever_is_a_fault():
    findings = looks(*[{'state': 'verifying'}] * 21)
    assert first(findings, 'fault') == 20
    assert findings[20].fault == (
        'the full pass after a drop of continuity has not come for 2.0 s: expected within '
        'starvation_fault_s = 2'
    )
    assert not any(item.starved for item in findings)


def test_verifying_counts_anew_after_the_full_pass_came():
    verify = {'state': 'verifying'}
    assert first(looks(*[verify] * 15, {}, *[verify] * 15), 'fault') is None


def test_an_arm_that_lags_is_warned_of_by_joint_and_distance_from_half_the_lead_on():
    findings = looks(leading(0.1), leading(0.04, -0.101))
    assert findings[0].warning == ''
    assert findings[1].warning == (
        'lift is 0.101 rad behind its command, limits.max_lead = 0.2: the arm is blocked or does '
        'not follow'
    )


def test_a_command_that_waits_for_a_blocked_arm_becomes_a_fault_with_joint_and_lag():
    findings = looks(*[leading(-0.17)] * 11)
    assert first(findings, 'fault') == 10
    assert findings[10].fault == (
        'pan is 0.170 rad behind its command, limits.max_lead = 0.2: the arm is blocked or does '
        'not follow'
    )


def test_a_joint_that_slides_is_judged_in_metres_by_a_lead_of_its_own():
    column = replace(LIMITS, max_lead=np.array([0.2, 0.01]), units=('rad', 'm'))
    dogs = Watchdogs(PATIENCE, column, column.each(0.1, 0.01))
    lead = np.array([0.05, -0.009])  # more radians, but the column is as good as blocked
    found = [dogs.look(replace(QUIET, now=0.1 * i, lead=lead)) for i in range(11)]
    words = (
        'lift is 0.009 m behind its command, limits.max_lead_m = 0.01: the arm is blocked or does '
        'not follow'
    )
    assert found[0].warning == words and found[10].fault == words
    rests = replace(QUIET, standing=True, lead=np.zeros(2))
    dogs.look(rests)
    dogs.look(replace(rests, now=0.5))
    pushed = dogs.look(replace(rests, now=1.0, measured=np.array([0.05, 0.02])))
    assert pushed.shoved == 'lift was moved 0.020 m while it rested'


def test_a_lag_that_ends_or_a_stop_in_between_begins_the_wait_anew():
    waits = leading(0.17)
    assert first(looks(*[waits] * 8, leading(0.1), *[waits] * 8), 'fault') is None
    assert first(looks(*[waits] * 8, {**waits, 'going': False}, *[waits] * 8), 'fault') is None


def test_a_lag_of_just_the_share_at_which_the_command_waits_counts():
    assert first(looks(*[leading(0.1601)] * 11), 'fault') == 10
    assert first(looks(*[leading(0.159)] * 30), 'fault') is None


def test_an_arm_beyond_what_the_command_alone_can_lead_was_moved():
    findings = looks(leading(0.209), leading(-0.22, 0.1))
    assert findings[0].shoved == ''
    assert findings[1].shoved == 'pan was moved 0.220 rad away from its command'


def at_rest(*offsets):
    return [
        {'lead': np.zeros(2), 'standing': True, 'measured': np.array([0.5, 0.5 + offset])}
        for offset in offsets
    ]


def test_an_arm_that_leaves_the_place_where_it_rests_was_moved():
    findings = looks(*at_rest(0, 0, 0, 0, 0.09, -0.11))
    assert [item.shoved for item in findings[:5]] == [''] * 5
    assert findings[5].shoved == 'lift was moved 0.110 rad while it rested'


def test_an_arm_that_still_trails_its_command_when_that_stops_was_not_moved():
    assert first(looks(*at_rest(-0.4, -0.3, -0.2, -0.01, 0.0, 0.0, 0.0)), 'shoved') is None


def test_the_place_of_rest_is_forgotten_in_motion_and_when_the_lead_does_not_count():
    rest, away = at_rest(0, 0, 0, 0), at_rest(0.3)
    moving = {**away[0], 'standing': False}
    assert first(looks(*rest, moving, *away * 6), 'shoved') is None
    unknown = {**away[0], 'lead': None}
    assert first(looks(*rest, unknown, *away), 'shoved') is None


def test_a_fault_of_the_model_outranks_the_lag_and_both_are_looked_at():
    findings = looks(*[leading(0.17, state='holding', reason='none')] * 21)
    assert findings[10].fault.startswith('pan is 0.170 rad behind')
    assert findings[20].fault.startswith('no chunk for 2.0 s')


@pytest.mark.parametrize('limit', [0.1, 0.4])
def test_new_limits_hold_from_the_next_look_on(limit):
    dogs = Watchdogs(PATIENCE, LIMITS, MAX_JUMP)
    dogs.limits = replace(LIMITS, max_lead=limit)
    warning = dogs.look(replace(QUIET, **leading(0.11))).warning
    assert bool(warning) is (limit == 0.1)


def test_actions_that_are_left_and_do_not_come_forward_are_a_fault_with_the_way_out():
    findings = looks(*[{'stuck': True}] * 21)
    assert first(findings, 'fault') == 20
    assert 'stood for 2.0 s with actions left' in findings[20].fault
    assert 'workspace.min' in findings[20].fault
    assert first(looks(*[{'stuck': True}] * 15, {}, *[{'stuck': True}] * 15), 'fault') is None


def test_playback_that_waits_for_the_arm_is_not_called_stuck():
    findings = looks(*[leading(0.11, stuck=True)] * 60)
    assert first(findings, 'fault') is None
