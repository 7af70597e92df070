"""``dysl soak``: the demo's graph for a long time; does anything grow, does the rate hold?"""

from __future__ import annotations

import argparse
import signal
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from dysl_vla_ros import bringup
from dysl_vla_ros.cli.inputs import look_at_bundle, need
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.values import POSITIVE, SEED
from dysl_vla_ros.demo.domain import ReservedDomain
from dysl_vla_ros.demo.processes import Children, environment
from dysl_vla_ros.targets import file_target, write_whole

if TYPE_CHECKING:
    from dysl_vla_ros.ros.chaos.endurance import Run

_SOFTWARE = 'dysl soak'
"""Stands in the PNG: a picture of somebody else's is not overwritten."""
_SAMPLE_S = 5.0
_LEAST_SAMPLES = 24
_WRITE_EVERY = 6

EXAMPLE = 'dysl soak --minutes 10 --json soak.json'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--minutes', type=POSITIVE, default=60.0, help='length of the run [min]')
    parser.add_argument('--engine', default='', help='bundle folder, or fake')
    parser.add_argument('--seed', type=SEED, default=0, help='of the first episode')
    parser.add_argument('--json', type=Path, help='write the figures here, as they grow')
    parser.add_argument('--plot', type=Path, help='draw them here (needs matplotlib)')


def run(given: argparse.Namespace) -> int:
    """Run, measure, sum up; Ctrl-C ends early and keeps what there is.

    Returns:
        Exit code: 0 iff the rate held and nothing grew.

    Raises:
        ConfigError: Nothing can be written where it should, or there is no such bundle.
        ChildError: A process ended by itself.
    """
    check_json(given.json, 'soak')
    look_at_bundle('--engine', given.engine)
    if given.plot is not None:
        file_target('--plot', given.plot, _is_plot, 'a picture that dysl soak drew')
        need('train', 'matplotlib')
    need('ros-jazzy', 'rclpy')
    from dysl_vla_ros.ros.chaos import endurance, proc
    from dysl_vla_ros.ros.chaos.listener import Listener

    console = Output()
    specs = bringup.nodes({'engine': given.engine, 'seed': str(given.seed)})
    reserved = ReservedDomain()
    env = environment(reserved.number)
    measured = endurance.Run()
    signal.signal(signal.SIGTERM, _interrupt)
    ids: dict[str, int] = {}
    until, length = 0.0, 60.0 * given.minutes
    pause = min(_SAMPLE_S, length / _LEAST_SAMPLES)
    with Listener(env, measured) as listener, Children(specs, env) as children:
        try:
            while listener.seconds < length:
                listener.spin(min(pause, length - listener.seconds))
                children.check()
                until = listener.seconds
                processes = dict(children.process_ids)
                model = proc.model_process(processes['vla_node'])
                if model is not None:
                    processes['model'] = model
                _sample(measured, ids, processes, until)
                if given.json is not None and len(measured.usage['vla_node']) % _WRITE_EVERY == 0:
                    write_json(given.json, _document(measured, until))
        except KeyboardInterrupt:
            kept = 'what was measured so far is summed up below'
            if given.json is not None:
                kept += f', and kept in {given.json}'
            console.say(f'interrupted: {kept}')
        until = listener.seconds
    document = _document(measured, until)
    for line in endurance.text(measured, until):
        console.say(line)
    console.say(
        f'{document["rate_hz_mean"]} commands per second (least {document["rate_hz_least"]}), '
        f'longest gap {1000 * document["gap_s_longest"]:.0f} ms, {until:.0f} s',
    )
    for problem in document['problems']:
        console.say(f'  {problem}')
    if given.json is not None:
        write_json(given.json, document)
        console.say(f'wrote {given.json}')
    if given.plot is not None:
        console.say(_plot(measured, until, given.plot))
    return 0 if document['ok'] else 1


def _sample(measured: Run, ids: dict[str, int], processes: dict[str, int], at: float) -> None:
    from dysl_vla_ros.ros.chaos import proc

    for name, pid in processes.items():
        found = proc.usage(pid)
        if found is None:
            continue
        if ids.setdefault(name, pid) != pid:
            ids[name] = pid
            measured.restarts[name] = measured.restarts.get(name, 0) + 1
        measured.usage.setdefault(name, []).append((at, found))


def _document(measured: Run, until: float) -> dict[str, Any]:
    from dysl_vla_ros.ros.chaos import endurance

    document = endurance.summary(measured, until)
    document['samples'] = {
        name: [[round(at, 1), round(u.rss_mb, 2), u.descriptors, u.threads] for at, u in samples]
        for name, samples in measured.usage.items()
    }
    document['commands_per_second'] = [
        [round(at, 1), count] for at, count in endurance.rates(measured, until)
    ]
    return document


def _plot(measured: Run, until: float, path: Path) -> str:
    """Draw memory, descriptors, threads and rate; a sentence about it."""
    from matplotlib.figure import Figure

    from dysl_vla_ros.ros.chaos import endurance

    figure = Figure(figsize=(8, 9), layout='constrained')
    axes = figure.subplots(4, 1, sharex=True)
    for name, samples in sorted(measured.usage.items()):
        at = [moment / 60.0 for moment, _ in samples]
        axes[0].plot(at, [u.rss_mb for _, u in samples], label=name)
        axes[1].plot(at, [u.descriptors for _, u in samples], label=name)
        axes[2].plot(at, [u.threads for _, u in samples], label=name)
    counts = endurance.rates(measured, until)
    axes[3].plot([at / 60.0 for at, _ in counts], [n for _, n in counts], '.', markersize=2)
    titles = ('resident memory [MB]', 'open files', 'threads', 'commands per second')
    for axis, title in zip(axes, titles, strict=True):
        axis.set_ylabel(title)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.yaxis.get_major_locator().set_params(integer=True)
    axes[0].legend()
    axes[3].set_xlabel('minutes')
    draw = partial(figure.savefig, format='png', dpi=120, metadata={'Software': _SOFTWARE})
    write_whole(path.expanduser(), draw)
    return f'wrote {path}'


def _is_plot(path: Path) -> bool:
    with path.open('rb') as stream:
        head = stream.read(4096)
    return head.startswith(b'\x89PNG') and f'Software\0{_SOFTWARE}'.encode() in head


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
