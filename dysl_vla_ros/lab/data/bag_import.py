"""Recorded topics -> episodes of equally spaced frames: what was seen, and what was done then.

A frame takes of every stream the newest message at its time: no future leaks into what the policy
sees. Where a stream is silent for too long the episode is cut there. Times are the stamps of the
headers where they run with the recorder's clock, else those of the recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError, as_list
from dysl_vla_ros.lab.data.bag_messages import (
    IMAGES,
    JOINTS,
    NUMERIC,
    TEXT,
    TRAJECTORY,
    numbers_of,
)
from dysl_vla_ros.lab.data.bags.bag import Bag, open_bag
from dysl_vla_ros.lab.data.number_rows import NumberRows, rows_of
from dysl_vla_ros.lab.data.own_topics import is_prediction, is_report, is_seen
from dysl_vla_ros.lab.data.picture_spool import Spool
from dysl_vla_ros.lab.data.refused_pictures import RefusedPictures
from dysl_vla_ros.lab.data.stream_clocks import settle_clock
from dysl_vla_ros.lab.data.trajectory_windows import StreamedRows, windows_of
from dysl_vla_ros.pictures.messages import check_message, is_raw, rgb_of

NEXT = 'next'
"""As the topic of actions: where the joints stand one frame later is what was done."""
_S = 1_000_000_000
_LOOKED_AT = 30
"""Pictures of a camera, before a recording is read."""
_RESULTS = ('success', 'failure')


@dataclass(frozen=True)
class BagChoice:
    """What the user says of a recording; empty leaves it to the topics.

    Attributes:
        cameras: Name -> topic.
        joints: Topic of the joints.
        joint_names: Which of its joints, in order, gripper included.
        action: Topic of what was commanded, or ``next``.
        gripper: Topic of a gripper's command, added to the action; '' where it is a joint.
        instruction: Topic of the instruction.
        text: The instruction itself, where it was not recorded.
        label: Topic of labels.
        fps: Frames per second.
        most_silent_s: A stream that is silent for longer ends the episode [s].
        keep_failures: Whether episodes labelled so are kept.
    """

    cameras: Mapping[str, str] = field(default_factory=dict)
    joints: str = ''
    joint_names: tuple[str, ...] = ()
    action: str = ''
    gripper: str = ''
    instruction: str = ''
    text: str = ''
    label: str = ''
    fps: int = 20
    most_silent_s: float = 0.5
    keep_failures: bool = False

    def __post_init__(self) -> None:
        """Refuse what would give no frame."""
        if not 1 <= self.fps <= 200:
            raise ConfigError('fps', self.fps, '1 to 200 frames per second')
        if self.most_silent_s <= 0:
            raise ConfigError('most-silent', self.most_silent_s, 'more than 0 s')


@dataclass(frozen=True)
class Topics:
    """The topics of a recording that are used.

    Attributes:
        cameras: Name -> topic.
        joints: Of the joints.
        action: Of commands, or ``next``.
        gripper: Of the gripper's command, or ''.
        instruction: Or ''.
        label: Or ''.
    """

    cameras: Mapping[str, str]
    joints: str
    action: str
    gripper: str
    instruction: str
    label: str

    @property
    def all(self) -> list[str]:
        """Every topic, once."""
        names = (*self.cameras.values(), self.joints, self.action, self.gripper,
                 self.instruction, self.label)  # fmt: skip
        return list(dict.fromkeys(name for name in names if name not in ('', NEXT)))


@dataclass(frozen=True)
class BagEpisode:
    """Equally spaced frames.

    Attributes:
        state: (frames, size).
        action: (frames, size).
        pictures: Camera -> topic and message of each frame, still encoded; read with ``rgb_of``.
        instruction: Of all of them.
        result: ``success``, ``failure`` or '' where nobody said.
    """

    state: NDArray[np.float32]
    action: NDArray[np.float32]
    pictures: Mapping[str, Sequence[tuple[str, Any]]]
    instruction: str
    result: str


def choose_topics(bag: Bag, choice: BagChoice) -> Topics:
    """Topics by what the user says, by type and by name.

    Raises:
        ConfigError: Lists everything that is missing or not clear, with the option that says it.
    """
    lacking: list[str] = []

    def one(what: str, given: str, kinds: Sequence[str], endings: Sequence[str], option: str,
            needed: bool = True) -> str:  # fmt: skip
        if given:
            if given not in bag.topics:
                lacking.append(f'{what}: no topic {given}{bag.closest(given)}; {option}')
            elif bag.topics[given] not in kinds:
                lacking.append(f'{what}: {given} is {bag.topics[given]}, expected one of '
                               f'{", ".join(kinds)}; {option}')  # fmt: skip
            return given
        found = next(filter(None, (_others(bag, kinds, ending) for ending in endings)), [])
        if len(found) == 1 or (found and not needed):
            return found[0]
        if needed:
            lacking.append(f'{what}: {"none" if not found else ", ".join(found)}; {option}')
        return ''

    cameras = dict(choice.cameras)
    if cameras:
        for name, topic in cameras.items():
            one(f'picture {name}', topic, IMAGES, (), '--cameras NAME=TOPIC ...')
    else:
        cameras = {_camera_name(topic, bag.find(*IMAGES)): topic
                   for topic in _pictures(bag)}  # fmt: skip
        if len(cameras) < len(_pictures(bag)):
            lacking.append(f'pictures: {", ".join(_pictures(bag))} would share a name; --cameras '
                           'NAME=TOPIC ...')  # fmt: skip
        if not cameras:
            lacking.append(f'pictures: no topic of {" or ".join(IMAGES)}; --cameras NAME=TOPIC')
    joints = one('joints', choice.joints, (JOINTS,), ('/joint_states', ''), '--joints TOPIC')
    action = choice.action
    if is_prediction(action):
        lacking.append(f'actions: {action} is what a policy predicted, not what the arm was '
                       'sent; --action TOPIC, or next')  # fmt: skip
    elif action and action != NEXT:
        one('actions', action, NUMERIC, (), '--action TOPIC, or next')
    elif not action:
        found = _others(bag, (TRAJECTORY,))
        if len(found) > 1:
            lacking.append(f'actions: {", ".join(found)}; --action TOPIC, or next')
        action = found[0] if len(found) == 1 else NEXT
    if choice.gripper:
        one('gripper', choice.gripper, NUMERIC, (), '--gripper-topic TOPIC')
    instruction = choice.instruction and one('instruction', choice.instruction, (TEXT,), (),
                                             '--instruction TOPIC')  # fmt: skip
    if not instruction and not choice.text:
        instruction = one('instruction', '', (TEXT,), ('/instruction',), '', needed=False)
        if not instruction:
            lacking.append('instruction: no topic that ends with /instruction; --instruction '
                           'TOPIC, or --text WORDS for all of it')  # fmt: skip
    label = one('labels', choice.label, (TEXT,), ('/label',), '--label TOPIC', needed=False)
    if choice.gripper and choice.gripper == joints:
        lacking.append(f"gripper: {joints} is the joints' topic: a gripper among them is taken "
                       'with them, without --gripper-topic')  # fmt: skip
    if lacking:
        listed = as_list(lacking)
        raise ConfigError(
            str(bag.path),
            f'{len(lacking)} missing',
            f'pictures, joints, actions and an instruction: {listed}. It has {bag.listed()}',
        )
    return Topics(cameras, joints, action, choice.gripper, instruction, label)


class BagEpisodes:
    """Episodes of one recording; see ``episodes``."""

    def __init__(self, path: Path, choice: BagChoice) -> None:
        """Open it, choose the topics, look at the first pictures.

        Raises:
            ConfigError: It cannot be read, or something is missing.
            InputError: The pictures of a camera are none that the node takes.
        """
        self.bag = open_bag(path)
        self.choice = choice
        self.topics = choose_topics(self.bag, choice)
        self.notes: list[str] = []
        self.state_names: tuple[str, ...] = ()
        self.action_names: tuple[str, ...] = ()
        self.like: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._refused = RefusedPictures()
        self._streamed = False
        for topic in self.topics.cameras.values():
            self._look_at(topic)
            if is_seen(topic):
                self._note(f'{topic}: what the policy saw, at its size and once a pass; what its '
                           'camera saw is recorded by record_video:=true')  # fmt: skip

    def episodes(self) -> Iterator[BagEpisode]:
        """Every episode, in order.

        Raises:
            ConfigError: A message is not what it should be.
            InputError: No picture of a camera can be used.
        """
        with self.bag:
            for part in self._parts():
                yield from self._of_part(part)
        self.notes += [*self._refused.settle(), *self.bag.notes]

    def _look_at(self, topic: str) -> None:
        """Say now what is wrong with all pictures of a camera, not after an hour of reading."""
        refused = RefusedPictures()
        for message in islice(self.bag.messages([topic]), _LOOKED_AT):
            if _usable(refused, message):
                return
        refused.settle()

    def _parts(self) -> Iterator[_Streams]:
        streams, current = _Streams(), 0
        for message in self.bag.messages(self.topics.all):
            if message.kind in IMAGES and not _usable(self._refused, message):
                continue
            if message.part != current:
                yield streams
                streams, current = _Streams(), message.part
                self.notes.append('the clock jumped back: what follows is an episode of its own')
            streams.add(message)
        yield streams

    def _of_part(self, streams: _Streams) -> Iterator[BagEpisode]:
        topics = self.topics
        for note in streams.settle_clocks():
            self.notes.append(note)
        asked = self.choice.joint_names
        joints = self._numbers(streams, topics.joints, self.state_names or asked, self.like[0])
        if joints is None:
            return
        if not joints.names:
            raise ConfigError('joint-names', [], f'names for the {joints.values.shape[1]} joints '
                              f'of {topics.joints}, whose messages have none')  # fmt: skip
        beside = f'; left out: {", ".join(joints.left_out)}' if joints.left_out else ''
        self._note(f'{topics.joints}: joints {", ".join(joints.names)}{beside}')
        self.state_names = joints.names
        commanded: NumberRows | StreamedRows = joints
        if topics.action != NEXT:
            found = self._numbers(streams, topics.action, self.action_names, self.like[1])
            if found is None:
                return
            commanded = self._followed(
                streams.of(topics.action), found if found.names else found.named(joints.names)
            )
        gripper = None
        if topics.gripper:
            gripper = self._numbers(streams, topics.gripper, ())
            if gripper is None:
                return
            if (size := gripper.values.shape[1]) != 1:
                raise ConfigError('gripper-topic', topics.gripper, 'a topic of one number: it has '
                                  f'{", ".join(gripper.names) or size}')  # fmt: skip
        names = commanded.names + (('gripper',) if gripper is not None else ())
        self.action_names = self.action_names or commanded.names
        self._action_names = names
        for begin, end, instruction, result in self._spans(streams):
            if result == 'failure' and not self.choice.keep_failures:
                continue
            yield from self._cut(streams, joints, commanded, gripper, begin, end,
                                 instruction, result)  # fmt: skip

    def _numbers(
        self, streams: _Streams, topic: str, wanted: Sequence[str], like: Sequence[str] = ()
    ) -> NumberRows | None:
        """The vectors of a topic; None where a stretch has none, which is noted."""
        silent = int(self.choice.most_silent_s * _S)
        try:
            rows = rows_of(topic, streams.read(topic), wanted, like, silent)
        except ConfigError as error:
            if not self.state_names:
                raise
            self._note(f'a stretch is left out: {error}')
            return None
        for note in rows.notes:
            self._note(note)
        return rows if len(rows.times) else None

    def _followed(
        self, entries: Sequence[tuple[int, Any]], goals: NumberRows
    ) -> NumberRows | StreamedRows:
        """What was commanded: of streamed windows where they lead, else the last points."""
        topic = self.topics.action
        if self.bag.topics[topic] != TRAJECTORY:
            return goals
        windows = windows_of(entries)
        streamed = windows.streamed()
        self._streamed = self._streamed if streamed is None else streamed
        if not self._streamed:
            self._note(f'{topic}: goals, one after the other: the action of a frame is the last '
                       'point of the newest')  # fmt: skip
            return goals
        self._note(f'{topic}: a stream ({windows.told()}): the action of a frame is where the '
                   'newest window says that the arm is one frame later')  # fmt: skip
        if windows.refused:
            self._note(f'{topic}: {windows.refused} windows are left out: not finite, or without '
                       'positions, or their times do not ascend')  # fmt: skip
        return StreamedRows(goals, windows.joined(), 1 / self.choice.fps)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    @property
    def names_of_actions(self) -> tuple[str, ...]:
        """Known once an episode was made."""
        return getattr(self, '_action_names', ())

    def _spans(self, streams: _Streams) -> Iterator[tuple[int, int, str, str]]:
        """Begin and end [ns], instruction and result of each episode."""
        begin, end = streams.ends(self.topics.joints)
        marks = [(t, str(m.data).strip()) for t, m in streams.of(self.topics.label)]
        spans = _labelled(marks, begin, end) if marks else [(begin, end, '')]
        texts = [(t, str(m.data).strip()) for t, m in streams.of(self.topics.instruction)]
        for first, last, result in spans:
            if self.choice.text or not texts:
                yield first, last, self.choice.text, result
                continue
            # The one in force at the beginning, and every other one, each with its frames.
            before = [entry for entry in texts if entry[0] <= first][-1:]
            inside = [entry for entry in texts if first < entry[0] < last]
            changes: list[tuple[int, str]] = []
            for t, text in (*before, *inside):
                if not changes or text != changes[-1][1]:  # said again, it begins nothing
                    changes.append((max(t, first), text))
            for (at, text), after in zip(changes, [*changes[1:], (last, '')], strict=True):
                if text:
                    yield at, after[0], text, result

    def _cut(
        self, streams: _Streams, joints: NumberRows,
        commanded: NumberRows | StreamedRows,
        gripper: NumberRows | None, begin: int, end: int, instruction: str, result: str,
    ) -> Iterator[BagEpisode]:  # fmt: skip
        silent = int(self.choice.most_silent_s * _S)
        pictures = {name: streams.of(topic) for name, topic in self.topics.cameras.items()}
        stamps = {name: np.array([t for t, _ in entries], np.int64)
                  for name, entries in pictures.items()}  # fmt: skip
        for times in joints.grids(begin, end, _S / self.choice.fps, silent):
            shown = {name: _newest(found, times, silent) for name, found in stamps.items()}
            stood, used = joints.at(times, silent), commanded.at(times, 10**18)
            rows = [stood[1], *(places >= 0 for places in shown.values())]
            if self.topics.action != NEXT:
                rows.append(used[1])
            state, action = stood[0], used[0]
            if gripper is not None:
                opening = gripper.at(times, 10**18)
                rows.append(opening[1])
                action = np.concatenate([action, opening[0]], axis=1)
            good = np.logical_and.reduce(rows)
            for first, last in _runs(good):
                if last - first < 3:
                    continue
                here = slice(first, last)
                done = action[here]
                if self.topics.action == NEXT:
                    done = np.concatenate([state[first + 1 : last], state[last - 1 : last]])
                yield BagEpisode(
                    state[here].astype(np.float32), done.astype(np.float32),
                    {name: [(self.topics.cameras[name], pictures[name][place][1])
                            for place in shown[name][here]]
                     for name in pictures}, instruction, result,
                )  # fmt: skip


def _others(bag: Bag, kinds: Sequence[str], ending: str = '') -> list[str]:
    """Topics of these types that are no report of a policy's node, most messages first."""
    return [topic for topic in bag.find(*kinds, ending=ending) if not is_report(topic)]


