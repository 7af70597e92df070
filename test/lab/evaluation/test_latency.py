"""The bench on an engine whose parts take known times: every figure can be computed by hand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.engines.fake.engine import FakeEngine
from dysl_vla_ros.lab.evaluation.latency import (
    Case,
    bench_engine,
    ceiling,
    layers_run,
    plan_for_layers,
    quantiles,
    same_bits,
    time_together,
)

LAYOUT = LayerLayout(10, (0, 5, 9))
ENCODE, LAYER, BRIDGE, GATE, DECODE, RESTORE = 20e-3, 10e-3, 2e-3, 0.5e-3, 5e-3, 1e-3


class TimedEngine(FakeEngine):
    """Work is queued, as on a device, and done when somebody waits; then it takes its time."""

    def __init__(self, layout):
        super().__init__(layout)
        self.now = 0.0
        self._queued = 0.0

    def clock(self):
        return self.now

    def synchronize(self):
        self.now, self._queued = self.now + self._queued, 0.0

    def encode(self, inputs):
        self._queued += ENCODE
        return super().encode(inputs)

    def run_layer(self, layer, hidden):
        self._queued += LAYER
        return super().run_layer(layer, hidden)

    def bridge(self, layer, hidden):
        self._queued += BRIDGE
        return super().bridge(layer, hidden)

    def skip_score(self, layer, hidden):
        self._queued += GATE
        self.synchronize()
        return super().skip_score(layer, hidden)

    def restore(self, kept):
        self._queued += RESTORE
        return super().restore(kept)

    def decode(self, hidden):
        self._queued += DECODE
        self.synchronize()
        return super().decode(hidden)


@pytest.fixture(scope='module')
def report():
    engine = TimedEngine(LAYOUT)
    return bench_engine(engine, {}, runs=3, warm_up=1, clock=engine.clock)


def test_stages_are_timed_with_the_device_synchronised(report):
    assert {name: stage['p50'] for name, stage in report['stages'].items()} == pytest.approx(
        {'encode': 20.0, 'backbone': 100.0, 'decode': 5.0}
    )
    assert report['full_pass']['p50'] == pytest.approx(125.0)
    assert report['backbone_share'] == pytest.approx(0.8)
    assert report['layer_ms'] == pytest.approx(10.0)


def test_every_fixed_depth_is_measured_from_full_to_static_only(report):
    assert [row['layers_run'] for row in report['depths']] == list(range(10, 2, -1))
    static_only = report['depths'][-1]
    assert static_only['depth'] == pytest.approx(0.3)
    assert static_only['backbone']['p50'] == pytest.approx(3 * 10 + 2 * 2)
    assert static_only['speed_up'] == pytest.approx(100 / 34)
    assert static_only['gain_of_ideal'] == pytest.approx(0.66 / 0.7)
    assert static_only['end_to_end_speed_up'] == pytest.approx(125 / 59)
    assert static_only['end_to_end_ceiling'] == pytest.approx(1 / (1 - 0.8 * 0.7))
    assert report['depths'][0]['gain_of_ideal'] is None


def test_no_depth_gains_more_end_to_end_than_its_ceiling(report):
    for row in report['depths']:
        assert row['end_to_end_speed_up'] <= row['end_to_end_ceiling'] + 1e-12


def test_controllers_are_timed_alone_and_all_forced_closed(report):
    found = report['controllers']
    assert found['count'] == 7
    assert found['all_closed']['p50'] == pytest.approx(100 + 7 * 0.5)
    assert found['one_in_a_pass_ms'] == pytest.approx(0.5)
    assert found['one_read_ms']['p50'] == pytest.approx(0.5)


def test_the_chain_of_layers_is_compared_with_all_of_them_in_one_graph():
    engine = TimedEngine(LAYOUT)

    class Joined:
        def run(self):
            engine._queued += 80e-3

    found = bench_engine(engine, {}, runs=2, warm_up=0, one_graph=Joined(), clock=engine.clock)
    assert found['one_graph']['backbone']['p50'] == pytest.approx(80.0)
    assert found['one_graph']['chain_of_one_graph'] == pytest.approx(100 / 80)


def test_live_controllers_are_timed_at_the_depth_that_is_asked_for():
    """Both segments jump after two of their layers: asked there, and at every layer before."""
    engine = TimedEngine(LAYOUT)
    report = bench_engine(engine, {}, runs=2, warm_up=0, live_layers=7, clock=engine.clock)
    live = report['controllers']['live']
    assert live['layers_run'] == 7
    unasked = 7 * 10 + 2 * 2
    assert live['unasked_ms'] == pytest.approx(unasked)
    assert live['asked'] == 2 + 2 + 2
    assert live['backbone']['p50'] == pytest.approx(unasked + live['asked'] * 0.5)
    assert live['one_ms'] == pytest.approx(0.5)


def test_an_engine_whose_resumed_reruns_differ_is_told_from_one_whose_do_not(report):
    assert report['same_bits'] is True

    class Forgetful(TimedEngine):
        def decode(self, hidden):
            self.told = getattr(self, 'told', 0) + 1
            return super().decode(hidden) + self.told

    assert same_bits(TimedEngine(LAYOUT), {})
    assert not same_bits(Forgetful(LAYOUT), {})


def test_reruns_are_timed_resumed_and_from_scratch(report):
    first, second = report['reruns']
    assert (first['resume_layer'], second['resume_layer']) == (1, 6)
    assert first['resumed']['p50'] == pytest.approx(1 + 90)
    assert second['resumed']['p50'] == pytest.approx(1 + 40)
    assert second['from_scratch']['p50'] == pytest.approx(1 + 100)
    assert second['layers_share'] == pytest.approx(0.4)
    assert second['share_of_full'] == pytest.approx(0.41)


def test_the_report_is_json(report):
    assert json.loads(json.dumps(report)) == report


def test_a_policy_without_dynamic_layers_is_measured_too():
    engine = TimedEngine(LayerLayout(2, (0, 1)))
    report = bench_engine(engine, {}, runs=1, warm_up=0, clock=engine.clock)
    assert report['controllers'] is None and report['reruns'] == []
    assert [row['layers_run'] for row in report['depths']] == [2]


def test_cases_are_timed_in_turns_and_the_preparation_is_not_counted():
    now, order = [0.0], []

    def busy(name, seconds):
        order.append(name)
        now[0] += seconds

    cases = {
        'a': Case(lambda _: busy('a', 1.0)),
        'b': Case(lambda given: busy(given, 2.0), lambda: busy('prepare', 50.0) or 'b'),
    }
    found = time_together(cases, lambda: None, 2, 1, lambda: now[0])
    rounds = [order[index : index + 3] for index in (0, 3, 6)]
    assert all(sorted(one) == ['a', 'b', 'prepare'] for one in rounds)
    assert all(one[one.index('b') - 1] == 'prepare' for one in rounds)
    assert found['a'].p50 == 1e3 and found['b'].p99 == 2e3 and found['b'].runs == 2


def test_quantiles_are_those_of_the_samples():
    found = quantiles([index / 1000 for index in range(101)])
    assert (found.p50, found.p95, found.p99, found.runs) == pytest.approx((50, 95, 99, 101))


@pytest.mark.parametrize(
    ('share', 'depth', 'gain'), [(0.754, 0.5, 1.605), (1.0, 0.25, 4.0), (0.5, 1.0, 1.0)]
)
def test_the_ceiling_is_amdahls_law(share, depth, gain):
    assert ceiling(share, depth) == pytest.approx(gain, abs=1e-3)


@given(st.integers(1, 40), st.data())
def test_a_plan_runs_exactly_as_many_dynamic_layers_as_asked_for(total, data):
    between = data.draw(st.sets(st.integers(0, total - 1)))
    layout = LayerLayout(total, tuple(sorted(between | {0, total - 1})))
    dynamic = len(layout.dynamic_layers)
    count = data.draw(st.integers(0, dynamic))
    plan = plan_for_layers(layout, count)
    assert layers_run(layout, plan) == total - dynamic + count
    for (first, end), allow in zip(layout.segments, plan.allow, strict=True):
        assert first <= allow <= end
        if dynamic:
            assert abs((allow - first) - count * (end - first) / dynamic) <= 1
