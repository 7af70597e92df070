"""``dysl demo``: the launch file's nodes without ``ros2 launch``, with a live view."""

from __future__ import annotations

import argparse
import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from dysl_vla_ros import bringup
from dysl_vla_ros.cli.inputs import look_at_bundle, need
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.view import need_server
from dysl_vla_ros.data_types import SKIP_MODES
from dysl_vla_ros.demo.domain import ReservedDomain
from dysl_vla_ros.demo.figures import Picture, figures, why_no_pass
from dysl_vla_ros.demo.processes import Children, Program, environment
from dysl_vla_ros.demo.screen import Screen
from dysl_vla_ros.demo.view import summary
from dysl_vla_ros.errors import ConfigError

UNSEEN = 1_000_000
"""Seeds from here on are kept for evaluation."""
_DEAF_S = 15.0
_PAGE_S = 20.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LAST_DOMAIN = 232
"""Of DDS: beyond it the ports are no ports any more."""
_FIRST_PASS_S = 90.0
"""A simulation in which the model has not run once by then will not mend by waiting."""

_START_S = 15.0
"""A demo that was to last no longer may simply have been too short."""

EXAMPLE = """
dysl demo
dysl demo put the red cube into the bin
dysl demo --headless --seconds 60 --json figures.json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--headless', action='store_true', help='no live view')
    parser.add_argument('--seconds', type=float, default=0.0,
                        help='end after this time [s]; 0: run until Ctrl-C')  # fmt: skip
    parser.add_argument('--episodes', type=int, default=0,
                        help='end after this many episodes; 0: run until Ctrl-C')  # fmt: skip
    parser.add_argument('--json', type=Path, help='write the figures here')
    parser.add_argument('--seed', type=int,
                        help=f'of the first episode (default: {UNSEEN}, which no training saw)'
                        )  # fmt: skip
    parser.add_argument('--view', action='store_true', help='also as a page in the browser')
    parser.add_argument('--engine', default='', help='bundle folder, or fake')
    parser.add_argument('--skip-mode', default='', help=', '.join(SKIP_MODES))
    parser.add_argument('--domain-id', type=int, help='ROS domain; default: one of its own')
    parser.add_argument('arguments', nargs='*', metavar='INSTRUCTION | NAME:=VALUE',
                        help="what to do, once: 'put the red cube into the bin'; and any argument "
                             'of manipulation.launch.py')  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """Start the nodes, watch them until the time is up or Ctrl-C, sum up."""
    check_json(given.json, 'demo')
    _check_bounds(given)
    look_at_bundle('--engine', given.engine)
    if given.view:
        need_server()
    console = Output()
    arguments = _launch_arguments(given)
    asked = ' '.join(word for word in given.arguments if ':=' not in word)
    if asked and arguments.get('instruction'):
        raise ConfigError('instruction', arguments['instruction'], f'one; told is {asked!r} too')
    specs = _told(bringup.nodes(arguments), asked) if asked else bringup.nodes(arguments)
    episodes = 1 if asked else given.episodes
    need('ros-jazzy', 'rclpy')
    patience = _FIRST_PASS_S if arguments.get('robot', bringup.SIM) == bringup.SIM else 0.0
    reserved = ReservedDomain() if given.domain_id is None else None
    domain = given.domain_id if reserved is None else reserved.number
    env = environment(domain)
    stop = threading.Event()
    for number in _SIGNALS:
        signal.signal(number, _setter(stop))
    from dysl_vla_ros.ros.demo_watch import Watch

    namespace = arguments.get('namespace', '')
    programs: list[Program] = [*specs, *([_View(namespace)] if given.view else [])]
    began, deaf = time.monotonic(), ''
    console.say(f'ROS_DOMAIN_ID={domain}: the same in another terminal shows this graph')
    with Watch(env, namespace) as watch, Children(programs, env) as children:
        address = _address(children, stop) if given.view else ''
        if given.view:
            console.say(address)
        screen = Screen(console, watch, given.headless, address)
        with screen:
            while not stop.is_set() and not _over(began, given.seconds):
                if 0 < episodes <= len(watch.picture.outcomes):
                    break
                if not watch.picture.passes and _over(began, patience):
                    break
                if screen.quits():
                    stop.set()
                screen.show(time.monotonic() - began)
                children.check()
                deaf = _deaf(watch.picture, children, specs)
                if deaf:
                    break
        found = figures(watch.picture)
    console.print(summary(found))
    if given.json is not None:
        write_json(given.json, found)
        console.say(f'wrote {given.json}')
    for number in _SIGNALS:  # all is over: one more Ctrl-C must not spoil the exit code
        signal.signal(number, signal.SIG_IGN)
    bad = {name: code for name, code in children.exit_codes.items() if code != 0}
    if bad:
        for name, code in bad.items():
            console.say(f'{name} ended with code {code}:\n{children.reasons[name]}')
    if deaf:
        console.tell(deaf)
        return 1
    if watch.picture.passes and asked:
        done = any(outcome['success'] for outcome in watch.picture.outcomes)
        console.say(f'{asked}: {"done" if done else "not done"}')
        return 0 if done and not bad else 1
    if watch.picture.passes:
        return 1 if bad else 0
    short = f' ({given.seconds:g} s; a start takes about 4 s, the first one more)'
    console.tell(f'the model did not run once: {why_no_pass(watch.picture)}'
                       + (short if 0 < given.seconds < _START_S else ''))  # fmt: skip
    return 0 if stop.is_set() and not bad else 1  # who ends it early knows


@dataclass(frozen=True)
class _View:
    """``dysl view`` of the demo's node, beside it."""

    namespace: str
    name: str = 'view'
    essential: bool = True

    def command_line(self, python: str) -> list[str]:
        node = f'/{self.namespace.strip("/")}/vla_node'.replace('//', '/')
        return [python, '-u', '-m', 'dysl_vla_ros.cli.main', 'view', '--node', node, '--port', '0']


