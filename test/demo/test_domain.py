"""Two runs on one machine never share a ROS domain."""

from __future__ import annotations

import subprocess
import sys

from dysl_vla_ros.demo.domain import DOMAINS, ReservedDomain


def test_two_reservations_are_two_domains_also_between_processes():
    mine = ReservedDomain()
    child = subprocess.run(
        [sys.executable, '-c',
         'from dysl_vla_ros.demo.domain import ReservedDomain; print(ReservedDomain().number)'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    other = int(child.stdout)
    assert {mine.number, other, ReservedDomain().number} <= set(DOMAINS)
    assert len({mine.number, other}) == 2
