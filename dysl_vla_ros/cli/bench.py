"""``dysl bench``: what a pass costs on this machine, and what skipping gains."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.cli.inputs import look_at_bundle, look_at_observations
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.values import BACKENDS, COUNT, COUNT_FROM_0, WORKERS
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.hardware import snapshot
from dysl_vla_ros.lab.evaluation import bench_observations, roofline
from dysl_vla_ros.lab.evaluation.bench_card import card
from dysl_vla_ros.lab.evaluation.latency import bench_engine
from dysl_vla_ros.lab.evaluation.latency_auto import bench_modes
from dysl_vla_ros.policy import Policy, open_policy

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
    parser.add_argument('--backend', default='auto', choices=BACKENDS,
                        help='what runs the graphs')  # fmt: skip
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
    parser.add_argument('--json', type=Path, help='write the report here too')


def run(given: argparse.Namespace) -> int:
    """Bench, print a card, and the JSON document as the last line."""
    check_json(given.json)
    look_at_bundle('--engine', given.engine)
    look_at_observations('--observations', given.observations)
    document = _roofline() if given.roofline else _bench(given)
    if given.json is not None:
        write_json(given.json, document)
    print(json.dumps(document), flush=True)
    return 0


def _bench(given: argparse.Namespace) -> dict[str, Any]:
    policy = open_policy(
        EngineConfig(
            path=given.engine, backend=given.backend, plans=given.plans, threads=given.threads
        )
    )
    try:
        return _measure(policy, given)
    finally:
        policy.engine.close()


def _measure(policy: Policy, given: argparse.Namespace) -> dict[str, Any]:
    manifest = policy.manifest
    observations, source = _observations(given.observations, manifest, given.count)
    before = snapshot.read()
    with Progress(console=Console(stderr=True), transient=True) as bars:
        found = bench_engine(
            policy.engine, policy.prepare(observations[0]), runs=given.runs,
            warm_up=given.warm_up, progress=_bar(bars, 'parts'),
        )  # fmt: skip
        modes = bench_modes(policy, observations, progress=_bar(bars, 'modes'))
    after = snapshot.read()
    document = {
        'format': FORMAT,
        'version': FORMAT_VERSION,
        'bundle': _bundle(manifest),
        **found,
        'modes': modes,
        'observations': {'source': source, 'count': len(observations)},
        'hardware': {
            'before': before,
            'after': after,
            'slowdowns': snapshot.slowdowns(before, after),
        },
        'versions': _versions(),
        'command': shlex.join(['dysl', *sys.argv[1:]]),
        'date': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
    }
    Console().print(card(document))
    return document


def _observations(
    recorded: Path | None, manifest: Manifest, count: int
) -> tuple[Sequence[Observation], str]:
    if recorded is not None:
        return bench_observations.load_recorded(recorded, manifest), 'recorded'
    found = bench_observations.simulated(manifest, count)
    if found is not None:
        return found, 'simulator'
    return bench_observations.made_up(manifest, count), 'made up'


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
    Console().print(Text('\n'.join(roofline.table(network, device))), soft_wrap=True)
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
