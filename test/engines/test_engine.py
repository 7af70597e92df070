from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dysl_vla_ros.data_types import Jump, LayerLayout, SkipPlan
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.engines.fake.engine import FakeEngine
from dysl_vla_ros.errors import EngineError

LAYOUT = LayerLayout(9, (0, 4, 5, 8))
ALL_OPEN = dict.fromkeys(LAYOUT.dynamic_layers, 1.0)


@st.composite
def layouts(draw):
    total = draw(st.integers(1, 16))
    between = draw(st.sets(st.integers(0, total - 1)))
    return LayerLayout(total, tuple(sorted(between | {0, total - 1})))


@st.composite
def passes(draw):
    """A layout, a legal plan, and gates."""
    layout = draw(layouts())
    allow = tuple(draw(st.integers(first, end)) for first, end in layout.segments)
    controllers = draw(st.sampled_from(['live', 'closed', 'open']))
    gates = {layer: draw(st.floats(0, 1)) for layer in layout.dynamic_layers}
    return layout, SkipPlan(allow, controllers), gates


def run(engine, plan, **arguments):
    hidden, trace = forward(engine, engine.encode({}), plan, **arguments)
    return engine.decode(hidden), trace


def test_segments_lie_between_static_layers():
    assert LAYOUT.segments == ((1, 4), (5, 5), (6, 8))
    assert LAYOUT.dynamic_layers == (1, 2, 3, 6, 7)


@given(layouts())
def test_every_layer_is_static_or_in_exactly_one_segment(layout):
    dynamic = [layer for first, end in layout.segments for layer in range(first, end)]
    assert sorted([*layout.static_layers, *dynamic]) == list(range(layout.layers_total))


@pytest.mark.parametrize(
    ('total', 'static', 'words'),
    [
        (0, (), 'layers_total = 0: expected at least 1'),
        (5, (0, 4, 2), 'ascending'),
        (5, (0, 2, 2, 4), 'no repeats'),
        (5, (0, 2), 'end with 4'),
        (5, (1, 4), 'begin with 0'),
        (5, (), 'begin with 0'),
    ],
)
def test_a_wrong_layout_is_refused_with_the_value(total, static, words):
    with pytest.raises(EngineError) as caught:
        LayerLayout(total, static)
    assert words in str(caught.value)


@given(layouts())
def test_a_full_pass_runs_every_layer_once_in_order_and_asks_no_controller(layout):
    engine = FakeEngine(layout, gates=dict.fromkeys(layout.dynamic_layers, 1.0))
    _, trace = run(engine, layout.full_plan())
    assert trace.layers_run == tuple(range(layout.layers_total))
    assert engine.layers_run == list(trace.layers_run)
    assert engine.called('score') == [] and engine.called('bridge') == []
    assert trace.skip_ratio == 0 and trace.jumps == () and trace.resume_layer is None


@given(layouts())
def test_an_allow_point_at_the_segment_end_is_a_full_pass_bit_for_bit(layout):
    open_gates = FakeEngine(layout, gates=dict.fromkeys(layout.dynamic_layers, 1.0))
    run(open_gates, SkipPlan(tuple(end for _, end in layout.segments)))
    chain = FakeEngine(layout)
    hidden = chain.encode({})
    for layer in range(layout.layers_total):
        hidden = chain.run_layer(layer, hidden)
    chain.decode(hidden)
    assert open_gates.fingerprint == chain.fingerprint
    assert open_gates.called('score') == []


@given(layouts())
def test_with_all_controllers_open_only_static_layers_and_one_adapter_per_segment_run(layout):
    engine = FakeEngine(layout, gates=dict.fromkeys(layout.dynamic_layers, 1.0))
    _, trace = run(engine, layout.open_plan())
    filled = [(first, end) for first, end in layout.segments if first < end]
    assert engine.layers_run == list(layout.static_layers)
    assert engine.called('bridge') == engine.called('score') == [first for first, _ in filled]
    assert trace.jumps == tuple(Jump(first, end) for first, end in filled)


@given(passes())
def test_a_segment_has_at_most_one_jump_and_it_ends_at_the_next_static_layer(case):
    layout, plan, gates = case
    engine = FakeEngine(layout, gates=gates)
    _, trace = run(engine, plan)
    end_of = {layer: end for first, end in layout.segments for layer in range(first, end)}
    ends = [jump.target for jump in trace.jumps]
    assert len(set(ends)) == len(ends)
    for jump in trace.jumps:
        assert end_of[jump.layer] == jump.target
    skipped = {layer for jump in trace.jumps for layer in range(jump.layer, jump.target)}
    assert set(trace.layers_run) == set(range(layout.layers_total)) - skipped
    assert engine.layers_run == list(trace.layers_run)


@given(passes())
def test_controllers_before_the_allow_point_are_never_asked(case):
    layout, plan, gates = case
    engine = FakeEngine(layout, gates=gates)
    _, trace = run(engine, plan)
    allow_of = {
        layer: allow
        for (first, end), allow in zip(layout.segments, plan.allow, strict=True)
        for layer in range(first, end)
    }
    assert all(layer >= allow_of[layer] for layer in engine.called('score'))
    assert list(trace.scores) == engine.called('score')


