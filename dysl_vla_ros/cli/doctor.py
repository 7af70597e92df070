"""``dysl doctor``: what is installed, what is missing, and the command that gets it.

Runs on the standard library alone: it is asked where nothing else is there yet.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dysl_vla_ros.cli import doctor_cameras
from dysl_vla_ros.cli.doctor_modules import library_findings, ros_findings
from dysl_vla_ros.cli.doctor_parameters import judged
from dysl_vla_ros.cli.finding import Finding
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.errors import DyslError
from dysl_vla_ros.hardware import realtime

_MARKS = {'ok': ('ok', '32'), 'missing': ('--', '33'), 'broken': ('!!', '31')}
_WIDTH = 80

_REALTIME_FIX = (
    "in /etc/security/limits.d/: '@realtime - rtprio 99' and '@realtime - memlock unlimited', "
    'yourself in the group realtime, and log in again; in a container --cap-add SYS_NICE '
    '--cap-add IPC_LOCK; of a systemd unit LimitRTPRIO=99 and LimitMEMLOCK=infinity'
)

EXAMPLE = """
dysl doctor
dysl doctor --engine runs/bundle
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--json', type=Path, help='write the findings here')
    parser.add_argument(
        '--engine', default='', help='a bundle to verify; default: the bundled one'
    )
    parser.add_argument('--plans', default='', help='its TensorRT plans, as engine.plans')
    doctor_cameras.add_options(parser)


def run(given: argparse.Namespace) -> int:
    """Print the findings; exit code 1 when something needed for the node is broken."""
    check_json(given.json, 'doctor')
    file, found, config = given.params_file, [], None
    if file is not None:
        of_file = judged(file, given.engine, given.plans)
        found, config = [of_file.finding], of_file.config
    if not given.cameras:
        engine, plans = given.engine, given.plans
        if config is not None and config.engine.backend != 'remote':
            engine, plans = config.engine.path, config.engine.plans
        found = [*findings(engine, plans), *found]
    elif all(item.state == 'ok' for item in found):
        found += doctor_cameras.findings(given, config)
    width = min(shutil.get_terminal_size((_WIDTH, 24)).columns, 2 * _WIDTH)
    print(as_text(found, max(width, 60), sys.stdout.isatty()))
    if given.json is not None:
        write_json(given.json, [asdict(item) for item in found])
    return 1 if any(item.state == 'broken' for item in found) else 0


def as_text(found: Sequence[Finding], width: int, colour: bool = False) -> str:
    """The findings as lines; what is to be done is indented below what is missing.

    Args:
        found: What to show.
        width: Of a line.
        colour: Whether the marks are coloured.
    """
    lines = []
    longest = min(max((len(item.part) for item in found), default=0), 24)
    for item in found:
        mark, number = _MARKS[item.state]
        mark = f'\x1b[{number}m{mark}\x1b[0m' if colour else mark
        text = f'{item.part:<{longest}}  {item.found}'
        if item.state != 'ok' and item.needed_for:
            text += f'; needed for {item.needed_for}'
        first, *rest = textwrap.wrap(text, width - 3) or ['']
        lines += [f'{mark} {first}', *(f'     {line}' for line in rest)]
        if item.fix:
            lines += textwrap.wrap(
                f'to get it: {item.fix}', width, initial_indent='     ',
                subsequent_indent='       ', break_on_hyphens=False, break_long_words=False,
            )  # fmt: skip
    return '\n'.join(lines)


def findings(engine: str = '', plans: str = '') -> list[Finding]:
    """Look at everything; never raises.

    Args:
        engine: Folder of a bundle to verify; '' = the bundled model.
        plans: As ``engine.plans``.
    """
    found = [_python(), *library_findings(), *ros_findings(), _realtime()]
    return [*found, *_bundle_and_gpu(engine, plans)]


def _python() -> Finding:
    version = platform.python_version()
    fits = (3, 10) <= sys.version_info[:2] <= (3, 13)
    return Finding(
        'Python', 'ok' if fits else 'broken', f'{version} on {platform.machine()}', 'everything',
        '' if fits else 'use Python 3.10 to 3.13',
    )  # fmt: skip


def _realtime() -> Finding:
    """Whether this user may do what the node's command thread asks for."""
    part, needed_for = 'real-time commands', 'a steady command rate beside other work'
    obtained = realtime.try_out()
    if not obtained.problems:
        return Finding(part, 'ok', obtained.text, needed_for)
    return Finding(part, 'missing', '; '.join(obtained.problems), needed_for, _REALTIME_FIX)


def _bundle_and_gpu(engine: str, plans: str) -> list[Finding]:
    part = f'bundle {engine}' if engine else 'bundled model'
    needed = 'the node'
    try:
        from dysl_vla_ros.bundle.folder import open_bundle
        from dysl_vla_ros.cli.doctor_tensorrt import driver_finding, plans_finding
        from dysl_vla_ros.engines.fake.arm import is_fake_path
        from dysl_vla_ros.engines.open_engine import folder_of
    except ImportError as error:
        return [Finding(part, 'broken', f'cannot be checked: {error}', needed, 'see above')]
    driver_line, driver = driver_finding()
    if is_fake_path(engine):
        text = 'no bundle: the test of the wiring, which moves each joint a little; needs no model'
        return [driver_line, Finding(f'engine {engine}', 'ok', text, needed)]
    try:
        bundle = open_bundle(folder_of(engine))
    except (DyslError, OSError) as error:
        fix = 'export or copy the bundle again'
        return [driver_line, Finding(part, 'broken', str(error), needed, fix)]
    manifest = bundle.manifest
    size = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    found = f'{manifest.name}: {manifest.layers_total} layers, {size:.1f} MB, checksums fit'
    return [driver_line, Finding(part, 'ok', found, needed), plans_finding(bundle, driver, plans)]
