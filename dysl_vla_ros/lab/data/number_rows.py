"""Messages of a topic -> rows of numbers: by name, the newest value of each.

Arm and gripper, or two arms, often publish on one topic in messages of their own, as
``ros.joints`` has it: a row is there once all the names that are wanted are known. It is as old as
the oldest of its parts but for openings: a gripper may be silent while it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.set_columns import OPENING

Read = tuple[int, tuple[str, ...], NDArray[np.float64]]
"""Time [ns], names and values of a message."""
_S = 1_000_000_000


@dataclass(frozen=True)
class NumberRows:
    """A stream of vectors.

    Attributes:
        names: Of the numbers; empty where the messages have none.
        times: Of each row [ns], in order.
        since: When the oldest part of a row that may not be old was said [ns].
        values: (rows, numbers).
        left_out: Names that the messages have beside.
        notes: What was left out of them, for people.
    """

    names: tuple[str, ...]
    times: NDArray[np.int64]
    since: NDArray[np.int64]
    values: NDArray[np.float64]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def named(self, names: tuple[str, ...]) -> NumberRows:
        """The same with names, where they fit."""
        size = self.values.shape[1]
        if len(names) != size:
            names = tuple(f'action_{number}' for number in range(1, size + 1))
        return replace(self, names=names)

    def at(
        self, times: NDArray[np.int64], silent: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The newest values at each time, and where there are any that are young enough."""
        places = np.searchsorted(self.times, times, side='right') - 1
        found = np.maximum(places, 0)
        return self.values[found], (places >= 0) & (times - self.since[found] <= silent)

    def grids(
        self, begin: int, end: int, period: float, silent: int
    ) -> Iterator[NDArray[np.int64]]:
        """Equally spaced times from begin to end, without those at which nothing was said.

        A clock that is set by days in the middle of a recording costs no memory.
        """
        breaks = np.flatnonzero(np.diff(self.times) > silent)
        firsts = self.times[np.concatenate([[0], breaks + 1])]
        lasts = self.times[np.concatenate([breaks, [len(self.times) - 1]])] + silent
        low = np.ceil((np.maximum(firsts, begin) - begin) / period).astype(np.int64)
        high = np.floor((np.minimum(lasts, end) - begin) / period).astype(np.int64)
        spans = [(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True) if a <= b]
        while spans:
            first, last = spans.pop(0)
            while spans and spans[0][0] <= last + 1:
                last = spans.pop(0)[1]
            yield begin + (np.arange(first, last + 1) * period).astype(np.int64)


def rows_of(
    topic: str, read: Sequence[Read], wanted: Sequence[str], like: Sequence[str] = (),
    silent: int = _S,
) -> NumberRows:  # fmt: skip
    """Rows of a topic; none where no message can be used.

    Args:
        topic: For the notes.
        read: Its messages in the order of time.
        wanted: Names, in order; empty takes all that have a finite value, as they are first seen.
        like: The order of these is taken instead, where they are the same.
        silent: Of names that are not said for longer a note says so [ns].

    Raises:
        ConfigError: Some of the wanted names are in no message.
    """
    refused: Counter[str] = Counter()
    named = any(names for _, names, _ in read)
    usable = [message for message in read if not _unusable(message, named, refused)]
    if not named:
        return _unnamed(topic, usable, tuple(wanted), refused, len(read))
    finite = {name for _, names, values in usable
              for name, good in zip(names, np.isfinite(values), strict=True) if good}  # fmt: skip
    seen = dict.fromkeys(name for _, names, _ in usable for name in names)
    names = tuple(wanted) or tuple(name for name in seen if name in finite)
    if not wanted and sorted(like) == sorted(names):
        names = tuple(like)
    if lacking := [name for name in names if name not in finite]:
        raise ConfigError('joint-names', list(names), f'names in {topic}: {sorted(finite)}; not '
                          f'{", ".join(lacking)}')  # fmt: skip
    if not names:
        refused['not finite'] = len(usable)
        return _rows(topic, (), [], [], [], 0, (), refused, len(read))
    rows = _merged(topic, usable, names, refused, len(read))
    return replace(rows, notes=(*rows.notes, *_waited(topic, usable, rows, silent)))


