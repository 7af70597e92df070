"""When matrices are multiplied in bf16; weights and optimizers stay in float32."""

from __future__ import annotations

import time
from typing import Literal, get_args

import torch

from dysl_vla_ros.errors import ConfigError

Precision = Literal['auto', 'bf16', 'fp32']
"""``auto`` is bf16 on a GPU and float32 on the CPU; ``bf16`` is both: four times as fast on a CPU
that has AVX512-BF16 or AMX, 47 times slower on one that has not (``check_speed``)."""
_SIDE, _PRODUCTS = 256, 3
_SLOWER = 2.0
"""Times as long in bf16; a CPU that has it is well below 1, one without far above."""


def check_precision(name: str, precision: str) -> None:
    """Refuse another word.

    Raises:
        ConfigError: It is none of ``Precision``.
    """
    if precision not in get_args(Precision):
        raise ConfigError(name, precision, 'one of ' + ', '.join(get_args(Precision)))


def check_speed(name: str, precision: str, on_gpu: bool) -> None:
    """Refuse bf16 on a CPU whose products of matrices it would slow down; a tenth of a second.

    Raises:
        ConfigError: It takes more than twice as long as float32 there.
    """
    if on_gpu or precision != 'bf16':
        return
    ratio = _seconds(torch.bfloat16) / _seconds(torch.float32)
    if ratio > _SLOWER:
        raise ConfigError(
            name, precision, 'fp32, or auto: this CPU has no AVX512-BF16 or AMX, and multiplies '
            f'matrices {ratio:.0f} times slower in bf16; what was begun in it goes on in fp32',
        )  # fmt: skip


def halved(precision: Precision, on_gpu: bool) -> bool:
    """Whether matrices are multiplied in bf16."""
    return precision == 'bf16' or (precision == 'auto' and on_gpu)


def autocast(precision: Precision, device: str) -> torch.autocast:
    """The context of a forward pass on ``cpu`` or ``cuda``."""
    return torch.autocast(device, torch.bfloat16, enabled=halved(precision, device == 'cuda'))


def on_cpu(precision: Precision, on_gpu: bool) -> torch.autocast:
    """As ``autocast`` on a CPU; on a GPU accelerate sees to it, which takes one a process."""
    return torch.autocast('cpu', torch.bfloat16, enabled=not on_gpu and halved(precision, on_gpu))


def _seconds(kind: torch.dtype) -> float:
    """Of the fastest of a few products [s]."""
    matrix = torch.ones(_SIDE, _SIDE, dtype=kind)
    times = []
    for _ in range(_PRODUCTS):
        began = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - began)
    return min(times)
