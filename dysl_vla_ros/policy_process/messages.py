"""Observations, plans, passes and errors as messages, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros import errors
from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.data_types import Jump, LayerTrace, Observation, SkipPlan
from dysl_vla_ros.errors import ConfigError, DyslError, EngineError, ModelProcessError
from dysl_vla_ros.policy import Pass
from dysl_vla_ros.policy_process.wire import Message, WireError

_IMAGE = 'image/'
_MODES = ('full', 'skipped', 'rerun')
_ERRORS: dict[str, type[DyslError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, DyslError) and kind is not ModelProcessError
}


@dataclass(frozen=True)
class StateToken:
    """Stands for a state that the model's process keeps: ``LayerTrace.resume_state`` here.

    Attributes:
        process: Which of the processes, counted from 0; its states die with it.
        number: Of the pass in that process.
    """

    process: int
    number: int


def ask_for_pass(
    kind: str, observation: Observation, plan: SkipPlan, manifest: Manifest
) -> Message:
    """A request: ``predict`` or ``compare``; images that no camera of the bundle has stay here."""
    known = {camera.name for camera in manifest.cameras}
    arrays: dict[str, NDArray[Any]] = {
        f'{_IMAGE}{name}': np.asarray(image)
        for name, image in observation.images.items()
        if name in known
    }
    arrays['joints'] = np.asarray(observation.joints, dtype=np.float64)
    values = {
        'stamp': observation.stamp,
        'gripper': observation.gripper,
        'instruction': observation.instruction,
        'allow': list(plan.allow),
        'controllers': plan.controllers,
        'threshold': plan.threshold,
        'exit_layer': plan.exit_layer,
    }
    return Message(kind, values, arrays)


def read_request(message: Message) -> tuple[Observation, SkipPlan]:
    """What ``ask_for_pass`` packed."""
    values, arrays = message.values, message.arrays
    observation = Observation(
        stamp=values['stamp'],
        images={
            name[len(_IMAGE) :]: image for name, image in arrays.items()
            if name.startswith(_IMAGE)
        },
        joints=arrays['joints'],
        gripper=values['gripper'],
        instruction=values['instruction'],
    )  # fmt: skip
    plan = SkipPlan(
        tuple(values['allow']), values['controllers'], values['threshold'], values['exit_layer']
    )
    return observation, plan


def say_pass(result: Pass, token: int) -> Message:
    """An answer; ``token`` is for the state that its own jump left behind."""
    values: dict[str, Any] = {'token': token}
    arrays: dict[str, NDArray[Any]] = {}
    _put_pass('', result, values, arrays)
    if result.compared is not None:
        _put_pass('compared/', result.compared, values, arrays)
    return Message('pass', values, arrays)


def read_pass(
    message: Message, stamp: float, instruction: str, manifest: Manifest, process: int
) -> Pass:
    """What ``say_pass`` packed, for an observation of this side.

    Raises:
        WireError: It is not an answer of this bundle.
    """
    if message.kind != 'pass':
        raise WireError(f'answer {message.kind[:40]!r}: expected a pass')
    token = StateToken(process, _integer(message.values, 'token'))
    compared = None
    if 'compared/normalised' in message.arrays:
        compared = _get_pass('compared/', message, stamp, instruction, manifest, token, None)
    return _get_pass('', message, stamp, instruction, manifest, token, compared)


def say_error(error: Exception) -> Message:
    """An answer; what is not one of the package's own errors becomes an ``EngineError``."""
    if not isinstance(error, DyslError):
        return Message('error', {'class': 'EngineError', 'text': repr(error)})
    kind = next(c.__name__ for c in type(error).__mro__ if _ERRORS.get(c.__name__) is c)
    values: dict[str, Any] = {'class': kind, 'text': str(error)}
    if isinstance(error, ConfigError):
        values |= {'field': error.field, 'value': repr(error.value), 'expected': error.expected}
    return Message('error', values)


