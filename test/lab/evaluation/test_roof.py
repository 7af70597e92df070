"""Floors from graphs and from rates of the machine, and files of figures that say enough."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.lab.evaluation import graph_costs, roof
from dysl_vla_ros.lab.evaluation.evidence import SCHEMA, check_evidence
from dysl_vla_ros.lab.evaluation.roofline import Part

EVIDENCE = Path(__file__).resolve().parents[3] / 'doc' / 'evidence'


class OneGraph:
    """A bundle of one graph, for counting."""

    def __init__(self, path):
        self.path = path

    def graph(self, name):
        return self.path


def write(path, nodes, inputs, outputs, weights):
    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes, 'g', [value(*one) for one in inputs], [value(*one) for one in outputs],
        [numpy_helper.from_array(v, name) for name, v in weights.items()],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)]), path)
    return OneGraph(path)


def test_products_are_counted_as_by_hand(tmp_path):
    """A layer of 5 tokens: weights stored as halves, scores of two activations, a bias."""
    nodes = [
        helper.make_node('Cast', ['half'], ['w'], to=TensorProto.FLOAT),
        helper.make_node('MatMul', ['x', 'w'], ['q']),
        helper.make_node('Transpose', ['q'], ['k'], perm=[0, 2, 1]),
        helper.make_node('MatMul', ['q', 'k'], ['scores']),
        helper.make_node('Add', ['scores', 'scores'], ['y']),
    ]
    weights = {'half': np.ones((8, 4), np.float16)}
    bundle = write(tmp_path / 'a.onnx', nodes, [('x', [1, 5, 8])], [('y', [1, 5, 5])], weights)
    part = graph_costs.graph_part(bundle, 'a')
    assert part == Part(weights=8 * 4, products=5 * 8 * 4 + 5 * 5 * 4)


def test_convolutions_and_gemms_are_counted_as_by_hand(tmp_path):
    nodes = [
        helper.make_node('Conv', ['x', 'kernel'], ['c'], strides=[2, 2]),
        helper.make_node('Flatten', ['c'], ['flat'], axis=1),
        helper.make_node('Gemm', ['flat', 'w'], ['y'], transB=1),
    ]
    weights = {'kernel': np.ones((6, 3, 2, 2), np.float32), 'w': np.ones((7, 24), np.float32)}
    bundle = write(tmp_path / 'a.onnx', nodes, [('x', [1, 3, 4, 4])], [('y', [1, 7])], weights)
    part = graph_costs.graph_part(bundle, 'a')
    assert part.weights == 6 * 3 * 4 + 7 * 24
    assert part.products == (6 * 2 * 2) * (3 * 2 * 2) + 24 * 7


def test_every_stage_of_a_bundle_has_its_segments(tmp_path):
    bundle = open_bundle(write_tiny_bundle(tmp_path / 'tiny', layers=5))
    parts = graph_costs.stage_parts(bundle)
    assert {stage: len(some) for stage, some in parts.items()} == {
        'encode': 2, 'backbone': 5, 'decode': 1,
    }  # fmt: skip
    assert all(part.products > 0 for part in parts['backbone'])


def test_a_floor_is_the_longer_of_computing_and_reading():
    rates = roof.Roof('by hand', flops=1e6, bandwidth=1e6, number_bytes=4)
    computing, reading = Part(weights=10.0, products=5e3), Part(weights=1e4, products=10.0)
    found = roof.against(rates, {'backbone': (computing, reading)}, {'backbone': {'p50': 100.0}})
    assert found['backbone']['floor_ms'] == pytest.approx(10.0 + 40.0)
    assert found['backbone']['share'] == pytest.approx(0.5)


def test_rates_are_those_of_the_fastest_run():
    ticks = iter([t for k in range(20) for t in (10.0 * k, 10.0 * k + 2.0 + (k % 3))])
    found = roof.measure_cpu(lambda: next(ticks))
    assert found.flops == pytest.approx(2.0 * 1024**3 / 2.0)
    assert found.bandwidth == pytest.approx(2.0 * (64 << 20) / 2.0)


def sample(kind):
    if isinstance(kind, dict):
        return {name: sample(inner) for name, inner in kind.items()}
    kind = kind[0] if isinstance(kind, tuple) else kind
    return {str: 'x', int: 1, float: 1.5, bool: True, list: [], dict: {}}[kind]


def test_figures_that_say_enough_pass():
    document = sample(SCHEMA)
    check_evidence(document)
    check_evidence({**document, 'controllers': None, 'more': 1})
    document['stages']['encode']['p50'] = 2  # a whole number is a number
    check_evidence(document)


@pytest.mark.parametrize('field', sorted(SCHEMA))
def test_a_field_that_is_missing_is_named(field):
    document = sample(SCHEMA)
    del document[field]
    with pytest.raises(InputError, match=f'^{field}: missing'):
        check_evidence(document)


@pytest.mark.parametrize(
    ('change', 'words'),
    [({'tokens': True}, 'tokens: True'), ({'same_bits': 1}, 'same_bits: 1'),
     ({'stages': {}}, 'stages.encode: missing'), ({'hardware': None}, 'hardware: None')],
)  # fmt: skip
def test_a_field_of_another_kind_is_named(change, words):
    with pytest.raises(InputError, match=words):
        check_evidence({**sample(SCHEMA), **change})


def test_every_kept_file_of_a_bench_says_enough():
    for path in EVIDENCE.glob('*.json'):
        document = json.loads(path.read_text(encoding='utf-8'))
        if document.get('format') == 'dysl_vla_bench' or path.name.startswith(
            ('openvla_oft', 'four_rows')
        ):
            check_evidence(document)
