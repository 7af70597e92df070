"""Train the dense policy on demonstrations.

``accelerate`` moves the model, scales the precision and synchronises processes, so that several
GPUs are a launch option. Everything else is this one loop: draw, step, average, note, save.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.begun_with import MadeOf, check_same, flat
from dysl_vla_ros.lab.data.batches import NO_AUGMENTATION, Augmentation, Batch, BatchSource
from dysl_vla_ros.lab.learn.half import Precision, check_precision, halved, on_cpu
from dysl_vla_ros.lab.learn.losses import LossWeights, training_loss
from dysl_vla_ros.lab.learn.made_of import shaping, weights_of
from dysl_vla_ros.lab.model.checkpoint import load_tensors, save_tensors
from dysl_vla_ros.lab.model.policy_network import Answers, PolicyNetwork

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes:
        steps: Updates, at most.
        batch: Samples per update and process.
        learning_rate: After the warm-up.
        warmup: Updates until then.
        weight_decay: Of matrices; vectors are not decayed.
        ema: Decay of the averaged weights, which are the result.
        clip: Largest norm of the gradient.
        max_seconds: With more than 0, ``steps`` is lowered, once the speed is known, to fit; the
            time before an interruption counts.
        precision: Of matrix products; see ``half.Precision``.
        save_every_s: Interval of resumable states [s]; 0 saves none.
        note_every: Updates between entries of the loss curve.
        seed: Of order and augmentation.
        exits: How many early exits an update draws from ``exit_layers``: their states must already
            hold the actions (early-exit loss, LayerSkip, arXiv 2404.16710), so that later layers
            refine what earlier ones found, and a jump over them costs less. 0 draws none.
        exit_layers: First and last layer of which an exit may be drawn; 0, 0 is from the
            auxiliary layer to the last but one.
        every_exit: Exits of every update, beside those drawn: where a policy will leave.
        exit_of_goal: Where a sample leaves, by the number of its goal; 0 runs all layers. Its
            action error is that of its own exit alone. Empty: all run all layers.
        weights: Of the parts of the loss.
        augmentation: Of the images.
    """

    steps: int
    batch: int = 512
    learning_rate: float = 7e-4
    warmup: int = 200
    weight_decay: float = 0.01
    ema: float = 0.999
    clip: float = 1.0
    max_seconds: float = 0.0
    precision: Precision = 'auto'
    save_every_s: float = 0.0
    note_every: int = 50
    seed: int = 0
    exits: int = 0
    exit_layers: tuple[int, int] = (0, 0)
    every_exit: tuple[int, ...] = ()
    exit_of_goal: tuple[int, ...] = ()
    weights: LossWeights = field(default_factory=LossWeights)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Refuse numbers that cannot train."""
        for name, low in (('steps', 1), ('batch', 1), ('warmup', 0), ('note_every', 1)):
            if getattr(self, name) < low:
                raise ConfigError(f'train.{name}', getattr(self, name), f'at least {low}')
        check_precision('train.precision', self.precision)
        if not 0.0 <= self.ema < 1.0:
            raise ConfigError('train.ema', self.ema, 'within [0, 1)')
        first, last = self.exit_layers
        if self.exits < 0 or (last > 0 and self.exits > last - first + 1):
            raise ConfigError('train.exits', self.exits, 'no more than the layers in '
                              f'train.exit_layers, here {self.exit_layers}')  # fmt: skip


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind.

    Attributes:
        network: Averaged weights, on the CPU.
        curve: One entry per note: step, seconds, learning rate, parts of the loss.
        validation: Figures on held-out samples, at the end.
        steps: Updates made.
        seconds: Wall time, that before an interruption included.
    """

    network: PolicyNetwork
    curve: list[dict[str, float]]
    validation: dict[str, float]
    steps: int
    seconds: float


