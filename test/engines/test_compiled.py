"""What ``dysl build --backend cuda`` compiles, by Inductor itself, for the CPU as a stand-in."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch (make test-all)')
# Half a dozen pieces take a minute, and on a busy machine ten times as long.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

from deferred_stream import DeferredStream
from tiny_bundle import TOKENS, write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.data_types import SkipPlan
from dysl_vla_ros.engines.cuda import pieces
from dysl_vla_ros.engines.cuda.build import build_compiled
from dysl_vla_ros.engines.cuda.bundle import BundleParts, open_cuda_engine
from dysl_vla_ros.engines.cuda.compiled import load_compiled, read_compiled, target_of
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.engines.open_engine import choose_backend
from dysl_vla_ros.engines.tensorrt.plans import COMPILED_NAME, plans_root
from dysl_vla_ros.errors import ConfigError, EngineError

CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A bundle with its pieces, and the report of the build."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp('bundle') / 'tiny'
    write_tiny_bundle(folder, layers=6, width=16, cameras=(('image', 32, 32),))
    bundle = open_bundle(folder)
    return bundle, build_compiled(bundle, plans_root(bundle), CPU)


@pytest.fixture
def bundle(built, tmp_path):
    """A copy that a test may spoil."""
    return open_bundle(shutil.copytree(built[0].folder, tmp_path / 'copy'))


def pieces_of(bundle):
    (folder,) = (path.parent for path in plans_root(bundle).glob(f'*/{COMPILED_NAME}'))
    return folder


def inputs(seed=0):
    random = np.random.default_rng(seed)
    tokens = np.zeros((1, TOKENS), np.int64)
    tokens[0, :4] = random.integers(2, 20, 4)
    return {
        'image': random.standard_normal((1, 3, 32, 32)).astype(np.float32), 'tokens': tokens,
        'proprioception': random.standard_normal((1, 7)).astype(np.float32),
    }  # fmt: skip


def test_all_layers_share_one_compilation(built):
    bundle, report = built
    layers = [name for name in report.built if name.startswith('layer_')]
    assert layers == ['layer_00 and 5', next(n for n in layers if n != 'layer_00 and 5')]
    assert len(report.built) == 6 and report.kept == ()
    again = build_compiled(bundle, plans_root(bundle), CPU)
    assert again.built == () and len(again.kept) == 6


def test_compiled_pieces_give_what_onnx_runtime_gives(built, monkeypatch):
    bundle = built[0]
    monkeypatch.setattr(pieces, 'run_steps', None)  # nothing goes step by step any more
    engine, reference = open_cuda_engine(bundle, DeferredStream()), OnnxEngine(bundle)
    layout = bundle.manifest.layout
    points = [range(first, end + 1) for first, end in layout.segments]
    for seed, allow in enumerate(itertools.product(*points)):
        plan = SkipPlan(allow, 'open')
        found, _ = forward(engine, engine.encode(inputs(seed)), plan)
        wanted, _ = forward(reference, reference.encode(inputs(seed)), plan)
        np.testing.assert_allclose(engine.decode(found), reference.decode(wanted), atol=1e-4)
    _, trace = forward(engine, engine.encode(inputs()), layout.watched_plan())
    _, expected = forward(reference, reference.encode(inputs()), layout.watched_plan())
    assert trace.scores == pytest.approx(expected.scores, abs=1e-4)


def test_whoever_compiled_pieces_gets_them(bundle, tmp_path):
    assert choose_backend(bundle, 'auto') == 'cuda'
    assert choose_backend(bundle, 'onnxruntime') == 'onnxruntime'
    elsewhere = tmp_path / 'elsewhere'
    shutil.move(plans_root(bundle), elsewhere)
    assert choose_backend(bundle, 'auto') == 'onnxruntime'
    assert choose_backend(bundle, 'auto', str(elsewhere)) == 'cuda'


def test_a_piece_that_was_altered_is_refused_before_torch_sees_it(bundle):
    path = sorted(pieces_of(bundle).glob('*.pt2'))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(EngineError, match='altered.*dysl build .* --backend cuda'):
        open_cuda_engine(bundle, DeferredStream())
    report = build_compiled(bundle, plans_root(bundle), CPU)
    assert len(report.built) == 1, 'a build mends what does not fit, and keeps the rest'


def test_pieces_of_another_torch_or_gpu_are_refused_with_what_differs(bundle):
    keys = BundleParts(bundle, CPU).runs()
    target = target_of(CPU, bundle.manifest)
    mine = re.escape(torch.__version__)
    for change, words in (({'torch': '2.0'}, f'torch {mine}, expected 2.0'),
                          ({'gpu': 'NVIDIA H100'}, 'gpu cpu, expected NVIDIA H100'),
                          ({'onnx': 'f' * 64}, 'onnx')):  # fmt: skip
        with pytest.raises(EngineError, match=f'do not fit.*{words}.*--backend cuda'):
            load_compiled(bundle, plans_root(bundle), replace(target, **change), keys)


def test_a_build_that_stopped_is_refused_and_goes_on(bundle):
    folder = pieces_of(bundle)
    document = json.loads((folder / COMPILED_NAME).read_text())
    name = sorted(document['pieces'])[0]
    del document['pieces'][name]
    (folder / COMPILED_NAME).write_text(json.dumps(document))
    with pytest.raises(EngineError, match='5 of 6 pieces are built.*--backend cuda'):
        open_cuda_engine(bundle, DeferredStream())


def test_a_list_of_pieces_that_cannot_be_read_is_refused(bundle):
    path = pieces_of(bundle) / COMPILED_NAME
    for text in ('', '{}', path.read_text().replace('.pt2', '/../x.pt2')):
        path.write_text(text)
        with pytest.raises(EngineError, match='--backend cuda'):
            open_cuda_engine(bundle, DeferredStream())


def test_without_pieces_graphs_run_as_they_are(bundle):
    shutil.rmtree(plans_root(bundle))
    engine = open_cuda_engine(bundle, DeferredStream())
    hidden, _ = forward(engine, engine.encode(inputs()), bundle.manifest.layout.full_plan())
    assert np.isfinite(engine.decode(hidden)).all()


def test_a_folder_of_something_else_is_not_written_to(bundle, tmp_path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'cat.png').write_bytes(b'x')
    with pytest.raises(ConfigError, match='cat.png'):
        build_compiled(bundle, tmp_path / 'photos', CPU)


def test_the_list_says_what_it_was_built_for(built):
    manifest = read_compiled(pieces_of(built[0]))
    assert manifest.target == target_of(CPU, built[0].manifest)
    assert manifest.bundle == built[0].manifest.name
