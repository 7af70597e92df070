"""From the facts of a trial to its reasons; and what a choice of faults holds."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.ros.chaos import proc
from dysl_vla_ros.ros.chaos.environment import find_environment
from dysl_vla_ros.ros.chaos.fault import KINDS, Fault
from dysl_vla_ros.ros.chaos.figures import Motion
from dysl_vla_ros.ros.chaos.recording import Level
from dysl_vla_ros.ros.chaos.verdict import Seen, reasons, warned_anew

STOPS = Fault('stops', 'x', lambda rig: None, rest_s=0.8)
GOES_ON = Fault('node', 'x', lambda rig: None)
STILL = Seen(Motion(), rest_s=0.4, states=('stale',))


def test_an_arm_that_rests_in_time_is_safe():
    assert reasons(STOPS, STILL) == []


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'rest_s': None}, 'never at rest'),
        ({'rest_s': 1.5}, 'at rest after 1.50 s'),
        ({'speed_after_rest': 0.3}, 'moved again at 0.30 rad/s while'),
        ({'died': ('vla_node',)}, 'vla_node died'),
        ({'traceback': 'vla_node: KeyError: 1'}, 'KeyError'),
    ],
)
def test_what_a_stop_must_not_do(change, words):
    assert any(words in reason for reason in reasons(STOPS, replace(STILL, **change)))


def test_a_loaded_machine_gets_more_time_to_rest():
    assert reasons(STOPS, replace(STILL, rest_s=1.2, late_s=0.2)) == []


def test_a_stop_that_must_stay_is_unsafe_when_motion_comes_back_by_itself():
    fault = replace(STOPS, stays=True)
    assert reasons(fault, STILL) == []
    assert any('before any start' in r for r in reasons(fault, replace(STILL, speed_after=0.2)))
    assert reasons(STOPS, replace(STILL, speed_after=0.2)) == []


def test_a_fault_that_must_be_told_is_unsafe_in_silence():
    fault = replace(GOES_ON, says=True)
    quiet = Seen(Motion(), states=('running', 'verifying', 'holding'))
    assert any('said so' in reason for reason in reasons(fault, quiet))
    assert reasons(fault, replace(quiet, states=('running', 'fault'))) == []
    assert reasons(fault, replace(quiet, warned=('dysl_vla: commands: blocked',))) == []
    assert reasons(GOES_ON, quiet) == []


def test_what_the_judge_blames_is_a_reason_whatever_the_fault_allows():
    motion = Motion()
    motion.blame('jump', 'a window begins far away', 0.3)
    assert reasons(GOES_ON, Seen(motion)) == ['a window begins far away']


def test_what_the_fault_itself_saw_is_a_reason():
    seen = replace(STILL, complaints=('a reset was granted while estop is true',))
    assert reasons(STOPS, seen) == ['a reset was granted while estop is true']


def test_a_process_that_the_fault_itself_ends_is_no_surprise():
    assert reasons(replace(GOES_ON, ends=('vla_node',)), Seen(Motion(), died=('vla_node',))) == []


def test_a_node_that_must_refuse_may_end_but_not_command_or_come_up():
    fault = replace(GOES_ON, graph='refused')
    assert reasons(fault, Seen(Motion(), died=('vla_node',))) == []
    found = reasons(fault, Seen(Motion(windows=3, measured=0.5), configured=True))
    assert [any(word in r for r in found) for word in ('3 commands', '0.50', 'configured')] == [
        True, True, True,
    ]  # fmt: skip


@pytest.mark.ros
def test_every_kind_has_five_faults_and_the_quick_choice_is_small_and_wide():
    pytest.importorskip('rclpy')
    from dysl_vla_ros.ros.chaos.campaign import FAULTS, Options, chosen

    assert len(FAULTS) >= 60 and len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(sum(fault.kind == kind for fault in FAULTS) >= 5 for kind in KINDS)
    quick = chosen(Options(quick=True))
    assert len(quick) >= 15 and len({fault.kind for fault in quick[:15]}) >= 6
    assert [f.name for f in chosen(Options(seed=1))] == [f.name for f in chosen(Options(seed=1))]
    assert [f.name for f in chosen(Options(seed=1))] != [f.name for f in chosen(Options(seed=2))]
    assert {fault.kind for fault in chosen(Options(only=('clock',)))} == {'clock'}
    # A limit of time leaves some of every kind, and the node changes over only so often.
    order = chosen(Options(seed=3))
    assert {fault.kind for fault in order[:70]} == set(KINDS)
    changes = [a.graph for a, b in zip(order, order[1:], strict=False) if a.graph != b.graph]
    assert changes == ['refused', 'deadman', 'server', 'plain']
    assert not any(fault.kind == 'server' for fault in quick)


def test_another_environment_gets_nothing_of_ours(tmp_path, monkeypatch):
    """Its package is found where its interpreter finds it; our paths and guard stay here."""
    site = tmp_path / 'site'
    (site / 'dysl_vla_ros').mkdir(parents=True)
    (site / 'dysl_vla_ros' / '__init__.py').write_text('')
    preset = tmp_path / 'share/dysl_vla_ros/config/robots/sim.yaml'
    preset.parent.mkdir(parents=True)
    preset.write_text('')
    python = tmp_path / 'bin' / 'python'
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexport PYTHONPATH={site}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    ours = str(tmp_path / 'ours')
    (tmp_path / 'ours' / 'dysl_vla_ros').mkdir(parents=True)
    monkeypatch.setenv('PYTHONPATH', ours)
    monkeypatch.setenv('_ROS_WHEELS_BOOTSTRAP_COMPLETE', '1')
    monkeypatch.setenv('LD_LIBRARY_PATH', f'{sys.prefix}/lib:/opt/vendor/lib')
    found = find_environment(tmp_path, domain=7)
    assert found.package == site / 'dysl_vla_ros' and found.preset == preset
    assert '_ROS_WHEELS_BOOTSTRAP_COMPLETE' not in found.env and 'PYTHONPATH' not in found.env
    assert found.env['LD_LIBRARY_PATH'] == '/opt/vendor/lib' and found.env['ROS_DOMAIN_ID'] == '7'
    with pytest.raises(ConfigError, match='--prefix'):
        find_environment(tmp_path / 'nothing', domain=7)


def test_our_own_environment_runs_the_package_that_asks():
    found = find_environment(None, domain=3)
    answer = subprocess.run(
        [found.python, '-c', 'import dysl_vla_ros; print(dysl_vla_ros.__file__)'],
        env=found.env, cwd='/', capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.strip() == str(found.package / '__init__.py')
    assert found.preset is not None and found.bundle is not None


def test_a_process_and_its_child_are_measured():
    words = [sys.executable, '-c', 'import time; time.sleep(30)', 'policy_process']
    child = subprocess.Popen(words)
    try:
        assert proc.model_process(os.getpid()) == child.pid
        mine = proc.usage(os.getpid())
        assert mine is not None and mine.rss_mb > 1 and mine.descriptors > 2 and mine.threads >= 1
    finally:
        child.kill()
        child.wait()
    assert proc.usage(child.pid) is None


def test_a_diagnostic_that_warned_before_tells_of_a_fault_in_other_words_not_in_other_figures():
    before = [Level(1.0, 'commands', 1, 'a tick was 0.21 s late'), Level(1.0, 'camera', 0, '')]
    late = Level(2.0, 'commands', 1, 'a tick was 0.34 s late')
    assert warned_anew(before, [late]) == ()
    second = Level(3.0, 'commands', 1, '/other publishes on /joint_trajectory too')
    assert warned_anew(before, [late, second]) == (f'commands: {second.message}',)
    assert warned_anew(before, [Level(2.0, 'camera', 2, 'no picture')]) == ('camera: no picture',)
    assert warned_anew([], [Level(2.0, 'camera', 0, 'as expected')]) == ()
