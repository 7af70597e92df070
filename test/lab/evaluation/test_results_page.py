"""Tables of the results page: what was not measured is not shown as a number."""

from __future__ import annotations

from dysl_vla_ros.lab.evaluation import results_page


def test_an_arm_that_never_moved_and_times_that_nobody_took_leave_their_columns_empty():
    told = {
        'moved': 0.0, 'way': 0.0, 'jerk_rms': 0.0, 'jerk_peak': 0.0, 'longest_still_s': 0.0,
        'seconds_median': 11.1, 'successes': 0, 'episodes': 4, 'pass_ms': {'p50': 4.0},
        'backbone_ms': {'p50': None},
    }  # fmt: skip
    motion = results_page._motion({'modes': {'full': told}, 'paired': {}})
    assert '11.1' not in motion and motion.count('|  ') >= 5
    rows = (results_page.Wanted('dense', ('full',)),)
    costs = results_page.cost_table({'modes': {'full': told}, 'paired': {}}, rows)
    assert costs.splitlines()[-1] == '| dense |  |  | 4.0 ms |  |  |  |  |'
    del told['moved']  # of before it was told: nothing but the way says so
    told['way'] = 3.7e-13
    assert '11.1' not in results_page._motion({'modes': {'full': told}, 'paired': {}})