@given(passes())
def test_a_resumed_full_pass_equals_one_from_the_start_though_buffers_are_poisoned(case):
    layout, plan, gates = case
    actions = np.arange(56.0).reshape(8, 7)
    engine = FakeEngine(
        layout, actions=lambda _: actions, gates=gates, bridge_error=0.25, poison=True
    )
    full, _ = run(engine, layout.full_plan())
    expected = engine.fingerprint
    skipped, trace = run(engine, plan)
    if trace.resume_layer is None:
        np.testing.assert_array_equal(skipped, full)
        return
    assert trace.resume_layer == trace.jumps[0].layer
    assert not np.array_equal(skipped, full)
    encoded = engine.called('encode'), engine.calls.count(('encode',))
    hidden, again = forward(
        engine, engine.restore(trace.resume_state), layout.full_plan(), trace.resume_layer
    )
    np.testing.assert_array_equal(engine.decode(hidden), full)
    assert engine.fingerprint == expected
    assert again.layers_run == tuple(range(trace.resume_layer, layout.layers_total))
    assert (engine.called('encode'), engine.calls.count(('encode',))) == encoded


def test_only_the_first_jump_is_kept():
    engine = FakeEngine(LAYOUT, gates=ALL_OPEN)
    _, trace = run(engine, LAYOUT.open_plan())
    assert len(trace.jumps) == 2
    assert engine.calls.count(('keep',)) == 1


def test_closed_controllers_are_asked_but_never_obeyed():
    engine = FakeEngine(LAYOUT, gates=ALL_OPEN)
    _, trace = run(engine, replace(LAYOUT.open_plan(), controllers='closed'))
    assert engine.called('score') == list(LAYOUT.dynamic_layers)
    assert trace.jumps == () and trace.layers_run == tuple(range(9))


def test_open_controllers_jump_at_the_allow_point_without_being_asked():
    engine = FakeEngine(LAYOUT)
    _, trace = run(engine, SkipPlan((3, 5, 6), controllers='open'))
    assert engine.called('score') == []
    assert trace.jumps == (Jump(3, 4), Jump(6, 8))


def test_a_score_at_the_threshold_does_not_open():
    engine = FakeEngine(LAYOUT, gates={1: 0.5, 2: 0.5000001})
    _, trace = run(engine, LAYOUT.open_plan())
    assert trace.jumps == (Jump(2, 4),)
    _, strict = run(engine, replace(LAYOUT.open_plan(), threshold=0.9))
    assert strict.jumps == ()


def test_a_score_that_is_not_a_number_never_opens():
    engine = FakeEngine(LAYOUT, gates=dict.fromkeys(LAYOUT.dynamic_layers, float('nan')))
    _, trace = run(engine, LAYOUT.open_plan())
    assert trace.jumps == ()


@pytest.mark.parametrize(
    ('allow', 'words'),
    [
        ((1, 5), 'plan.allow has 2 points: expected 3, one per segment'),
        ((0, 5, 6), 'allow point 0: expected within [1, 4]'),
        ((1, 5, 9), 'allow point 9: expected within [6, 8]'),
    ],
)
def test_a_plan_that_does_not_fit_the_layout_is_refused(allow, words):
    with pytest.raises(EngineError) as caught:
        run(FakeEngine(LAYOUT), SkipPlan(allow))
    assert words in str(caught.value)


@given(layouts().filter(lambda layout: layout.exit_layers), st.data())
def test_a_fixed_exit_runs_the_layers_before_it_and_the_last_and_nothing_else(layout, data):
    exit_layer = data.draw(st.sampled_from(layout.exit_layers))
    engine = FakeEngine(layout, gates=dict.fromkeys(layout.dynamic_layers, 1.0), poison=True)
    actions, trace = run(engine, layout.exit_plan(exit_layer))
    last = layout.layers_total - 1
    assert engine.layers_run == [*range(exit_layer), last] == list(trace.layers_run)
    assert {call[0] for call in engine.calls} == {'encode', 'layer', 'decode'}
    assert trace.jumps == (Jump(exit_layer, last),) and trace.resume_layer is None
    assert np.isfinite(actions).all()


def test_a_fixed_exit_can_begin_where_a_state_was_kept():
    whole, part = FakeEngine(LAYOUT), FakeEngine(LAYOUT)
    run(whole, LAYOUT.exit_plan(6))
    hidden = part.encode({})
    for layer in range(4):
        hidden = part.run_layer(layer, hidden)
    hidden, trace = forward(part, hidden, LAYOUT.exit_plan(6), start_layer=4)
    part.decode(hidden)
    assert trace.layers_run == (4, 5, 8) and part.fingerprint == whole.fingerprint


@pytest.mark.parametrize('exit_layer', [-1, 0, 8, 9])
def test_an_exit_that_no_layer_lies_behind_or_before_is_refused(exit_layer):
    with pytest.raises(EngineError, match=f'exit layer {exit_layer}: expected within .1, 7. of 9'):
        run(FakeEngine(LAYOUT), LAYOUT.exit_plan(exit_layer))


def test_a_pass_cannot_begin_behind_its_exit():
    with pytest.raises(EngineError, match='start layer 5: expected at most exit layer 4'):
        run(FakeEngine(LAYOUT), LAYOUT.exit_plan(4), start_layer=5)
