"""The policy in closed loop over many worlds at once: quick evaluation, recordings.

Time passes as on the robot: while a pass runs, the old chunk is played on, and a new chunk takes
over at the action that is then due. Evaluation proper, with the real control loop and the
exported engine, lies in ``dysl_vla_ros.lab.evaluation``; this is the quick look during training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.demonstrations import normalise, unnormalise
from dysl_vla_ros.lab.data.words import encode
from dysl_vla_ros.lab.guidance.calibrate import RecordedPass
from dysl_vla_ros.lab.learn.distill import live_pass, static_pass
from dysl_vla_ros.lab.model.checkpoint import Checkpoint
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.worlds.cell import CAMERA_SIZES, HORIZON, EpisodeSpec
from dysl_vla_ros.lab.worlds.world_pool import Burst, View, WorldPool
from dysl_vla_ros.sim.observer import PHASES

Images = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Answer:
    """What a batch policy says.

    Attributes:
        actions: In physical units, (B, 8, 7).
        layers: Layers that each sample ran, (B,).
        scores: Dynamic layer -> score of its controller, (B,); empty where none was asked.
    """

    actions: NDArray[np.float32]
    layers: NDArray[np.float32]
    scores: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)


BatchPolicy = Callable[[Images, NDArray[np.float32], Sequence[str]], Answer]
"""Pictures (B, H, W, 3), proprioception (B, 7), instructions."""


@dataclass(frozen=True)
class Timing:
    """When chunks are asked for and take over, in actions.

    Attributes:
        replan: Actions between observations.
        latency: Actions that pass while a pass runs.
    """

    replan: int = 4
    latency: int = 1

    def __post_init__(self) -> None:
        """A chunk must last until the next one takes over."""
        if not self.latency >= 0 or not 1 <= self.replan <= HORIZON - self.latency:
            raise ConfigError('timing.replan', self.replan, f'within 1..{HORIZON - self.latency}')


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode ended.

    Attributes:
        spec: Which one.
        success: As the simulator judges.
        actions: Played.
        passes: Accepted chunks, normalised: the recording for the calibration.
        layers_run: Mean over the passes.
        layers_by_phase: Phase -> (sum of layers run, passes).
    """

    spec: EpisodeSpec
    success: bool
    actions: int
    passes: tuple[RecordedPass, ...]
    layers_run: float
    layers_by_phase: dict[str, tuple[float, int]] = field(default_factory=dict)


@dataclass
class _Slot:
    """An episode that is being played."""

    spec: EpisodeSpec
    chunk: NDArray[np.float32] | None = None
    passes: list[RecordedPass] = field(default_factory=list)
    layers: list[float] = field(default_factory=list)
    by_phase: dict[str, tuple[float, int]] = field(default_factory=dict)


