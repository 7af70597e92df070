"""The nodes of an ONNX graph as steps, and the steps that a result needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from dysl_vla_ros.engines.cuda.onnx_torch_ops import Apply, Node


@dataclass(frozen=True)
class Step:
    """One node: what it does, what it reads and writes; '' is an optional input left out."""

    apply: Apply
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    node: Node


def needed(
    steps: Sequence[Step], given: Collection[str], wanted: Sequence[str]
) -> tuple[list[Step], set[str]]:
    """The steps that compute some values from others.

    Returns:
        The steps in order, and every name that they read and do not write.
    """
    names = set(wanted)
    chosen = []
    for step in reversed(steps):
        if names & (set(step.writes) - set(given)):
            chosen.append(step)
            names |= set(step.reads)
    made = {name for step in chosen for name in step.writes}
    return chosen[::-1], names - made - {''}


def run_steps(
    steps: Sequence[Step], values: Mapping[str, Tensor | None], wanted: Sequence[str]
) -> tuple[Tensor, ...]:
    """Run steps one by one.

    Args:
        steps: In order.
        values: All that they read and do not write.
        wanted: Names of what is returned.
    """
    known: dict[str, Tensor | None] = {**values, '': None}
    last = {name: index for index, step in enumerate(steps) for name in step.reads}
    for index, step in enumerate(steps):
        outputs = step.apply(*(known[name] for name in step.reads))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        known.update(zip(step.writes, outputs, strict=False))
        for name in step.reads:  # what nobody reads again makes room in the graph's memory
            if name and last[name] == index and name in known and name not in wanted:
                del known[name]
    found = tuple(known[name] for name in wanted)
    assert all(value is not None for value in found)
    return found  # type: ignore[return-value]
