"""The layers of a bundle, joined, compute what the chain computes; else they are not compared."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.lab.evaluation import one_graph
from dysl_vla_ros.lab.evaluation.one_graph import OneGraph


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    folder = tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', layers=6)
    return open_bundle(folder)


@pytest.fixture
def both(bundle):
    """The joined graph, and the chain's state before the first layer and after the last."""
    engine = OnnxEngine(bundle)
    shape = (1, bundle.manifest.hidden_tokens, bundle.manifest.hidden_width)
    entering = np.random.default_rng(3).normal(0, 1, shape).astype(np.float32)
    hidden, _ = forward(engine, engine.write(entering), engine.layout.full_plan())
    return OneGraph(bundle, 1), entering, engine.read(hidden)


def test_the_joined_layers_compute_what_the_chain_computes(both):
    joined, entering, wanted = both
    joined.begin(entering)
    joined.check(wanted)
    np.testing.assert_allclose(joined.run(), wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(wanted - entering).max() > 1e-3, 'the layers change something'


def test_layers_that_compute_something_else_are_not_compared(both):
    joined, entering, wanted = both
    joined.begin(entering * 1.5)
    with pytest.raises(EngineError, match='differ from the chain by'):
        joined.check(wanted)


def test_layers_too_large_for_one_file_are_not_joined(bundle, monkeypatch):
    monkeypatch.setattr(one_graph, '_LARGEST', 1000)
    with pytest.raises(EngineError, match='do not fit into one ONNX file'):
        OneGraph(bundle, 1)
