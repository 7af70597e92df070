"""Two runs on one machine never share a ROS domain."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from dysl_vla_ros.demo import domain as module
from dysl_vla_ros.demo.domain import DOMAINS, ReservedDomain, is_quiet, is_reserved


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


@pytest.mark.parametrize('port', [7400, 7410, 7412, 7428])
def test_a_domain_in_which_somebody_on_this_machine_listens_is_not_taken(
    tmp_path, monkeypatch, port
):
    monkeypatch.setattr(module.tempfile, 'gettempdir', lambda: str(tmp_path))
    busy, free = [number for number in DOMAINS if is_quiet(number)][-2:]
    monkeypatch.setattr(module, 'DOMAINS', (busy, free))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as driver:
        driver.bind(('', port + 250 * busy))
        assert not is_quiet(busy)
        assert ReservedDomain().number == free
    assert is_quiet(busy)


def test_what_is_reserved_is_known_to_be_until_it_is_let_go():
    mine = ReservedDomain()
    number = mine.number
    assert is_reserved(number)
    mine._file.close()
    assert not is_reserved(number)
