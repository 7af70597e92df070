"""``dysl bench``: what a pass costs on this machine, and what skipping gains."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from dysl_vla_ros.bundle.folder import Bundle, open_bundle
from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.cli.failures import INTERRUPTED
from dysl_vla_ros.cli.ignored import refuse_ignored
from dysl_vla_ros.cli.inputs import look_at_bundle, look_at_observations
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.report import PartialReport, check_json, write_json
from dysl_vla_ros.cli.values import COUNT, COUNT_FROM_0, WORKERS, add_backend
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.engines.engine import Engine, forward
from dysl_vla_ros.engines.inspection import Inspectable
from dysl_vla_ros.engines.open_engine import folder_of
from dysl_vla_ros.errors import BundleError, EngineError
from dysl_vla_ros.hardware import snapshot
from dysl_vla_ros.lab.evaluation import bench_observations, roofline
from dysl_vla_ros.lab.evaluation.bench_card import card
from dysl_vla_ros.lab.evaluation.evidence import check_evidence
from dysl_vla_ros.lab.evaluation.graph_costs import stage_parts
from dysl_vla_ros.lab.evaluation.latency import bench_engine
from dysl_vla_ros.lab.evaluation.latency_auto import bench_modes
from dysl_vla_ros.lab.evaluation.observed import GUIDED, Observed, in_turn
from dysl_vla_ros.lab.evaluation.roof import Roof, against, measure_gpu
from dysl_vla_ros.policy import Policy, open_policy

if TYPE_CHECKING:
    from dysl_vla_ros.lab.evaluation.one_graph import OneGraph

FORMAT = 'dysl_vla_bench'
FORMAT_VERSION = 1
_LIBRARIES = ('dysl_vla_ros', 'numpy', 'onnxruntime', 'tensorrt', 'torch')

EXAMPLE = """
dysl bench
dysl bench --engine runs/bundle --runs 20 --json bench.json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--engine', default='', help='bundle folder; default: the bundled model')
    add_backend(parser)
    parser.add_argument('--plans', default='', help='folder given to dysl build --plans')
    parser.add_argument('--threads', type=WORKERS, default=1, help='of ONNX Runtime')
    parser.add_argument('--runs', type=COUNT, default=100, help='timed repetitions of each part')
    parser.add_argument('--warm-up', type=COUNT_FROM_0, default=10, help='untimed ones before')
    parser.add_argument('--observations', type=Path,
                        help='a recording (bag), or .npz; default: the simulator where it fits '
                        'the bundle, else made up')  # fmt: skip
    parser.add_argument('--count', type=COUNT, default=100,
                        help='observations, where they are not recorded')  # fmt: skip
    parser.add_argument('--roofline', action='store_true',
                        help='only print the least times on an AGX Orin')  # fmt: skip
    parser.add_argument('--json', type=Path, help='write the report here')


def run(given: argparse.Namespace) -> int:
    """Bench, print a card, write the JSON document."""
    _refuse_idle(given)
    check_json(given.json, 'bench')
    look_at_bundle('--engine', given.engine)
    look_at_observations('--observations', given.observations)
    partial = PartialReport(given.json)
    try:
        document = _roofline() if given.roofline else _bench(given, partial)
        if given.json is not None:
            write_json(given.json, document)
    except KeyboardInterrupt:
        print(f'dysl bench: interrupted; {partial.told}; times do not go on, measure again',
              file=sys.stderr)  # fmt: skip
        return INTERRUPTED
    partial.done()
    return 0


def _refuse_idle(given: argparse.Namespace) -> None:
    """Refuse options that would change nothing."""
    if given.roofline:
        idle = [option for option in given.said if option not in ('--roofline', '--json')]
        refuse_ignored(given, idle, 'beside --roofline', 'nothing is opened or timed')
    elif given.observations is not None:
        refuse_ignored(given, ('--count',), 'beside --observations', 'all of them are run')


def _bench(given: argparse.Namespace, partial: PartialReport) -> dict[str, Any]:
    policy = open_policy(
        EngineConfig(
            path=given.engine, backend=given.backend, plans=given.plans, threads=given.threads
        )
    )
    try:
        return _measure(policy, given, partial)
    finally:
        policy.engine.close()


def _measure(
    policy: Policy, given: argparse.Namespace, partial: PartialReport
) -> dict[str, Any]:  # fmt: skip
    manifest = policy.manifest
    observed, source = _observations(given.observations, manifest, given.count)
    observations, left_out = observed.observations, observed.why_not_guided
    if source != 'recorded':  # words of another arm take as long
        observations = [replace(one, instruction=policy.readable(one.instruction))
                        for one in observations]  # fmt: skip
    before = snapshot.read()
    with Progress(console=Console(stderr=True), transient=True) as bars:
        modes = bench_modes(policy, observations, follows=observed.follows,
                            without=GUIDED if left_out else (),
                            progress=_bar(bars, 'modes'))  # fmt: skip
        partial.write({
            'format': FORMAT, 'version': FORMAT_VERSION, 'interrupted': 'before the parts',
            'bundle': _bundle(manifest), 'modes': modes, 'versions': _versions(),
        })  # fmt: skip
        inputs = policy.prepare(observations[0])
        joined, why_not = _joined(policy.engine, given, inputs)
        found = bench_engine(
            policy.engine, inputs, runs=given.runs,
            warm_up=given.warm_up, live_layers=_calibrated(manifest, modes),
            one_graph=joined, progress=_bar(bars, 'parts'),
        )  # fmt: skip
        if joined is None:
            found['one_graph'] = {'why_not': why_not}
        roof = _roof(policy, given, found['stages'])
    after = snapshot.read()
    document = {
        'format': FORMAT,
        'version': FORMAT_VERSION,
        'bundle': _bundle(manifest),
        'tokens': manifest.hidden_tokens,
        **found,
        'roof': roof,
        'modes': modes,
        'observations': {
            'source': source,
            'count': len(observations),
            **({'assumed_in_turn': True} if observed.assumed else {}),
        },
        'modes_left_out': dict.fromkeys(GUIDED, left_out) if left_out else {},
        'hardware': {
            'before': before,
            'after': after,
            'slowdowns': snapshot.slowdowns(before, after),
        },
        'versions': _versions(),
        'command': shlex.join(['dysl', *sys.argv[1:]]),
        'date': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
    }
    check_evidence(document)
    Output().print(card(document))
    return document


