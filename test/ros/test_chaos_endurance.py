"""The verdict over a long run, from made-up samples: what grows is seen, what does not is not."""

from __future__ import annotations

import pytest

from dysl_vla_ros.ros.chaos.endurance import Run, longest_gap, rates, sparkline, summary, text
from dysl_vla_ros.ros.chaos.proc import Usage

HOUR = 3600.0


def run(growth_mb=0.0, files=0, threads=0, seconds=HOUR, rate=30.0):
    """An hour that warms up for 2 minutes and then grows by so much until its end."""
    found = Run(states=[(1.0, 'waiting'), (2.0, 'running')])
    for step in range(int(seconds / 5.0)):
        at = 5.0 * step
        warm = min(at / 120.0, 1.0)
        late = max(0.0, at - 300.0) / max(1.0, seconds - 300.0)
        used = Usage(100.0 + 50.0 * warm + growth_mb * late, 40 + int(files * late),
                     12 + int(threads * late))  # fmt: skip
        found.usage.setdefault('vla_node', []).append((at, used))
    found.arrivals = [2.0 + k / rate for k in range(int((seconds - 2.0) * rate))]
    return found


def problems(measured, seconds=HOUR):
    return summary(measured, seconds)['problems']


def test_a_node_that_warms_up_and_then_stays_is_fine():
    found = summary(run(), HOUR)
    assert found['ok'] and found['problems'] == []
    assert found['rate_hz_mean'] == pytest.approx(30.0, abs=0.1)
    assert found['rate_hz_least'] >= 29 and found['gap_s_longest'] == pytest.approx(1 / 30, 0.1)


@pytest.mark.parametrize(('seconds', 'warm'), [(60.0, 20.0), (HOUR, 300.0)])
def test_what_is_compared_begins_after_five_minutes_or_a_third_of_a_short_run(seconds, warm):
    assert summary(run(seconds=seconds), seconds)['warm_up_s'] == warm


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'growth_mb': 2.0}, 'memory grew by 1.3 %'),
        ({'files': 6}, 'descriptors more'),
        ({'threads': 6}, 'threads more'),
        ({'rate': 27.0}, '27.0 commands per second'),
    ],
)
def test_what_grows_or_slows_down_is_seen(change, words):
    assert any(words in problem for problem in problems(run(**change)))


def test_one_slow_second_is_seen_and_its_gap_measured():
    measured = run()
    measured.arrivals = [at for at in measured.arrivals if not 1000.1 < at < 1000.5]
    found = summary(measured, HOUR)
    assert found['rate_hz_least'] < 25 and not found['ok']
    assert found['gap_s_longest'] == pytest.approx(0.43, abs=0.04)


def test_a_pause_that_the_node_announced_is_no_gap():
    measured = run()
    measured.arrivals = [at for at in measured.arrivals if not 1000.0 < at < 1010.0]
    measured.states += [(1000.0, 'ready'), (1010.0, 'running')]
    assert problems(measured) == []
    assert all(not 999.0 < start < 1010.0 for start, _ in rates(measured, HOUR))
    assert longest_gap(measured, HOUR) < 0.05


def test_the_first_moment_after_a_start_is_not_counted():
    """The state says running before the first command can arrive."""
    measured = run()
    measured.states = [(2.0, 'running')]
    measured.arrivals = [at for at in measured.arrivals if at > 2.25]
    assert problems(measured) == []
    assert longest_gap(measured, HOUR) < 0.05


def test_a_model_process_that_was_replaced_is_seen():
    measured = run()
    measured.restarts['vla_node'] = 1
    assert any('replaced' in problem for problem in problems(measured))


def test_a_run_in_which_nothing_was_commanded_is_no_success():
    measured = run()
    measured.states = [(1.0, 'waiting')]
    assert any('no second' in problem for problem in problems(measured))


def test_the_terminals_plot_has_a_line_for_each_series():
    lines = text(run(), HOUR)
    assert [line.split()[1] for line in lines] == ['MB', 'files', 'threads', 'per']
    assert all(len(line) <= 80 for line in lines)
    assert sparkline([1.0, 2.0, 3.0]) == '▁▄█' and sparkline([]) == ''


def test_an_arm_that_is_hardly_commanded_and_a_run_that_ends_latched_are_problems():
    measured = run()
    measured.states.append((1500.0, 'fault'))
    found = problems(measured)
    assert found[0] == 'it ended in fault'
    assert 'of 3600 s: at least 50 %' in found[1] and len(found) == 2


def test_some_faults_that_were_reset_are_none_and_many_are():
    def stumbling(times):
        measured = run()
        for k in range(times):
            measured.states += [(500.0 + 60.0 * k, 'fault'), (504.0 + 60.0 * k, 'running')]
        return problems(measured)

    assert stumbling(5) == []
    assert stumbling(6) == ['6 faults: at most 5 an hour']


def test_an_estop_that_nobody_asked_for_is_a_problem():
    measured = run()
    measured.states += [(700.0, 'e-stop'), (710.0, 'running')]
    assert problems(measured) == ['e-stop at 700 s']
