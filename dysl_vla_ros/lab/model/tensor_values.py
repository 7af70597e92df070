"""What the numbers of a weight may be: of floating point, and finite."""

from __future__ import annotations

import torch
from torch import Tensor

from dysl_vla_ros.errors import BundleError

KINDS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_HEADER = {'F16': torch.float16, 'BF16': torch.bfloat16, 'F32': torch.float32,
           'F64': torch.float64, 'I8': torch.int8, 'U8': torch.uint8, 'I16': torch.int16,
           'I32': torch.int32, 'I64': torch.int64, 'BOOL': torch.bool}  # fmt: skip
"""As safetensors writes them."""


def kind_of_header(written: str) -> torch.dtype | str:
    """The type that a header of safetensors names; one that is not known here as it is written."""
    return _HEADER.get(written, written)


def check_kind(name: str, kind: torch.dtype | str | None) -> None:
    """Refuse numbers that are none of floating point: the scales of quantised ones are not read.

    Args:
        name: Of the tensor, for the message.
        kind: Its type; None is not known.

    Raises:
        BundleError: Names the tensor and its type.
    """
    if kind is not None and kind not in KINDS:
        right = ', '.join(_bare(one) for one in KINDS)
        raise BundleError(f'{name} is of {_bare(kind)}: expected one of {right}; weights that '
                          'were quantised must be saved again in one of them')  # fmt: skip


def check_finite(name: str, tensor: Tensor, remedy: str = 'download the file again') -> None:
    """Refuse a weight with NaN or infinity in it.

    Args:
        name: Of the tensor, for the message.
        tensor: The weight.
        remedy: What helps.

    Raises:
        BundleError: Names the tensor, and how many of its numbers are none.
    """
    if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
        return
    wrong = int((~torch.isfinite(tensor)).sum())
    raise BundleError(f'{name}: {wrong} of {tensor.numel()} numbers are NaN or infinite: expected '
                      f'finite weights; {remedy}')  # fmt: skip


def _bare(kind: torch.dtype | str) -> str:
    return str(kind).removeprefix('torch.')