def _usable(refused: RefusedPictures, message: Any) -> bool:
    """Whether the node would take this picture; a compressed one shows it when it is decoded."""
    topic, found = message.topic, message.message
    look = check_message if is_raw(found) else rgb_of
    return refused.read(topic, lambda: look(topic, found)) is not None


class _Streams:
    """Messages of one stretch of a recording, by topic."""

    def __init__(self) -> None:
        self._entries: dict[str, list[tuple[int, Any]]] = {}
        self._spool = Spool()
        self._kinds: dict[str, str] = {}

    def add(self, message: Any) -> None:
        self._kinds[message.topic] = message.kind
        found = message.message
        if message.kind in IMAGES:
            found = self._spool.put(found)
        self._entries.setdefault(message.topic, []).append((message.stamp, found))

    def of(self, topic: str) -> list[tuple[int, Any]]:
        return self._entries.get(topic, [])

    def ends(self, topic: str) -> tuple[int, int]:
        times = [t for t, _ in self.of(topic)]
        return min(times), max(times)

    def settle_clocks(self) -> list[str]:
        """Take the headers' stamps where they run with the recorder's clock."""
        notes = []
        for topic, entries in self._entries.items():
            self._entries[topic], told = settle_clock(topic, entries)
            notes += told
        return notes

    def read(self, topic: str) -> list[tuple[int, tuple[str, ...], NDArray[np.float64]]]:
        """Times, names and values of a topic of numbers."""
        return [(t, *numbers_of(self._kinds[topic], message)) for t, message in self.of(topic)]