def _address(children: Children, stop: threading.Event) -> str:
    """The line with the page's address, once it is served; '' when the demo was ended before."""
    until = time.monotonic() + _PAGE_S
    while time.monotonic() < until and not stop.wait(0.1):
        children.check()
        lines = [line for line in children.words('view').splitlines() if 'http://' in line]
        if lines:
            return lines[0]
    return '' if stop.is_set() else 'the page is not served yet'


def _deaf(picture: Picture, children: Children, specs: Sequence[bringup.NodeSpec]) -> str:
    """The node's own words where it has been silent for too long; '' while all is well."""
    now = time.monotonic()
    if now - max(picture.heard_at, children.printed_at(bringup.NODE, now)) < _DEAF_S:
        return ''
    last = picture.command_value('state')
    known = f' (its state was {last})' if last else ''
    return (
        f'nothing was heard of {bringup.NODE} for {_DEAF_S:g} s{known}; its last words:\n'
        f'{children.last_words(bringup.NODE)}'
    )


def _check_bounds(given: argparse.Namespace) -> None:
    if not 0 <= given.seconds < math.inf:
        raise ConfigError('--seconds', given.seconds, '0 (until Ctrl-C) or more')
    if given.episodes < 0:
        raise ConfigError('--episodes', given.episodes, '0 (until Ctrl-C) or more')
    words = [word for word in given.arguments if ':=' not in word]
    if words and given.episodes > 1:
        raise ConfigError('--episodes', given.episodes, 'nothing beside an instruction, which is '
                          'tried once')  # fmt: skip
    told = [word.split(':=')[0] for word in given.arguments if ':=' in word]
    for name in told:
        if told.count(name) > 1 or getattr(given, name, None) not in (None, ''):
            raise ConfigError(name, name, 'one value: it is given twice')
    if given.seed is None:
        given.seed = UNSEEN
    if given.seed < 0:
        raise ConfigError('--seed', given.seed, 'a whole number from 0 on')
    if given.domain_id is not None and not 0 <= given.domain_id <= _LAST_DOMAIN:
        raise ConfigError('--domain-id', given.domain_id, f'within [0, {_LAST_DOMAIN}]')


def _launch_arguments(given: argparse.Namespace) -> dict[str, str]:
    arguments = {'seed': str(given.seed), 'engine': given.engine, 'skip_mode': given.skip_mode}
    for word in given.arguments:
        name, assigned, value = word.partition(':=')
        if assigned:
            arguments[name] = value
    return arguments


def _told(specs: tuple[bringup.NodeSpec, ...], text: str) -> tuple[bringup.NodeSpec, ...]:
    """The nodes, the simulated arm with a scene in which a request can be fulfilled.

    Raises:
        ConfigError: Nobody could judge it, or no arm is simulated.
    """
    from dysl_vla_ros.sim.request import find_episode

    find_episode(text)
    if all(spec.name != 'sim_arm' for spec in specs):
        raise ConfigError('instruction', text, 'the topic instruction, with a real arm')
    return tuple(
        replace(spec, parameters={**spec.parameters, 'episodes.instruction': text})
        if spec.name == 'sim_arm'
        else spec
        for spec in specs
    )


def _over(began: float, seconds: float) -> bool:
    return seconds > 0 and time.monotonic() - began >= seconds


def _setter(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    return on_signal
