"""Two-stage distillation of adapters and controllers around a frozen backbone.

Source: DySL-VLA, arXiv 2602.22896. Stage 1: each adapter alone imitates the block it replaces,
all from one dense forward. Stage 2: controllers and adapters together, at sampled positions.

The paper mixes the states softly, ``g * adapter(h) + (1 - g) * layers(h)``, and asks the frozen
rest for the dense model's actions and the controllers to open (``mix='state'``). A robot jumps or
does not: an adapter that is good inside a mixture need not be good alone, and ours was not. So by
default the *costs* are mixed, ``g * cost of the jump + (1 - g) * skip_weight``, which is what a
jump taken with probability g costs (``mix='cost'``, ours). The optimiser, the weights and the
sampling of several positions of a segment at once are ours, too.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.begun_with import MadeOf
from dysl_vla_ros.lab.data.batches import Augmentation
from dysl_vla_ros.lab.learn.dense_model import (
    DenseModel,
    Layers,
    Source,
    batches,
    dense_model,
    states,
)
from dysl_vla_ros.lab.learn.distill_state import load_distill_state, save_distill_state
from dysl_vla_ros.lab.learn.half import Precision, autocast, check_precision
from dysl_vla_ros.lab.learn.made_of import shaping
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.skipping import SkipModules

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DistillSettings:
    """How to distil.

    Attributes:
        adapter_steps: Updates of stage 1; 0 where the states were trained to act (early exits of
            ``train``): there the bare state is the better start.
        controller_steps: Updates of stage 2.
        batch: Samples per update.
        adapter_rate: Learning rate of stage 1.
        controller_rate: Learning rate of the controllers in stage 2.
        joint_rate: Learning rate of the adapters in stage 2.
        skip_weight: lambda: what one skipped position is worth in action error.
        task_share: Share of the demonstrations in the target; the rest is the dense model's.
        positions: Positions of one segment that each update of stage 2 mixes, each for itself. The
            paper samples a single one; more of them share the dense pass that they need.
        mix: What stage 2 mixes: ``cost`` or, as in the paper, ``state``.
        upstream_share: Share of batches whose earlier segments are run as they would be live,
            so that an adapter also sees states that other adapters made.
        clip: Largest norm of the gradient.
        precision: Of matrix products; see ``half.Precision``.
        seed: Of order and positions.
    """

    adapter_steps: int = 2000
    controller_steps: int = 3000
    batch: int = 256
    adapter_rate: float = 1e-3
    controller_rate: float = 1e-3
    joint_rate: float = 2e-4
    skip_weight: float = 0.02
    task_share: float = 0.5
    positions: int = 1
    mix: Literal['cost', 'state'] = 'cost'
    upstream_share: float = 0.5
    clip: float = 1.0
    precision: Precision = 'auto'
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        for name in ('task_share', 'upstream_share'):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f'distill.{name}', getattr(self, name), 'within [0, 1]')
        if self.mix not in ('cost', 'state'):
            raise ConfigError('distill.mix', self.mix, "'cost' or 'state'")
        check_precision('distill.precision', self.precision)
        if self.positions < 1:
            raise ConfigError('distill.positions', self.positions, 'at least 1')


Progress = Callable[[str, int, int, dict[str, float]], None]


def distill(
    model: PolicyNetwork | DenseModel,
    skipping: SkipModules,
    source: Source,
    settings: DistillSettings,
    progress: Progress | None = None,
    note_every: int = 100,
    state_path: Path | None = None,
    shared: bool = False,
    made_of: MadeOf | None = None,
    say: Callable[[str], None] = log.info,
) -> list[dict[str, float]]:
    """Run both stages; ``skipping`` is trained in place, the model is only read.

    Args:
        model: Dense and frozen.
        skipping: Controllers and adapters for its layers.
        source: Batches for the model's ``encode``; where ``task_share`` > 0 each has the
            demonstrated actions as ``chunk``, normalised, (B, horizon, dim).
        settings: How.
        progress: Called with (stage, step, steps, newest note).
        note_every: Updates between notes.
        state_path: Where the resumable state lies, written with every note; one found there is
            continued, exactly if the source is ``BatchSource``.
        shared: Several processes distil together, each on batches of its own: gradients are
            averaged, and the first process writes. All must begin with the same weights.
        made_of: Of what else than layers and settings it is made: the model, the data.
        say: Told, in one line, that a state is continued.

    Raises:
        ConfigError: The state is of other layers or settings, or of something else in
            ``made_of``; or the loss is not finite.

    Returns:
        The loss curve: stage, step and figures per note.
    """
    if isinstance(model, PolicyNetwork):
        model.requires_grad_(False)
    network = dense_model(model, source)
    skipping.to(network.device).train()
    draw = batches(source, settings.batch, Augmentation())
    begun: dict[str, Any] = {}
    if state_path is not None:
        begun = {
            'distill': shaping(settings), 'rank': skipping.rank, **(made_of or {}),
            'static_layers': list(skipping.layout.static_layers),
        }  # fmt: skip
    resumed = load_distill_state(state_path, begun)
    if resumed is not None:
        resumed.restore_modules(skipping)
        unknown = '' if resumed.begun_with else '; with what it was begun was not noted then'
        say(f'{state_path}: goes on after update {resumed.step} of stage {resumed.stage}{unknown}')
    curve: list[dict[str, float]] = [] if resumed is None else resumed.curve
    adapters = list(skipping.adapters.parameters())
    controllers = list(skipping.controllers.parameters())
    stages = (
        (1, settings.adapter_steps, [(adapters, settings.adapter_rate)]),
        (2, settings.controller_steps,
         [(controllers, settings.controller_rate), (adapters, settings.joint_rate)]),
    )  # fmt: skip
    for stage, steps, groups in stages:
        if resumed is not None and resumed.stage > stage:
            continue
        optimizer = torch.optim.AdamW(
            [{'params': p, 'lr': rate, 'peak': rate} for p, rate in groups], weight_decay=0.0
        )
        generator = torch.Generator().manual_seed(settings.seed + stage)
        first_step = 0
        if resumed is not None and resumed.stage == stage:
            resumed.restore_optimizer(optimizer, generator)
            first_step = resumed.step
        for step in range(first_step, steps):
            for group in optimizer.param_groups:
                group['lr'] = group['peak'] * _schedule(step, steps)
            batch = draw(stage * 10_000_000 + step)
            with autocast(settings.precision, network.device.type):
                if stage == 1:
                    loss, figures = adapter_loss(network, skipping, batch)
                else:
                    loss, figures = controller_loss(network, skipping, batch, settings, generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            trained = [p for parameters, _ in groups for p in parameters]
            if shared:
                average_gradients(trained)
            torch.nn.utils.clip_grad_norm_(trained, settings.clip)
            optimizer.step()
            if (step + 1) % note_every == 0 or step + 1 == steps:
                _refuse_endless(float(loss.detach()), stage, step + 1)
                note = {name: float(value) for name, value in figures.items()}
                curve.append({'stage': float(stage), 'step': float(step + 1), **note})
                if progress is not None:
                    progress(f'stage {stage}', step + 1, steps, note)
                if state_path is not None and (not shared or _first()):
                    save_distill_state(
                        state_path, stage, step + 1, curve, skipping, optimizer, generator, begun
                    )
    skipping.eval()
    return curve


def _refuse_endless(loss: float, stage: int, step: int) -> None:
    """End before anything is written of a distillation that learns no more."""
    if not math.isfinite(loss):
        raise ConfigError(
            f'loss of stage {stage}', loss, f'a finite one at update {step}: the states of the '
            'model are not finite, or overflow in this precision',
        )  # fmt: skip


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """The mean over all processes; the same parameters must have a gradient in each of them."""
    found = [p.grad for p in parameters if p.grad is not None]
    if not _together() or not found:
        return
    joined = torch.cat([gradient.reshape(-1) for gradient in found])
    torch.distributed.all_reduce(joined)
    joined /= torch.distributed.get_world_size()
    for gradient, part in zip(found, joined.split([g.numel() for g in found]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _together() -> bool:
    known = torch.distributed.is_available() and torch.distributed.is_initialized()
    return known and torch.distributed.get_world_size() > 1


def _first() -> bool:
    return not _together() or torch.distributed.get_rank() == 0


def adapter_loss(
    network: DenseModel, skipping: SkipModules, batch: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Stage 1: the share of the skipped layers' effect that the adapters do not reproduce.

    One is what doing nothing scores, zero is a perfect stand-in; summed squares over the batch.
    """
    with torch.no_grad():
        entering = states(network, network.encode(batch))
    losses = []
    for first, end in skipping.layout.segments:
        target = entering[end].float()
        for layer in range(first, end):
            before = entering[layer]
            error = (skipping.adapter(layer)(before).float() - target).square().sum()
            losses.append(error / (target - before.float()).square().sum().clamp(min=1e-6))
    stacked = torch.stack(losses)
    return stacked.mean(), {
        'unexplained': stacked.mean().detach(),
        'worst': stacked.detach().max(),
    }


