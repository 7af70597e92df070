"""Any recording of ROS 2 topics as a stream of messages; needs no ROS.

    with open_bag(path) as bag:
        for topic, kind, stamp, message, part in bag.messages(['/joint_states']):
            ...

What is broken is worked around as far as possible and said in ``notes``.
"""

from __future__ import annotations

import difflib
import heapq
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.bags.definitions import Definitions
from dysl_vla_ros.lab.data.bags.mcap_storage import MAGIC as MCAP_MAGIC
from dysl_vla_ros.lab.data.bags.mcap_storage import McapStorage, without_metadata
from dysl_vla_ros.lab.data.bags.places import NO_METADATA, bag_files
from dysl_vla_ros.lab.data.bags.records import Channel, Message, Raw, Storage, add_once, unreadable
from dysl_vla_ros.lab.data.bags.sqlite_storage import MAGIC as SQLITE_MAGIC
from dysl_vla_ros.lab.data.bags.sqlite_storage import SqliteStorage
from dysl_vla_ros.lab.data.bags.unpacked import MAGIC as ZSTD_MAGIC
from dysl_vla_ros.lab.data.bags.unpacked import unpack, unpack_message

JUMP_NS = 1_000_000_000
"""A recorded time that lies this far before an earlier one means that the clock was set back;
less is the order in which a recorder's threads wrote."""
_SHOWN = 30


class Bag:
    """A recording that was opened; see ``open_bag``."""

    def __init__(self, path: Path, storages: Sequence[Storage], notes: Sequence[str],
                 unpacked: tempfile.TemporaryDirectory[str] | None) -> None:  # fmt: skip
        self._path, self._storages, self._own_notes = path, storages, list(notes)
        self._unpacked = unpacked
        self._definitions = Definitions()
        self._topics: dict[str, Channel] = {}
        for storage in storages:
            for topic, channel in storage.channels.items():
                known = self._topics.get(topic)
                if known is None or not known.definition:
                    self._topics[topic] = replace(
                        channel, count=channel.count + (known.count if known else 0)
                    )
                else:
                    self._topics[topic] = replace(known, count=known.count + channel.count)

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Remove what was unpacked."""
        if self._unpacked is not None:
            self._unpacked.cleanup()

    @property
    def path(self) -> Path:
        """As it was named."""
        return self._path

    @property
    def topics(self) -> dict[str, str]:
        """Type of each topic that was recorded, whether it can be read or not."""
        return {topic: channel.kind for topic, channel in self._topics.items()}

    @property
    def channels(self) -> Mapping[str, Channel]:
        """What was recorded, by topic: type, definition, number of messages."""
        return self._topics

    @property
    def notes(self) -> tuple[str, ...]:
        """What is wrong with it and was worked around; may grow while it is read."""
        return (*self._own_notes, *(note for s in self._storages for note in s.notes))

    def messages(
        self, topics: Collection[str] | None = None, skip_unreadable: bool = False
    ) -> Iterator[Message]:
        """Messages in the order of time; across a clock that jumped back, of recording.

        Args:
            topics: Which; None reads all.
            skip_unreadable: Leave out topics that cannot be read, with a note, as single damaged
                messages always are.

        Raises:
            ConfigError: A topic is not there, or none of its messages can be read.
        """
        chosen = list(self._topics) if topics is None else list(topics)
        for topic in chosen:
            if topic not in self._topics:
                raise ConfigError('topic', topic, f'one of the recording{self.closest(topic)}: '
                                  f'{self.listed()}')  # fmt: skip
        failed: dict[str, _Failed] = {topic: _Failed() for topic in chosen}
        for raw, read, part in _in_order(self._raw(chosen, skip_unreadable)):
            count = failed[raw.topic]
            try:
                message = read(unpack_message(raw.data))
            except Exception as error:  # the library's own, of several kinds
                count.messages += 1
                count.why = count.why or f'at {raw.time_ns} ns: {str(error)[:80]}'
                continue
            count.read += 1
            yield Message(raw.topic, self._topics[raw.topic].kind, raw.time_ns, message, part)
        for topic, count in failed.items():
            if count.messages and not count.read and not skip_unreadable:
                raise ConfigError(
                    f'{self._path}: {topic}', f'{count.messages} messages, none of which can be '
                    f'read ({count.why})', f'messages of {self._topics[topic].kind}: the '
                    'definition in the file is of another version, or they are damaged',
                )  # fmt: skip
            if count.messages:
                self._own_notes.append(f'{topic}: {count.messages} messages cannot be read and '
                                       f'are left out ({count.why})')  # fmt: skip

    def _raw(
        self, topics: Collection[str], skip: bool
    ) -> Iterator[tuple[Raw, Callable[[bytes], Any]]]:
        for storage in self._storages:
            readers = self._readers(storage, topics, skip)
            for raw in storage.messages(readers):
                yield raw, readers[raw.topic]

    def find(self, *kinds: str, ending: str = '') -> list[str]:
        """Topics with messages of one of these types whose name ends so, most messages first."""
        found = [
            channel
            for topic, channel in self._topics.items()
            if channel.kind in kinds and topic.endswith(ending) and channel.count
        ]
        return [channel.topic for channel in sorted(found, key=lambda c: -c.count)]

    def closest(self, topic: str) -> str:
        """``, perhaps NAME`` where a topic has nearly this name."""
        near = difflib.get_close_matches(topic, self._topics, 1, 0.6)
        near = [name for name in self._topics if name.endswith(topic)] or near
        return f', perhaps {near[0]}' if near else ''

    def listed(self) -> str:
        """Topics with type and count, for people."""
        lines = [f'{topic} ({channel.kind or "no type"}, {channel.count})'
                 for topic, channel in sorted(self._topics.items())]  # fmt: skip
        more = f', and {len(lines) - _SHOWN} more' if len(lines) > _SHOWN else ''
        return (', '.join(lines[:_SHOWN]) or 'it has no topic at all') + more

    def _readers(
        self, storage: Storage, topics: Collection[str], skip: bool
    ) -> dict[str, Callable[[bytes], Any]]:
        readers = {}
        for topic in topics:
            channel = storage.channels.get(topic)
            if channel is None:
                continue
            if not channel.definition:
                channel = replace(self._topics[topic], encoding=channel.encoding)
            try:
                readers[topic] = self._definitions.reader(channel)
            except ConfigError as error:
                if not skip:
                    raise
                add_once(self._own_notes, str(error))
        return readers


class _Failed:
    """How many messages of a topic could not be read, and why the first."""

    def __init__(self) -> None:
        self.messages, self.read, self.why = 0, 0, ''


_Entry = tuple[Raw, Callable[[bytes], Any]]


def _in_order(entries: Iterator[_Entry]) -> Iterator[tuple[Raw, Callable[[bytes], Any], int]]:
    """By time inside each stretch between two jumps of the clock, with the stretch's number."""
    waiting: list[tuple[int, int, _Entry]] = []
    part = latest = 0
    for number, entry in enumerate(entries):
        time_ns = entry[0].time_ns
        if time_ns < latest - JUMP_NS:
            yield from ((*kept, part) for _, _, kept in sorted(waiting, key=lambda w: w[:2]))
            waiting.clear()
            part, latest = part + 1, time_ns
        latest = max(latest, time_ns)
        heapq.heappush(waiting, (time_ns, number, entry))
        while waiting[0][0] < latest - JUMP_NS:
            yield (*heapq.heappop(waiting)[2], part)
    yield from ((*kept, part) for _, _, kept in sorted(waiting, key=lambda w: w[:2]))


