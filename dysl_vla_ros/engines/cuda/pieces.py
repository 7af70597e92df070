"""What a graph computes, cut into pieces: each is compiled as one, or run step by step.

A cut lies where the device is to be told something that the graph does not say: at an attention
with a mask, whose padding may be left out instead, and where two halves of a graph do not need
each other and may run side by side. Everything between two cuts is one ``Run``. Runs of the same
steps, whatever their weights, have the same key: one compilation serves all layers.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dysl_vla_ros.engines.cuda.onnx_attention import attend, is_masked
from dysl_vla_ros.engines.cuda.onnx_steps import Step, run_steps

Compiled = Callable[[list[Tensor], list[Tensor]], Sequence[Tensor]]
"""Inputs and weights of a run -> its outputs."""
Together = Callable[[Sequence[Callable[[], None]]], None]
"""Runs bodies that do not need each other, side by side where the device can."""

_BRANCH = 0.2
"""Share of a graph's steps that a branch must have to be worth a stream of its own."""
_BRANCH_STEPS = 16
"""Likewise, steps."""


@dataclass(frozen=True)
class Run:
    """Steps that are compiled together.

    Attributes:
        steps: In order.
        inputs: Names of what comes from before.
        outputs: Names of what is read later.
        weights: Names of the constants that are handed in; others are part of the code.
        key: Equal for runs that differ in nothing but weights.
    """

    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class Masked:
    """An attention that hides some keys, and the step that turns its result, if there is one."""

    step: Step
    turn: Step | None = None


@dataclass(frozen=True)
class Fork:
    """Runs that do not need each other."""

    branches: tuple[Run, ...]


Piece = Run | Masked | Fork


def cut(
    steps: Sequence[Step],
    given: Sequence[str],
    wanted: Sequence[str],
    constants: Mapping[str, Tensor],
) -> tuple[Piece, ...]:
    """Cut a plan.

    Args:
        steps: In order; all of them are needed.
        given: Names of the inputs.
        wanted: Names of the results.
        constants: By name.
    """
    groups: list[list[list[Step]] | Masked] = []
    forked = _forked(steps)
    if forked is not None:
        before, branches, after = forked
        groups = [[before], branches, [after]]
    else:
        current: list[Step] = []
        for step in steps:
            if is_masked(step):
                groups += [[current], Masked(step)]
                current = []
            elif not current and groups and _turns(step, last := groups[-1]):
                # The kernels write tokens before heads: turned back, nothing has to be copied.
                assert isinstance(last, Masked)
                groups[-1] = Masked(last.step, step)
            else:
                current.append(step)
        groups.append([current])
    found: list[Piece] = []
    later = set(wanted)
    for group in reversed(groups):
        if isinstance(group, Masked):
            found.append(group)
            later |= set(group.step.reads)
            continue
        runs = [_run(part, later, constants) for part in group if part]
        later |= {name for run in runs for name in run.inputs}
        if runs:
            found.append(runs[0] if len(runs) == 1 else Fork(tuple(runs)))
    return tuple(reversed(found))


def runs_of(pieces: Sequence[Piece]) -> list[Run]:
    """Every run, also those inside forks."""
    found: list[Run] = []
    for piece in pieces:
        if isinstance(piece, Run):
            found.append(piece)
        elif isinstance(piece, Fork):
            found += piece.branches
    return found


def run_pieces(
    pieces: Sequence[Piece],
    given: Mapping[str, Tensor],
    wanted: Sequence[str],
    constants: Mapping[str, Tensor],
    compiled: Mapping[str, Compiled],
    together: Together,
    padding: int | None = None,
) -> tuple[Tensor, ...]:
    """Compute what a plan wants.

    Args:
        pieces: From ``cut``.
        given: The inputs.
        wanted: Names of the results.
        constants: By name.
        compiled: By key of the run; a run that is not there goes step by step.
        together: See ``Together``.
        padding: As ``onnx_attention.attend``.
    """
    values: dict[str, Tensor] = dict(given)

    def run(one: Run) -> None:
        code = compiled.get(one.key)
        inputs = [values[name] for name in one.inputs]
        if code is None:
            known = {**constants, **dict(zip(one.inputs, inputs, strict=True))}
            found: Sequence[Tensor] = run_steps(one.steps, known, one.outputs)
        else:
            # It was compiled for inputs without gaps, and does not look.
            weights = [constants[name] for name in one.weights]
            found = code([tensor.contiguous() for tensor in inputs], weights)
        values.update(zip(one.outputs, found, strict=True))

    for piece in pieces:
        if isinstance(piece, Run):
            run(piece)
        elif isinstance(piece, Masked):
            read = [values[n] if n in values else constants[n] for n in piece.step.reads]
            mixed = values[piece.step.writes[0]] = attend(piece.step, read, padding)
            if piece.turn is not None:
                values[piece.turn.writes[0]] = piece.turn.apply(mixed)
        else:
            together([_bound(run, branch) for branch in piece.branches])
    return tuple(values[name] if name in values else constants[name] for name in wanted)


