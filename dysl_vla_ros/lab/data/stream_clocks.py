"""When messages of a recording were: by their headers' stamps, or by the recorder's clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.data.bag_messages import stamp_ns

Entry = tuple[int, Any]
"""Time [ns] and message."""
_S = 1_000_000_000
_SAME_CLOCK_NS = 2 * _S
_FEW = 0.1
"""Share of stamps that may be wrong before none of them is believed."""


def settle_clock(topic: str, entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """Messages of a topic by their stamps, where those run with the recorder's clock.

    Drivers that share a topic are told apart by the joints that they name: each has its clock. A
    few stamps that lie far from where the others of their driver lie are not believed, and the
    messages are left out: nobody knows of when they are.

    Args:
        topic: For the notes.
        entries: Recorded time and message.

    Returns:
        Time and message, in the order of time; and what was done, for people.
    """
    drivers: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        drivers.setdefault(_names(entry[1]), []).append(entry)
    settled: list[Entry] = []
    notes: list[str] = []
    for names, own in drivers.items():
        of = f'{topic} ({", ".join(names) or "no names"})' if len(drivers) > 1 else topic
        settled += _settle(of, own, notes)
    return sorted(settled, key=lambda entry: entry[0]), notes


def _settle(what: str, entries: list[Entry], notes: list[str]) -> list[Entry]:
    stamps = np.array([stamp_ns(message) for _, message in entries], np.int64)
    if not stamps.any():
        return entries
    off = stamps - np.array([t for t, _ in entries], np.int64)
    usual = np.median(off)
    far: NDArray[np.bool_] = np.abs(off - usual) > _SAME_CLOCK_NS
    if abs(usual) >= _SAME_CLOCK_NS:
        notes.append(f"{what}: its stamps are {abs(usual) / _S:.0f} s off the recorder's clock; "
                     'recorded times are used')  # fmt: skip
        return entries
    if far.mean() > _FEW:
        notes.append(f'{what}: {far.sum()} of {len(far)} stamps are more than '
                     f"{_SAME_CLOCK_NS / _S:.0f} s off the recorder's clock; recorded times are "
                     'used')  # fmt: skip
        return entries
    if far.any():
        notes.append(f'{what}: {far.sum()} of {len(far)} messages are left out: their stamps are '
                     f"up to {np.abs(off).max() / _S:.0f} s off the recorder's clock")  # fmt: skip
    return [
        (stamp, message)
        for stamp, (_, message), wrong in zip(stamps.tolist(), entries, far, strict=True)
        if not wrong
    ]


def _names(message: Any) -> tuple[str, ...]:
    """Joints that a message names."""
    return tuple(getattr(message, 'name', None) or getattr(message, 'joint_names', None) or ())
