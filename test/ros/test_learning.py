"""The node lets its policy learn a new instruction, unless a stop is latched."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dysl_vla_ros.core.run_state import LATCHED
from dysl_vla_ros.ros.active import Active


@pytest.mark.parametrize(
    ('state', 'instruction', 'taught'),
    [
        ('ready', 'go on', ['go on']),
        ('holding', 'go on', ['go on']),
        ('ready', '', []),
        *((state, 'go on', []) for state in LATCHED),
        (None, 'go on', []),
    ],
)
def test_an_instruction_is_taught_unless_a_stop_is_latched(state, instruction, taught):
    told = []
    session = SimpleNamespace(
        policy=SimpleNamespace(learn=told.append),
        inputs=SimpleNamespace(instruction=instruction),
        loop=None if state is None else SimpleNamespace(state=state),
    )
    active = object.__new__(Active)  # without its threads
    active._session = session
    active._learn()
    assert told == taught
    session.policy = SimpleNamespace()  # a policy server has nothing to learn here
    active._learn()
