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
from conftest import wait_for

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
    seeds = [outcome['seed'] for outcome in found['outcomes']]
    assert sorted(set(seeds)) == seeds and len(seeds) == found['episodes']
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
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        time.sleep(0.4)
    assert 'Summary' in finished(process, 60)
    left = subprocess.run(
        ['pgrep', '-f', f'ros.(vla_node|sim_arm).*{os.getpid()}'], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert left.stdout == ''


@pytest.mark.timeout(120)
def test_a_node_that_cannot_start_ends_the_demo_with_its_reason(tmp_path):
    (tmp_path / 'manifest.json').write_text('{')
    process = demo('--engine', str(tmp_path), '--seconds', '60')
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert 'vla_node ended with code 1' in output and 'manifest.json' in output


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_demo_without_a_single_pass_ends_with_the_reason_and_a_code(tmp_path):
    path = tmp_path / 'params.yaml'
    path.write_text('vla_node: {ros__parameters: {start_on_instruction: false}}', encoding='utf-8')
    process = demo('--engine', 'fake', '--seconds', '12', f'params_file:={path}')
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and 'Traceback' not in output
    assert 'the model did not run once: ready: ' in output and '~/start' in output


@pytest.mark.timeout(120)
def test_a_demo_that_is_killed_leaves_no_process_behind():
    process = demo('--engine', 'fake', '--domain-id', '98')
    children = wait_for(lambda: nodes_of(process.pid), 20, 'two nodes')
    time.sleep(3)
    process.kill()
    process.communicate(timeout=20)
    wait_for(lambda: not any(map(exists, children)), 20, 'the end of the nodes')


def nodes_of(parent):
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            if f'PPid:\t{parent}\n' in (folder / 'status').read_text():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found if len(found) >= 2 else []


def exists(process_id):
    try:
        return 'State:\tZ' not in Path(f'/proc/{process_id}/status').read_text()
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_demo_does_what_it_is_told_once_and_says_so():
    said = finished(demo('put', 'the', 'red', 'cube', 'into', 'the', 'bin'), 110)
    assert said.rstrip().endswith('put the red cube into the bin: done')


def test_the_demo_refuses_what_it_cannot_judge_before_anything_starts():
    process = demo('fetch a beer')
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.startswith("dysl demo: instruction = 'fetch a beer': expected a sentence such as")
