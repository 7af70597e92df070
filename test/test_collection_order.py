"""Two workers of a parallel run must name the same tests in the same order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SEEDS = ('0', '1', '2', '3')


@pytest.mark.slow
def test_the_order_of_tests_does_not_hang_on_the_order_of_a_set():
    """Each process hashes strings by a seed of its own; pytest-xdist then refuses to begin."""
    command = [sys.executable, '-m', 'pytest', '--collect-only', '-q', '-p', 'no:cacheprovider']
    running = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, 'DYSL_GRAPHS': '', 'PYTHONHASHSEED': seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in SEEDS
    ]
    orders = [process.communicate()[0].splitlines()[:-1] for process in running]
    assert len(orders[0]) > 1000
    for order in orders[1:]:
        assert order == orders[0]