def read_error(message: Message) -> DyslError:
    """The same class with the same text."""
    values = message.values
    kind = _ERRORS.get(str(values.get('class')), EngineError)
    error = kind.__new__(kind)
    Exception.__init__(error, str(values.get('text')))
    if isinstance(error, ConfigError):
        error.field = str(values.get('field'))
        error.value = values.get('value')
        error.expected = str(values.get('expected'))
    return error


def _put_pass(
    prefix: str, result: Pass, values: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> None:
    trace = result.trace
    values |= {
        f'{prefix}mode': result.mode,
        f'{prefix}changed': bool(result.changed),
        f'{prefix}layers_total': trace.layers_total,
        f'{prefix}layers_run': trace.layers_run,
        f'{prefix}scored': tuple(trace.scores),
        f'{prefix}scores': [float(score) for score in trace.scores.values()],
        f'{prefix}jumps': [number for jump in trace.jumps for number in (jump.layer, jump.target)],
        f'{prefix}resume_layer': trace.resume_layer,
        f'{prefix}stages': dict(result.stage_seconds),
    }
    arrays[f'{prefix}normalised'] = np.asarray(result.normalised, dtype=np.float64)


def _get_pass(
    prefix: str,
    message: Message,
    stamp: float,
    instruction: str,
    manifest: Manifest,
    token: StateToken,
    compared: Pass | None,
) -> Pass:
    values = {
        name[len(prefix) :]: value
        for name, value in message.values.items() if name.startswith(prefix)
    }  # fmt: skip
    total, action = manifest.layers_total, manifest.action
    normalised = message.arrays.get(f'{prefix}normalised')
    shape = (action.horizon, action.dim)
    if normalised is None or normalised.dtype != np.float64 or normalised.shape != shape:
        got = None if normalised is None else (normalised.dtype.name, normalised.shape)
        raise WireError(f'normalised: {got}: expected float64, {shape}')

    def layers(name: str) -> list[int]:
        found = values.get(name)
        if not isinstance(found, list) or not all(
            type(value) is int and 0 <= value < total for value in found
        ):
            raise WireError(f'{name} = {str(found)[:60]}: expected layers from 0 to {total - 1}')
        return found

    mode, resume, stages = values.get('mode'), values.get('resume_layer'), values.get('stages')
    layers_run, scored, jumps = layers('layers_run'), layers('scored'), layers('jumps')
    scores = values.get('scores')
    right = {
        'mode': mode in _MODES,
        'changed': type(values.get('changed')) is bool,
        'layers_total': values.get('layers_total') == total,
        'resume_layer': resume is None or (type(resume) is int and 0 <= resume < total),
        'scores': isinstance(scores, list)
        and len(scores) == len(scored)
        and all(type(score) is float for score in scores),
        'jumps': len(jumps) % 2 == 0,
        'stages': isinstance(stages, dict)
        and all(type(seconds) is float for seconds in stages.values()),
    }
    wrong = [name for name, holds in right.items() if not holds]
    if wrong:
        found = {name: str(values.get(name))[:60] for name in wrong}
        raise WireError(f'{found}: expected the pass of a bundle of {total} layers')
    assert isinstance(scores, list)
    assert isinstance(stages, dict)
    return Pass(
        stamp=stamp,
        instruction=instruction,
        normalised=normalised,
        mode=mode,  # type: ignore[arg-type]
        trace=LayerTrace(
            layers_run=tuple(layers_run),
            layers_total=total,
            scores=dict(zip(scored, scores, strict=True)),
            jumps=tuple(map(Jump, jumps[::2], jumps[1::2])),
            resume_layer=resume,
            resume_state=None if resume is None else token,
        ),
        stage_seconds=stages,
        changed=values['changed'],
        compared=compared,
    )


def _integer(values: Mapping[str, Any], name: str) -> int:
    value = values.get(name)
    if type(value) is not int:
        raise WireError(f'{name} = {str(value)[:40]!r}: expected an int')
    return value
