"""The relay's own place in the graph."""

from __future__ import annotations

import threading
import time

import pytest
from conftest import DOMAIN

pytestmark = pytest.mark.ros


@pytest.fixture
def relay(monkeypatch):
    from dysl_vla_ros.ros.chaos.recording import Recording
    from dysl_vla_ros.ros.chaos.relay import Relay

    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN))  # the relay sets it too: undone with this
    with Relay({'ROS_DOMAIN_ID': str(DOMAIN)}, Recording()) as made:
        yield made


def test_what_a_fault_takes_out_of_the_graph_goes_in_the_thread_that_waits_on_it(relay):
    gone = []
    for kind in ('subscription', 'publisher'):
        name = f'destroy_{kind}'
        destroy = getattr(relay.node, name)
        setattr(relay.node, name, lambda entity, destroy=destroy: (
            gone.append(threading.current_thread().name), destroy(entity))[1])  # fmt: skip
    relay.intrude(True)
    relay.intrude(False)
    relay.listen(False)
    relay.listen(True)
    assert gone == ['relay', 'relay']
    assert relay.node.count_subscribers('/joint_trajectory') == 1


def test_a_callback_that_fails_is_told_and_the_relay_goes_on(relay, caplog):
    def fails():
        raise ValueError('an odd message')

    relay.node.create_timer(0.01, fails)
    until = time.monotonic() + 10
    while caplog.text.count('an odd message') < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert 'a callback of the relay failed' in caplog.text
    assert caplog.text.count('an odd message') >= 2
