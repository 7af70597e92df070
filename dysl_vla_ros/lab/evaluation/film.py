"""One episode to look at: what the camera saw, which layers ran, how smooth the motion was."""

from __future__ import annotations

from dataclasses import dataclass

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.lab.evaluation.episodes import EpisodeSpec, arm_planner, run_episode
from dysl_vla_ros.loop_status import Delivery
from dysl_vla_ros.policy import Policy
from dysl_vla_ros.sim.world import World

PICTURE = 320
"""Width and height of a frame [pixels]."""


@dataclass(frozen=True)
class Frame:
    """One pass, and what was to be seen when it began.

    Attributes:
        time: Simulated, of the observation [s].
        image: Of the first camera, shape (PICTURE, PICTURE, 3), RGB.
        mask: '1' for each layer that ran; of a chunk that was run again, of both passes.
        mode: ``full``, ``skipped`` or ``rerun``.
        continuity: Of the motion before it; None while there is too little.
        phase: What the arm was doing; '' where nobody says.
    """

    time: float
    image: ImageArray
    mask: str
    mode: str
    continuity: float | None
    phase: str


@dataclass(frozen=True)
class Film:
    """An episode, pass by pass.

    Attributes:
        instruction: What the policy was told.
        success: As the simulator judges; None of a recording, which nobody judged.
        seconds: Duration [s].
        frames: Passes whose chunk was executed, in order.
        last: The picture at the end.
    """

    instruction: str
    success: bool | None
    seconds: float
    frames: tuple[Frame, ...]
    last: ImageArray


def record(policy: Policy, config: NodeConfig, spec: EpisodeSpec, latency: float | None) -> Film:
    """Play one episode as ``dysl evaluate`` does, and keep what is to be seen.

    Args:
        policy: Opened and warmed up.
        config: Parameters of the control loop.
        spec: Which episode.
        latency: Seconds that every pass takes in simulated time; None takes what it measured.
    """
    world, frames = World(), []
    camera = policy.manifest.cameras[0].name
    seen: list[tuple[float, ImageArray, str]] = []
    masks: list[str] = []

    def look(name: str, image: ImageArray) -> ImageArray:
        if name == camera:
            seen[:] = [(world.time, world.render(camera, PICTURE), world.phase())]
        return image

    def note(delivery: Delivery) -> None:
        if delivery.chunk is None:
            return
        masks.append(delivery.chunk.trace.layer_mask)
        if delivery.rerun:
            return
        time, image, phase = seen[0]
        first = delivery.continuity[0] if delivery.continuity else None
        if delivery.accepted:
            ran, mode = joined_masks(masks), delivery.chunk.mode
            frames.append(Frame(time, image, ran, mode, first, phase))
        masks.clear()

    result = run_episode(
        world, policy, arm_planner(policy.manifest.action, config), config, spec,
        latency=latency, image_filter=look, on_delivery=note,
    )  # fmt: skip
    return Film(
        result.instruction, result.success, result.seconds, tuple(frames),
        world.render(camera, PICTURE),
    )  # fmt: skip


def joined_masks(masks: list[str]) -> str:
    """Of a pass and its re-run: '1' for each layer that ran in either."""
    return ''.join('1' if '1' in bits else '0' for bits in zip(*masks, strict=True))
