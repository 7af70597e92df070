"""One pass as `~/pass` tells it: all that went into the model and all that came out, exactly.

JSON, since every number of it reads back to the same bits and anybody can read it; the pictures
lie beside it, on `~/seen/<camera>`, under the same stamp. ``dysl replay`` runs it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.data_types import (
    SKIP_MODES,
    FloatArray,
    Jump,
    LayerTrace,
    MotionSince,
    Observation,
    PassMode,
    SkipMode,
    SkipPlan,
    frozen_array,
)
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.loop_status import Delivery
from dysl_vla_ros.policy import Pass

FORMAT = 'dysl_vla_pass'
VERSION = 1
PASS_TOPIC = 'pass'
PICTURE_TOPIC = 'seen'
_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Source:
    """Which node recorded it, and with what.

    Attributes:
        run: A word of its own for each time that the node was configured.
        bundle: Name of the bundle.
        digest: Of its manifest: the same digest, the same model.
        device: On which it ran, in words.
    """

    run: str
    bundle: str
    digest: str
    device: str


@dataclass(frozen=True)
class Judged:
    """What became of a pass.

    Attributes:
        accepted: Whether its actions were executed.
        rerun: Whether its observation was run again in full.
        reason: Why it was not accepted, or why it was run again.
        dropped: Actions that had been played before it came.
        displacements: Of all its actions, normalised, (horizon, action_dim); None of a chunk that
            could not be built.
        continuity: After each action that was left.
        drop_index: First action that begins a drop.
        actions_played: By the loop, in all.
        epoch: Of the loop.
        since: What verification heard of the motion since the plan.
    """

    accepted: bool
    rerun: bool
    reason: str
    dropped: int = 0
    displacements: FloatArray | None = None
    continuity: tuple[float | None, ...] = ()
    drop_index: int | None = None
    actions_played: int = 0
    epoch: int = 0
    since: MotionSince = ()


@dataclass(frozen=True)
class PassRecord:
    """One pass.

    Attributes:
        source: Who recorded it.
        number: Counts up from 0 in a run, re-runs too: a gap is what the recorder missed.
        first: Of a re-run, the number of the pass that is run again.
        stamp_ns: Of its observation, ROS time [ns]; that of its pictures.
        observation: Without its pictures; ``stamp`` is ``stamp_ns`` in seconds.
        cameras: Names of the pictures.
        tokens: Of the instruction, padded, as the model took them.
        proprioception: As the model took it, normalised.
        mode: Skip mode of the node.
        settings: Of the skip policy, ``SkipSettings`` by name.
        plan: Which layers it might skip, and what moved the allow points.
        result: What came out; in ``compare`` mode with the skipped pass.
        judged: What became of it.
    """

    source: Source
    number: int
    first: int | None
    stamp_ns: int
    observation: Observation
    cameras: tuple[str, ...]
    tokens: tuple[int, ...]
    proprioception: tuple[float, ...]
    mode: SkipMode
    settings: Mapping[str, Any]
    plan: SkipPlan
    result: Pass
    judged: Judged = field(default_factory=lambda: Judged(False, False, ''))


def judged(delivery: Delivery) -> Judged:
    """What is kept of a delivery."""
    chunk = delivery.chunk
    if chunk is None:
        return Judged(delivery.accepted, delivery.rerun, delivery.reason, since=delivery.since)
    return Judged(
        delivery.accepted, delivery.rerun, delivery.reason,
        # C is reported for the actions that were still to be executed.
        len(chunk.displacements) - len(delivery.continuity), chunk.displacements,
        delivery.continuity, delivery.drop_index, delivery.actions_played, chunk.epoch,
        delivery.since,
    )  # fmt: skip


def to_text(record: PassRecord) -> str:
    """JSON of one line."""
    seen, plan, what = record.observation, record.plan, record.judged
    document: dict[str, Any] = {
        'format': FORMAT,
        'version': VERSION,
        'source': asdict(record.source),
        'number': record.number,
        'first': record.first,
        'stamp_ns': record.stamp_ns,
        'instruction': seen.instruction,
        'joints': _row(seen.joints),
        'gripper': seen.gripper,
        'cameras': list(record.cameras),
        'tokens': list(record.tokens),
        'proprioception': list(record.proprioception),
        'mode': record.mode,
        'settings': {name: _plain(value) for name, value in record.settings.items()},
        'plan': {
            'allow': list(plan.allow), 'controllers': plan.controllers,
            'threshold': plan.threshold, 'exit_layer': plan.exit_layer,
            'since': _since(plan.since),
        },
        'result': _pass(record.result),
        'judged': {
            'accepted': what.accepted, 'rerun': what.rerun, 'reason': what.reason,
            'dropped': what.dropped, 'drop_index': what.drop_index,
            'actions_played': what.actions_played, 'epoch': what.epoch,
            'displacements': None if what.displacements is None else what.displacements.tolist(),
            'continuity': list(what.continuity),
            'since': _since(what.since),
        },
    }  # fmt: skip
    return json.dumps(document)


def from_text(text: str) -> PassRecord:
    """What ``to_text`` wrote.

    Raises:
        InputError: It is something else, or of another version.
    """
    if len(text) > _MOST_BYTES:
        raise InputError(f'a pass of {len(text)} bytes: expected at most {_MOST_BYTES}')
    try:
        document = json.loads(text)
        if document['format'] != FORMAT:
            raise ValueError(f'format {document["format"]!r}: expected {FORMAT}')
        if document['version'] != VERSION:
            raise ValueError(f'version {document["version"]}: expected {VERSION}, which this '
                             'release reads')  # fmt: skip
        return _record(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f'{type(error).__name__} {error}' if isinstance(error, KeyError) else error
        raise InputError(f'no pass as ~/pass tells it: {said}') from None


def _record(document: Mapping[str, Any]) -> PassRecord:
    stamp_ns = int(document['stamp_ns'])
    gripper, plan, what = document['gripper'], document['plan'], document['judged']
    instruction = str(document['instruction'])
    if document['mode'] not in SKIP_MODES:
        raise ValueError(f'mode {document["mode"]!r}: expected one of {SKIP_MODES}')
    moves = what['displacements']
    return PassRecord(
        source=Source(**{name: str(document['source'][name])
                         for name in ('run', 'bundle', 'digest', 'device')}),
        number=int(document['number']),
        first=_number(document['first']),
        stamp_ns=stamp_ns,
        observation=Observation(1e-9 * stamp_ns, {}, frozen_array(document['joints']),
                                None if gripper is None else float(gripper), instruction),
        cameras=tuple(map(str, document['cameras'])),
        tokens=tuple(map(int, document['tokens'])),
        proprioception=tuple(map(float, document['proprioception'])),
        mode=document['mode'],
        settings=dict(document['settings']),
        plan=SkipPlan(tuple(map(int, plan['allow'])), plan['controllers'],
                      float(plan['threshold']), _number(plan['exit_layer']),
                      _heard(plan['since'])),
        result=_read_pass(document['result'], stamp_ns, instruction),
        judged=Judged(
            bool(what['accepted']), bool(what['rerun']), str(what['reason']),
            int(what['dropped']), None if moves is None else _matrix(moves),
            tuple(None if value is None else float(value) for value in what['continuity']),
            _number(what['drop_index']), int(what['actions_played']), int(what['epoch']),
            _heard(what['since']),
        ),
    )  # fmt: skip


def _pass(result: Pass) -> dict[str, Any]:
    trace = result.trace
    return {
        'mode': result.mode,
        'actions': result.normalised.tolist(),
        'layers_run': list(trace.layers_run),
        'layers_total': trace.layers_total,
        'scores': [[layer, score] for layer, score in trace.scores.items()],
        'jumps': [[jump.layer, jump.target] for jump in trace.jumps],
        'resume_layer': trace.resume_layer,
        'stage_seconds': dict(result.stage_seconds),
        'changed': bool(result.changed),
        'compared': None if result.compared is None else _pass(result.compared),
    }


def _read_pass(values: Mapping[str, Any], stamp_ns: int, instruction: str) -> Pass:
    if values['mode'] not in get_args(PassMode):
        raise ValueError(f'mode {values["mode"]!r}: expected one of {get_args(PassMode)}')
    compared = values['compared']
    return Pass(
        stamp=1e-9 * stamp_ns,
        instruction=instruction,
        normalised=_matrix(values['actions']),
        mode=values['mode'],
        trace=LayerTrace(
            tuple(map(int, values['layers_run'])),
            int(values['layers_total']),
            {int(layer): float(score) for layer, score in values['scores']},
            tuple(Jump(int(layer), int(target)) for layer, target in values['jumps']),
            _number(values['resume_layer']),
        ),
        stage_seconds={str(k): float(v) for k, v in values['stage_seconds'].items()},
        changed=bool(values['changed']),
        compared=None if compared is None else _read_pass(compared, stamp_ns, instruction),
    )


def _matrix(rows: Any) -> FloatArray:
    array = frozen_array(rows)
    if array.ndim != 2 or not array.size:
        raise ValueError(f'actions of shape {array.shape}: expected (horizon, action_dim)')
    return array


def _since(heard: MotionSince) -> list[list[float] | None]:
    return [None if move is None else _row(move) for move in heard]


def _heard(rows: Sequence[Any]) -> MotionSince:
    return tuple(None if row is None else frozen_array(row) for row in rows)


def _row(values: NDArray[Any]) -> list[float]:
    found: list[float] = np.asarray(values, dtype=np.float64).tolist()
    return found


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
