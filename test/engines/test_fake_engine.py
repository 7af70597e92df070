from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.engines.fake.bundle import Sweep, fake_manifest
from dysl_vla_ros.engines.fake.engine import FakeEngine
from dysl_vla_ros.errors import EngineError

LAYOUT = LayerLayout(4, (0, 3))


def test_a_poisoned_buffer_shows_when_an_old_state_is_used():
    engine = FakeEngine(LAYOUT, poison=True)
    old = engine.encode({})
    engine.run_layer(0, old)
    assert np.isnan(engine.decode(old)).all()


def test_what_was_kept_survives_the_poison():
    engine = FakeEngine(LAYOUT, actions=lambda _: np.ones((8, 7)), poison=True)
    state = engine.encode({})
    kept = engine.keep(state)
    for layer in range(3):
        state = engine.run_layer(layer, state)
    np.testing.assert_array_equal(engine.decode(engine.restore(kept)), np.ones((8, 7)))


def test_actions_of_another_shape_are_refused():
    with pytest.raises(EngineError, match=r'\(3, 7\): expected \(8, 7\)'):
        FakeEngine(LAYOUT, actions=lambda _: np.zeros((3, 7))).encode({})


def sweep_from(sweep, angle):
    joints = np.zeros((1, 7), np.float32)
    joints[0, 0] = angle
    joints[0, -1] = 1.0
    return sweep({'proprioception': joints})


def test_the_sweep_moves_sideways_only_turns_round_and_stays_near_home():
    action = fake_manifest().action
    sweep = Sweep(action)
    angle, seen = 0.4, []
    for _ in range(60):
        chunk = sweep_from(sweep, angle)
        assert not chunk[:, [0, 2, 3, 4, 5]].any() and (chunk[:, 6] == 1.0).all()
        assert np.abs(chunk[:, 1]).max() <= 1.0
        angle += chunk[:4, 1].sum() * action.normalisation.high[1] / 0.5
        seen.append(angle - 0.4)
    assert max(seen) > 0.1 and min(seen) < -0.1
    assert max(np.abs(seen)) < 0.2


def test_a_blank_observation_does_not_become_the_home_of_the_sweep():
    sweep = Sweep(fake_manifest().action)
    assert not sweep({'proprioception': np.zeros((1, 7), np.float32)})[:, :6].any()
    assert sweep_from(sweep, 0.4)[0, 1] > 0
