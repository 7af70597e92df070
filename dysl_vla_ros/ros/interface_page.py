"""Tables of the interface, from the code and from a running graph: the page doc/reference.md.

``python -m dysl_vla_ros.ros.interface_page > doc/reference.md`` starts the two nodes of the
demonstration with the wiring policy, asks them what they have, and ends them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from dysl_vla_ros import bringup
from dysl_vla_ros.data_types import COMMAND_TOPICS
from dysl_vla_ros.demo.domain import ReservedDomain
from dysl_vla_ros.demo.processes import Children, environment
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.sim_node import PARAMETERS

COMMAND = 'python -m dysl_vla_ros.ros.interface_page > doc/reference.md'
NODES = ('vla_node', 'sim_arm')
_PATIENCE_S = 120.0
_SETTLED_S = 3.0
_Row = tuple[str, str, str]
_KEYS = ('Times and rates are there once they were measured. The status `hardware` has what the '
         'machine tells.')  # fmt: skip
_OF_EVERY_NODE = ('parameter_events', 'rosout')
_KINDS = (
    ('publishes', 'get_publisher_names_and_types_by_node'),
    ('subscribes', 'get_subscriber_names_and_types_by_node'),
    ('serves', 'get_service_names_and_types_by_node'),
)
_HIDDEN = ('describe_parameters', 'get_parameter', 'list_parameters', 'set_parameters',
           'get_type_description')  # fmt: skip


def launch_arguments() -> str:
    """Every argument of the launch file."""
    return table(
        ('argument', 'default', 'legal', 'meaning'),
        (
            (f'`{one.name}`', f'`{one.default}`' if one.default else '',
             ', '.join(choice or '(empty)' for choice in one.choices), one.description)
            for one in bringup.ARGUMENTS
        ),
    )  # fmt: skip


def sim_parameters() -> str:
    """Every parameter of ``sim_arm``."""
    return table(
        ('parameter', 'default', 'meaning'),
        ((f'`{name}`', f'`{json.dumps(default)}`', text) for name, default, text in PARAMETERS),
    )


def command_topics() -> str:
    """What ``command_type`` chooses."""
    return table(
        ('`command_type`', 'topic'),
        ((f'`{kind}`', f'`{topic}`') for kind, topic in COMMAND_TOPICS.items()),
    )


def graph_tables() -> tuple[dict[str, str], str]:
    """Topics and services of each running node, and the keys on ``/diagnostics``."""
    reserved = ReservedDomain()
    env = environment(reserved.number)
    os.environ.update({k: v for k, v in env.items() if k.startswith(('ROS_', 'FAST'))})
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node, executor = Node('interface_page'), SingleThreadedExecutor()
    executor.add_node(node)
    keys: dict[str, set[str]] = {}

    def heard(message: Any) -> None:
        for status in message.status:
            owner, _, name = status.name.partition(': ')
            if owner == '/vla_node':
                keys.setdefault(name, set()).update(entry.key for entry in status.values)

    node.create_subscription(DiagnosticArray, '/diagnostics', heard, qos.REPORT)
    specs = bringup.nodes({'engine': 'fake'})
    try:
        with Children(specs, env) as children:
            now = since = time.monotonic()
            until = now + _PATIENCE_S
            found: dict[str, list[_Row]] = {}
            while now < until and not (_complete(found, keys) and now > since + _SETTLED_S):
                executor.spin_once(timeout_sec=0.1)
                children.check()
                now, before, found = time.monotonic(), found, _seen(node)
                since = since if found == before else now
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    titles = ('name', 'type', '')
    return {name: table(titles, rows) for name, rows in found.items()}, table(
        ('status', 'keys'),
        ((f'`{name}`', ' '.join(f'`{key}`' for key in sorted(keys[name])))
         for name in sorted(keys) if name != 'hardware'),
    )  # fmt: skip


def _complete(found: Mapping[str, Sequence[_Row]], keys: Mapping[str, set[str]]) -> bool:
    """Whether both nodes are active and everything has been said at least once.

    A node's topics and services are discovered one by one: what was found counts once it has
    something of every kind, and stays the same for a while.
    """
    if not {'policy', 'inputs', 'commands', 'hardware'} <= set(keys):
        return False
    kinds = {kind for kind, _ in _KINDS}
    seen = all({row[2] for row in rows} == kinds for rows in found.values())
    active = '`~/chunk_info`' in {row[0] for row in found['vla_node']}
    return seen and active and 'inference_ms_p95' in keys['policy']


def _seen(node: Node) -> dict[str, list[_Row]]:
    """What was discovered of each node so far."""
    there = set(node.get_node_names())
    return {name: _rows(node, name) if name in there else [] for name in NODES}


def _rows(node: Node, name: str) -> list[_Row]:
    rows = []
    for kind, method in _KINDS:
        for full, types in getattr(node, method)(name, '/'):
            own = full.replace(f'/{name}/', '~/', 1) if full.startswith(f'/{name}/') else full
            last = own.rpartition('/')[2]
            # These depend on who else is there: a camera that compresses, a controller that is
            # watched.
            others = last == 'compressed' or (last == 'transition_event' and own[0] != '~')
            hidden = last in _OF_EVERY_NODE or last.startswith(_HIDDEN) or '/_action/' in own
            if others or hidden:
                continue
            shown = own if own.startswith('~') or own == '/diagnostics' else own.lstrip('/')
            rows.append((f'`{shown}`', ', '.join(types), kind))
    return sorted(rows, key=lambda row: (row[2], row[0]))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [titles, ['---'] * len(titles), *rows]
    text = '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
    return text.replace('|  |', '| |').replace('|  |', '| |')


def page() -> str:
    """The whole page."""
    graph, keys = graph_tables()
    parts = [
        '# Reference: what the code has', f'Written by `{COMMAND}`, from the code and from both '
        'nodes with the wiring policy. What each thing is for: [the interface](interface.md); '
        'parameters of `vla_node`: [all of them](parameters.md).',
        '## Launch arguments', launch_arguments(),
        '## Parameters of `sim_arm`', sim_parameters(),
        '## Command topics', command_topics(),
        '## `vla_node`', 'Topics that other parameters add (another command type, a gripper\'s '
        'action, compressed pictures, the arm\'s speed): [the interface](interface.md).',
        graph['vla_node'], '## `sim_arm`', graph['sim_arm'],
        '## Keys on `/diagnostics`', _KEYS, keys,
    ]  # fmt: skip
    return '\n\n'.join(parts) + '\n'


if __name__ == '__main__':
    sys.stdout.write(page())