Progress = Callable[[int, int, dict[str, float]], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Reached:
    """How far a training had come when its state was saved.

    Attributes:
        step: Updates made.
        curve: Notes so far.
        seconds: Time used.
        each: Of one update [s]; 0 before the speed is known.
    """

    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    each: float = 0.0


def train(
    network: PolicyNetwork,
    source: BatchSource,
    held_out: BatchSource | None,
    settings: TrainSettings,
    state_path: Path | None = None,
    progress: Progress | None = None,
    made_of: MadeOf | None = None,
    say: Say = log.info,
) -> TrainResult:
    """Train ``network`` in place; the result holds the average of its weights.

    Args:
        network: Fresh, or from an earlier round.
        source: Training samples, on the accelerator's device.
        held_out: Validation samples.
        settings: How.
        state_path: Where the resumable state lies; one found there is continued.
        progress: Called with (step, steps, newest note).
        made_of: Of what else than these weights and settings it is made: the data.
        say: Told, in one line, that a state is continued.

    Raises:
        ConfigError: The state is of other weights, settings or data.
    """
    deepest = network.config.layers - 2
    for name, layers in (('exit_layers', settings.exit_layers if settings.exits else ()),
                         ('every_exit', settings.every_exit),
                         ('exit_of_goal', settings.exit_of_goal)):  # fmt: skip
        if max(layers, default=0) > deepest:
            raise ConfigError(f'train.{name}', layers, f'layers up to {deepest}: an exit leaves '
                              'out at least one of them')  # fmt: skip
    on_gpu = source.device.type == 'cuda'
    accelerator = Accelerator(
        mixed_precision='bf16' if on_gpu and halved(settings.precision, on_gpu) else 'no',
        cpu=not on_gpu,
    )
    begun = begun_with(network, settings, made_of or {}) if state_path is not None else {}
    averaged = copy.deepcopy(network).to(source.device).eval().requires_grad_(False)
    network.to(source.device).train().requires_grad_(True)
    optimizer = build_optimizer(network, settings)
    model, prepared = accelerator.prepare(network, optimizer)
    reached = Reached()
    if state_path is not None and state_path.is_file():
        reached = load_state(state_path, network, averaged, optimizer, begun, say)
    step, curve, each = reached.step, reached.curve, reached.each
    saved, first_timed = time.monotonic(), 0.0
    began = saved - reached.seconds
    steps = fitting(settings, step, reached.seconds, each)
    first, timed_step = step, step + 20
    model.train()
    while step < steps:
        rate = learning_rate(step, steps, settings)
        for group in optimizer.param_groups:
            group['lr'] = rate
        batch = source.draw(step, settings.batch, settings.augmentation, accelerator.process_index)
        with on_cpu(settings.precision, on_gpu):
            actions, answers, early = _acted(
                model, batch, exits_of(step, network, settings), settings
            )
        loss, parts = training_loss(actions, answers, batch, settings.weights, early)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(model.parameters(), settings.clip)
        prepared.step()
        prepared.zero_grad(set_to_none=True)
        step += 1
        _average(averaged, network, min(settings.ema, (1 + step) / (10 + step)))
        now = time.monotonic()
        if step == timed_step:
            first_timed = _synchronised(source.device)
        if settings.max_seconds and step == timed_step + 80:
            each = (_synchronised(source.device) - first_timed) / 80
            # Every process must stop at the same update, so the first one's clock decides.
            planned = torch.tensor([fitting(settings, step, now - began, each)],
                                   device=source.device)  # fmt: skip
            steps = int(broadcast(planned))
            log.info('%.1f ms per update: %d updates planned', 1000 * each, steps)
        if step % settings.note_every == 0 or step == steps:
            note = {
                'step': float(step),
                'seconds': now - began,
                'learning_rate': rate,
                'norm': float(norm or 0.0),
                **{k: float(v) for k, v in parts.items()},
            }
            if not math.isfinite(float(loss.detach())):
                raise ConfigError(
                    'train.learning_rate',
                    settings.learning_rate,
                    f'a smaller value: the loss is {float(loss.detach())} at step {step}',
                )
            curve.append(note)
            if progress is not None:
                progress(step, steps, note)
        if settings.save_every_s and state_path and now - saved > settings.save_every_s:
            save_state(state_path, network, averaged, optimizer,
                       Reached(step, curve, now - began, each), begun)  # fmt: skip
            saved = now
    accelerator.free_memory()
    validation = {} if held_out is None else validate(averaged, held_out, settings)
    seconds = time.monotonic() - began
    log.info('%d updates in %.0f s; validation %s', step - first, seconds, validation)
    return TrainResult(averaged.cpu(), curve, validation, step, seconds)


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """Linear warm-up, then a cosine that ends at 2 % of the peak."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(steps - settings.warmup, 1)
    return settings.learning_rate * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done)))


def fitting(settings: TrainSettings, step: int, seconds: float, each: float) -> int:
    """Updates in all that fit into the time.

    Args:
        settings: How many at most, and the time.
        step: Updates made.
        seconds: Time used for them.
        each: Of one update [s]; 0 where it is not known yet.
    """
    if not settings.max_seconds or not each:
        return settings.steps
    return max(min(settings.steps, step + int((settings.max_seconds - seconds) / each)), step)


def exits_of(step: int, network: PolicyNetwork, settings: TrainSettings) -> tuple[int, ...]:
    """The early exits of an update, in order; the same in every process."""
    first, last = settings.exit_layers
    if last == 0:
        first, last = network.config.auxiliary_layer, network.config.layers - 2
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    drawn = torch.randperm(last - first + 1, generator=generator)[: settings.exits]
    always = {*settings.every_exit, *settings.exit_of_goal} - {0}
    return tuple(sorted({first + place for place in drawn.tolist()} | always))


def _acted(
    model: nn.Module, batch: Batch, exits: tuple[int, ...], settings: TrainSettings
) -> tuple[Tensor, Answers, list[Tensor]]:
    """A pass: actions, each sample's where its goal leaves; answers; actions of the exits."""
    actions, answers, early = model(batch.images, batch.tokens, batch.proprioception, exits)
    if not settings.exit_of_goal:
        return actions, answers, early
    table = torch.tensor(settings.exit_of_goal, device=batch.goal.device)
    leaves = table[batch.goal][:, None, None]
    for layer, found in zip(exits, early, strict=True):
        actions = torch.where(leaves == layer, found, actions)
    others = set(exits) - set(settings.exit_of_goal)
    return actions, answers, [e for layer, e in zip(exits, early, strict=True) if layer in others]


def build_optimizer(network: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW with the betas of small transformers; norms, biases and positions do not decay."""
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    vectors = [p for p in network.parameters() if p.ndim < 2]
    groups = [
        {'params': matrices, 'weight_decay': settings.weight_decay},
        {'params': vectors, 'weight_decay': 0.0},
    ]
    on_gpu = next(network.parameters()).is_cuda
    return torch.optim.AdamW(groups, settings.learning_rate, (0.9, 0.98), fused=on_gpu)


@torch.no_grad()
def validate(
    network: PolicyNetwork, source: BatchSource, settings: TrainSettings, batches: int = 8
) -> dict[str, float]:
    """Figures on samples that were not trained on, without augmentation."""
    network.eval()
    sums: dict[str, float] = {}
    for number in range(batches):
        batch = source.draw(number, settings.batch, NO_AUGMENTATION)
        own = tuple(sorted(set(settings.exit_of_goal) - {0}))
        actions, answers, _ = _acted(network, batch, own, settings)
        for name, value in _figures(actions, answers, batch, settings).items():
            sums[name] = sums.get(name, 0.0) + value / batches
    return sums


def _figures(
    actions: Tensor, answers: Answers, batch: Batch, settings: TrainSettings
) -> dict[str, float]:
    _, parts = training_loss(actions, answers, batch, settings.weights)
    wrong = (actions[..., -1] > 0) != (batch.chunk[..., -1] > 0)
    known = batch.point >= 0
    found = (answers[0].argmax(-1) == batch.point) & known
    return {
        **{name: float(value) for name, value in parts.items()},
        'gripper_wrong': float(wrong.float().mean()),
        'named_found': float(found[:, 0].sum() / known[:, 0].sum().clamp(min=1)),
        'destination_found': float(found[:, 1].sum() / known[:, 1].sum().clamp(min=1)),
    }


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    ours: list[Tensor] = list(averaged.parameters())
    theirs: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(ours, theirs, 1.0 - decay)


def _synchronised(device: torch.device) -> float:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.monotonic()


def begun_with(network: nn.Module, settings: TrainSettings, made_of: MadeOf) -> dict[str, Any]:
    """What a state is noted to be of: the weights at its start, the settings, what is given."""
    config = getattr(network, 'config', None)
    shape = {} if config is None else {'network': asdict(config)}
    # What is named first is what the user said: of another seed the data differ as well.
    return {'train': shaping(settings), **shape, **made_of, 'start': weights_of(network)}


def save_state(
    path: Path, network: nn.Module, averaged: nn.Module, optimizer: torch.optim.AdamW,
    reached: Reached, begun: MadeOf,
) -> None:  # fmt: skip
    """Write what ``load_state`` needs to go on, atomically."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        tensors[f'weight.{name}'] = parameter
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f'{key}.{name}'] = value
    tensors |= {f'average.{name}': value for name, value in averaged.named_parameters()}
    save_tensors(path, tensors, {**asdict(reached), 'begun_with': flat(begun)})


def load_state(
    path: Path, network: nn.Module, averaged: nn.Module, optimizer: torch.optim.AdamW,
    begun: MadeOf, say: Say = log.info,
) -> Reached:  # fmt: skip
    """Read a state into network, average and optimizer; say where it goes on.

    Raises:
        ConfigError: It was begun with something else.
    """
    tensors, header = load_tensors(path)
    reached = Reached(int(header['step']), list(header['curve']), header.get('seconds', 0.0),
                      header.get('each', 0.0))  # fmt: skip
    _check_begun(path, header, reached, begun)
    averages = dict(averaged.named_parameters())
    parameters = dict(network.named_parameters())
    for name, parameter in parameters.items():
        found = tensors.get(f'weight.{name}')
        if found is None or found.shape != parameter.shape or (
            name in averages and f'average.{name}' not in tensors
        ):  # fmt: skip
            raise ConfigError(str(path), name if found is None else tuple(found.shape),
                              f'the state of a network with {name} of {tuple(parameter.shape)}; '
                              'remove it to begin anew')  # fmt: skip
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f'weight.{name}'])
            if name in averages:
                averages[name].copy_(tensors[f'average.{name}'])
            optimizer.state[parameter] = {
                key: tensors[f'{key}.{name}'].to(parameter.device)
                for key in ('step', 'exp_avg', 'exp_avg_sq')
                if f'{key}.{name}' in tensors
            }
    unknown = '' if 'begun_with' in header else '; with what it was begun was not noted then'
    say(f'{path}: goes on after update {reached.step}{unknown}')
    return reached


def _check_begun(path: Path, header: dict[str, Any], reached: Reached, begun: MadeOf) -> None:
    """Other steps go on only within the same warm-up: after it the rate is of so many steps."""
    wanted, before, warmup = flat(begun), header.get('begun_with', {}), 'train.warmup'
    if reached.step <= wanted[warmup] == before.get(warmup, wanted[warmup]):
        wanted.pop('train.steps')
    check_same(path, before, wanted)


def describe(settings: TrainSettings) -> dict[str, Any]:
    """For the card."""
    return asdict(settings)