class Program(torch.nn.Module):
    """A run as a module of inputs and weights, for the compiler."""

    def __init__(self, run: Run, constants: Mapping[str, Tensor]) -> None:
        """Take a run with the constants that stay in its code."""
        super().__init__()
        self._run = run
        read = {name for step in run.steps for name in step.reads if name}
        self._fixed = {
            name: constants[name] for name in read
            if name in constants and name not in run.weights
        }  # fmt: skip

    def forward(self, inputs: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, ...]:
        """Outputs of the run."""
        known: dict[str, Tensor | None] = dict(self._fixed)
        known.update(zip(self._run.inputs, inputs, strict=True))
        known.update(zip(self._run.weights, weights, strict=True))
        return run_steps(self._run.steps, known, self._run.outputs)


def _run(part: Sequence[Step], later: set[str], constants: Mapping[str, Tensor]) -> Run:
    made = {name for step in part for name in step.writes}
    read = dict.fromkeys(name for step in part for name in step.reads if name)
    inputs = tuple(name for name in read if name not in made and name not in constants)
    outputs = tuple(
        name for step in part for name in step.writes if name in later and name not in constants
    )
    weights = tuple(name for name in read if name in constants and _is_weight(constants[name]))
    key = _key(part, inputs, outputs, weights, constants)
    return Run(tuple(part), inputs, outputs, weights, key)


def _turns(step: Step, last: object) -> bool:
    return (
        isinstance(last, Masked) and last.turn is None and step.node.operator == 'Transpose'
        and step.reads[0] == last.step.writes[0]
    )  # fmt: skip


def _is_weight(constant: Tensor) -> bool:
    """Scalars and whole numbers say how to compute; the rest is what differs between layers."""
    return constant.is_floating_point() and constant.ndim > 0


def _key(
    part: Sequence[Step],
    inputs: Sequence[str],
    outputs: Sequence[str],
    weights: Sequence[str],
    constants: Mapping[str, Tensor],
) -> str:
    """A hash of all but names and weights."""
    number = {name: f'i{index}' for index, name in enumerate(inputs)}
    number |= {name: f'w{index}' for index, name in enumerate(weights)}
    lines = [_shape(constants[name]) for name in weights]
    for index, step in enumerate(part):
        read = [
            number[name] if name in number else _value(constants[name]) if name else '-'
            for name in step.reads
        ]
        number |= {name: f's{index}.{place}' for place, name in enumerate(step.writes)}
        attributes = sorted(
            (name, _value(value) if isinstance(value, Tensor) else repr(value))
            for name, value in step.node.attributes.items()
        )
        lines.append(f'{step.node.operator} {attributes} {read} {len(step.writes)}')
    lines.append(' '.join(number[name] for name in outputs))
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()[:32]


def _shape(tensor: Tensor) -> str:
    return f'{tensor.dtype}{list(tensor.shape)}'


def _value(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().flatten()
    data = flat.view(torch.uint8).numpy().tobytes()
    return f'{_shape(tensor)}{hashlib.sha256(data).hexdigest()}'


def _forked(
    steps: Sequence[Step],
) -> tuple[list[Step], list[list[Step]], list[Step]] | None:
    """Before, two or more branches that do not need each other, after; None where there are none.

    Branches end where their results are concatenated: two vision towers, or two cameras' stems.
    """
    made = {name: index for index, step in enumerate(steps) for name in step.writes}
    needs: list[frozenset[int]] = []
    for index, step in enumerate(steps):
        before = [made[name] for name in step.reads if name in made]
        needs.append(frozenset({index}).union(*(needs[i] for i in before)))
    for step in reversed(steps):
        ends = [made[name] for name in dict.fromkeys(step.reads) if name in made]
        if step.node.operator != 'Concat' or len(ends) < 2:
            continue
        count = Counter(i for end in ends for i in needs[end])
        branches = [sorted(i for i in needs[end] if count[i] == 1) for end in ends]
        if min(map(len, branches)) < max(_BRANCH * len(steps), _BRANCH_STEPS):
            continue
        inside = {i for branch in branches for i in branch}
        shared = sorted({i for end in ends for i in needs[end]} - inside)
        after = sorted(set(range(len(steps))) - inside - set(shared))
        pick = [[steps[i] for i in indices] for indices in (shared, *branches, after)]
        return pick[0], pick[1:-1], pick[-1]
    return None


def _bound(run: Callable[[Run], None], one: Run) -> Callable[[], None]:
    return lambda: run(one)
