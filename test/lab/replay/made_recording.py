"""A recording as the node makes it, without ROS: a tiny policy, its skip policy, its topics."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dysl_vla_ros.config import EngineConfig, NodeConfig
from dysl_vla_ros.core.skip_policy import SkipPolicy
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.engines.image_tensor import seen_values
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.lossless_picture import encode
from dysl_vla_ros.pass_record import Judged, PassRecord, Source, to_text
from dysl_vla_ros.policy import open_policy, proprioception_input

STORE = get_typestore(Stores.ROS2_JAZZY)
START_NS = 1_700_000_000_000_000_000
STEP_NS = 200_000_000
PLAYED = 4
SENTENCE = 'pick up the red cube'


def observation(index, size=(120, 160)):
    """A coarse picture that drifts, joints that drift."""
    random = np.random.default_rng(5)
    patch = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = np.kron(patch, np.ones((size[0] // 12, size[1] // 16, 1), np.uint8))
    joints = random.uniform(-1, 1, 6) + 0.02 * index
    return Observation(0.2 * index, {'image': np.roll(image, 3 * index, axis=1)}, joints, 0.5,
                       SENTENCE)  # fmt: skip


def records(bundle, count=12, mode='auto'):
    """Passes and their pictures, as the control loop would have them."""
    policy = open_policy(EngineConfig(path=str(bundle)))
    manifest = policy.manifest
    settings = skip_settings(NodeConfig(), manifest.calibration)
    skip = SkipPolicy(manifest.layout.segments, settings)
    skip.restart()
    source = Source('run', manifest.name, manifest.digest, policy.engine.device)
    number = 0
    for index in range(count):
        seen = observation(index)
        plan = skip.plan('auto' if mode == 'compare' else mode)
        run = policy.compare if mode == 'compare' else policy.predict
        result = first = run(seen, plan)
        pictures = {c.name: encode(seen_values(seen.images[c.name], c)) for c in manifest.cameras}
        begun = number
        while True:
            verdict = skip.verify(result.normalised, result.trace.resume_layer is not None
                                  and result is first)  # fmt: skip
            judged = Judged(not verdict.rerun, verdict.rerun, '', 0, result.normalised,
                            verdict.continuity, verdict.drop_index, 4 * index, 1,
                            verdict.since)  # fmt: skip
            yield (
                PassRecord(
                    source,
                    number,
                    None if result is first else begun,
                    START_NS + index * STEP_NS,
                    seen,
                    tuple(pictures),
                    tuple(policy.tokens(SENTENCE)[0].tolist()),
                    tuple(proprioception_input(manifest, seen)[0].tolist()),
                    mode,
                    asdict(settings),
                    plan,
                    result,
                    judged,
                ),
                pictures if result is first else {},
            )
            number += 1
            if not verdict.rerun:
                break
            result = policy.rerun(first)
        skip.accepted(verdict, result is not first)
        for move in result.normalised[:PLAYED]:
            skip.played(move)
    policy.engine.close()


def header(stamp_ns):
    kinds = STORE.types
    stamp = kinds['builtin_interfaces/msg/Time'](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return kinds['std_msgs/msg/Header'](stamp=stamp, frame_id='image')


def write(folder, passes, plugin=StoragePlugin.MCAP, spoil=lambda record: to_text(record)):
    """A bag folder of passes and pictures; ``spoil`` may write a pass otherwise, or not at all."""
    text, packed = 'std_msgs/msg/String', 'sensor_msgs/msg/CompressedImage'
    with Writer(Path(folder), version=9, storage_plugin=plugin) as bag:
        said = bag.add_connection('/vla_node/pass', text, typestore=STORE)
        seen = bag.add_connection('/vla_node/seen/image', packed, typestore=STORE)
        for index, (record, pictures) in enumerate(passes):
            now = record.stamp_ns + 10**7 + index
            for data in pictures.values():
                picture = STORE.types[packed](
                    header=header(record.stamp_ns), format='png',
                    data=np.frombuffer(data, np.uint8),
                )  # fmt: skip
                bag.write(seen, now, STORE.serialize_cdr(picture, packed))
            words = spoil(record)
            if words is not None:
                bag.write(said, now, STORE.serialize_cdr(STORE.types[text](data=words), text))
    return Path(folder)


def write_topics(folder, count=30, plugin=StoragePlugin.MCAP, instruction=SENTENCE):
    """A bag folder of what any robot records: camera, joints, instruction, a stranger's topic."""
    kinds = {'image': 'sensor_msgs/msg/Image', 'joints': 'sensor_msgs/msg/JointState',
             'text': 'std_msgs/msg/String'}  # fmt: skip
    names = [f'{name}_joint' for name in (
        'wrist_3', 'shoulder_pan', 'shoulder_lift', 'elbow', 'wrist_1', 'wrist_2')]  # fmt: skip
    with Writer(Path(folder), version=9, storage_plugin=plugin) as bag:
        image = bag.add_connection('/camera/color/image', kinds['image'], typestore=STORE)
        joints = bag.add_connection('/joint_states', kinds['joints'], typestore=STORE)
        text = bag.add_connection('/instruction', kinds['text'], typestore=STORE)
        other = bag.add_connection('/vendor', 'vendor_msgs/msg/Odd', msgdef='int64 a\n',
                                   rihs01='RIHS01_' + '0' * 64)  # fmt: skip
        if instruction:
            bag.write(text, START_NS, STORE.serialize_cdr(
                STORE.types[kinds['text']](data=instruction), kinds['text']))  # fmt: skip
        for index in range(count):
            now, seen = START_NS + index * 33_000_000, observation(index)
            bag.write(other, now, b'\x00\x01\x00\x00' + bytes(8))
            # The driver's order of joints is its own; the gripper is one of them.
            state = STORE.types[kinds['joints']](
                header=header(now), name=[*names, 'gripper_finger'],
                position=np.array([*np.roll(seen.joints, 1), 0.5]), velocity=np.zeros(0),
                effort=np.zeros(0),
            )  # fmt: skip
            bag.write(joints, now, STORE.serialize_cdr(state, kinds['joints']))
            pixels = np.ascontiguousarray(seen.images['image'][:, :, ::-1])
            message = STORE.types[kinds['image']](
                header=header(now), height=pixels.shape[0], width=pixels.shape[1],
                encoding='bgr8', is_bigendian=0, step=3 * pixels.shape[1], data=pixels.reshape(-1),
            )  # fmt: skip
            bag.write(image, now + 1, STORE.serialize_cdr(message, kinds['image']))
    return Path(folder)
