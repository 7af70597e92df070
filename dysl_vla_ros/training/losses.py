"""What training minimises, and what validation reports."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dysl_vla_ros.training.batches import Batch


@dataclass(frozen=True)
class LossWeights:
    """Factors of the parts.

    Attributes:
        action: Mean absolute error of the normalised chunk.
        point: Finding the named object and the destination among the patches (nats).
        offset: Their offset from the gripper [decimetres].
        gripper: Factor of the gripper's dimension inside the action loss.
    """

    action: float = 3.0
    point: float = 0.15
    offset: float = 0.5
    gripper: float = 0.5


def action_loss(predicted: Tensor, wanted: Tensor, gripper: float) -> Tensor:
    """Mean absolute error, the last dimension weighted by ``gripper``."""
    error = (predicted.float() - wanted).abs()
    return (error[..., :-1].sum(-1) + gripper * error[..., -1]).mean() / error.shape[-1]


def training_loss(
    actions: Tensor, answers: tuple[Tensor, Tensor], batch: Batch, weights: LossWeights
) -> tuple[Tensor, dict[str, Tensor]]:
    """The whole loss, and its parts for the curve."""
    logits, offsets = answers
    action = action_loss(actions, batch.chunk, weights.gripper)
    point = functional.cross_entropy(
        logits.float().flatten(0, 1), batch.point.flatten(), ignore_index=-1
    )
    # No sample with a visible object gives 0 / 0 in a very small batch.
    point = torch.nan_to_num(point)
    known = batch.offset.isfinite()
    error = (offsets.float() - batch.offset.nan_to_num()).abs() * known
    offset = error.sum() / known.sum().clamp(min=1)
    total = weights.action * action + weights.point * point + weights.offset * offset
    parts = {'action': action.detach(), 'point': point.detach(), 'offset': offset.detach()}
    return total, parts
