"""Observations out of camera, joint and instruction topics, where no passes were recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dysl_vla_ros.bundle.manifest import CameraSpec, Manifest
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.contract import camera_views
from dysl_vla_ros.data_types import FloatArray, ImageArray, Observation, frozen_array
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.bag_messages import IMAGES, JOINTS, TEXT
from dysl_vla_ros.lab.data.bags.bag import Bag
from dysl_vla_ros.lab.data.refused_pictures import RefusedPictures
from dysl_vla_ros.lab.replay.steps import Step
from dysl_vla_ros.pictures.messages import check_message, rgb_of

_RAW, _PACKED = IMAGES
_SUFFIX = '/compressed'
_FRESH_S = 1.0
_NS = 1e-9


@dataclass(frozen=True)
class Wishes:
    """What the user says about a recording.

    Attributes:
        cameras: Camera of the bundle -> topic.
        joints: Topic of the joint states; '' finds one.
        instruction: Where none was recorded.
        every: Seconds between two observations; 0 is half a chunk.
    """

    cameras: Mapping[str, str]
    joints: str = ''
    instruction: str = ''
    every: float = 0.0


class TopicSteps:
    """Observations of a bag; iterate once.

    Attributes:
        notes: What was chosen, in words.
        topic: Of the first camera.
    """

    def __init__(self, bag: Bag, manifest: Manifest, config: NodeConfig, wishes: Wishes) -> None:
        """Find the topics.

        Args:
            bag: Opened.
            manifest: Names cameras and joints.
            config: Of the node: joints, gripper, ``image.*``.
            wishes: What the user says.

        Raises:
            ConfigError: The recording lacks what the bundle needs; names it and what is there.
        """
        if manifest.proprioception.dim and manifest.proprioception.source != 'joints':
            raise ConfigError('bag', str(bag.path), 'a recording of record:=true: '
                              f'{manifest.name} reads {manifest.proprioception.source}, which '
                              'needs the kinematics of the arm')  # fmt: skip
        self._bag, self._manifest, self._config = bag, manifest, config
        self._views = camera_views(config.inputs, manifest)
        self.notes: list[str] = []
        for name in wishes.cameras:
            if name not in self._views:
                raise ConfigError('--camera', name, f'a camera of the bundle: '
                                  f'{", ".join(self._views)}')  # fmt: skip
        self._cameras = {self._camera(name, wishes.cameras): name for name in self._views}
        self.topic = next(iter(self._cameras), '')
        self._names = manifest.action.joint_names or config.action.joint_names
        self._joints = self._joint_topic(wishes.joints) if manifest.proprioception.dim else ''
        found = bag.find(TEXT, ending='instruction')
        self._instructions = '' if wishes.instruction or not found else found[0]
        self._instruction = wishes.instruction
        if not found and not wishes.instruction:
            raise ConfigError('--instruction', '', 'a sentence: the recording has no topic of '
                              'that name')  # fmt: skip
        action = manifest.action
        self._every = wishes.every or 0.5 * action.horizon * action.period_s

    def __iter__(self) -> Iterator[Step]:
        """Observations in order, apart by at least ``every``.

        Raises:
            InputError: No picture of a camera can be used.
        """
        wanted = [*self._cameras, *filter(None, (self._joints, self._instructions))]
        pictures: dict[str, tuple[float, Any]] = {}
        joints: tuple[float, FloatArray, float | None] | None = None
        begin = last = float('-inf')
        text, part, refused = self._instruction, 0, RefusedPictures()
        for message in self._bag.messages(wanted):
            now = message.stamp * _NS
            if message.part != part:
                part, last, joints, pictures = message.part, float('-inf'), None, {}
            if message.topic == self._instructions:
                text = str(message.message.data) or text
                continue
            if message.topic == self._joints:
                read = self._reading(message.message)
                joints = joints if read is None else (now, *read)
                continue
            name = self._cameras[message.topic]
            if not refused.checked(message.topic, partial(self._check, name, message)):
                continue  # as on the robot, where the one before stays the newest
            pictures[name] = now, message
            if now - last < self._every or not text or len(pictures) < len(self._cameras):
                continue
            stale = [at for at, _ in pictures.values() if now - at > _FRESH_S]
            if stale or (self._joints and (joints is None or now - joints[0] > _FRESH_S)):
                continue
            images = {
                name: picture for name, (_, kept) in pictures.items()
                if (picture := refused.read(kept.topic, partial(self._picture, name, kept)))
                is not None
            }  # fmt: skip
            if len(images) < len(pictures):  # until the next one of that camera
                pictures = {name: kept for name, kept in pictures.items() if name in images}
                continue
            begin, last = now if begin == float('-inf') else begin, now
            known = joints or (now, frozen_array([]), None)
            yield Step(now - begin, Observation(now, images, known[1], known[2], text))
        self.notes += refused.settle()

    def _check(self, name: str, message: Any) -> None:
        """As the node on arrival: by the header alone."""
        rows, columns = check_message(message.topic, message.message)
        self._views[name].check(rows, columns, self._spec(name))

    def _picture(self, name: str, message: Any) -> ImageArray:
        whole = rgb_of(message.topic, message.message)
        return np.ascontiguousarray(self._views[name].apply(whole, self._spec(name)))

    def _spec(self, name: str) -> CameraSpec:
        return next(camera for camera in self._manifest.cameras if camera.name == name)

    def _reading(self, message: Any) -> tuple[FloatArray, float | None] | None:
        """Joints in order, and the opening; None of a message without all of them."""
        places = {name: index for index, name in enumerate(message.name)}
        gripper = self._config.gripper
        reads = self._manifest.proprioception.gripper
        if any(name not in places for name in self._names):
            return None
        position = np.asarray(message.position, dtype=np.float64)
        opening = None
        if reads:
            if gripper.joint not in places:
                return None
            width = gripper.open_value - gripper.closed_value
            raw = (position[places[gripper.joint]] - gripper.closed_value) / width
            opening = float(np.clip(raw, 0.0, 1.0))
        return position[[places[name] for name in self._names]], opening

    def _camera(self, name: str, wishes: Mapping[str, str]) -> str:
        """The topic of a camera: given, of its name, or the only one there is."""
        topics = self._bag.find(_RAW, _PACKED)
        if name in wishes:
            if wishes[name] not in topics:
                raise ConfigError('--camera', f'{name}={wishes[name]}', 'a topic with pictures: '
                                  f'{", ".join(topics) or "there is none"}')  # fmt: skip
            return wishes[name]
        for ending in (f'/{name}', f'/{name}{_SUFFIX}'):
            found = [topic for topic in topics if topic.endswith(ending)]
            if found:
                return found[0]
        if len(topics) == 1 and len(self._views) == 1:
            self.notes.append(f'{topics[0]} is taken for the camera {name}')
            return topics[0]
        raise ConfigError(
            '--camera', name, f'{name}=TOPIC: no topic of pictures has its name; there are '
            f'{", ".join(topics) or "none"}',
        )  # fmt: skip

    def _joint_topic(self, wish: str) -> str:
        topics = self._bag.find(JOINTS)
        if wish and wish not in topics:
            raise ConfigError('--joints', wish, f'a topic of joint states: '
                              f'{", ".join(topics) or "there is none"}')  # fmt: skip
        named = [topic for topic in topics if topic.endswith('/joint_states')]
        if not topics:
            raise ConfigError('bag', str(self._bag.path), f'joint states, as '
                              f'{self._manifest.name} reads: it has '
                              f'{self._bag.listed()}')  # fmt: skip
        topic = wish or (named or topics)[0]
        self._check_joints(topic)
        return topic

    def _check_joints(self, topic: str) -> None:
        """The first messages must name the joints; some drivers say the gripper's apart."""
        seen: set[str] = set()
        for number, message in enumerate(self._bag.messages([topic])):
            seen.update(message.message.name)
            if number >= 100:
                break
        wanted: Sequence[str] = self._names
        if self._manifest.proprioception.gripper:
            wanted = [*wanted, self._config.gripper.joint]
        missing = [name for name in wanted if name not in seen]
        if missing:
            raise ConfigError('joints', sorted(seen), f'{missing} too, on {topic}: --params-file '
                              'names joints and gripper of your arm')  # fmt: skip
