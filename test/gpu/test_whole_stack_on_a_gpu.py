"""The bundled policy as a whole on an NVIDIA GPU, within the budget of ``dysl verify``."""

from __future__ import annotations

import pytest

torch = pytest.importorskip('torch', reason='needs torch')
pytestmark = pytest.mark.gpu

from gpu_card import tell
from whole_stack import against_the_cpu

from dysl_vla_ros.engines.cuda.stream import CudaStream


def test_every_part_and_way_through_the_bundled_policy_is_within_the_budget():
    if not torch.cuda.is_available():
        pytest.skip(f'needs an NVIDIA GPU and a CUDA build of torch; this is {torch.__version__}')
    report, reference = against_the_cpu(CudaStream())
    tell(f'bundled policy against {reference}, actions', max(p.largest for p in report.passes))
    assert [row for row in (*report.segments, *report.passes) if not row.within] == []
    assert report.resumed_equal is True
