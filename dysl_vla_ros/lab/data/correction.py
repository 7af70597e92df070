"""DAgger: the policy plays an episode, the expert says at every action what would be right.

The timing is that of ``closed_loop``: a chunk is asked for every ``replan`` actions and takes
over ``latency`` actions later, so that the states are those the policy gets into on the robot.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.data.episode_record import EpisodeFrame
from dysl_vla_ros.lab.learn.closed_loop import NetworkPolicy, Timing, following
from dysl_vla_ros.lab.worlds.cell import Cell, EpisodeSpec
from dysl_vla_ros.sim.expert import expert_action


def correction_episode(
    cell: Cell,
    spec: EpisodeSpec,
    policy: NetworkPolicy,
    timing: Timing,
    label_goals: int,
    generator: np.random.Generator,
) -> Iterator[EpisodeFrame]:
    """Yield a labelled frame per action, before the action is played.

    Args:
        cell: A world; laid out here.
        spec: Which episode.
        policy: What plays.
        timing: When its chunks take over.
        label_goals: Goals labelled per frame.
        generator: Chooses them.
    """
    cell.reset(spec)
    chunk: NDArray[np.float32] | None = None
    queue: list[NDArray[np.float32]] = []
    while not cell.outcome().done:
        images, state = cell.observe()
        if not queue:
            pictures = {name: image[None] for name, image in images.items()}
            actions = policy(pictures, state[None], [cell.instruction]).actions[0]
            queue, chunk = list(following(chunk, actions, timing)), actions
        world = cell.world.expert_state((cell.tracker.position, cell.tracker.rotation))
        played = queue.pop(0)
        yield EpisodeFrame(
            images=images,
            state=state,
            action=expert_action(world, cell.episode.goal).astype(np.float32),
            played=played,
            phase=str(cell.world.phase()),
            number=cell.actions,
            labels=cell.label(label_goals, generator),
        )
        cell.play(played)
