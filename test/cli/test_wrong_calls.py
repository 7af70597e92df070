"""Calls that nobody could mean end in one line, before anything large is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from wrong_calls import CALLS

from dysl_vla_ros.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """What each call said, in one process without the large libraries."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name('wrong_calls.py')], check=False,
        cwd=tmp_path_factory.mktemp('calls'), capture_output=True, text=True,
        env={**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip([call for call, _, _ in CALLS], json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(('call', 'said', 'code'), CALLS, ids=[call for call, _, _ in CALLS])
def test_a_wrong_call_is_one_line_that_says_what_is_right(call, said, code, made):
    found, out, err = made[call]
    assert said in err and len(err.splitlines()) == 1 and 'should not happen' not in err, err
    assert found == code and not out.strip()


def test_every_command_is_among_the_wrong_calls():
    assert {call.split(' ')[0] for call, _, _ in CALLS} >= set(COMMANDS)
    assert len(CALLS) >= 80
