"""Observations in the order they were taken in, and which a robot would have had in turn.

Guidance looks at the motion between passes. Where a state is not that of the next pass (another
episode, other words, a hold, a gap in time) a robot begins anew, in full, and so does a replay;
where most are not, how deep guided passes go cannot be measured on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dysl_vla_ros.bundle.manifest import ActionSpec, Manifest
from dysl_vla_ros.data_types import Observation, SkipMode

if TYPE_CHECKING:
    from dysl_vla_ros.lab.replay.steps import Step

GUIDED: tuple[SkipMode, ...] = ('auto', 'max_skip')
"""Modes whose depth depends on the motion between passes: by guidance, or by verification."""
_FEWEST = 0.5
"""Share of the observations that have to be the next pass's."""


@dataclass(frozen=True)
class Observed:
    """Observations, in the order they were taken in.

    Attributes:
        observations: At least one.
        follows: Of each, whether it is what the pass after that of the one before would see.
        episodes: Of each, the number of its episode.
        assumed: Whether nothing but the words tells: the rest are taken to be passes in turn.
    """

    observations: Sequence[Observation]
    follows: Sequence[bool]
    episodes: Sequence[int]
    assumed: bool = False

    def __len__(self) -> int:
        return len(self.observations)

    @property
    def why_not_guided(self) -> str:
        """Why guided depth cannot be measured on them, with what would be right; else ''."""
        followers = sum(self.follows)
        if followers >= _FEWEST * len(self):
            return ''
        return (f'{followers} of {len(self)} observations are of the pass after the one before '
                '(its episode, its words, at most a chunk later); at all others a robot begins in '
                'full: expected a recording (bag), or a .npz of whole episodes, pass by pass, '
                'with stamp (n,) in seconds and episode (n,)')  # fmt: skip


def chunk_lasts(action: ActionSpec) -> float:
    """Seconds after which a chunk is played to its end, and a robot without another one holds."""
    return action.horizon * action.period_s


def next_pass(before: Observation | None, now: Observation, lasts: float) -> bool:
    """Whether an observation is what the pass after another one sees, by its words and its time.

    Args:
        before: The other; None: there is none.
        now: The observation.
        lasts: ``chunk_lasts``.
    """
    if before is None or now.instruction != before.instruction:
        return False
    return 0.0 < now.stamp - before.stamp <= lasts + 1e-6


def in_turn(
    observations: Sequence[Observation], manifest: Manifest,
    episodes: Sequence[int] | None = None, assumed: bool = False,
) -> Observed:  # fmt: skip
    """Tell by words and time stamps, and by episodes where they are known.

    Args:
        observations: In the order they were taken in.
        manifest: Of the bundle that is to see them.
        episodes: A number each; None: other words, or an earlier time, begin an episode.
        assumed: See ``Observed``.
    """
    lasts, follows, found = chunk_lasts(manifest.action), [False], [0]
    for number, (before, now) in enumerate(
        zip(observations, observations[1:], strict=False), start=1
    ):
        told = now.instruction == before.instruction and now.stamp > before.stamp
        same = told if episodes is None else episodes[number] == episodes[number - 1]
        follows.append(same and next_pass(before, now, lasts))
        found.append(found[-1] + (not same))
    return Observed(observations, tuple(follows), tuple(found), assumed)


def of_recording(steps: Sequence[Step]) -> Observed:
    """Of recorded passes: where the node forgot the motion, or passes are missing, one begins."""
    follows, found = [False], [0]
    for before, now in zip(steps, steps[1:], strict=False):
        last, record = before.final, now.record
        assert last is not None
        assert record is not None
        same = record.source == last.source and record.judged.epoch == last.judged.epoch
        same = same and now.observation.instruction == before.observation.instruction
        missed = record.number != last.number + 1
        forgotten = any(move is None for move in record.plan.since)
        follows.append(same and not missed and not forgotten)
        found.append(found[-1] + (not same))
    return Observed([step.observation for step in steps], tuple(follows), tuple(found))
