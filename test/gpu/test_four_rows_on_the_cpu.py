"""What is measured on a GPU before and after, tiny and on the CPU, with Inductor itself."""

from __future__ import annotations

import importlib.util
import json

import pytest

torch = pytest.importorskip('torch', reason='needs torch (make test-all)')
pytest.importorskip('onnxscript', reason='needs onnxscript (make test-all)')
# Ten pieces are exported and compiled: minutes, and on a busy machine ten times as long.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

import four_rows
import oft_measurements as oft
from deferred_stream import DeferredStream
from test_measurements_on_the_cpu import CONFIG, LAYOUT

from dysl_vla_ros.engines.cuda.bundle import BundleParts
from dysl_vla_ros.lab.evaluation.evidence import check_evidence
from dysl_vla_ros.lab.evaluation.roof import Roof


@pytest.fixture(scope='module')
def kept():
    return []


@pytest.fixture(scope='module')
def found(tmp_path_factory, kept):
    torch.set_num_threads(1)
    return four_rows.measure(
        CONFIG, LAYOUT, tmp_path_factory.mktemp('rows'), DeferredStream, 2, 4, half=False,
        warm_up=0, keep=lambda known: kept.append(dict(known)),
    )  # fmt: skip


def test_the_compiled_engine_is_within_the_budget_of_dysl_verify(found):
    assert [row for row in found['parity'].values() if not row['within']] == []
    assert set(found['parity']) == {'vision and embed', 'layer', 'adapter', 'head'}
    assert found['parity']['layer']['gate'] is not None
    if importlib.util.find_spec('onnxruntime'):
        assert found['parity_against'].startswith('ONNX Runtime')


def test_both_engines_are_measured_alike(found):
    assert set(found['before']) == set(found['after']) and len(found['after']) == 5
    assert found['compiled_by'] == four_rows.AHEAD
    assert found['reports']['before']['same_bits'] is True
    assert found['reports']['after']['same_bits'] is True
    assert json.dumps(found)


def test_the_evidence_says_enough_at_every_step(found, kept):
    roof = Roof('one product', 1e12, 1e11, 2)
    assert [sorted(set(known) & {'before', 'after', 'parity'}) for known in kept] == [
        ['before'], ['after', 'before']
    ]  # fmt: skip
    for known in (*kept, found):
        document = four_rows.document(known, CONFIG, roof, {}, {})
        check_evidence(document)
        assert document['finished'] is ('parity' in known)
    assert document['stages'] == found['reports']['after']['stages']
    assert document['same_bits'] is True and document['tokens'] == CONFIG.tokens


def test_the_first_start_is_split_into_what_it_consists_of(found):
    opening = found['opening']
    parts = ('hash_s', 'pieces_s', 'load_s', 'capture_s', 'first_instruction_s', 'first_pass_s')
    assert sum(opening[name] for name in parts) == pytest.approx(opening['total_s'])
    assert min(opening[name] for name in parts) > 0


def test_where_no_library_can_be_made_halves_are_compiled_in_memory_and_labelled(
    tmp_path, monkeypatch
):
    """The precision of the GPU; and as on a machine without a CUDA toolkit."""

    def fail(*_):
        raise OSError('CUDA_HOME environment variable is not set.')

    monkeypatch.setattr(four_rows, 'compile_run', fail)
    inputs = oft.observation(CONFIG)
    inputs['tokens'][0, -2:] = CONFIG.pad_id
    source, modules = four_rows.export(CONFIG, LAYOUT, tmp_path, half=True)
    stream = DeferredStream()
    compiled, seconds, words = four_rows.compile_all(source, stream.device, inputs, tmp_path)
    assert words.startswith('Inductor in memory') and 'CUDA_HOME' in words and seconds[1] == 0.0
    assert set(compiled) == set(BundleParts(source, stream.device).runs())
    engine, _ = four_rows.open_after(source, inputs, stream, compiled, seconds[1])
    found = four_rows.parity(engine, modules, inputs, CONFIG, tmp_path, half=True)
    assert [row for row in found['parity'].values() if not row['within']] == []
