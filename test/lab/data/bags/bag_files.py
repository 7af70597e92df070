"""Recordings written from a list of published messages, in every layout that people have."""

from __future__ import annotations

import shutil
import sqlite3
import struct

import numpy as np
import zstandard
from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as Plain
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
FILE, MESSAGE = CompressionMode.FILE, CompressionMode.MESSAGE
JOINTS, TEXT, OWN = 'sensor_msgs/msg/JointState', 'std_msgs/msg/String', 'maker_msgs/msg/Grip'
STORE.register(get_types_from_msg('float64 width\nuint8[] raw\n', OWN))
SECOND = 1_000_000_000


def joints(number):
    """A joint state that says which it is, with noise that no compression makes small."""
    stamp = STORE.types['builtin_interfaces/msg/Time'](sec=number, nanosec=0)
    header = STORE.types['std_msgs/msg/Header'](stamp=stamp, frame_id='base')
    return STORE.types[JOINTS](
        header=header, name=['a', 'b'], position=np.array([number, -number], np.float64),
        velocity=np.random.default_rng(number).normal(size=8), effort=np.zeros(0),
    )  # fmt: skip


def published(count=40):
    """(topic, type, recorded [ns], message): joints at 10 Hz, a text each second."""
    found = []
    for number in range(count):
        found.append(('/joint_states', JOINTS, SECOND + number * SECOND // 10, joints(number)))
        if number % 10 == 0:
            text = STORE.types[TEXT](data=f'say {number}')
            found.append(('/say', TEXT, SECOND + number * SECOND // 10 + 5, text))
    return found


def write(folder, messages=None, plugin=MCAP, mode=None, foreign=False):
    """A bag as ``ros2 bag record`` writes it; returns the folder."""
    writer = Writer(folder, version=9, storage_plugin=plugin)
    if mode is not None:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer as bag:
        made = {}
        if foreign:
            bag.add_connection('/add/_service_event', 'maker_msgs/srv/Add_Event', rihs01='RIHS01_'
                               + '0' * 64, msgdef='int64 a\n---\nint64 sum\n')  # fmt: skip
        for topic, kind, stamp, message in published() if messages is None else messages:
            if topic not in made:
                made[topic] = bag.add_connection(topic, kind, typestore=STORE)
            bag.write(made[topic], stamp, STORE.serialize_cdr(message, kind))
    return folder


def the_file(folder):
    """The one file of a bag."""
    return next(file for file in sorted(folder.iterdir()) if file.suffix != '.yaml')


def split(folder, plugin=MCAP, parts=12):
    """A bag in many files, the tenth and later of which sort in front of the second by name."""
    folder.mkdir()
    messages = published()
    size = -(-len(messages) // parts)
    names = []
    for number in range(parts):
        part = write(folder / 'part', messages[number * size : (number + 1) * size], plugin)
        file = the_file(part)
        names.append(f'rec_{number}{file.suffix}')
        file.rename(folder / names[-1])
        shutil.rmtree(part)
    listed = '\n'.join(f'    - {name}' for name in names)
    (folder / 'metadata.yaml').write_text(
        f'rosbag2_bagfile_information:\n  version: 9\n  relative_file_paths:\n{listed}\n'
    )
    return folder


def without_index(folder, compression=None):
    """An MCAP of small chunks as a killed recorder leaves it: no summary, no footer."""
    folder.mkdir(parents=True)
    kind = CompressionType.NONE if compression is None else CompressionType[compression]
    with (folder / 'rec_0.mcap').open('wb') as file:
        writer = Plain(file, chunk_size=1000, compression=kind, index_types=IndexType.NONE,
                       use_statistics=False, use_summary_offsets=False)  # fmt: skip
        writer.start('ros2')
        schemas, channels = {}, {}
        for topic, kind, stamp, message in published():
            if topic not in channels:
                text = STORE.generate_msgdef(kind)[0]
                schemas[topic] = writer.register_schema(kind, 'ros2msg', text.encode())
                channels[topic] = writer.register_channel(topic, 'cdr', schemas[topic])
            data = bytes(STORE.serialize_cdr(message, kind))
            writer.add_message(channels[topic], stamp, data, stamp)
        writer.finish()
    content = (folder / 'rec_0.mcap').read_bytes()
    end = content.rindex(b'\x0f' + struct.pack('<Q', 4))  # the record that ends the data
    (folder / 'rec_0.mcap').write_bytes(content[:end])
    return folder


def old_sqlite(folder):
    """A .db3 of the first release: three tables' worth less, and no definition of a type."""
    folder.mkdir()
    database = sqlite3.connect(folder / 'old_0.db3')
    database.execute('CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT '
                     'NOT NULL, serialization_format TEXT NOT NULL)')  # fmt: skip
    database.execute('CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, '
                     'timestamp INTEGER NOT NULL, data BLOB NOT NULL)')  # fmt: skip
    numbers = {'/joint_states': 1, '/say': 2}
    for topic, kind in (('/joint_states', JOINTS), ('/say', TEXT)):
        database.execute('INSERT INTO topics VALUES (?, ?, ?, ?)',
                         (numbers[topic], topic, kind, 'cdr'))  # fmt: skip
    for topic, kind, stamp, message in published():
        database.execute('INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)', (
            numbers[topic], stamp, bytes(STORE.serialize_cdr(message, kind))))  # fmt: skip
    database.commit()
    database.close()
    return folder


def cut(path, share):
    """The beginning of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def pack(folder):
    """Compress the file of a bag whole, as --compression-mode file does."""
    file = the_file(folder)
    packed = file.with_name(file.name + '.zstd')
    packed.write_bytes(zstandard.compress(file.read_bytes()))
    file.unlink()
    return folder


def flipped(path, at):
    """The file with one byte turned over."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    return path
