"""The demo command, for real: two nodes, simulated physics, commands at their rate."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.ros
ROOT = Path(__file__).resolve().parents[2]


def demo(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, '-m', 'dysl_vla_ros.cli.main', 'demo', '--headless', *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options,
    )  # fmt: skip


def finished(process, timeout):
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output
    assert 'Traceback' not in output
    return output


@pytest.mark.timeout(150)
def test_the_bundled_policy_moves_the_arm_at_the_command_rate(tmp_path):
    path = tmp_path / 'out.json'
    finished(demo('--episodes', '3', '--seconds', '90', '--json', str(path)), 110)
    found = json.loads(path.read_text())
    assert found['episodes'] == found['successes'] >= 2  # one after the other, by itself
    assert found['command_rate_hz_mean'] >= 20  # the promise to the arm, also on a busy machine
    assert found['passes'] > 10
    assert found['actions_played_hz'] > 5
    assert 0 <= found['skip_ratio'] <= 1 and found['layers_total'] >= 20
    assert found['received_rate_hz_mean'] == pytest.approx(found['command_rate_hz_mean'], rel=0.2)


@pytest.mark.timeout(120)
def test_ctrl_c_ends_the_demo_and_its_nodes_without_a_traceback():
    process = demo('--engine', 'fake', start_new_session=True)
    time.sleep(6)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert 'Summary' in finished(process, 60)
    left = subprocess.run(
        ['pgrep', '-f', f'ros.(vla_node|sim_arm).*{os.getpid()}'], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert left.stdout == ''


@pytest.mark.timeout(120)
def test_a_node_that_cannot_start_ends_the_demo_with_its_reason(tmp_path):
    process = demo('--engine', str(tmp_path), '--seconds', '60')
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert 'vla_node ended with code 1' in output and 'manifest.json' in output
