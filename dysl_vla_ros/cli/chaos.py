"""``dysl chaos``: faults put into the running graph, and whether anything unsafe came of them."""

from __future__ import annotations

import argparse
import json
import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from dysl_vla_ros.cli.inputs import look_at_bundle, need
from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.cli.values import POSITIVE, SEED
from dysl_vla_ros.demo.domain import ReservedDomain
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.ros.chaos.fault import KINDS

if TYPE_CHECKING:
    from dysl_vla_ros.ros.chaos.campaign import Options
    from dysl_vla_ros.ros.chaos.case import Case

_QUICK_MINUTES = 0.9
"""What a quick campaign may take before the last trial begins."""

EXAMPLE = 'dysl chaos --quick --json chaos.json'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--quick', action='store_true', help='a choice of faults, one minute')
    parser.add_argument('--minutes', type=POSITIVE, help='begin no trial after this time [min]')
    parser.add_argument('--only', nargs='+', choices=KINDS, default=(), metavar='KIND',
                        help='of: ' + ', '.join(KINDS))  # fmt: skip
    parser.add_argument('--seed', type=SEED, default=0, help='of the order and of the scene')
    parser.add_argument('--bundle', nargs='?', const='', default='fake', metavar='FOLDER',
                        help='with the bundled policy, or that of a folder; default: a sweep '
                        'that needs no model')  # fmt: skip
    parser.add_argument('--prefix', type=Path, metavar='VENV',
                        help='test the package of another environment')  # fmt: skip
    parser.add_argument('--json', type=Path, help='write the report here, as it grows')


def run(given: argparse.Namespace) -> int:
    """Try the faults, print a row for each, sum up.

    Returns:
        Exit code: 0 iff something was tried and nothing was unsafe; 130 after Ctrl-C.
    """
    check_json(given.json, 'chaos')
    look_at_bundle('--bundle', given.bundle)
    if given.prefix is not None and not (given.prefix / 'bin' / 'python').exists():
        raise ConfigError('--prefix', str(given.prefix), 'a virtual environment: a folder with '
                          'bin/python')  # fmt: skip
    need('ros-jazzy', 'rclpy')
    from dysl_vla_ros.ros.chaos import campaign, table

    minutes = given.minutes
    if given.quick and minutes is None:
        minutes = _QUICK_MINUTES
    reserved = ReservedDomain()
    options = campaign.Options(
        given.prefix, given.bundle, given.quick, minutes, tuple(given.only), given.seed,
        reserved.number,
    )  # fmt: skip
    console = Output()
    cases = _kept(given, options)
    before = tuple(cases)
    if cases:
        console.say(f'{given.json}: goes on after {len(cases)} faults that were tried')

    def tell(case: Case) -> None:
        cases.append(case)
        for line in table.lines(case):
            console.say(line)
        if given.json is not None:
            write_json(given.json, campaign.report(cases, options))

    console.say(table.HEADER)
    signal.signal(signal.SIGTERM, _interrupt)
    interrupted = False
    try:
        campaign.run(options, tell, before)
    except KeyboardInterrupt:
        interrupted = True
    console.print(table.total(cases), markup=False)
    if given.json is not None:
        write_json(given.json, campaign.report(cases, options, complete=not interrupted))
        console.say(f'wrote {given.json}')
    if interrupted:
        kept = 'nothing is kept: --json FILE keeps what was tried'
        if given.json is not None:
            kept = f'{len(cases)} faults are in {given.json}; the same command goes on'
        console.say(f'interrupted: {kept}')
        return 130
    return 0 if cases and not any(case.verdict == 'unsafe' for case in cases) else 1


def _kept(given: argparse.Namespace, options: Options) -> list[Case]:
    """Of a run that was broken off with the same options."""
    from dysl_vla_ros.ros.chaos.campaign import broken_off

    if given.json is None or not given.json.expanduser().is_file():
        return []
    text = given.json.expanduser().read_text(encoding='utf-8')
    return broken_off(json.loads(text), options) if text else []


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
