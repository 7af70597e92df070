"""What an interrupted distillation needs to go on exactly as if it had not been."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.begun_with import MadeOf, check_same, flat
from dysl_vla_ros.lab.model.checkpoint import load_tensors, save_tensors
from dysl_vla_ros.lab.model.skipping import SkipModules


@dataclass(frozen=True)
class DistillState:
    """A point in a distillation.

    Attributes:
        stage: 1 or 2.
        step: Updates of that stage that were made.
        curve: Notes so far.
        tensors: Of the modules, the optimizer and the generator of positions.
        begun_with: Of what it was made; empty where that was not noted.
    """

    stage: int
    step: int
    curve: list[dict[str, float]]
    tensors: dict[str, Tensor]
    begun_with: dict[str, Any] = field(default_factory=dict)

    def restore_modules(self, skipping: SkipModules) -> None:
        """Put the weights back.

        Raises:
            ConfigError: The state belongs to other layers or another rank.
        """
        weights = {name.removeprefix('weight.'): tensor for name, tensor in self.tensors.items()
                   if name.startswith('weight.')}  # fmt: skip
        try:
            skipping.load_state_dict(weights)
        except RuntimeError as error:
            raise ConfigError('distill state', str(error).splitlines()[0],
                              'a state of the same layers and rank; remove it to begin anew'
                              ) from None  # fmt: skip

    def restore_optimizer(
        self, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> None:
        """Put moments and random state back; the optimizer must hold the modules' parameters."""
        document = optimizer.state_dict()
        document['state'] = {}
        for name, tensor in self.tensors.items():
            if name.startswith('moment.'):
                _, number, key = name.split('.')
                document['state'].setdefault(int(number), {})[key] = tensor
        optimizer.load_state_dict(document)
        generator.set_state(self.tensors['generator'])


def save_distill_state(
    path: Path, stage: int, step: int, curve: list[dict[str, float]], skipping: SkipModules,
    optimizer: torch.optim.Optimizer, generator: torch.Generator, begun: MadeOf,
) -> None:  # fmt: skip
    """Write a state atomically."""
    tensors: dict[str, Tensor] = {f'weight.{k}': v for k, v in skipping.state_dict().items()}
    moments: dict[int, dict[str, Any]] = optimizer.state_dict()['state']
    for number, entry in moments.items():
        tensors |= {f'moment.{number}.{key}': value for key, value in entry.items()}
    tensors['generator'] = generator.get_state()
    save_tensors(path, tensors, {'stage': stage, 'step': step, 'curve': curve,
                                 'begun_with': flat(begun)})  # fmt: skip


def load_distill_state(path: Path | None, begun: MadeOf) -> DistillState | None:
    """Read a state; None where there is none.

    Raises:
        ConfigError: It was begun with something else.
    """
    if path is None or not path.is_file():
        return None
    tensors, header = load_tensors(path)
    noted = header.get('begun_with', {})
    check_same(path, noted, begun)
    return DistillState(header['stage'], header['step'], header['curve'], tensors, noted)
