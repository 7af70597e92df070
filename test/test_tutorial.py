"""The commands of the tutorial, one after the other, as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'doc' / 'tutorial.md').read_text(encoding='utf-8')
LINES = [line for block in re.findall(r'^```\n(.*?)^```', PAGE, re.DOTALL | re.MULTILINE)
         for line in block.splitlines()]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_tutorial_ends_with_a_policy_that_runs(tmp_path):
    for library in ('torch', 'rosbags', 'mujoco', 'rclpy'):
        pytest.importorskip(library)
    assert [line.split()[1] for line in LINES] == [
        'collect',
        'import',
        'import',
        'train',
        'distill',
        'calibrate',
        'export',
        'verify',
        'headroom',
        'demo',
    ]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    for line in LINES:
        words = [sys.executable, '-m', 'dysl_vla_ros.cli.main', *shlex.split(line)[1:]]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f'{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}'
    assert (tmp_path / 'runs/bundle/manifest.json').is_file()
