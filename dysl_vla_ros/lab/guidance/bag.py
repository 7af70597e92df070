"""Chunks from a bag of `~/chunk_info`, without ROS.

The node publishes one message per pass; those that were accepted carry the chunk's displacements
in the model's normalised space, so the bag needs neither the bundle nor the action space. What
it is read for must be the policy that made it: of that it tells the number of layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.bags.bag import Bag, open_bag
from dysl_vla_ros.lab.guidance.recordings import AcceptedChunk

TYPE = 'diagnostic_msgs/msg/DiagnosticStatus'
TOPIC = '/chunk_info'


def read_bag(path: Path, topic: str = '', layers: int = 0) -> list[AcceptedChunk]:
    """The accepted chunks of a bag, in order.

    Args:
        path: The folder that ``ros2 bag record`` writes, or one of its files.
        topic: Of the chunk messages; by default the one whose name ends with ``/chunk_info``.
        layers: Of the policy that should have made it; 0 = of any.

    Raises:
        ConfigError: Not a bag, no such topic, recorded by a node that did not publish the
            displacements, or of another policy.
    """
    chunks: list[AcceptedChunk] = []
    with open_bag(path) as bag:
        name = _topic(bag, topic)
        for message in bag.messages([name]):
            values = {entry.key: entry.value for entry in message.message.values}
            if layers and values.get('layers_total', str(layers)) != str(layers):
                raise ConfigError('--bag', str(path), f'a recording of this policy of {layers} '
                                  f'layers: that one has {values["layers_total"]}')  # fmt: skip
            if values.get('outcome') == 'accepted':
                chunks.append(accepted_chunk(values, len(chunks)))
    return chunks


def accepted_chunk(values: Mapping[str, str], number: int) -> AcceptedChunk:
    """One accepted chunk from the values of its message.

    Args:
        values: Keys as ``ros.chunk_messages.chunk_info`` writes them.
        number: Which accepted chunk of the bag, for errors.

    Raises:
        ConfigError: A key is missing, or does not read as what it should be.
    """
    for key in ('epoch', 'displacements', 'actions_played', 'continuity'):
        if key not in values:
            raise ConfigError(
                f'chunk_info[{number}].{key}', 'missing', f'the keys {sorted(values)} and this '
                'one: record with the release that calibrates',
            )  # fmt: skip
    try:
        rows = [[float(x) for x in row.split()] for row in values['displacements'].split(';')]
        displacements = np.array(rows, dtype=np.float64)
        # C is published for the actions that were still to be executed.
        dropped = len(displacements) - len(values['continuity'].split())
        epoch, counter = int(values['epoch']), int(values['actions_played'])
        pairs = (word.split(':') for word in values.get('scores', '').split())
        scores = {int(layer): float(score) for layer, score in pairs}
    except ValueError as error:
        raise ConfigError(f'chunk_info[{number}]', str(error),
                          'numbers as the node writes them') from None  # fmt: skip
    if dropped < 0 or displacements.ndim != 2:
        raise ConfigError(f'chunk_info[{number}].displacements', displacements.shape,
                          'one row per action')  # fmt: skip
    return AcceptedChunk(epoch, displacements, dropped, counter, scores)


def _topic(bag: Bag, wanted: str) -> str:
    if wanted:
        return wanted
    found = bag.find(TYPE, ending=TOPIC)
    if len(found) != 1:
        raise ConfigError('topic', found, f'exactly one topic that ends with {TOPIC}, or its name '
                          f'given; the recording has {bag.listed()}')  # fmt: skip
    return found[0]
