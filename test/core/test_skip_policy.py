"""The skip policy: the sign contract on generated motion, re-runs, critical phases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dysl_vla_ros.core.skip_policy import SkipPolicy, SkipSettings

SEGMENTS = ((1, 5), (6, 6), (7, 12))
DENSE = (5, 6, 12)
OPEN = (1, 6, 7)
SETTINGS = SkipSettings(
    rule='ceil', eta=0.1, window=1, threshold=0.5, hysteresis=0.2, weights=np.ones(1)
)


def policy(**changes):
    return SkipPolicy(SEGMENTS, replace(SETTINGS, **changes))


def live(allow):
    """Number of live controllers."""
    return sum(end - point for point, (_, end) in zip(allow, SEGMENTS, strict=True))


def play(skip, displacements):
    for value in displacements:
        skip.played(np.array([value]))


def with_continuity(skip, values):
    """Play displacements whose continuity (window 1) takes the given values."""
    position, sign = 0.0, 1.0
    skip.played(np.array([position]))
    for value in values:
        position += sign * -value
        sign = -sign
        skip.played(np.array([position]))


def test_a_new_policy_is_dense():
    assert policy().plan('auto').allow == DENSE


def test_with_fewer_than_two_known_actions_the_pass_is_full():
    skip = policy()
    play(skip, [0.0])
    assert skip.plan('auto').allow == DENSE


def test_steadily_rising_continuity_opens_every_segment():
    skip = policy()
    with_continuity(skip, np.linspace(-0.4, 0.0, 9))
    assert skip.plan('auto').allow == OPEN


def test_on_smooth_motion_full_stays_full_and_max_skip_opens_all_also_after_a_stop():
    skip = policy()
    with_continuity(skip, np.linspace(-0.4, 0.0, 9))
    assert skip.plan('full').allow == DENSE
    skip.restart()
    assert skip.plan('max_skip').allow == OPEN
    assert skip.plan('auto').allow == DENSE


def test_a_fixed_exit_is_the_same_at_rest_in_smooth_motion_and_in_a_drop():
    skip = policy(exit_layer=8)
    assert skip.plan('fixed').exit_layer == 8
    with_continuity(skip, [-0.1, -0.1, -0.1])
    assert skip.plan('fixed').exit_layer == 8
    with_continuity(skip, [-0.1, -2.0])
    assert skip.critical and skip.plan('fixed').exit_layer == 8
    assert skip.plan('auto').exit_layer is skip.plan('full').exit_layer is None


def test_an_exit_by_instruction_is_that_of_the_words_and_of_others_the_deepest_known():
    skip = policy(exit_layer=8, exits={'pick up the bowl': 3, 'open the drawer': 0})
    assert skip.plan('by_instruction', 'Pick up  the bowl ').exit_layer == 3
    assert skip.plan('by_instruction', 'stack the plates').exit_layer == 8
    dense = skip.plan('by_instruction', 'open the drawer')
    assert dense.exit_layer is None and dense.allow == DENSE
    with_continuity(skip, [-0.1, -2.0])
    assert skip.plan('by_instruction', 'pick up the bowl').exit_layer == 3, 'also in a drop'
    assert policy(exits={'a': 3}).plan('by_instruction', 'b').exit_layer is None


def test_a_rise_shifts_every_segment_by_the_same_number_of_layers():
    skip = policy()
    with_continuity(skip, [-0.4, -0.15])  # rise 0.25 / 0.1 -> ceil 3
    assert skip.plan('auto').allow == (2, 6, 9)


def live_after(rule, values):
    """Live controllers after each of these continuities (window 1)."""
    skip, found, position = policy(rule=rule, threshold=10.0), [], 0.0
    skip.played(np.array([position]))
    for value in values:
        position -= value
        skip.played(np.array([position]))
        found.append(live(skip.plan('auto').allow))
    return found


def test_our_rule_keeps_the_contract_and_the_printed_rule_breaks_it_both_ways():
    falls = [-0.1, -0.13, -0.38, -0.4]
    rises = falls[::-1]
    assert live_after('ceil', falls) == [0, 0, 0, 0]
    assert live_after('printed', falls) == [0, 0, 4, 4], 'less smooth, and it skips more'
    assert live_after('ceil', rises) == [0, 2, 8, 9]
    assert live_after('printed', rises) == [0, 0, 0, 0], 'smoother, and it stays dense'
    both = live_after('printed', [*falls, *rises[1:]])
    assert both[len(falls) - 1] > both[-1], 'smoother, and controllers are taken away'


@settings(max_examples=200)
@given(
    st.lists(st.floats(-0.45, 0.0), min_size=2, max_size=30), st.sampled_from(['ceil', 'level'])
)
def test_falling_continuity_never_adds_live_controllers_and_rising_never_removes_any(values, rule):
    skip = policy(rule=rule, threshold=10.0, level_low=-0.4, level_high=-0.05)
    position, sign = 0.0, 1.0
    skip.played(np.array([position]))
    before, old = None, None
    for value in values:
        position += sign * -value
        sign = -sign
        skip.played(np.array([position]))
        new, after = live(skip.plan('auto').allow), skip.continuity
        if before is not None:
            if after < before:
                assert new <= old
            if after > before:
                assert new >= old
            if rule == 'ceil' and after < before - skip.settings.eta and old > 0:
                assert new < old
        before, old = after, new


def test_the_level_rule_opens_with_continuity_between_its_quantiles():
    skip = policy(rule='level', level_low=-0.4, level_high=-0.2)
    with_continuity(skip, [-0.3])
    assert skip.plan('auto').allow == (3, 6, 10)


def test_the_level_rule_stays_dense_in_a_long_fine_phase():
    skip = policy(rule='level', level_low=-0.4, level_high=-0.2)
    with_continuity(skip, [-0.45] * 40)
    assert skip.plan('auto').allow == DENSE


def test_restart_forgets_the_motion_and_goes_back_to_dense():
    skip = policy()
    with_continuity(skip, [-0.4, 0.0])
    skip.restart()
    assert skip.continuity is None
    assert skip.plan('auto').allow == DENSE


@pytest.mark.parametrize(('mode', 'allow'), [('full', DENSE), ('max_skip', OPEN)])
def test_a_fixed_mode_ignores_continuity(mode, allow):
    assert policy().plan(mode).allow == allow


def smooth(**changes):
    skip = policy(**changes)
    with_continuity(skip, [-0.1, -0.05, -0.05, -0.05])
    return skip


def last_position(skip):
    return float(skip._history._executed[-1][0])


def jerky(skip):
    """A chunk that begins smoothly and then drops at index 3."""
    start = last_position(skip)
    return np.array([[start], [start], [start], [start + 2.0], [start]])


def still(skip):
    return np.full((5, 1), last_position(skip))


def test_a_drop_in_a_skipped_chunk_asks_for_a_rerun():
    skip = smooth()
    verdict = skip.verify(jerky(skip), skipped=True)
    assert (verdict.rerun, verdict.drop_index) == (True, 3)


def test_nothing_is_rerun_when_nothing_was_skipped():
    skip = smooth()
    verdict = skip.verify(jerky(skip), skipped=False)
    assert (verdict.rerun, verdict.drop_index) == (False, 3)


def test_a_smooth_chunk_is_accepted():
    skip = smooth()
    verdict = skip.verify(still(skip), skipped=True)
    assert (verdict.rerun, verdict.drop_index) == (False, None)


def test_reruns_can_be_disabled():
    skip = smooth(rerun=False)
    assert not skip.verify(jerky(skip), skipped=True).rerun


def test_a_run_of_drops_is_rerun_once():
    skip = smooth()
    verdict = skip.verify(jerky(skip), skipped=True)
    assert verdict.rerun
    skip.accepted(skip.verify(jerky(skip), skipped=False), was_rerun=True)
    for value in jerky(skip):
        skip.played(value)
    assert skip.critical
    start = last_position(skip)
    goes_on = np.array([[start + 2.0], [start], [start + 2.0], [start]])
    again = skip.verify(goes_on, skipped=True)
    assert (again.rerun, again.drop_index) == (False, None)


def test_after_a_chunk_with_a_drop_the_next_pass_is_full_at_once():
    skip = smooth()
    assert skip.plan('auto').allow != DENSE
    skip.accepted(skip.verify(jerky(skip), skipped=False), was_rerun=True)
    assert skip.plan('auto').allow == DENSE


def test_passes_may_skip_again_once_the_phase_is_smooth():
    skip = smooth(stay_full_chunks=1)
    skip.accepted(skip.verify(jerky(skip), skipped=False), was_rerun=True)
    skip.accepted(skip.verify(still(skip), skipped=False), was_rerun=False)
    assert skip.plan('auto').allow != DENSE


def test_after_too_many_reruns_in_a_row_passes_stay_full():
    skip = smooth(max_consecutive=1, stay_full_chunks=0)
    skip.accepted(skip.verify(jerky(skip), skipped=False), was_rerun=True)
    assert skip.plan('auto').allow == DENSE
    assert not skip.verify(jerky(skip), skipped=True).rerun
