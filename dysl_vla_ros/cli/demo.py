"""``dysl demo``: the launch file's nodes without ``ros2 launch``, with a live view."""

from __future__ import annotations

import argparse
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live

from dysl_vla_ros import bringup
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.demo.domain import ReservedDomain
from dysl_vla_ros.demo.figures import figures
from dysl_vla_ros.demo.processes import Children, environment
from dysl_vla_ros.demo.view import live_view, summary

_REFRESH_S = 0.25


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--headless', action='store_true', help='no live view')
    parser.add_argument('--seconds', type=float, default=0.0, help='end after this time [s]')
    parser.add_argument('--episodes', type=int, default=0, help='end after this many episodes')
    parser.add_argument('--json', type=Path, help='write the figures here')
    parser.add_argument('--seed', type=int, default=0, help='of the first episode')
    parser.add_argument('--engine', default='', help='bundle folder, or fake')
    parser.add_argument('--skip-mode', default='', help='auto, full, max_skip, fixed or compare')
    parser.add_argument('--domain-id', type=int, help='ROS domain; default: one of its own')
    parser.add_argument('arguments', nargs='*', metavar='NAME:=VALUE',
                        help='any argument of manipulation.launch.py')  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """Start the nodes, watch them until the time is up or Ctrl-C, sum up."""
    check_json(given.json)
    console = Console()
    specs = bringup.nodes(_launch_arguments(given))
    reserved = ReservedDomain() if given.domain_id is None else None
    domain = given.domain_id if reserved is None else reserved.number
    env = environment(domain)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _setter(stop))
    from dysl_vla_ros.ros.demo_watch import Watch

    began = time.monotonic()
    console.print(f'ROS_DOMAIN_ID={domain}: the same in another terminal shows this graph')
    with Watch(env) as watch, Children(specs, env) as children:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while not stop.is_set() and not _over(began, given.seconds):
                if 0 < given.episodes <= len(watch.picture.outcomes):
                    break
                watch.spin(_REFRESH_S)
                children.check()
                if not given.headless:
                    live.update(live_view(watch.picture, time.monotonic() - began), refresh=True)
        found = figures(watch.picture)
    console.print(summary(found))
    if given.json is not None:
        write_json(given.json, found)
        console.print(f'wrote {given.json}')
    bad = {name: code for name, code in children.exit_codes.items() if code != 0}
    if bad:
        console.print(f'exit codes: {bad}')
    return 1 if bad else 0


def _launch_arguments(given: argparse.Namespace) -> dict[str, str]:
    arguments = {'seed': str(given.seed), 'engine': given.engine, 'skip_mode': given.skip_mode}
    for word in given.arguments:
        name, _, value = word.partition(':=')
        arguments[name] = value
    return arguments


def _over(began: float, seconds: float) -> bool:
    return seconds > 0 and time.monotonic() - began >= seconds


def _setter(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    return on_signal
