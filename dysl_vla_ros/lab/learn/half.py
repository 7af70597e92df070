"""When matrices are multiplied in bf16; weights and optimizers stay in float32."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from dysl_vla_ros.errors import ConfigError

Precision = Literal['auto', 'bf16', 'fp32']
"""``auto`` is bf16 on a GPU and float32 on the CPU; ``bf16`` is both: four times as fast on a CPU
that has AVX512-BF16 or AMX, slower on one that has not."""


def check_precision(name: str, precision: str) -> None:
    """Refuse another word.

    Raises:
        ConfigError: It is none of ``Precision``.
    """
    if precision not in get_args(Precision):
        raise ConfigError(name, precision, 'one of ' + ', '.join(get_args(Precision)))


def halved(precision: Precision, on_gpu: bool) -> bool:
    """Whether matrices are multiplied in bf16."""
    return precision == 'bf16' or (precision == 'auto' and on_gpu)


def autocast(precision: Precision, device: str) -> torch.autocast:
    """The context of a forward pass on ``cpu`` or ``cuda``."""
    return torch.autocast(device, torch.bfloat16, enabled=halved(precision, device == 'cuda'))


def on_cpu(precision: Precision, on_gpu: bool) -> torch.autocast:
    """As ``autocast`` on a CPU; on a GPU accelerate sees to it, which takes one a process."""
    return torch.autocast('cpu', torch.bfloat16, enabled=not on_gpu and halved(precision, on_gpu))