def open_bag(path: Path) -> Bag:
    """Open a recording: MCAP or sqlite3, in one file or several, compressed or not.

    A recorder that was killed (no index, no footer, no ``metadata.yaml``), a file that is cut off
    and a damaged chunk are read as far as they go; the bag's ``notes`` say so.

    Args:
        path: The folder that ``ros2 bag record`` made, or one file.

    Raises:
        ConfigError: Nothing can be read; says what is there and what to do.
    """
    files, notes = bag_files(path)
    unpacked: tempfile.TemporaryDirectory[str] | None = None
    storages: list[Storage] = []
    try:
        for file in files:
            start = _start(file)
            if start.startswith(ZSTD_MAGIC):
                unpacked = unpacked or tempfile.TemporaryDirectory(prefix='dysl_bag_')
                file, told = unpack(file, Path(unpacked.name))
                notes += told
                start = _start(file)
            if start.startswith(MCAP_MAGIC):
                storages.append(McapStorage(file))
            elif start.startswith(SQLITE_MAGIC):
                storages.append(SqliteStorage(file))
            else:
                raise unreadable(file, 'neither MCAP nor sqlite3: it begins with '
                                 f'{start[:8]!r}', 'an .mcap or .db3 file that ros2 bag record '
                                 'wrote; copy it again')  # fmt: skip
        if all(without_metadata(storage) for storage in storages):
            notes = [note for note in notes if note != NO_METADATA]
        bag = Bag(path, storages, notes, unpacked)
        if not any(channel.count for channel in bag.channels.values()):
            said = ''.join(f'; {note}' for note in bag.notes)
            raise unreadable(path, f'no message in it: {bag.listed()}{said}', 'a recording with '
                             'messages')  # fmt: skip
    except BaseException:
        if unpacked is not None:
            unpacked.cleanup()
        raise
    return bag


def _start(file: Path) -> bytes:
    with file.open('rb') as stream:
        return stream.read(max(len(SQLITE_MAGIC), len(MCAP_MAGIC)))