class NetworkPolicy:
    """The torch network as a batch policy.

    Args:
        checkpoint: The policy.
        device: Where it runs.
        mode: ``full``; ``live``: every controller is live; ``static``: every segment is jumped.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, mode: str = 'full') -> None:
        if mode != 'full' and checkpoint.skipping is None:
            raise ConfigError('mode', mode, 'full: this checkpoint is not distilled')
        self.network: PolicyNetwork = checkpoint.network.to(device).eval()
        self.skipping: SkipModules | None = checkpoint.skipping
        if self.skipping is not None:
            self.skipping = self.skipping.to(device).eval()
        self.checkpoint, self.device, self.mode = checkpoint, device, mode
        self._tokenizer = Tokenizer.from_str(checkpoint.tokenizer)
        self._tokens: dict[str, NDArray[np.int64]] = {}

    @torch.inference_mode()
    def __call__(
        self, images: Images, joints: NDArray[np.float32], instructions: Sequence[str]
    ) -> Answer:
        for text in instructions:
            if text not in self._tokens:
                length = self.checkpoint.config.instruction_tokens
                self._tokens[text] = encode(self._tokenizer, text, length)
        tokens = torch.from_numpy(np.stack([self._tokens[text] for text in instructions]))
        statistics = self.checkpoint.statistics
        normal = torch.from_numpy(normalise(joints, statistics.proprioception)).to(self.device)
        pictures = tuple(
            torch.from_numpy(image).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1.0
            for image in images.values()
        )
        hidden = self.network.encode(pictures, tokens.to(self.device), normal)
        layers = self.network.config.layers
        ran = torch.full((len(instructions),), float(layers))
        scores: dict[int, torch.Tensor] = {}
        if self.mode == 'full':
            for layer in range(layers):
                hidden = self.network.layer(layer, hidden)
        elif self.skipping is not None and self.mode == 'live':
            hidden, ran = live_pass(self.network, self.skipping, hidden, scores=scores)
        elif self.skipping is not None:
            hidden, ran = static_pass(self.network, self.skipping, hidden)
        actions = self.network.head(hidden).float().cpu().numpy()
        return Answer(
            unnormalise(actions, statistics.action), ran.float().cpu().numpy(),
            {layer: score.float().cpu().numpy() for layer, score in scores.items()},
        )  # fmt: skip


def roll_out(
    pool: WorldPool,
    specs: Sequence[EpisodeSpec],
    policy: BatchPolicy,
    checkpoint: Checkpoint,
    timing: Timing | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> list[EpisodeResult]:
    """Play episodes.

    Args:
        pool: Worlds.
        specs: Episodes.
        policy: What acts.
        checkpoint: Whose statistics normalise the recording.
        timing: When chunks take over.
        progress: Called with (episodes done, episodes, successes).

    Returns:
        Results in order of completion.
    """
    timing = timing or Timing()
    waiting = list(reversed(specs))
    slots: dict[int, _Slot] = {}
    results: list[EpisodeResult] = []

    def begin(number: int) -> list[Burst]:
        if not waiting:
            slots.pop(number, None)
            return []
        slots[number] = _Slot(waiting.pop())
        return [Burst(number, slots[number].spec, np.zeros((0, 7), np.float32))]

    def answer(views: list[View]) -> list[Burst]:
        bursts: list[Burst] = []
        running: list[View] = []
        for view in views:
            if view.outcome.done:
                results.append(_result(slots[view.slot], view))
                if progress is not None:
                    progress(len(results), len(specs), sum(r.success for r in results))
                bursts += begin(view.slot)
                continue
            running.append(view)
        if not running:
            return bursts
        index = [view.slot for view in running]
        images = {name: pool.arrays[name][index] for name in CAMERA_SIZES}
        joints = pool.arrays['proprioception'][index]
        said = policy(images, joints, [view.instruction for view in running])
        for row, view in enumerate(running):
            slot = slots[view.slot]
            phase = view.phases[-1] if view.phases else 'reach'
            total, passes = slot.by_phase.get(phase, (0.0, 0))
            slot.by_phase[phase] = (total + float(said.layers[row]), passes + 1)
            slot.layers.append(float(said.layers[row]))
            scores = {layer: float(values[row]) for layer, values in said.scores.items()}
            play = _take_over(slot, said.actions[row], timing, checkpoint, scores)
            bursts.append(Burst(view.slot, None, play))
        return bursts

    halves = [range(0, pool.worlds, 2), range(1, pool.worlds, 2)]
    pending = []
    for half in halves:
        bursts = [burst for number in half for burst in begin(number)]
        pool.send(bursts)
        pending.append(len(bursts))
    while any(pending):
        for half_index in range(len(halves)):
            if not pending[half_index]:
                continue
            bursts = answer(pool.receive())
            pending[half_index] = len(bursts)
            if bursts:
                pool.send(bursts)
    return results


def following(
    old: NDArray[np.float32] | None, new: NDArray[np.float32], timing: Timing
) -> NDArray[np.float32]:
    """What is played until the next observation, (replan, dim): the old chunk, then the new one.

    Args:
        old: The chunk before, (horizon, dim), of which ``replan`` actions were played.
        new: The one just predicted.
        timing: When it takes over.
    """
    if old is None:
        return new[: timing.replan]
    late = old[timing.replan : timing.replan + timing.latency]
    return np.concatenate((late, new[timing.latency : timing.replan]))


def _take_over(
    slot: _Slot,
    actions: NDArray[np.float32],
    timing: Timing,
    checkpoint: Checkpoint,
    scores: Mapping[int, float],
) -> NDArray[np.float32]:
    """What is played until the next observation; the slot goes over to the new chunk."""
    play, first = following(slot.chunk, actions, timing), timing.latency
    if slot.chunk is None:
        first = 0
    slot.chunk = actions
    normal = normalise(actions[first:], checkpoint.statistics.action).astype(np.float64)
    slot.passes.append(RecordedPass(normal, timing.replan + timing.latency - first, scores))
    return play


def _result(slot: _Slot, view: View) -> EpisodeResult:
    return EpisodeResult(
        slot.spec, view.outcome.success, view.outcome.actions, tuple(slot.passes),
        float(np.mean(slot.layers)) if slot.layers else 0.0, slot.by_phase,
    )  # fmt: skip


def summarise(results: Sequence[EpisodeResult]) -> dict[str, float]:
    """Success over all and per family, mean actions, mean layers run."""
    figures = {
        'episodes': float(len(results)),
        'success_rate': float(np.mean([r.success for r in results])),
        'actions_mean': float(np.mean([r.actions for r in results])),
        'layers_run_mean': float(np.mean([r.layers_run for r in results])),
    }
    for family in sorted({str(r.spec.family) for r in results}):
        own = [r.success for r in results if str(r.spec.family) == family]
        figures[f'success_{family}'] = float(np.mean(own))
    for phase in PHASES:
        sums = [r.layers_by_phase[phase] for r in results if phase in r.layers_by_phase]
        if sums:
            figures[f'layers_{phase}'] = sum(s for s, _ in sums) / sum(n for _, n in sums)
    return figures
