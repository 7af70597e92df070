"""The TensorRT engine on a real GPU: built, compared, captured, timed; writes an evidence file.

Run ``pytest -m gpu test/gpu/test_tensorrt_on_a_gpu.py`` on a Jetson, or on a machine with an
NVIDIA GPU and ``pip install tensorrt``. Where the environment variable DYSL_EVIDENCE names a
folder, the figures are written there as JSON.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.gpu

from dysl_vla_ros.engines.tensorrt.api import load_tensorrt
from dysl_vla_ros.engines.tensorrt.cuda_driver import open_driver
from dysl_vla_ros.errors import EngineError


def open_both():
    """The driver and TensorRT; skips in one line that says why not."""
    try:
        driver = open_driver()
    except EngineError as error:
        pytest.skip(f'TensorRT: {error}', allow_module_level=True)
    try:
        return driver, load_tensorrt()
    except EngineError as error:
        found, words = driver.gpu.compute_capability, str(error)
        if importlib.util.find_spec('tensorrt_rtx') and not found.startswith(RTX_RUNS):
            words += f'; TensorRT-RTX is installed, but refuses compute capability {found}'
        pytest.skip(words, allow_module_level=True)


RTX_RUNS = ('8.0', '8.6', '8.9', '12.')
"""Compute capabilities; it says so itself where it is given another."""
DRIVER, TRT = open_both()

from tiny_bundle import TOKENS, write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.data_types import SkipPlan
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.engines.tensorrt.build import build_plans
from dysl_vla_ros.engines.tensorrt.engine import open_tensorrt_engine
from dysl_vla_ros.engines.tensorrt.plans import find_plans, plans_root, target_of
from dysl_vla_ros.lab.evaluation.latency import bench_engine

CAMERAS = (('image', 96, 96), ('wrist_image', 32, 64))
TOLERANCE = 1e-3
"""Of normalised actions, against ONNX Runtime in FP32 on the CPU: other kernels, other sums."""


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bundle') / 'tiny'
    opened = open_bundle(write_tiny_bundle(folder, cameras=CAMERAS, mask=True, layers=12))
    target = target_of(DRIVER.gpu, str(TRT.__version__), opened.manifest)
    report = build_plans(opened, plans_root(opened), target, TRT)
    assert set(report.built) == set(opened.manifest.segments)
    return opened


@pytest.fixture(scope='module')
def engine(bundle):
    made = open_tensorrt_engine(bundle)
    yield made
    made.close()


@pytest.fixture(scope='module')
def reference(bundle):
    return OnnxEngine(bundle)


def inputs(seed):
    random = np.random.default_rng(seed)
    tokens = np.zeros((1, TOKENS), np.int64)
    tokens[0, :4] = random.integers(2, 20, 4)
    images = {
        name: random.normal(size=(1, 3, height, width)).astype(np.float32)
        for name, height, width in CAMERAS
    }
    return {
        **images,
        'tokens': tokens,
        'proprioception': random.normal(size=(1, 7)).astype(np.float32),
    }


def run(engine, observation, plan):
    hidden, trace = forward(engine, engine.encode(observation), plan)
    return engine.decode(hidden), trace


def patterns(layout):
    for allow in itertools.product(*[range(first, end + 1) for first, end in layout.segments]):
        yield SkipPlan(allow, 'open')


def test_every_skip_pattern_is_close_to_onnx_runtime(engine, reference):
    for plan in patterns(engine.layout):
        actions, trace = run(engine, inputs(0), plan)
        wanted, wanted_trace = run(reference, inputs(0), plan)
        np.testing.assert_allclose(actions, wanted, atol=TOLERANCE)
        assert trace.layers_run == wanted_trace.layers_run


def test_gates_are_close_to_onnx_runtime(engine, reference):
    plan = dataclasses.replace(engine.layout.open_plan(), controllers='closed')
    _, trace = run(engine, inputs(1), plan)
    _, wanted = run(reference, inputs(1), plan)
    assert set(trace.scores) == set(engine.layout.dynamic_layers)
    for layer, score in trace.scores.items():
        assert abs(score - wanted.scores[layer]) < TOLERANCE


def test_a_pass_gives_the_same_bits_every_time(engine):
    first, _ = run(engine, inputs(2), engine.layout.full_plan())
    for _ in range(20):
        again, _ = run(engine, inputs(2), engine.layout.full_plan())
        np.testing.assert_array_equal(again, first)


def test_a_resumed_rerun_gives_the_bits_of_a_full_pass(engine):
    full, _ = run(engine, inputs(3), engine.layout.full_plan())
    for plan in patterns(engine.layout):
        _, trace = run(engine, inputs(3), plan)
        if trace.jumps:
            run(engine, inputs(4), engine.layout.full_plan())
            state, _ = forward(
                engine, engine.restore(trace.resume_state), engine.layout.full_plan(),
                trace.resume_layer,
            )  # fmt: skip
            np.testing.assert_array_equal(engine.decode(state), full)


def test_the_graph_of_the_whole_chain_gives_the_bits_of_the_graphs_of_its_layers(engine):
    whole, _ = run(engine, inputs(5), engine.layout.full_plan())
    state = engine.encode(inputs(5))
    for layer in range(engine.layout.layers_total):
        state = engine.run_layer(layer, state)
    np.testing.assert_array_equal(engine.decode(state), whole)


def test_another_thread_may_run_the_engine(engine):
    from concurrent.futures import ThreadPoolExecutor

    here, _ = run(engine, inputs(6), engine.layout.full_plan())
    with ThreadPoolExecutor(1) as pool:
        there, _ = pool.submit(run, engine, inputs(6), engine.layout.full_plan()).result()
    np.testing.assert_array_equal(there, here)


def test_a_plan_that_was_altered_is_refused_before_tensorrt_sees_it(bundle, tmp_path):
    import shutil

    copy = open_bundle(shutil.copytree(bundle.folder, tmp_path / 'copy'))
    target = target_of(DRIVER.gpu, str(TRT.__version__), copy.manifest)
    folder = find_plans(copy, plans_root(copy), target)
    path = folder.folder / 'layer_03.plan'
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(EngineError, match='plan of segment layer_03.*altered'):
        open_tensorrt_engine(copy)


def test_opening_and_closing_many_times_gives_the_memory_back(bundle):
    for _ in range(10):
        made = open_tensorrt_engine(bundle)
        run(made, inputs(0), made.layout.open_plan())
        made.close()
        with pytest.raises(EngineError):
            made.encode(inputs(0))


def test_an_engine_that_is_never_closed_does_not_crash_the_process_at_its_end(bundle):
    code = (
        'import sys; from pathlib import Path\n'
        'from dysl_vla_ros.engines.open_engine import open_engine\n'
        'print(open_engine(sys.argv[1], "tensorrt").engine.device)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, str(bundle.folder)], capture_output=True, text=True
    )
    assert done.returncode == 0 and DRIVER.gpu.name in done.stdout, done.stderr


def test_the_cost_of_a_gate_read_is_stated(engine):
    report = bench_engine(engine, inputs(0), runs=50, warm_up=10)
    report |= {
        'test': 'tiny random bundle, 12 layers of width 32; says what launches and waits cost',
        'gpu': dataclasses.asdict(DRIVER.gpu), 'tensorrt': str(TRT.__version__),
        'date': time.strftime('%Y-%m-%d'), 'python': sys.version.split()[0],
        'command': 'pytest -m gpu test/gpu/test_tensorrt_on_a_gpu.py',
    }  # fmt: skip
    assert report['controllers']['one_read_ms']['p50'] > 0
    folder = os.environ.get('DYSL_EVIDENCE')
    if folder:
        path = Path(folder) / f'tensorrt_{DRIVER.gpu.name.lower().replace(" ", "_")}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
