"""LeRobot sets of a made-up arm that moves smoothly: any names, orders and units."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lerobot_files import write_set

STATE, ACTION = 'observation.state', 'action'
LENGTHS = (40, 41, 42)


def reach(name, times):
    """Where a joint of this name stands [rad], or a gripper between 0 and 1."""
    seed = sum(map(ord, name))
    if 'grip' in name or 'finger' in name:
        return 0.5 + 0.5 * np.sin(0.9 * times + seed)
    return (0.3 + 0.05 * (seed % 9)) * np.sin(0.7 * times + seed)


def robot_set(folder, state, action=None, edit=lambda kind, values: values, named=(True, True),
              fps=10, true_names=None, **others):  # fmt: skip
    """A set whose actions are the next state, each column that of its name.

    Args:
        folder: A new one.
        state: Names of the state.
        action: Of the action; the state's.
        edit: Of ``state`` or ``action`` and its numbers, (frames, size), what is stored.
        named: Whether the description names the numbers of state and action.
        fps: Frames per second.
        true_names: Name of a column -> of the joint that it holds.
    """
    action = list(state if action is None else action)
    write_set(
        folder,
        state=len(state),
        action=len(action),
        video=False,
        lengths=LENGTHS,
        tasks=('touch it',),
        fps=fps,
        **{'cameras': ('front',), 'size': 32, **others},
    )
    path = folder / 'meta/info.json'
    info = json.loads(path.read_text())
    for column, names, has in ((STATE, state, named[0]), (ACTION, action, named[1])):
        info['features'][column]['names'] = list(names) if has else None
    path.write_text(json.dumps(info))
    holds = true_names or {}
    for file in sorted((folder / 'data').rglob('*.parquet')):
        table = pq.read_table(file)
        episode = np.array(table['episode_index'].to_pylist())
        times = np.array(table['frame_index'].to_pylist()) / fps + 3.0 * episode
        for column, kind, names, ahead in ((STATE, 'state', state, 0.0),
                                           (ACTION, 'action', action, 1.0 / fps)):  # fmt: skip
            values = np.stack([reach(holds.get(name, name), times + ahead) for name in names], 1)
            stored = pa.array(edit(kind, values).astype(np.float32).tolist(),
                              pa.list_(pa.float32()))  # fmt: skip
            table = table.set_column(table.column_names.index(column), column, stored)
        pq.write_table(table, file)
    return folder
