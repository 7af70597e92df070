"""DAgger: the policy plays an episode, the expert says at every action what would be right.

The timing is that of ``closed_loop``: a chunk is asked for every ``replan`` actions and takes
over ``latency`` actions later, so that the states are those the policy gets into on the robot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.data.episode_record import EpisodeFrame
from dysl_vla_ros.lab.learn.closed_loop import NetworkPolicy, Timing
from dysl_vla_ros.lab.worlds.cell import EpisodeSpec, Stage
from dysl_vla_ros.sim.expert import expert_action


def correction_episode(
    stage: Stage,
    spec: EpisodeSpec,
    policy: NetworkPolicy,
    timing: Timing,
    label_goals: int,
    generator: np.random.Generator,
) -> Iterator[EpisodeFrame]:
    """Yield a labelled frame per action, before the action is played.

    Args:
        stage: A world; laid out here.
        spec: Which episode.
        policy: What plays.
        timing: When its chunks take over.
        label_goals: Goals labelled per frame.
        generator: Chooses them.
    """
    stage.reset(spec)
    chunk: NDArray[np.float32] | None = None
    queue: list[NDArray[np.float32]] = []
    while not stage.outcome().done:
        images, state = stage.observe()
        if not queue:
            pictures = {name: image[None] for name, image in images.items()}
            actions = policy(pictures, state[None], [stage.instruction]).actions[0]
            queue, chunk = list(following(chunk, actions, timing)), actions
        world = stage.world.expert_state((stage.tracker.position, stage.tracker.rotation))
        played = queue.pop(0)
        yield EpisodeFrame(
            images=images,
            state=state,
            action=expert_action(world, stage.episode.goal).astype(np.float32),
            played=played,
            phase=str(stage.world.phase()),
            number=stage.actions,
            labels=stage.label(label_goals, generator),
        )
        stage.play(played)


def following(
    old: NDArray[np.float32] | None, new: NDArray[np.float32], timing: Timing
) -> Sequence[NDArray[np.float32]]:
    """What is played until the next observation, (replan, dim): the old chunk, then the new one.

    Args:
        old: The chunk before, (horizon, dim), of which ``replan`` actions were played.
        new: The one just predicted.
        timing: When it takes over.
    """
    if old is None:
        return list(new[: timing.replan])
    late = old[timing.replan : timing.replan + timing.latency]
    return [*late, *new[timing.latency : timing.replan]]