def _labelled(
    marks: Sequence[tuple[int, str]], begin: int, end: int
) -> list[tuple[int, int, str]]:
    """Episodes between ``start`` and a result or ``end``; a late result is the last one's."""
    spans: list[tuple[int, int, str]] = []
    opened: int | None = begin
    for time_ns, text in marks:
        word = text.partition(':')[0].strip().lower()
        if word == 'start':
            opened = time_ns
        elif word in ('end', *_RESULTS):
            result = word if word in _RESULTS else ''
            if opened is not None:
                spans.append((opened, time_ns, result))
                opened = None
            elif result and spans:
                spans[-1] = (*spans[-1][:2], result)
    if opened is not None and any(text.lower().startswith('start') for _, text in marks):
        spans.append((opened, end, ''))
    return spans


def _newest(stamps: NDArray[np.int64], times: NDArray[np.int64], silent: int) -> NDArray[np.int64]:
    """Place of the newest stamp at each time; -1 where there is none that is young enough."""
    if not len(stamps):
        return np.full(len(times), -1, np.int64)
    places = np.searchsorted(stamps, times, side='right') - 1
    young = (places >= 0) & (times - stamps[np.maximum(places, 0)] <= silent)
    return np.where(young, places, -1).astype(np.int64)


def _runs(good: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last + 1 of each stretch of true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _pictures(bag: Bag) -> list[str]:
    """Topics of pictures, each camera once: raw in front of compressed; no depth.

    What a policy's node drew is none; what its model saw is, where no camera was recorded.
    """
    every = [t for t in bag.find(*IMAGES) if 'depth' not in t.lower()]
    found = [t for t in every if not is_report(t)] or [t for t in every if is_seen(t)]
    raw = {t for t in found if bag.topics[t] == IMAGES[0]}
    return sorted(t for t in found if t.removesuffix('/compressed') == t
                  or t.removesuffix('/compressed') not in raw)  # fmt: skip


def _camera_name(topic: str, topics: Sequence[str]) -> str:
    """``/wrist/color/image_raw`` -> ``wrist``; what tells them apart, in words of a name."""
    plain = [
        part
        for part in (topic.rpartition('/seen/')[2] if is_seen(topic) else topic).split('/')
        if part
        and part
        not in ('image_raw', 'image', 'compressed', 'color', 'rgb', 'image_color', 'image_rect')
    ]
    return '_'.join(plain) or 'image'


def pictures(entries: Sequence[tuple[str, Any]], size: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Pictures of an episode, even in rows and columns, the shorter side at most ``size``."""
    for topic, message in entries:
        yield sized(rgb_of(topic, message), size)


def sized(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The picture with its shorter side at most ``size`` (0: as it is), rows and columns even."""
    from dysl_vla_ros.engines.image_tensor import resize

    rows, columns = picture.shape[:2]
    if size and min(rows, columns) > size:
        scale = size / min(rows, columns)
        height, width = (2 * max(round(side * scale / 2), 1) for side in (rows, columns))
        return np.clip(np.rint(resize(picture, height, width)), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(picture[: rows - rows % 2, : columns - columns % 2])
