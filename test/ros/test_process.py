"""The loop of an executable: no callback ends it."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.ros


def test_a_callback_that_raises_is_logged_and_the_next_ones_run():
    from dysl_vla_ros.ros.process import _spin

    stop, errors, turns = threading.Event(), [], []

    def spin_once(timeout_sec):
        turns.append(timeout_sec)
        if len(turns) == 4:
            stop.set()
        raise ValueError('broken')

    node = SimpleNamespace(
        failed=False, context=SimpleNamespace(ok=lambda: True),
        get_logger=lambda: SimpleNamespace(error=errors.append),
    )  # fmt: skip
    _spin(node, SimpleNamespace(spin_once=spin_once), stop)
    assert len(turns) == len(errors) == 4
    assert all(text.startswith('a callback raised\nTraceback') for text in errors)


@pytest.mark.parametrize('end', ['failed', 'context'])
def test_a_node_that_failed_and_a_context_that_ended_end_it(end):
    from dysl_vla_ros.ros.process import _spin

    node = SimpleNamespace(failed=False, context=SimpleNamespace(alive=True), errors=[])
    node.context.ok = lambda: node.context.alive
    node.get_logger = lambda: SimpleNamespace(error=node.errors.append)

    def spin_once(timeout_sec):
        if end == 'failed':
            node.failed = True
        else:
            node.context.alive = False
            raise RuntimeError('the context is gone')

    _spin(node, SimpleNamespace(spin_once=spin_once), threading.Event())
    assert node.errors == []
