"""The commands, for real: faults in the running graph, and a short run of the demo's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dysl_vla_ros.ros.chaos.fault import KINDS

pytestmark = pytest.mark.ros
ROOT = Path(__file__).resolve().parents[2]
EXIT_CODES = {0}
"""Nothing unsafe leaves the node: 1 would say that something did."""


def dysl(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, '-m', 'dysl_vla_ros.cli.main', *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options,
    )  # fmt: skip


def finished(process, timeout, codes):
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode in codes, output
    assert 'Traceback (most recent call last)' not in output
    return output


def check(report, output):
    assert report['safe'] + report['unsafe'] + report['unclear'] == report['tried']
    assert len(report['cases']) == report['tried']
    assert f'{report["tried"]} faults' in output
    assert max(map(len, output.splitlines()[:-1])) <= 80
    for case in report['cases']:
        assert case['kind'] in KINDS and case['verdict'] in ('safe', 'unsafe', 'unclear')
        assert (case['verdict'] == 'safe') == (not case['reasons']), case
    # The trials did what they say: the arm moved, and commands were heard and judged.
    judged = [case for case in report['cases'] if case['expected'] != 'refused'
              and case['verdict'] != 'unclear']  # fmt: skip
    # Now and then a busy machine lets the arm rest before the fault is in.
    moved = [case for case in judged if case['windows'] > 0 and case['measured'] > 0.05]
    assert len(moved) >= 0.9 * len(judged), output
    assert all(case['commanded'] > 0 for case in moved)
    assert report['unclear'] <= report['tried'] // 4, output


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_quick_choice_tries_fifteen_faults_of_six_kinds(tmp_path):
    path = tmp_path / 'chaos.json'
    output = finished(dysl('chaos', '--quick', '--json', str(path)), 220, EXIT_CODES)
    report = json.loads(path.read_text())
    check(report, output)
    assert report['tried'] >= 15
    assert report['unsafe'] == 0, output
    assert len({case['kind'] for case in report['cases']}) >= 6
    assert report['quick'] is True


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_minutes_of_faults_over_the_bundled_policy(tmp_path):
    path = tmp_path / 'chaos.json'
    process = dysl('chaos', '--bundle', '--minutes', '3', '--json', str(path))
    report_output = finished(process, 580, EXIT_CODES)
    report = json.loads(path.read_text())
    check(report, report_output)
    assert report['tried'] >= 10  # 40 on two idle cores, 23 beside other work


@pytest.mark.timeout(120)
def test_ctrl_c_keeps_what_was_found_and_leaves_no_process(tmp_path):
    path = tmp_path / 'chaos.json'
    env = {**os.environ, 'DYSL_TEST_MARK': str(tmp_path)}
    process = dysl(
        'chaos', '--only', 'bundle', '--json', str(path), start_new_session=True, env=env,
        # A test run in the background of a shell ignores SIGINT, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    for line in process.stdout:
        if line.rstrip().endswith(('safe', 'unclear')):
            break
    assert marked(str(tmp_path))  # the campaign itself, at least
    process.send_signal(signal.SIGINT)
    finished(process, 60, {130})
    report = json.loads(path.read_text())
    assert 1 <= report['tried'] == len(report['cases']) < report['chosen']
    assert list(tmp_path.iterdir()) == [path]
    assert marked(str(tmp_path)) == []


def marked(mark):
    """Processes that inherited the mark."""
    found = []
    for environ in Path('/proc').glob('[0-9]*/environ'):
        try:
            if mark.encode() in environ.read_bytes():
                found.append(environ.parent.name)
        except OSError:
            continue
    return found


def test_an_environment_that_is_none_is_refused_in_one_line(tmp_path):
    output = finished(dysl('chaos', '--prefix', str(tmp_path)), 60, {2})
    assert '--prefix' in output and 'expected a virtual environment' in output


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_short_soak_counts_commands_and_measures_both_processes(tmp_path):
    path = tmp_path / 'soak.json'
    command = ('soak', '--minutes', '0.3', '--engine', 'fake', '--json', str(path))
    output = finished(dysl(*command), 100, {0, 1})  # a busy machine may miss the rate
    report = json.loads(path.read_text())
    assert {'vla_node', 'sim_arm'} <= set(report['processes'])
    assert report['seconds'] == pytest.approx(18, abs=3)
    assert report['seconds_commanded'] >= 3 and report['rate_hz_mean'] > 15
    node = report['processes']['vla_node']
    assert node['rss_mb'] > 20 and node['threads_end'] >= 3 and node['descriptors_end'] >= 5
    assert 'commands per second' in output and 'vla_node' in output
