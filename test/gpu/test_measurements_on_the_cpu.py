"""The measurements of the GPU test, tiny and on the CPU: they run, and judge rightly."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip('torch', reason='needs torch (make test-all)')
pytest.importorskip('transformers', reason='needs transformers (make test-all)')
pytestmark = pytest.mark.slow

import oft_measurements as oft
from deferred_stream import DeferredStream
from tiny_oft import import_timm

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.lab.model.llama import LlamaShape
from dysl_vla_ros.lab.model.openvla_oft import OftConfig
from dysl_vla_ros.lab.model.vision_tower import TowerShape

CONFIG = OftConfig(
    text=LlamaShape(layers=6, width=32, mlp_width=48, heads=2, vocabulary=64),
    towers=(
        TowerShape(16, 2, 2, 24, registers=4, class_token=True, layer_scale=True),
        TowerShape(24, 2, 2, 24),
    ),
    image_size=28, prompt_tokens=5, pad_id=63,
)  # fmt: skip
LAYOUT = LayerLayout(6, (0, 3, 5))
import_timm()  # a torchvision that does not fit torch would keep transformers from loading


@pytest.fixture(scope='module')
def parts():
    return oft.build_parts(CONFIG, LAYOUT, torch.device('cpu'), torch.float32)


@pytest.fixture(scope='module')
def report(parts):
    return oft.measure(parts, oft.observation(CONFIG), DeferredStream, runs=2, warm_up=1)


def test_our_layers_are_stock_llama_with_an_all_visible_mask(parts):
    assert oft.largest_difference_to_stock_llama(parts, oft.observation(CONFIG)) < 1e-4


def test_the_comparison_notices_a_wrong_layer(parts):
    weight = parts.network.layers[2].mlp['up_proj'].weight
    stock = oft.stock_llama(parts)
    hidden = oft.entering(parts, oft.observation(CONFIG))
    before = stock(hidden)
    with torch.no_grad():
        weight.mul_(1.5)
        after = stock(hidden)
        weight.div_(1.5)
    assert not torch.allclose(before, after)  # it runs on our weights, not on copies


def test_the_evidence_names_device_versions_and_command(report, tmp_path):
    path = oft.write_evidence(report, tmp_path / 'evidence')
    document = json.loads(path.read_text())
    assert path.name == 'openvla_oft_cuda_deferred_cpu_stream.json'
    assert document['command'] == 'make test-gpu'
    assert {'torch', 'cuda', 'transformers', 'python'} == set(document['versions'])
    assert document['tokens'] == CONFIG.tokens and document['device']
    assert set(document['backbones']) == {
        'layer by layer', 'forward', 'one monolithic graph', 'Hugging Face, eager',
    }  # fmt: skip


def test_a_resumed_rerun_equals_a_full_pass_bit_for_bit(report):
    assert report['same_bits']


def test_every_bar_is_judged(report):
    names = [bar['name'] for bar in report['bars']]
    assert len(names) == 4 + 2  # two segments
    assert all(isinstance(bar['holds'], bool) for bar in report['bars'])


def made(layer, monolithic=10.0, eager=12.0, gain=0.95, rerun=0.5):
    return {
        'backbones': {
            'layer by layer': {'p50': layer}, 'forward': {'p50': 10.0},
            'one monolithic graph': {'p50': monolithic}, 'Hugging Face, eager': {'p50': eager},
        },
        'static_layers': [0, 3, 5], 'layers_total': 6,
        'depths': [{'layers_run': n, 'gain_of_ideal': gain if n == 4 else 0.0}
                   for n in (6, 5, 4, 3)],
        'reruns': [{'resume_layer': 3, 'share_of_full': rerun, 'layers_share': 0.5}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ('report', 'fails'),
    [
        (made(10.4), []),
        (made(10.6), ['full depth, layer by layer, over one monolithic graph']),
        (made(10.0, monolithic=9.5), [
            'full depth, layer by layer, over one monolithic graph',
            'full depth, as the loop runs it, over one monolithic graph',
        ]),
        (made(10.0, eager=9.0), ['full depth over the eager Hugging Face decoder']),
        (made(10.0, gain=0.89), ['gain of skipping half the dynamic layers, of the ideal']),
        (made(10.0, rerun=0.56), ['resumed re-run from layer 3, of a full backbone']),
    ],
)  # fmt: skip
def test_a_figure_beyond_its_bar_fails(report, fails):
    assert [bar.name for bar in oft.bars(report) if not bar.holds] == fails
