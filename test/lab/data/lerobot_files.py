"""Small LeRobot data sets as other people have them, written by hand from the public layout.

``write_set`` knows the versions v2.1 and v3.0, pictures inside the tables and AV1 videos, any
names, rate and robot, and writes none of our own files.
"""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dysl_vla_ros.pictures.files import encode_png

TASKS = ('pick up the red cube', 'put it on the plate')


def picture(episode, frame, camera, size):
    """A flat colour that says which frame it is, with a brighter corner that says what is up."""
    image = np.full((size, size, 3), 20, np.uint8)
    image[..., 0] = (40 + 12 * frame) % 256
    image[..., 1] = 40 + 60 * episode
    image[..., 2] = 40 + 80 * camera
    image[: size // 4, : size // 4] = 250
    return image


def write_set(folder, version='v3.0', video=True, cameras=('front', 'wrist'), state=8, action=7,
              fps=10, lengths=(6, 8), size=64, names=None, tasks=TASKS):  # fmt: skip
    """Write a data set; returns its folder."""
    folder = Path(folder)
    new = version == 'v3.0'
    (folder / 'meta').mkdir(parents=True)
    keys = [f'observation.images.{camera}' for camera in cameras]
    pictures = {'dtype': 'video' if video else 'image', 'shape': [size, size, 3],
                'names': ['height', 'width', 'channels']}  # fmt: skip
    row = {'dtype': 'int64', 'shape': [1], 'names': None}
    features = {
        'observation.state': {'dtype': 'float32', 'shape': [state], 'names': names},
        'action': {'dtype': 'float32', 'shape': [action], 'names': names},
        **dict.fromkeys(keys, pictures),
        'timestamp': {'dtype': 'float32', 'shape': [1], 'names': None},
        **dict.fromkeys(('frame_index', 'episode_index', 'index', 'task_index'), row),
    }
    info = {
        'codebase_version': version, 'robot_type': 'so101_follower', 'fps': fps,
        'total_episodes': len(lengths), 'total_frames': sum(lengths), 'total_tasks': len(tasks),
        'chunks_size': 1000, 'splits': {'train': f'0:{len(lengths)}'}, 'features': features,
        'data_path': 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet' if new else
        'data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet',
        'video_path': None if not video else
        'videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4' if new else
        'videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4',
    }  # fmt: skip
    (folder / 'meta/info.json').write_text(json.dumps(info))
    tables, shots, first = [], {key: [] for key in keys}, 0
    for episode, length in enumerate(lengths):
        table, taken = _episode(episode, length, first, keys, state, action, fps, size, video,
                                len(tasks))  # fmt: skip
        tables.append(table)
        for key in keys:
            shots[key].append(taken[key])
        first += length
    write = _write_v3 if new else _write_v2
    write(folder, tables, shots if video else {}, fps, tasks)
    return folder


def _episode(episode, length, first, keys, state, action, fps, size, video, tasks):
    random = np.random.default_rng(episode)
    columns = {
        'observation.state': _lists(random.uniform(-0.3, 0.3, (length, state))),
        'action': _lists(random.uniform(-0.5, 0.5, (length, action))),
        'timestamp': pa.array(np.arange(length, dtype=np.float32) / fps),
        'frame_index': pa.array(np.arange(length)),
        'episode_index': pa.array(np.full(length, episode)),
        'index': pa.array(np.arange(first, first + length)),
        'task_index': pa.array(np.full(length, episode % tasks)),
    }
    taken = {key: [picture(episode, n, c, size) for n in range(length)]
             for c, key in enumerate(keys)}  # fmt: skip
    if not video:
        for key, images in taken.items():
            columns[key] = pa.array([{'bytes': encode_png(i), 'path': None} for i in images])
    return pa.table(columns), taken


def _lists(values):
    flat = pa.array(values.astype(np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _write_v2(folder, tables, shots, fps, tasks):
    lines = [json.dumps({'task_index': n, 'task': text}) for n, text in enumerate(tasks)]
    (folder / 'meta/tasks.jsonl').write_text('\n'.join(lines) + '\n')
    lines = [json.dumps({'episode_index': n, 'tasks': [tasks[n % len(tasks)]], 'length': len(t)})
             for n, t in enumerate(tables)]  # fmt: skip
    (folder / 'meta/episodes.jsonl').write_text('\n'.join(lines) + '\n')
    for number, table in enumerate(tables):
        _table(folder / f'data/chunk-000/episode_{number:06d}.parquet', table)
        for key, taken in shots.items():
            write_video(folder / f'videos/chunk-000/{key}/episode_{number:06d}.mp4',
                        taken[number], fps)  # fmt: skip


def _write_v3(folder, tables, shots, fps, tasks):
    _table(
        folder / 'meta/tasks.parquet',
        pa.table(
            {
                'task_index': pa.array(range(len(tasks)), pa.int64()),
                '__index_level_0__': list(tasks),
            }
        ),
    )
    _table(folder / 'data/chunk-000/file-000.parquet', pa.concat_tables(tables))
    rows, first = [], 0
    for number, table in enumerate(tables):
        row = {'episode_index': number, 'tasks': [tasks[number % len(tasks)]],
               'length': len(table), 'data/chunk_index': 0, 'data/file_index': 0,
               'dataset_from_index': first, 'dataset_to_index': first + len(table)}  # fmt: skip
        for key in shots:
            row |= {f'videos/{key}/chunk_index': 0, f'videos/{key}/file_index': 0,
                    f'videos/{key}/from_timestamp': first / fps,
                    f'videos/{key}/to_timestamp': (first + len(table)) / fps}  # fmt: skip
        rows.append(row)
        first += len(table)
    _table(folder / 'meta/episodes/chunk-000/file-000.parquet', pa.Table.from_pylist(rows))
    for key, taken in shots.items():  # all episodes in one file
        write_video(folder / f'videos/{key}/chunk-000/file-000.mp4', [*chain(*taken)], fps)


def _table(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def write_video(path, images, fps):
    """AV1, as lerobot encodes it."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libsvtav1', rate=fps, options={'g': '2', 'crf': '30',
                                                                     'preset': '12'})  # fmt: skip
        stream.width, stream.height = images[0].shape[1], images[0].shape[0]
        stream.pix_fmt, stream.time_base = 'yuv420p', Fraction(1, fps)
        for image in images:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
