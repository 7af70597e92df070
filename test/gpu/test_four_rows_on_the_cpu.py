"""What is measured on a GPU before and after, tiny and on the CPU, with Inductor itself."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip('torch', reason='needs torch (make test-all)')
pytest.importorskip('onnxscript', reason='needs onnxscript (make test-all)')
# Ten pieces are exported and compiled: minutes, and on a busy machine ten times as long.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

import four_rows
from deferred_stream import DeferredStream
from test_measurements_on_the_cpu import CONFIG, LAYOUT


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    torch.set_num_threads(1)
    return four_rows.measure(
        CONFIG, LAYOUT, tmp_path_factory.mktemp('rows'), DeferredStream, 2, 4, half=False,
        warm_up=0,
    )  # fmt: skip


def test_the_compiled_engine_computes_what_the_modules_compute(found):
    assert max(found['relative_errors'].values()) < 1e-3, found['relative_errors']


def test_both_engines_are_measured_alike(found):
    assert set(found['before']) == set(found['after']) and len(found['after']) == 5
    assert found['same_bits'] is True and found['reports']['before']['same_bits'] is True
    assert json.dumps(found)