def _unusable(message: Read, named: bool, refused: Counter[str]) -> bool:
    _, names, values = message
    why = ''
    if not len(values):
        why = 'empty'
    elif named and not names:
        why = 'without names'
    elif names and len(names) != len(values):
        why = 'with more or fewer numbers than names'
    elif len(set(names)) < len(names):
        why = 'with a name twice'
    if why:
        refused[why] += 1
    return bool(why)


def _unnamed(
    topic: str, usable: Sequence[Read], names: tuple[str, ...], refused: Counter[str], count: int
) -> NumberRows:
    size = len(names) or len(usable[0][2]) if usable else 0
    kept = [(t, values) for t, _, values in usable if len(values) == size]
    refused['of another size'] += len(usable) - len(kept)
    good = [(t, values) for t, values in kept if np.isfinite(values).all()]
    refused['not finite'] += len(kept) - len(good)
    return _rows(topic, names, [t for t, _ in good], [t for t, _ in good],
                 [values for _, values in good], size, (), refused, count)  # fmt: skip


def _merged(
    topic: str, usable: Sequence[Read], names: tuple[str, ...], refused: Counter[str], count: int
) -> NumberRows:
    places = {name: place for place, name in enumerate(names)}
    plans = {own: (np.array([n for n, name in enumerate(own) if name in places], np.int64),
                   np.array([places[name] for name in own if name in places], np.int64))
             for own in dict.fromkeys(own for _, own, _ in usable)}  # fmt: skip
    body = [place for name, place in places.items() if not OPENING.search(name)]
    body = body or list(places.values())
    current, said = np.zeros(len(names)), np.zeros(len(names), np.int64)
    known = np.zeros(len(names), np.bool_)
    times: list[int] = []
    since: list[int] = []
    rows: list[NDArray[np.float64]] = []
    for t, own, found in usable:
        taken, into = plans[own]
        if not len(taken):
            continue
        part = found[taken]
        if not np.isfinite(part).all():
            refused['not finite'] += 1
            continue
        current[into], said[into], known[into] = part, t, True
        if known.all():
            times.append(t)
            since.append(int(said[body].min()))
            rows.append(current.copy())
    beside = tuple(dict.fromkeys(name for own in plans for name in own if name not in places))
    return _rows(topic, names, times, since, rows, len(names), beside, refused, count)


def _waited(topic: str, usable: Sequence[Read], rows: NumberRows, silent: int) -> list[str]:
    """What some of the names keep from being read: those that begin late, and seldom said ones."""
    said: dict[str, list[int]] = {name: [] for name in rows.names}
    for t, own, _ in usable:
        for name in own:
            if name in said:
                said[name].append(t)
    begin, end = {name: times[0] for name, times in said.items()}, usable[-1][0]
    late = [name for name, t in begin.items() if t - min(begin.values()) > silent]
    found = []
    if late:
        waited = (max(begin.values()) - min(begin.values())) / _S
        found.append(f'{topic}: the first {waited:.1f} s are left out: {", ".join(late)} had not '
                     'been said yet; --joint-names without takes them')  # fmt: skip
    gaps = {name: max(np.diff([*times, end]).tolist()) for name, times in said.items()
            if not OPENING.search(name)}  # fmt: skip
    seldom = [name for name, gap in gaps.items() if gap > silent]
    if seldom and min(gaps.values()) <= silent:
        found.append(f'{topic}: {", ".join(seldom)}: silent for up to '
                     f'{max(gaps.values()) / _S:.1f} s, which ends episodes: a larger '
                     '--most-silent, or --joint-names without')  # fmt: skip
    return found


def _rows(
    topic: str, names: tuple[str, ...], times: list[int], since: list[int],
    rows: list[NDArray[np.float64]], size: int, beside: tuple[str, ...], refused: Counter[str],
    count: int,
) -> NumberRows:  # fmt: skip
    why = [f'{number} {words}' for words, number in refused.items() if number]
    notes = [f'{topic}: of {count} messages are left out: {", ".join(why)}'] if why else []
    values = np.stack(rows) if rows else np.zeros((0, size))
    return NumberRows(names, np.array(times, np.int64), np.array(since, np.int64), values,
                      beside, tuple(notes))  # fmt: skip
