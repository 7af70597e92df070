"""An observation as a request, and a request as an observation, by a contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.ranges import LARGEST_PLACE
from dysl_vla_ros.data_types import FloatArray, Observation
from dysl_vla_ros.engines.image_tensor import as_seen
from dysl_vla_ros.engines.remote.contract import Contract, ServerCamera, ServerState
from dysl_vla_ros.errors import InputError, LinkError

ASK = 'dysl'
"""Key of a request, an answer and a description that other servers and clients do not know."""
NUMBERED, NUMBER = 'numbered', 'number'
"""Under ``ASK``: that a server answers with the number of a request, and the number."""
EXIT = 'exit_layer'
"""Under ``ASK``: where a pass of mode ``fixed`` leaves for the last layer."""
BLANK = 'wait'
"""What a client says with black pictures, to see whether it is understood."""
_SAME_TIME = 0.01
BEYOND = 0.1
"""Of a measured opening: fingers overshoot a little."""
Fill = Callable[[str], Any]


def request_of(observation: Observation, contract: Contract) -> dict[str, Any]:
    """What is sent for an observation.

    Raises:
        InputError: A camera is missing, a joint is not finite, a gripper was not measured.
    """
    state = contract.state

    def fill(part: str) -> Any:
        if part == 'instruction':
            return observation.instruction.strip()
        if part == 'state':
            body = _body(observation, contract)
            return np.array([*body, *_gripper(observation, state)], np.float32)
        if part == 'joints':
            return np.array(_body(observation, contract), np.float32)
        if part == 'gripper':
            return np.array(_gripper(observation, state), np.float32)
        return _picture(observation, contract, part.partition(' ')[2])

    sent: dict[str, Any] = _filled(contract.request, fill)
    return sent


def observation_of(request: Mapping[str, Any], contract: Contract, stamp: float) -> Observation:
    """What a request says, the other way round.

    Args:
        request: As it came.
        contract: Where what stands in it.
        stamp: When it came [s].

    Raises:
        InputError: A key is missing, or holds what it should not; names the key.
    """
    found: dict[str, Any] = {}
    _collect(contract.request, request, '', found)
    state = contract.state
    numbers: list[float] = []
    if 'state' in found:
        numbers = _vector(found['state'], 'state', state.size + _fingers(state))
    else:
        if 'joints' in found:
            numbers = _vector(found['joints'], 'joints', state.size)
        if 'gripper' in found:
            numbers += _vector(found['gripper'], 'gripper', _fingers(state))
    body, ends = numbers[: state.size], numbers[state.size :]
    opening: float | None = None
    if ends:
        closed, opened = (state.fingers or ((0.0, 1.0),))[0]
        opening = (ends[0] - closed) / (opened - closed)
        if not -BEYOND <= opening <= 1.0 + BEYOND:
            raise InputError(f'gripper = {ends[0]:g}: expected its measured opening, {closed:g} '
                             f'closed to {opened:g} open')  # fmt: skip
    for index, number in enumerate(body):
        if abs(number) > LARGEST_PLACE:
            raise InputError(f'number {index + 1} of the state = {number:g}: expected radians or '
                             f'metres, none beyond {LARGEST_PLACE:g}')  # fmt: skip
    text = found['instruction']
    if isinstance(text, bytes):
        text = text.decode('utf-8', errors='replace')
    if not isinstance(text, str):
        raise InputError(f'the instruction is a {type(text).__name__}: expected a text')
    images = {
        name: _image(found[f'camera {name}'], name, given)
        for name, given in contract.cameras.items()
    }
    return Observation(stamp, images, np.array(body, np.float64), opening, text)


def rows_of(answer: Mapping[str, Any], contract: Contract) -> FloatArray:
    """The actions of an answer, (horizon, dim), as the server says them.

    Raises:
        LinkError: There are none, or they have another shape.
    """
    action = contract.action
    rows = answer.get(action.key)
    if isinstance(rows, list):
        try:
            rows = np.array(rows, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            rows = None
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in 'fiu':
        raise LinkError(
            f'an answer of {sorted(answer)[:8]}: expected {action.key!r}, rows of numbers'
        )
    if rows.ndim == 3 and len(rows) == 1:
        rows = rows[0]
    wanted = (action.horizon, action.dim)
    if rows.ndim != 2 or rows.shape[0] < wanted[0] or rows.shape[1] < wanted[1]:
        raise LinkError(f'{action.key} of shape {rows.shape}: expected {wanted}, or more')
    return np.array(rows[: wanted[0], : wanted[1]], dtype=np.float64)


def check_meaning(said: Mapping[str, Any], contract: Contract) -> None:
    """Refuse a server of ours whose answers mean something else; others do not say what they mean.

    Args:
        said: What it says when a connection begins.
        contract: By which its answers are read.

    Raises:
        LinkError: The space of its actions, their time or their number is another.
    """
    if ASK not in said:
        return
    action = contract.action
    period, space = said.get('action_period_s'), said.get('action_space')
    if space != action.space:
        raise _other('action_space', space, action.space)
    if not isinstance(period, (int, float)) or abs(period / action.period_s - 1.0) > _SAME_TIME:
        raise _other('action_period_s', period, f'{action.period_s:g}')
    for name, least in (('action_dim', action.dim), ('action_horizon', action.horizon)):
        count = said.get(name)
        if not isinstance(count, int) or count < least:
            raise _other(name, count, f'{least}, or more')


def _other(name: str, found: Any, wanted: str) -> LinkError:
    return LinkError(
        f'the server says {name} = {found}: expected {wanted}, as the contract has it; '
        'is it the same bundle on both sides?'
    )


def _filled(tree: Any, fill: Fill) -> Any:
    if isinstance(tree, Mapping):
        return {key: _filled(value, fill) for key, value in tree.items()}
    if isinstance(tree, str):
        return tree[1:] if tree.startswith('=') else fill(tree)
    return tree


def _collect(tree: Mapping[str, Any], given: Any, where: str, found: dict[str, Any]) -> None:
    for key, part in tree.items():
        place = f'{where}[{key!r}]' if where else repr(key)
        if not isinstance(given, Mapping) or key not in given:
            keys = sorted(given)[:12] if isinstance(given, Mapping) else type(given).__name__
            raise InputError(f'the observation lacks {place}: it has {keys}')
        if isinstance(part, Mapping):
            _collect(part, given[key], place, found)
        elif isinstance(part, str) and not part.startswith('='):
            found[part] = given[key]


def _body(observation: Observation, contract: Contract) -> list[float]:
    joints = np.asarray(observation.joints, dtype=np.float64)
    size = contract.state.size
    if joints.shape != (size,):
        raise InputError(f'joints of shape {joints.shape}: expected ({size},)')
    if not np.isfinite(joints).all():
        raise InputError(f'joints = {joints}: expected finite numbers')
    return [float(value) for value in joints]


def _gripper(observation: Observation, state: ServerState) -> list[float]:
    if not state.gripper:
        return []
    opening = observation.gripper
    if opening is None or not np.isfinite(opening):
        raise InputError(f'gripper = {opening}: expected its measured opening, 0 to 1')
    return [a + (b - a) * opening for a, b in state.fingers or ((0.0, 1.0),)]


def _fingers(state: ServerState) -> int:
    return max(len(state.fingers), 1) if state.gripper else 0


def _picture(observation: Observation, contract: Contract, name: str) -> NDArray[np.uint8]:
    if name not in observation.images:
        raise InputError(f'images = {sorted(observation.images)}: expected {name!r} too')
    image, given = observation.images[name], contract.cameras[name]
    if given.resize:
        image = as_seen(image, contract.camera(name))
    elif given.rotate_180:
        image = np.asarray(image)[::-1, ::-1]
    return np.ascontiguousarray(image.transpose(2, 0, 1) if given.channels_first else image)


def _vector(value: Any, name: str, size: int) -> list[float]:
    try:
        given = np.asarray(value)
        if given.dtype.kind not in 'fiu' or _has_truth(value):  # texts would be read as numbers
            raise TypeError
        numbers = given.astype(np.float64).reshape(-1)
    except (ValueError, TypeError, OverflowError):
        kind = f'array of {value.dtype}' if isinstance(value, np.ndarray) else type(value).__name__
        kind = f'an {kind}' if kind.startswith('array') else f'a {kind}'
        shown = f'{str(value)[:60]}, {kind}' if isinstance(value, (list, str)) else kind
        raise InputError(f'{name} is {shown}: expected {size} numbers') from None
    if len(numbers) != size:
        raise InputError(f'{name} has {len(numbers)} numbers: expected {size}')
    if not np.isfinite(numbers).all():
        raise InputError(f'{name} = {numbers}: expected finite numbers')
    return [float(number) for number in numbers]


def _has_truth(value: Any) -> bool:
    """Whether a list holds true or false, which numpy takes for 1 and 0 beside numbers."""
    if isinstance(value, (list, tuple)):
        return any(_has_truth(one) for one in value)
    return isinstance(value, (bool, np.bool_))


def _image(value: Any, name: str, given: ServerCamera) -> NDArray[np.uint8]:
    """As the camera saw it: (height, width, 3), turned back where it was turned to be sent."""
    shape, dtype = getattr(value, 'shape', None), getattr(value, 'dtype', None)
    if shape is not None and len(shape) == 4 and shape[0] == 1:
        value, shape = value[0], shape[1:]
    right = shape is not None and len(shape) == 3 and dtype == np.uint8
    if right and given.channels_first:
        value = np.asarray(value).transpose(1, 2, 0)
    if not right or value.shape[2] != 3 or 0 in value.shape:
        found = type(value).__name__ if shape is None else f'shape {tuple(shape)} of {dtype}'
        order = '(3, height, width)' if given.channels_first else '(height, width, 3)'
        raise InputError(f'{name}: {found}: expected an RGB image, shape {order} of uint8')
    return np.ascontiguousarray(value[::-1, ::-1] if given.rotate_180 else value)
