"""What a recording holds, one observation at a time: nothing is kept but what is being joined."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.errors import ConfigError, InputError
from dysl_vla_ros.lab.data.bags.bag import Bag
from dysl_vla_ros.lossless_picture import decode
from dysl_vla_ros.pass_record import PASS_TOPIC, PICTURE_TOPIC, PassRecord, from_text

_TEXT = 'std_msgs/msg/String'
_PICTURE = 'sensor_msgs/msg/CompressedImage'
_LATE_NS = 2_000_000_000
"""A picture may be written so much later than its pass."""


@dataclass(frozen=True)
class Step:
    """One observation.

    Attributes:
        seconds: Since the first one of the recording.
        observation: With what the model saw, to the bit, or what the cameras took.
        record: Of its pass; None where none was recorded.
        again: Of its re-run.
        gap: Passes that are missing before it.
    """

    seconds: float
    observation: Observation
    record: PassRecord | None = None
    again: PassRecord | None = None
    gap: int = 0

    @property
    def final(self) -> PassRecord | None:
        """The pass whose actions counted."""
        return self.again or self.record


class PassSteps:
    """The passes of one node in a bag; iterate once.

    Attributes:
        notes: What is missing, in words; complete once all was read.
        topic: Of the passes.
    """

    def __init__(self, bag: Bag, topic: str = '') -> None:
        """Find the passes.

        Args:
            bag: Opened.
            topic: Of the passes; '' is the one with most of them.

        Raises:
            ConfigError: No such topic.
        """
        found = passes_in(bag)
        if topic and topic not in found:
            raise ConfigError('--topic', topic, f'a topic of passes: {", ".join(found) or "none"}')
        if not found:
            raise ConfigError('bag', str(bag.path), 'a recording of record:=true, with ~/pass: '
                              f'it has {bag.listed()}')  # fmt: skip
        self.topic = topic or found[0]
        self.notes: list[str] = []
        if len(found) > 1 and not topic:
            self.notes.append(f'{self.topic} of {", ".join(found)}: --topic names another')
        prefix = self.topic.removesuffix(PASS_TOPIC) + f'{PICTURE_TOPIC}/'
        self._pictures = {
            name: name.removeprefix(prefix) for name in bag.find(_PICTURE)
            if name.startswith(prefix)
        }  # fmt: skip
        self._bag = bag
        self._kept: dict[tuple[int, str], bytes] = {}
        self._blind, self._why = 0, ''

    def __iter__(self) -> Iterator[Step]:
        """Steps in order; those without a picture are left out and counted."""
        begin: int | None = None
        last: PassRecord | None = None
        for first, again in self._joined():
            begin = first.stamp_ns if begin is None else begin
            gap = 0
            if last is not None and last.source == first.source:
                gap = max(0, first.number - last.number - 1)
            step = self._step(first, again, 1e-9 * (first.stamp_ns - begin), gap)
            last = again or first
            if step is not None:
                yield step
        if self._blind:
            self.notes.append(f'{self._blind} passes without their pictures are left out '
                              f'({self._why})')  # fmt: skip

    def _joined(self) -> Iterator[tuple[PassRecord, PassRecord | None]]:
        """Passes with their re-runs, once the pictures have come."""
        waiting: deque[tuple[int, PassRecord, PassRecord | None]] = deque()
        broken = 0
        for message in self._bag.messages([self.topic, *self._pictures]):
            if message.topic != self.topic:
                stamp = message.message.header.stamp
                key = stamp.sec * 1_000_000_000 + stamp.nanosec, self._pictures[message.topic]
                self._kept[key] = bytes(message.message.data)
                continue
            try:
                record = from_text(str(message.message.data))
            except InputError as error:
                broken += 1
                if broken == 1:
                    self.notes.append(f'{self.topic}: {error}')
                continue
            if record.first is None:
                waiting.append((message.stamp, record, None))
            elif waiting and waiting[-1][1].number == record.first:
                stamp_ns, first, _ = waiting.pop()
                waiting.append((stamp_ns, first, record))
            while len(waiting) > 1 and (
                self._has_pictures(waiting[0][1]) or waiting[0][0] < message.stamp - _LATE_NS
            ):
                yield waiting.popleft()[1:]
        for _, first, again in waiting:
            yield first, again

    def _has_pictures(self, record: PassRecord) -> bool:
        return all((record.stamp_ns, name) in self._kept for name in record.cameras)

    def _step(
        self, first: PassRecord, again: PassRecord | None, seconds: float, gap: int
    ) -> Step | None:
        data = {name: self._kept.get((first.stamp_ns, name)) for name in first.cameras}
        for key in [key for key in self._kept if key[0] <= first.stamp_ns]:
            del self._kept[key]
        seen = {}
        for name, packed in data.items():
            try:
                if packed is None:
                    raise InputError(f'{name}: missing')
                seen[name] = decode(packed)
            except InputError as error:
                self._blind, self._why = self._blind + 1, self._why or str(error)
                return None
        return Step(seconds, replace(first.observation, seen=seen), first, again, gap)


def passes_in(bag: Bag) -> list[str]:
    """Topics with recorded passes, most of them first."""
    return bag.find(_TEXT, ending=f'/{PASS_TOPIC}')
