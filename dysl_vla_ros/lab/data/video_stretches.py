"""Stretches of one video file that two episodes claim: one would show the other's pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

_MOST = 3
_END = '/to_timestamp'


class Claim(NamedTuple):
    """A stretch of a video file.

    Attributes:
        episode: Its number.
        column: Of the pictures.
        file: The video.
        begin: In it [s].
        seconds: As long as the episode's frames are shown [s].
    """

    episode: int
    column: str
    file: Path
    begin: float
    seconds: float


def claimed_twice(folder: Path, claims: Sequence[Claim], slack: float, new: bool) -> list[str]:
    """What is wrong, for people: each names two episodes that overlap, and where.

    A stretch ends at its ``to_timestamp``, which version 3.0 has; without, after its frames.

    Args:
        folder: Of the set.
        claims: Of all episodes.
        slack: Two stretches may overlap by so much, as rounded times do [s].
        new: Whether it is of version 3.0, whose description of the episodes was read before.
    """
    ends = _ends(folder) if new else {}
    files: dict[tuple[str, Path], list[tuple[float, float, int]]] = {}
    for claim in claims:
        end = ends.get((claim.episode, claim.column), math.nan)
        end = end if end > claim.begin else claim.begin + claim.seconds
        files.setdefault((claim.column, claim.file), []).append((claim.begin, end, claim.episode))
    wrong = []
    for (column, file), stretches in files.items():
        before = (0.0, 0.0, -1)  # the one that lasts longest
        for stretch in sorted(stretches):
            begin, end, episode = stretch
            first, second = sorted((before[2], episode))
            if begin < before[1] - slack:
                wrong.append(
                    f'{column}: episodes {first} and {second} both claim {begin:.2f} to '
                    f'{min(end, before[1]):.2f} s of {file.relative_to(folder)}: expected '
                    'stretches of their own'
                )
            before = max(before, stretch, key=lambda known: known[1])
    more = [f'{len(wrong) - _MOST} more stretches are claimed twice'] if len(wrong) > _MOST else []
    return wrong[:_MOST] + more


def _ends(folder: Path) -> Mapping[tuple[int, str], float]:
    """(Episode, column) -> ``to_timestamp`` [s], where there is one."""
    found = {}
    for path in sorted((folder / 'meta/episodes').glob('*/*.parquet')):
        names = [name for name in pq.read_schema(path).names
                 if name.startswith('videos/') and name.endswith(_END)]  # fmt: skip
        table: pa.Table = pq.read_table(path, columns=['episode_index', *names])
        for row in table.to_pylist():
            for name in names:
                if isinstance(row[name], (int, float)):
                    column = name.removeprefix('videos/').removesuffix(_END)
                    found[int(row['episode_index']), column] = float(row[name])
    return found
