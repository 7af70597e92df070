"""Recordings of cameras in any encoding, beside joints, an instruction and passes."""

from __future__ import annotations

import io

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dysl_vla_ros.pictures.encodings import encoding_of

STORE = get_typestore(Stores.ROS2_JAZZY)
START = 1_700_000_000_000_000_000
PERIOD = 100_000_000
HEIGHT, WIDTH = 120, 160
FILES = ('jpeg', 'png')
IMAGE, PACKED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
JOINTS, TEXT = 'sensor_msgs/msg/JointState', 'std_msgs/msg/String'
STATUS = 'diagnostic_msgs/msg/DiagnosticStatus'
NAMES = [f'{name}_joint' for name in (
    'shoulder_pan', 'shoulder_lift', 'elbow', 'wrist_1', 'wrist_2', 'wrist_3')]  # fmt: skip


def header(time_ns, frame=''):
    stamp = STORE.types['builtin_interfaces/msg/Time'](sec=time_ns // 10**9,
                                                       nanosec=time_ns % 10**9)  # fmt: skip
    return STORE.types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame)


def noise(encoding, height=HEIGHT, width=WIDTH):
    """A picture of any bytes, the upper byte first, each row with padding."""
    random = np.random.default_rng(list(encoding.encode()))
    if encoding in FILES:
        from PIL import Image

        stream = io.BytesIO()
        coarse = random.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
        picture = np.kron(coarse, np.ones((10, 10, 1), np.uint8))
        Image.fromarray(picture).save(stream, encoding.upper())
        data = np.frombuffer(stream.getvalue(), np.uint8)
        return STORE.types[PACKED](header=header(START, encoding), format='anything', data=data)
    layout = encoding_of('', encoding)
    step = layout.row(width) + 4
    data = random.integers(0, 256, step * layout.rows(height), dtype=np.uint8)
    return STORE.types[IMAGE](header=header(START, encoding), height=height, width=width,
                              encoding=encoding, is_bigendian=1, step=step, data=data)  # fmt: skip


def distances(height=HEIGHT, width=WIDTH):
    """What a depth camera sends."""
    return STORE.types[IMAGE](
        header=header(START), height=height, width=width, encoding='16UC1', is_bigendian=0,
        step=2 * width, data=np.full(2 * width * height, 3, np.uint8),
    )  # fmt: skip


def write(folder, cameras, frames=6):
    """A bag: joints and passes with every picture.

    Args:
        folder: A new one.
        cameras: Topic -> message, or a list of one per frame.
        frames: So many, at 10 Hz.
    """
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        made = {}

        def put(topic, kind, at, message):
            if topic not in made:
                made[topic] = bag.add_connection(topic, kind, typestore=STORE)
            bag.write(made[topic], at, STORE.serialize_cdr(message, kind))

        put('/instruction', TEXT, START, STORE.types[TEXT](data='pick up the red cube'))
        for frame in range(frames):
            at = START + frame * PERIOD
            put('/joint_states', JOINTS, at, STORE.types[JOINTS](
                header=header(at), name=[*NAMES, 'gripper_finger'],
                position=np.full(7, 0.01 * frame), velocity=np.zeros(0), effort=np.zeros(0),
            ))  # fmt: skip
            for topic, messages in cameras.items():
                message = messages[frame] if isinstance(messages, list) else messages
                message.header = header(at, message.header.frame_id)
                put(topic, PACKED if hasattr(message, 'format') else IMAGE, at, message)
            values = {'layer_mask': '1101', 'mode': 'skipped', 'outcome': 'accepted',
                      'continuity': '0.9', 'instruction': 'lift it'}  # fmt: skip
            put('/vla_node/chunk_info', STATUS, at + 1000, STORE.types[STATUS](
                level=0, name='/vla_node: chunk', message='', hardware_id='',
                values=[STORE.types['diagnostic_msgs/msg/KeyValue'](key=key, value=text)
                        for key, text in values.items()],
            ))  # fmt: skip
    return folder
