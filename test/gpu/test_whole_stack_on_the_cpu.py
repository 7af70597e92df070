"""What is compared on a GPU, on the CPU stream: it runs, and with onnx and torch alone."""

from __future__ import annotations

import sys

import pytest

torch = pytest.importorskip('torch', reason='needs torch (make test-all)')
pytestmark = pytest.mark.slow

from deferred_stream import DeferredStream
from whole_stack import PATTERNS, against_the_cpu


@pytest.mark.parametrize('runtime', [True, False])
def test_the_bundled_policy_is_within_the_budget(runtime, monkeypatch):
    torch.set_num_threads(1)
    if runtime:
        pytest.importorskip('onnxruntime', reason='needs onnxruntime')
    else:
        monkeypatch.setitem(sys.modules, 'dysl_vla_ros.engines.onnxruntime.engine', None)
    report, reference = against_the_cpu(DeferredStream())
    assert reference == ('ONNX Runtime' if runtime else 'the CPU stream')
    assert report.within and report.resumed_equal is True
    assert len(report.passes) == PATTERNS and len(report.segments) > 20
