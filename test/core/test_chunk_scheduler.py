"""The scheduler: alignment with a perfect plan, smooth seams, stops that stay on the path."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.core.chunk_scheduler import ChunkScheduler, SchedulerSettings

PERIOD = 0.05
HORIZON = 8
STEP = 0.01
GOAL = 0.6
TICK = 1 / 30


def scheduler(**changes):
    made = ChunkScheduler(SchedulerSettings(action_period=PERIOD, **changes))
    made.anchor(np.zeros(1), 0.0)
    made.advance(0.0, True, np.zeros(1))
    return made


def line(start, step=STEP, actions=HORIZON):
    return (start + step * np.arange(actions + 1))[:, None]


def accept(made, start_progress, targets, **kwargs):
    return made.accept(start_progress, targets, np.diff(targets, axis=0), None, **kwargs)


def run(made, begin, seconds, go=True):
    """Tick for some seconds; positions and the displacements that ended."""
    positions, ended = [], []
    for index in range(1, round(seconds / TICK) + 1):
        ended += made.advance(begin + index * TICK, go, made.sample().position)
        positions.append(float(made.sample().position[0]))
    return positions, ended


def perfect_plan(reference, goal=GOAL):
    """Deltas that go to the goal at one step per action and stay there."""
    targets = [reference]
    for _ in range(HORIZON):
        targets.append(targets[-1] + np.clip(goal - targets[-1], -STEP, STEP))
    return np.array(targets)[:, None]


def play_perfect_plan(latency, append=False, seconds=8.0):
    """Drive to the goal with a perfect plan that arrives ``latency`` seconds late.

    Args:
        append: Ignore what was played since the observation (the classic mistake).

    Returns:
        Positions per tick, and the scheduler.
    """
    made = scheduler()
    positions, pending, now = [], None, 0.0
    while now < seconds:
        now += TICK
        made.advance(now, True, made.sample().position)
        if pending is None and made.remaining <= HORIZON / 2:
            pending = (now, now + latency)
        if pending is not None and now >= pending[1]:
            progress, commanded, _ = made.reference_at(pending[0])
            targets = perfect_plan(float(commanded[0]))
            if append:
                targets = targets - targets[0] + made.sample().position
                progress = made.reference_at(now)[0]
            made.stretch_for(pending[1] - pending[0], 0.5, HORIZON)
            accept(made, progress, targets)
            pending = None
        positions.append(float(made.sample().position[0]))
    return np.array(positions), made


@pytest.mark.parametrize('chunks', [0.0, 0.5, 1.0, 2.0])
def test_a_perfect_plan_reaches_its_goal_without_overshoot_at_any_latency(chunks):
    positions, _ = play_perfect_plan(chunks * HORIZON * PERIOD, seconds=20.0)
    assert positions.max() <= GOAL + STEP
    assert positions[-1] == pytest.approx(GOAL, abs=STEP / 2)


def test_plain_appending_of_late_chunks_overshoots():
    positions, _ = play_perfect_plan(0.5 * HORIZON * PERIOD, append=True)
    assert positions.max() > GOAL + STEP


def test_a_latency_of_half_a_chunk_needs_hardly_any_stretch():
    _, made = play_perfect_plan(0.5 * HORIZON * PERIOD)
    assert made.stretch <= 1.3


def test_the_stretch_is_at_least_twice_the_latency_over_the_chunk_up_to_its_limit():
    made = scheduler(max_stretch=2.0)
    made.stretch_for(0.345, 0.5, HORIZON)
    assert 2 * 0.345 / (HORIZON * PERIOD) <= made.stretch <= 2.0


def test_motion_never_runs_backwards_across_seams():
    positions, _ = play_perfect_plan(0.1)
    assert np.diff(positions).min() >= -1e-9


def test_a_seam_offset_is_cancelled_and_then_fades():
    made = scheduler(fade_seconds=0.2)
    accept(made, 0.0, line(0.0))
    run(made, 0.0, 0.2)
    before = made.sample()
    progress = made.reference_at(0.2)[0]
    accept(made, progress, line(float(before.position[0]) + 0.004))
    after = made.sample()
    assert made.seam_jump == pytest.approx(0.004, abs=1e-6)
    assert after.position == pytest.approx(before.position)
    assert after.velocity == pytest.approx(before.velocity)
    run(made, 0.2, 0.4)
    made.advance(0.7, True, np.zeros(1))
    on_path = float(made._path.sample(made._progress)[0][0])
    assert on_path == pytest.approx(float(made._path._curve(made._progress)[0][0]))


def test_without_a_seam_method_the_offset_jumps():
    made = scheduler(seam_method='none')
    accept(made, 0.0, line(0.0))
    run(made, 0.0, 0.2)
    before = float(made.sample().position[0])
    accept(made, made.reference_at(0.2)[0], line(before + 0.004))
    assert float(made.sample().position[0]) - before == pytest.approx(0.004, abs=1e-6)


def test_starvation_comes_to_rest_exactly_at_the_last_target():
    made = scheduler()
    accept(made, 0.0, line(0.0))
    positions, _ = run(made, 0.0, 1.0)
    assert made.at_rest
    assert positions[-1] == pytest.approx(HORIZON * STEP, abs=1e-6)
    assert max(positions) <= HORIZON * STEP + 1e-9


def test_a_stop_brakes_on_the_path_within_the_braking_time():
    made = scheduler(brake_seconds=0.1)
    accept(made, 0.0, line(0.0))
    run(made, 0.0, 0.2)
    at_stop = float(made.sample().position[0])
    positions, _ = run(made, 0.2, 0.2, go=False)
    assert made.at_rest
    assert 0 < positions[-1] - at_stop <= 0.1 / PERIOD * STEP


def test_every_played_action_is_reported_once_and_in_order():
    made = scheduler()
    targets = np.cumsum(np.arange(HORIZON + 1))[:, None] * 0.001
    accept(made, 0.0, targets)
    _, ended = run(made, 0.0, 1.0)
    assert [round(float(item[0]), 6) for item in ended] == [
        round(float(item[0]), 6) for item in np.diff(targets, axis=0)
    ]


def test_no_action_is_reported_while_holding():
    made = scheduler()
    accept(made, 0.0, line(0.0))
    run(made, 0.0, 1.0)
    assert run(made, 1.0, 1.0)[1] == []


def test_actions_played_since_the_observation_are_dropped_and_not_reported_twice():
    made = scheduler()
    accept(made, 0.0, line(0.0))
    _, first = run(made, 0.0, 0.3)
    progress = made.reference_at(0.15)[0]
    accept(made, progress, line(0.0) + made.reference_at(0.15)[1])
    _, second = run(made, 0.3, 1.0)
    assert len(first) + len(second) == pytest.approx(progress + HORIZON, abs=1)


def test_a_chunk_of_which_everything_was_played_is_refused():
    made = scheduler()
    accept(made, 0.0, line(0.0))
    run(made, 0.0, 1.0)
    assert not accept(made, 0.0, line(0.0))


def test_a_prefix_is_played_up_to_its_limit_only():
    made = scheduler()
    accept(made, 0.0, line(0.0), limit=3)
    positions, _ = run(made, 0.0, 1.0)
    assert positions[-1] == pytest.approx(3 * STEP, abs=1e-6)


def test_a_chunk_after_a_prefix_is_aligned_by_what_was_played():
    made = scheduler()
    accept(made, 0.0, line(0.0), limit=3)
    run(made, 0.0, 1.0)
    accept(made, 0.0, line(0.0))
    positions, _ = run(made, 1.0, 1.0)
    assert positions[0] >= 3 * STEP
    assert positions[-1] == pytest.approx(HORIZON * STEP, abs=1e-6)


def test_the_look_ahead_is_what_is_played_later():
    made = scheduler()
    accept(made, 0.0, line(0.0))
    run(made, 0.0, 0.1)
    promised, _ = made.look_ahead(TICK * np.arange(1, 4), go=True)
    played, _ = run(made, 0.1, 3 * TICK)
    assert played == pytest.approx(promised[:, 0].tolist())


def test_the_velocity_is_the_slope_of_the_position():
    made = scheduler()
    accept(made, 0.0, line(0.0))
    run(made, 0.0, 0.15)
    sample = made.sample()
    ahead, _ = made.look_ahead(np.array([1e-4]), go=True)
    slope = (float(ahead[0, 0]) - float(sample.position[0])) / 1e-4
    assert slope == pytest.approx(float(sample.velocity[0]), rel=1e-2)


def test_reference_at_interpolates_between_ticks_and_knows_no_time_before_the_anchor():
    made = scheduler()
    accept(made, 0.0, line(0.0))
    run(made, 0.0, 0.3)
    left, middle, right = (made.reference_at(t)[0] for t in (6 * TICK, 6.5 * TICK, 7 * TICK))
    assert middle == pytest.approx((left + right) / 2)
    assert made.reference_at(-1.0) is None


def test_the_gripper_follows_the_action_being_played():
    made = scheduler()
    targets = line(0.0)
    gripper = np.array([1.0] * 4 + [0.0] * 4)
    made.accept(0.0, targets, np.diff(targets, axis=0), gripper)
    run(made, 0.0, 0.15)
    assert made.sample().gripper == 1.0
    run(made, 0.15, 1.0)
    assert made.sample().gripper == 0.0


def test_anchoring_drops_the_path_and_rests_at_the_given_position():
    made = scheduler()
    accept(made, 0.0, line(0.0))
    run(made, 0.0, 0.2)
    made.anchor(np.array([0.5]), 0.2)
    assert made.at_rest and made.remaining == 0
    assert made.sample().position == pytest.approx([0.5])
