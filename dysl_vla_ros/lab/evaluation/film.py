"""One episode to look at: what the camera saw, which layers ran, how smooth the motion was."""

from __future__ import annotations

from dataclasses import dataclass

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.data_types import FloatArray, ImageArray
from dysl_vla_ros.lab.evaluation.episodes import (
    EpisodeResult,
    EpisodeSpec,
    ImageFilter,
    arm_planner,
    run_episode,
)
from dysl_vla_ros.lab.evaluation.simulated_arm import check_simulated
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


class Filming:
    """Watches one episode of ``run_episode``; pictures are drawn once somebody wants the film."""

    def __init__(self, world: World, camera: str, image_filter: ImageFilter | None = None) -> None:
        """Watch the episode that is about to be played.

        Args:
            world: In which it is.
            camera: Of the policy, whose pictures are shown.
            image_filter: What changes the pictures before the policy sees them: not in the film.
        """
        self._world, self._camera, self._filter = world, camera, image_filter
        self._seen = (0.0, world.snapshot(), '')
        self._masks: list[str] = []
        self._passes: list[tuple[tuple[float, FloatArray, str], str, str, float | None]] = []

    def look(self, name: str, image: ImageArray) -> ImageArray:
        """The ``image_filter`` of the episode."""
        if name == self._camera:
            world = self._world
            self._seen = world.time, world.snapshot(), world.phase()
        return image if self._filter is None else self._filter(name, image)

    def note(self, delivery: Delivery) -> None:
        """The ``on_delivery`` of the episode."""
        if delivery.chunk is None:
            return
        self._masks.append(delivery.chunk.trace.layer_mask)
        if delivery.rerun:
            return
        first = delivery.continuity[0] if delivery.continuity else None
        if delivery.accepted:
            ran = joined_masks(self._masks)
            self._passes.append((self._seen, ran, delivery.chunk.mode, first))
        self._masks.clear()

    def film(self, result: EpisodeResult) -> Film:
        """Draw the pictures; before the world begins another episode."""

        def drawn(at: FloatArray | None = None) -> ImageArray:
            return self._world.render(self._camera, PICTURE, at=at)

        frames = tuple(
            Frame(time, drawn(at), ran, mode, continuity, phase)
            for (time, at, phase), ran, mode, continuity in self._passes
        )
        return Film(result.instruction, result.success, result.seconds, frames, drawn())


def record(policy: Policy, config: NodeConfig, spec: EpisodeSpec, latency: float | None) -> Film:
    """Play one episode as ``dysl evaluate`` does, and keep what is to be seen.

    Args:
        policy: Opened and warmed up.
        config: Parameters of the control loop.
        spec: Which episode.
        latency: Seconds that every pass takes in simulated time; None takes what it measured.

    Raises:
        ConfigError: The bundle does not fit the simulation.
    """
    check_simulated('--engine', policy.manifest.name, policy.manifest)
    world = World()
    filming = Filming(world, policy.manifest.cameras[0].name)
    result = run_episode(
        world, policy, arm_planner(policy.manifest.action, config), config, spec,
        latency=latency, image_filter=filming.look, on_delivery=filming.note,
    )  # fmt: skip
    return filming.film(result)


def joined_masks(masks: list[str]) -> str:
    """Of a pass and its re-run: '1' for each layer that ran in either."""
    return ''.join('1' if '1' in bits else '0' for bits in zip(*masks, strict=True))
