"""States: what follows from which facts, and what leaves a latch."""

from __future__ import annotations

import pytest

from dysl_vla_ros.core.run_state import STATES, InputStatus, RunState

READY = InputStatus(True)
MISSING = InputStatus(False, 'image: nothing received yet')


def update(run, now=0.0, inputs=READY, verifying=False, queued=True, hold_reason='empty'):
    return run.update(now, inputs, verifying=verifying, queued=queued, hold_reason=hold_reason)


def running():
    run = RunState()
    update(run)
    assert run.start() == ''
    assert update(run) == 'running'
    return run


def test_a_new_state_waits_and_says_what_for():
    run = RunState()
    assert update(run, inputs=MISSING) == 'waiting'
    assert run.reason == 'image: nothing received yet'


def test_start_is_refused_while_waiting_with_the_missing_input():
    run = RunState()
    update(run, inputs=MISSING)
    assert run.start() == 'waiting: image: nothing received yet'


def test_fresh_inputs_make_it_ready_and_start_makes_it_run():
    run = RunState()
    assert update(run) == 'ready'
    run.start()
    assert update(run) == 'running'


def test_without_a_queued_action_it_holds_with_the_reason():
    run = running()
    assert update(run, queued=False, hold_reason='pass is late') == 'holding'
    assert run.reason == 'pass is late'


def test_a_rerun_under_way_is_verifying():
    assert update(running(), verifying=True) == 'verifying'


def test_stale_inputs_stop_it_at_once_and_end_half_a_second_after_they_return():
    run = running()
    assert update(run, now=1.0, inputs=MISSING) == 'stale'
    assert update(run, now=1.1) == 'stale'
    assert update(run, now=1.4) == 'stale'
    assert update(run, now=1.6) == 'running'


def test_pause_holds_until_resume_and_its_first_reason_stays():
    run = running()
    run.pause('operator')
    run.pause('dead-man switch released')
    assert update(run) == 'paused'
    assert run.reason == 'operator'
    run.resume()
    assert update(run) == 'running'


def test_a_release_is_in_force_when_it_is_answered_and_forgets_why_it_once_stopped():
    run = running()
    run.stop('an old reason')
    run.latch('fault', 'because', 1.0)
    assert update(run, now=2.0) == 'fault'
    assert run.reset(3.0, READY) == ''
    assert (run.state, run.reason) == ('ready', 'released, not started')
    assert run.start() == ''


@pytest.mark.parametrize('ask', ['start', 'home'])
def test_nothing_is_started_while_it_is_paused_so_that_a_resume_sets_nothing_off(ask):
    run = RunState()
    update(run)
    run.pause('paused by ~/pause')
    assert getattr(run, ask)() == 'paused by ~/pause: resume it first'
    run.resume()
    assert update(run) == 'ready' and getattr(run, ask)() == ''


def test_a_stop_ends_what_was_started_and_no_pause():
    run = running()
    run.pause('paused by ~/pause')
    run.stop('stopped by ~/stop')
    assert update(run) == 'paused' and run.start() == 'paused by ~/pause: resume it first'
    run.resume()
    assert update(run) == 'ready' and run.reason == 'stopped by ~/stop'


def test_a_start_while_it_is_stale_is_refused_with_the_input_and_what_happens_next():
    run = running()
    update(run, now=1.0, inputs=MISSING)
    assert run.start() == (
        'stale: image: nothing received yet; it goes on by itself after that, and ~/stop ends it'
    )
    assert update(run, now=1.1) == 'stale' and 'fresh for less than' in run.start()
    assert update(run, now=2.0) == 'running' and run.start() == ''


@pytest.mark.parametrize('started', [True, False])
def test_a_start_at_the_instant_of_a_resume_is_refused_where_an_input_is_missing(started):
    run = running()
    if not started:
        run.stop('operator')
    run.pause('operator')
    assert update(run, now=1.0, inputs=MISSING) == 'paused'
    run.resume()
    assert run.start().startswith('stale: image' if started else 'waiting: image')


@pytest.mark.parametrize('latched', ['e-stop', 'fault'])
def test_a_latch_leaves_only_by_reset_and_not_to_motion(latched):
    run = running()
    run.latch(latched, 'because', 1.0)
    assert update(run, now=2.0) == latched
    run.resume()
    run.stop('x')
    assert update(run, now=3.0) == latched
    assert run.start().startswith(latched)
    assert run.reset(3.0, READY) == ''
    assert update(run, now=3.0) == 'ready'


def test_the_first_latch_reason_stays():
    run = running()
    run.latch('fault', 'first', 1.0)
    run.latch('fault', 'second', 1.1)
    update(run, now=1.2)
    assert run.reason == 'first'


def test_an_estop_outranks_a_fault():
    run = running()
    run.latch('fault', 'engine', 1.0)
    run.latch('e-stop', 'operator', 1.1)
    assert update(run, now=1.2) == 'e-stop'


def test_a_reset_is_refused_right_after_the_trigger_and_while_inputs_are_stale():
    run = running()
    run.latch('e-stop', 'operator', 1.0)
    assert 'less than 0.5 s ago' in run.reset(1.2, READY)
    assert 'image: nothing received yet' in run.reset(2.0, MISSING)


def test_stopping_goes_back_to_ready():
    run = running()
    run.stop('empty instruction')
    assert update(run) == 'ready'


def test_every_state_is_explained():
    assert all(len(text) > 10 for text in STATES.values())


def test_after_a_stop_it_is_ready_and_says_why_it_stopped():
    run = running()
    run.stop('empty instruction')
    assert update(run) == 'ready'
    assert update(run) == 'ready'
    assert run.reason == 'empty instruction'