def _joined(
    engine: Engine, given: argparse.Namespace, inputs: Mapping[str, NDArray[Any]]
) -> tuple[OneGraph | None, str]:
    """All layers as one graph of ONNX Runtime, about to run the same pass; or why not."""
    if given.engine == 'fake':
        return None, 'there is no model'
    if not engine.device.startswith('CPU') or not isinstance(engine, Inspectable):
        return None, 'on a GPU the back end launches all layers of a dense pass as one graph'
    from dysl_vla_ros.lab.evaluation.one_graph import OneGraph

    try:
        joined = OneGraph(_opened(given), given.threads)
        hidden = engine.encode(inputs)
        joined.begin(engine.read(hidden))
        joined.check(engine.read(forward(engine, hidden, engine.layout.full_plan())[0]))
    except (BundleError, EngineError) as error:
        return None, str(error)
    return joined, ''


def _opened(given: argparse.Namespace) -> Bundle:
    return open_bundle(folder_of(given.engine))


def _calibrated(manifest: Manifest, modes: Mapping[str, Any]) -> int:
    """Layers of a pass as calibrated: the exit's, or the mean on the observations."""
    if manifest.calibration.mode == 'by_instruction' and 'by_instruction' in modes:
        mean: float = modes['by_instruction']['layers_run_mean']
        return round(mean)
    if manifest.calibration.exit_layer:
        return manifest.calibration.exit_layer + 1
    return round(modes['auto']['layers_run_mean']) if 'auto' in modes else 0


def _roof(
    policy: Policy, given: argparse.Namespace, stages: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Floor, measured and share per stage, from rates that the device reached just now."""
    if given.engine == 'fake':
        return {'why_not': 'there is no model'}
    try:
        bundle = _opened(given)
        parts = stage_parts(bundle)
        if policy.engine.device.startswith('CPU'):
            rates = _cpu_roof(given.threads)
        else:
            rates = measure_gpu(bundle.manifest.precision)
    except (BundleError, EngineError) as error:
        return {'why_not': str(error)}
    return {'rates': asdict(rates), 'stages': against(rates, parts, stages)}


def _cpu_roof(threads: int) -> Roof:
    """In a process of its own, with as many threads as the engine has."""
    names = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')
    done = subprocess.run(
        [sys.executable, '-m', 'dysl_vla_ros.lab.evaluation.roof', 'cpu'],
        capture_output=True, text=True, check=False,
        env={**os.environ, **dict.fromkeys(names, str(threads))},
    )  # fmt: skip
    if done.returncode:
        raise EngineError(f'the CPU could not be measured: {done.stderr.strip()[-200:]}')
    return Roof(**json.loads(done.stdout))


def _observations(recorded: Path | None, manifest: Manifest, count: int) -> tuple[Observed, str]:
    if recorded is not None:
        return bench_observations.load_observed(recorded, manifest), 'recorded'
    found = bench_observations.simulated(manifest, count)
    if found is not None:
        return in_turn(found, manifest), 'simulator'
    return in_turn(bench_observations.made_up(manifest, count), manifest), 'made up'


def _bar(bars: Progress, words: str) -> Callable[[int, int], None]:
    task = bars.add_task(words, total=None)

    def show(done: int, total: int) -> None:
        bars.update(task, completed=done, total=total)

    return show


def _bundle(manifest: Manifest) -> dict[str, Any]:
    return {
        'name': manifest.name,
        'family': manifest.family,
        'precision': manifest.precision,
        'hidden_tokens': manifest.hidden_tokens,
        'hidden_width': manifest.hidden_width,
        'bytes': sum(entry.bytes for entry in manifest.files.values()),
    }


def _versions() -> dict[str, str]:
    found = {'python': platform.python_version(), 'system': platform.platform()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # not installed: absent
    return found


def _roofline() -> dict[str, Any]:
    network, device = roofline.openvla_oft(), roofline.AGX_ORIN_64GB
    Output().say('\n'.join(roofline.table(network, device)))
    return {
        'format': 'dysl_vla_roofline',
        'version': FORMAT_VERSION,
        'network': network.name,
        'device': device.name,
        'tokens': network.tokens,
        'floors_ms': {
            name: {
                kind: 1e3 * network.floor(device, share * network.layers, kind == 'int8')
                for kind in ('fp16', 'int8')
            }
            for name, share in roofline.SHARES
        },
    }
