"""What training minimises, and what validation reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dysl_vla_ros.lab.data.batches import Batch
from dysl_vla_ros.lab.model.policy_network import Answers


@dataclass(frozen=True)
class LossWeights:
    """Factors of the parts.

    Attributes:
        action: Mean absolute error of the normalised chunk.
        point: Finding the named object and the destination among the patches (nats).
        offset: Their offset from the gripper [decimetres].
        name: Naming what the named object's patch shows (nats).
        gripper: Factor of the gripper's dimension inside the action loss.
        early: Of the mean action error of the early exits, in units of ``action``.
    """

    action: float = 3.0
    point: float = 0.15
    offset: float = 0.5
    name: float = 0.3
    gripper: float = 0.5
    early: float = 1.0


def action_loss(predicted: Tensor, wanted: Tensor, gripper: float) -> Tensor:
    """Mean absolute error, the last dimension weighted by ``gripper``."""
    error = (predicted.float() - wanted).abs()
    return (error[..., :-1].sum(-1) + gripper * error[..., -1]).mean() / error.shape[-1]


def grounding_loss(
    answers: Answers, batch: Batch, weights: LossWeights
) -> tuple[Tensor, dict[str, Tensor]]:
    """The auxiliary losses, and their parts for the curve."""
    logits, offsets, names = answers
    known = batch.offset.isfinite()
    if not known.any() and not (batch.point >= 0).any():  # of a real robot nobody knows
        return 0.0 * (logits.sum() + offsets.sum() + names.sum()).float(), {}
    point = functional.cross_entropy(
        logits.float().flatten(0, 1), batch.point.flatten(), ignore_index=-1
    )
    error = (offsets.float() - batch.offset.nan_to_num()).abs() * known
    offset = error.sum() / known.sum().clamp(min=1)
    place = batch.point[:, 0]
    seen = place >= 0
    row = torch.arange(len(place), device=place.device)
    shown = names[row, place.clamp(min=0)].float()
    name = functional.cross_entropy(shown[seen], batch.name[seen])
    # No sample with a visible object gives 0 / 0 in a very small batch.
    parts = {'point': torch.nan_to_num(point), 'offset': offset, 'name': torch.nan_to_num(name)}
    total = (
        weights.point * parts['point']
        + weights.offset * parts['offset']
        + weights.name * parts['name']
    )
    return total, {key: value.detach() for key, value in parts.items()}


def training_loss(
    actions: Tensor, answers: Answers, batch: Batch, weights: LossWeights,
    early: Sequence[Tensor] = (),
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The whole loss, and its parts for the curve; ``early`` are the actions of early exits."""
    action = action_loss(actions, batch.chunk, weights.gripper)
    grounding, parts = grounding_loss(answers, batch, weights)
    total = weights.action * action + grounding
    parts = {'action': action.detach(), **parts}
    if early:
        error = torch.stack([action_loss(e, batch.chunk, weights.gripper) for e in early]).mean()
        total = total + weights.action * weights.early * error
        parts['early'] = error.detach()
    return total, parts
