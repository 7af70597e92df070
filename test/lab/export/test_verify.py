"""Whether what is wrong is found, and named."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_checkpoint import example_inputs, make_checkpoint

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.errors import ConfigError, EngineError
from dysl_vla_ros.lab.export.parity import BUDGETS, Budget, difference
from dysl_vla_ros.lab.export.parts_engine import PartsEngine
from dysl_vla_ros.lab.export.small_parts import SmallParts
from dysl_vla_ros.lab.export.verify import skip_plans, verify


@pytest.fixture(scope='module')
def reference(fp32_bundle):
    return OnnxEngine(open_bundle(fp32_bundle))


@pytest.fixture(scope='module')
def halved(fp16_bundle):
    return OnnxEngine(open_bundle(fp16_bundle))


class Wrong:
    """An engine with one fault."""

    def __init__(self, engine, fault):
        self._engine, self._fault = engine, fault

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def _moved(self, state, by):
        values = self._engine.read(state)
        values[0, 3, 5] += by
        return self._engine.write(values)

    def run_layer(self, layer, hidden):
        after = self._engine.run_layer(layer, hidden)
        return self._moved(after, 2.0) if (self._fault, layer) == ('layer', 3) else after

    def bridge(self, layer, hidden):
        after = self._engine.bridge(layer, hidden)
        by = {'bridge': 2.0, 'not finite': math.nan}.get(self._fault)
        return after if by is None or layer != 4 else self._moved(after, by)

    def skip_score(self, layer, hidden):
        score = self._engine.skip_score(layer, hidden)
        return score + 0.1 * (self._fault == 'gate')

    def restore(self, kept):
        state = self._engine.restore(kept)
        return self._moved(state, 1e-5) if self._fault == 'resume' else state


class Opaque:
    """An engine whose states cannot be read."""

    def __init__(self, engine):
        for name in ('layout', 'device', 'encode', 'run_layer', 'skip_score', 'bridge', 'keep',
                     'restore', 'decode', 'synchronize', 'close'):  # fmt: skip
            setattr(self, name, getattr(engine, name))


def check(engine, reference, budget=BUDGETS['fp32'], observations=None):
    plans = skip_plans(reference.layout, 64)
    return verify(engine, reference, observations or [example_inputs()], plans, budget)


def outside(report):
    return {row.name for row in report.segments if not row.within}


def test_the_exported_graphs_hold_against_the_checkpoint_itself(reference, checkpoint):
    report = check(reference, PartsEngine(SmallParts(checkpoint)))
    assert report.within and report.resumed_equal
    assert len(report.passes) == 6
    names = {row.name for row in report.segments}
    assert names == {'encode', 'head', *(f'layer_{i:02d}' for i in range(6)), 'bridge_01',
                     'bridge_02', 'bridge_04'}  # fmt: skip
    gates = {row.name for row in report.segments if row.gate is not None}
    assert gates == {'layer_00', 'layer_01', 'layer_03'}
    assert report.decisions >= 2


def test_halves_are_within_their_budget_and_not_within_that_of_floats(halved, reference):
    report = check(halved, reference, BUDGETS['fp16'])
    assert report.within and report.resumed_equal
    strict = Budget(cosine=1.0, relative=1e-6, actions=1e-6, gate=1e-6)
    assert not check(halved, reference, strict).within


@pytest.mark.parametrize(
    ('fault', 'segments'),
    [
        ('layer', {'layer_03'}),
        ('bridge', {'bridge_04'}),
        ('gate', {'layer_00', 'layer_01', 'layer_03'}),
        ('not finite', {'bridge_04'}),
        ('resume', set()),
    ],
)
def test_one_fault_shows_in_its_own_row(reference, fp32_bundle, fault, segments):
    engine = Wrong(OnnxEngine(open_bundle(fp32_bundle)), fault)
    if fault == 'layer':  # the moved state has lost its gate, which the loop would ask for
        engine.skip_score = lambda layer, hidden: reference._gates[layer, 0]
    report = check(engine, reference)
    assert outside(report) == segments
    assert not report.within
    assert report.resumed_equal is (fault not in ('resume',))


def test_a_fault_in_an_adapter_shows_only_in_passes_that_use_it(reference, fp32_bundle):
    report = check(Wrong(OnnxEngine(open_bundle(fp32_bundle)), 'bridge'), reference)
    assert {row.allow[1] for row in report.passes if not row.within} == {4}
    assert all(row.within for row in report.passes if row.allow[1] == 5)


def test_an_engine_whose_states_cannot_be_read_is_compared_in_whole_passes(halved, reference):
    report = check(Opaque(halved), reference, BUDGETS['fp16'])
    assert report.segments == () and len(report.passes) == 6 and report.within


def test_engines_of_different_models_are_refused(reference):
    other = PartsEngine(SmallParts(make_checkpoint(3, (0, 2))))
    with pytest.raises(EngineError, match='both must come from one checkpoint'):
        check(reference, other)
    with pytest.raises(ConfigError, match='observations = 0'):
        verify(reference, reference, [], skip_plans(reference.layout, 3), BUDGETS['fp32'])


def test_few_patterns_are_all_tried_and_many_are_sampled():
    few = LayerLayout(6, (0, 3, 5))
    assert len({plan.allow for plan in skip_plans(few, 64)}) == 6
    many = LayerLayout(32, (0, 6, 12, 18, 25, 31))
    plans = skip_plans(many, 40, seed=1)
    assert len({plan.allow for plan in plans}) == 40
    assert plans[0] == many.full_plan().__class__(many.full_plan().allow, 'open')
    assert plans[1].allow == many.open_plan().allow
    for plan in plans:
        assert all(a <= p <= b for (a, b), p in zip(many.segments, plan.allow, strict=True))
    assert plans == skip_plans(many, 40, seed=1) != skip_plans(many, 40, seed=2)
    with pytest.raises(ConfigError, match='at least 3'):
        skip_plans(few, 2)


def test_the_difference_by_hand():
    cosine, largest, relative = difference(np.array([3.0, 4.0]), np.array([4.0, 3.0]))
    assert (cosine, largest, relative) == pytest.approx((24 / 25, 1.0, 0.25))
    assert difference(np.zeros(3), np.zeros(3)) == (1.0, 0.0, 0.0)
    assert difference(np.ones(3), np.zeros(3)) == (0.0, 1.0, math.inf)
