"""A part in float16, with float32 where halves are not enough.

Norms square and sum what they get, and a gate decides on a threshold: both stay in float32, as
islands between casts that stand in the graph. (A runtime that is told "use halves" chooses for
itself; a strongly typed TensorRT network does what the graph says.) Images, joints and actions
keep their types, so that a robot feeds an FP16 bundle as it feeds an FP32 one; only ``patches``
and hidden states travel as halves.

INT8 is not here yet. Its place is beside ``to_half``: quantise-dequantise pairs around the inputs
and weights of the linear layers, written into the graph by the module, which TensorRT reads as
what to run in INT8; the islands stay.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dysl_vla_ros.lab.export.parts import Part
from dysl_vla_ros.lab.model.llama import LlamaNorm
from dysl_vla_ros.lab.model.policy_network import RMSNorm
from dysl_vla_ros.lab.model.skipping import Controller
from dysl_vla_ros.lab.model.tensor_values import check_finite

NORMS = (nn.LayerNorm, nn.GroupNorm, RMSNorm, LlamaNorm)
TRAVELS_AS_HALF = frozenset({'patches', 'hidden', 'hidden_out'})


class _Float32Norm(nn.Module):
    """A norm with its own weights in float32, between halves."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm.float()

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.float())
        return normed.to(x.dtype)


class _HalfInside(nn.Module):
    """Float32 at the edges where the bundle says so, float16 inside."""

    def __init__(self, module: nn.Module, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.module, self.outputs = module, outputs

    def forward(self, *arguments: Tensor) -> Tensor | tuple[Tensor, ...]:
        inner = [a.half() if a.dtype == torch.float32 else a for a in arguments]
        found = self.module(*inner)
        several = found if isinstance(found, tuple) else (found,)
        given = tuple(
            value.half() if name in TRAVELS_AS_HALF else value.float()
            for name, value in zip(self.outputs, several, strict=True)
        )
        return given if len(given) > 1 else given[0]


def to_half(part: Part) -> Part:
    """The same part computing in float16; its module is changed in place.

    Raises:
        BundleError: A weight is larger than a half can be.
    """
    module = part.module.half()
    for name, weight in module.named_parameters():
        check_finite(name, weight, 'halves end at 65504: --precision fp32')
    _add_islands(module)
    arguments = tuple(
        value.half() if name in TRAVELS_AS_HALF else value
        for name, value in zip(part.inputs, part.arguments, strict=True)
    )
    return Part(_HalfInside(module, part.outputs).eval(), arguments, part.inputs, part.outputs)


def _add_islands(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, Controller):
            child.float()  # it widens the state that it is given by itself
        elif isinstance(child, NORMS):
            setattr(module, name, _Float32Norm(child))
        else:
            _add_islands(child)
