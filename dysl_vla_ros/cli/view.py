"""``dysl view``: a running graph in a browser, live, with the buttons that matter."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import re
import signal
from typing import TYPE_CHECKING

from dysl_vla_ros.cli.output import Output
from dysl_vla_ros.cli.values import whole
from dysl_vla_ros.errors import ConfigError, DyslError
from dysl_vla_ros.ros_names import is_name

if TYPE_CHECKING:
    from dysl_vla_ros.view.access import Access

PORT = 8042
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_REMAP = re.compile(r'[~/\w]+:=[~/\w]+')
_MAX_PORT = 65_535
_LAST_DOMAIN = 232

EXAMPLE = """
dysl view
dysl view --node /left/vla_node -r estop:=/cell/estop
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add('--node', default='/vla_node', help="the policy's node (default: /vla_node)")
    add('-r', '--remap', action='append', default=[], metavar='NAME:=TOPIC',
        help='as of a ROS node; only for names that cannot be told from the graph')  # fmt: skip
    add('--host', default='127.0.0.1',
        help='address to listen on; another than this machine\'s own asks every reader for the '
             'token (default: 127.0.0.1)')  # fmt: skip
    add('--port', type=whole(0, 65535), default=PORT, help=f'0: a free one (default: {PORT})')
    add('--domain-id', type=whole(0, 232), help="ROS domain (default: the shell's ROS_DOMAIN_ID)")


def run(given: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    _check(given)
    need_server()
    if given.domain_id is not None:
        os.environ['ROS_DOMAIN_ID'] = str(given.domain_id)
    from dysl_vla_ros.bringup import environment
    from dysl_vla_ros.view.access import Access

    access = Access(given.host)
    for name, value in environment().items():
        os.environ.setdefault(name, value)
    asyncio.run(_serve(given, access))
    return 0


async def _serve(given: argparse.Namespace, access: Access) -> None:
    from dysl_vla_ros.hardware.parent import end_with_parent
    from dysl_vla_ros.ros.view_node import Joined
    from dysl_vla_ros.view.server import Server

    stop = asyncio.Event()
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    end_with_parent()
    with Joined(given.node, given.remap) as node:
        await Server(node, access).run(given.port, stop, lambda url: _say(node.target, url))


def need_server() -> None:
    """Say what is missing before the work.

    Raises:
        DyslError: A library of the page is not installed.
    """
    missing = [name for name in ('aiohttp', 'PIL') if importlib.util.find_spec(name) is None]
    if missing:
        raise DyslError(
            f'the page needs {" and ".join(missing)}: python3 -m pip install '
            "'dysl_vla_ros[view]', or apt install python3-aiohttp python3-pil"
        )


def _say(target: str, url: str) -> None:
    console = Output()
    console.say(f'the page of {target}: {url}')
    console.say('who has this address may stop and start the arm; Ctrl-C ends the page')


def _check(given: argparse.Namespace) -> None:
    if not is_name(given.node):
        raise ConfigError('--node', given.node, 'the name of a node, such as /left/vla_node')
    for remap in given.remap:
        if not _REMAP.fullmatch(remap):
            raise ConfigError('--remap', remap, 'NAME:=TOPIC, such as estop:=/cell/estop')
    if not 0 <= given.port <= _MAX_PORT:
        raise ConfigError('--port', given.port, f'within [0, {_MAX_PORT}]')
    if given.domain_id is not None and not 0 <= given.domain_id <= _LAST_DOMAIN:
        raise ConfigError('--domain-id', given.domain_id, f'within [0, {_LAST_DOMAIN}]')
