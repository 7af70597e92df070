"""OpenVLA-OFT at full size with random weights on an NVIDIA GPU; writes an evidence file.

``make test-gpu`` writes the figures into doc/evidence, or into the folder that the
environment variable DYSL_EVIDENCE names. Speeds are compared within one run, on one device.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip('torch', reason='needs torch')
pytestmark = pytest.mark.gpu

import oft_measurements as oft
from gpu_card import tell

from dysl_vla_ros.engines.cuda.stream import CudaStream
from dysl_vla_ros.lab.model.openvla_oft import OftConfig

EVIDENCE = Path(__file__).resolve().parents[2] / 'doc' / 'evidence'
NEEDED_GB = 20
"""15.5 GB of weights, graphs, kept states and workspaces."""
RUNS = 100
STOCK = pytest.mark.skipif(
    not oft.HAVE_STOCK, reason='transformers is not installed: no stock Llama to compare with'
)


@pytest.fixture(scope='module')
def device():
    if not torch.cuda.is_available():
        pytest.skip(f'needs an NVIDIA GPU and a CUDA build of torch; this is {torch.__version__}')
    free = torch.cuda.mem_get_info()[0] / 1e9
    if free < NEEDED_GB:
        pytest.skip(f'needs {NEEDED_GB} GB of free GPU memory: {free:.1f} GB are free')
    return torch.device('cuda')


@pytest.fixture(scope='module')
def parts(device):
    return oft.build_parts(OftConfig(), oft.FULL_SIZE_LAYOUT, device, torch.float16)


@pytest.fixture(scope='module')
def report(parts):
    found = oft.measure(parts, oft.observation(OftConfig()), CudaStream, RUNS)
    path = oft.write_evidence(found, Path(os.environ.get('DYSL_EVIDENCE', EVIDENCE)))
    tell('evidence', str(path))
    for name, stage in found['stages'].items():
        tell(f'modules of torch, {name} [ms]', stage['p50'])
    return found


def held(report, words):
    found = [bar for bar in report['bars'] if words in bar['name']]
    assert found
    return [bar for bar in found if not bar['holds']]


def test_it_is_the_sequence_of_the_published_model():
    assert OftConfig().tokens == 605


@STOCK
def test_it_computes_what_stock_llama_computes(parts):
    assert oft.largest_difference_to_stock_llama(parts, oft.observation(OftConfig())) < 0.05


def test_full_depth_is_no_slower_than_one_monolithic_graph(report):
    assert held(report, 'monolithic') == []


@STOCK
def test_full_depth_is_faster_than_the_eager_hugging_face_decoder(report):
    assert held(report, 'Hugging Face') == []


def test_skipping_half_of_the_dynamic_layers_gains_nine_tenths_of_the_ideal(report):
    assert held(report, 'gain of skipping half') == []


def test_a_resumed_rerun_costs_its_share_of_the_layers(report):
    assert held(report, 'resumed re-run') == []


def test_a_resumed_rerun_equals_a_full_pass_bit_for_bit(report):
    assert report['same_bits']


def test_the_cost_of_one_gate_read_is_stated(report):
    found = report['controllers']
    print(f'one gate: {1e3 * found["one_in_a_pass_ms"]:.1f} us in a pass, '
          f'{1e3 * found["one_read_ms"]["p50"]:.1f} us on an idle device')  # fmt: skip
    assert found['one_read_ms']['p50'] > 0
