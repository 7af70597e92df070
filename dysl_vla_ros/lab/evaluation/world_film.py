"""A film of an episode in a world that waits for the policy: LIBERO."""

from __future__ import annotations

from collections.abc import Sequence

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.lab.evaluation.film import Film, Frame, joined_masks
from dysl_vla_ros.lab.evaluation.world import Executed, Played


def film_of(
    chunks: Sequence[Executed], played: Played, instruction: str, camera: str, period_s: float,
    last: ImageArray,
) -> Film:  # fmt: skip
    """What was seen before each chunk, and what ran for it.

    Args:
        chunks: Of the episode, in order.
        played: How it ended.
        instruction: What the policy was told.
        camera: Whose pictures are shown, in any shape.
        period_s: Of an action [s].
        last: The picture at the end.
    """
    from dysl_vla_ros.lab.evaluation.film_pictures import fitted

    frames = tuple(
        Frame(
            one.before * period_s, fitted(one.seen.images[camera]),
            joined_masks([result.trace.layer_mask for result in one.passes]),
            one.passes[-1].mode, one.continuity, '',
        )
        for one in chunks
    )  # fmt: skip
    return Film(instruction, played.success, played.actions * period_s, frames, fitted(last))