def controller_loss(
    network: DenseModel,
    skipping: SkipModules,
    batch: Any,
    settings: DistillSettings,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Stage 2: jump or mix at sampled positions, each for itself, then the frozen rest."""
    layers = _positions(skipping.layout, settings.positions, generator)
    upstream = float(torch.rand((), generator=generator)) < settings.upstream_share
    first, end = next(s for s in skipping.layout.segments if s[0] <= layers[0] < s[1])
    with torch.no_grad():
        entering = states(network, network.encode(batch))
        wanted = network.head(entering[-1]).float()
        if upstream:
            hidden = _run_live(network, skipping, entering[0], first)
            for layer in range(first, end):
                entering[layer] = hidden
                hidden = network.layer(layer, hidden)
            entering[end] = hidden
    gates, after_jump = [], []
    for layer in layers:
        gate = skipping.controller(layer)(entering[layer])
        bridged = skipping.adapter(layer)(entering[layer]).float()
        if settings.mix == 'state':
            share = gate[:, None, None]
            bridged = share * bridged + (1.0 - share) * entering[end].float()
        after_jump.append(bridged)
        gates.append(gate)
    # Positions share the frozen rest as rows of one batch.
    after = _run(network, torch.cat(after_jump), end, network.layers_total)
    actions, count = network.head(after).float(), len(layers)
    task = settings.task_share
    error = (1.0 - task) * _each(actions - wanted.repeat(count, 1, 1))
    if task > 0.0:
        gained = _each(actions - batch.chunk.repeat(count, 1, 1))
        error = error + task * (gained - _each(wanted - batch.chunk).repeat(count))
    opened = torch.cat(gates)
    cost = opened * error if settings.mix == 'cost' else error
    loss = (cost + settings.skip_weight * (1.0 - opened)).mean()
    return loss, {'error': cost.detach().mean(), 'open': opened.detach().mean()}


def _each(difference: Tensor) -> Tensor:
    """Mean absolute value per sample: (B, horizon, dim) -> (B,)."""
    return difference.abs().flatten(1).mean(1)


def _positions(layout: LayerLayout, count: int, generator: torch.Generator) -> list[int]:
    """Up to ``count`` dynamic layers of one segment, in random order.

    The first one is drawn from all dynamic layers alike, so that a long segment comes up more
    often; the others are its neighbours, because they end at the same static layer.
    """
    dynamic = layout.dynamic_layers
    chosen = dynamic[int(torch.randint(len(dynamic), (), generator=generator))]
    first, end = next(s for s in layout.segments if s[0] <= chosen < s[1])
    others = [layer for layer in range(first, end) if layer != chosen]
    order = torch.randperm(len(others), generator=generator).tolist()
    return [chosen, *(others[index] for index in order[: count - 1])]


@torch.no_grad()
def live_pass(
    network: Layers, skipping: SkipModules, hidden: Tensor, threshold: float = 0.5,
    scores: dict[int, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A batched pass with every controller live: each sample jumps where its own opens.

    Args:
        network: Dense and frozen.
        skipping: Its controllers and adapters.
        hidden: State entering layer 0, (B, tokens, width).
        threshold: tau.
        scores: Takes up the score of every dynamic layer, (B,); behind an open controller it is
            the score that the state without the jump has.

    Returns:
        The state after the stack, and how many layers each sample ran (B,).
    """
    layers = skipping.layout.layers_total
    ran = torch.zeros(hidden.shape[0], device=hidden.device)
    hidden = _run_live(network, skipping, hidden, layers, threshold, ran, scores)
    return hidden, ran


@torch.no_grad()
def static_pass(network: Layers, skipping: SkipModules, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """A pass that jumps every segment at once; returns as ``live_pass`` does."""
    layout = skipping.layout
    bridges = {first: end for first, end in layout.segments if first < end}
    layer = 0
    while layer < layout.layers_total:
        if layer in bridges:
            hidden = skipping.adapter(layer)(hidden)
            layer = bridges[layer]
            continue
        hidden = network.layer(layer, hidden)
        layer += 1
    ran = torch.full((hidden.shape[0],), float(len(layout.static_layers)), device=hidden.device)
    return hidden, ran


def _run_live(
    network: Layers, skipping: SkipModules, hidden: Tensor, until: int,
    threshold: float = 0.5, ran: Tensor | None = None,
    scores: dict[int, Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Run to the state entering ``until``; in ``until``'s own segment nothing is skipped."""
    ends = {d: end for first, end in skipping.layout.segments for d in range(first, end)}
    target: Tensor | None = None
    waiting = torch.zeros(hidden.shape[0], dtype=torch.bool, device=hidden.device)
    for layer in range(until):
        if layer not in ends and target is not None:
            hidden = torch.where(waiting[:, None, None], target, hidden)
            target, waiting = None, torch.zeros_like(waiting)
        if layer in ends and ends[layer] <= until and ends[layer] != skipping.layout.layers_total:
            score = skipping.controller(layer)(hidden)
            if scores is not None:
                scores[layer] = score
            opens = (score > threshold) & ~waiting
            bridged = skipping.adapter(layer)(hidden).to(hidden.dtype)
            base = hidden if target is None else target
            target = torch.where(opens[:, None, None], bridged, base)
            waiting = waiting | opens
        if ran is not None:
            ran += (~waiting).float()
        hidden = network.layer(layer, hidden)
    if target is not None:
        hidden = torch.where(waiting[:, None, None], target, hidden)
    return hidden


def _run(network: Layers, hidden: Tensor, first: int, end: int) -> Tensor:
    for layer in range(first, end):
        hidden = network.layer(layer, hidden)
    return hidden


def _schedule(step: int, steps: int) -> float:
    warmup = max(round(0.03 * steps), 1)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
