"""The messages of AllenAI's ``vla-eval`` harness: it asks for one action at a time.

    {'type': 'observation', 'payload': {...}, 'seq': 7, 'timestamp': 1.0}

The client speaks first (``hello``), begins and ends episodes, and gets rows of a chunk one by one
until they are played; so the server knows exactly what was. Each observation is read, also where a
row is there for it: one that does not fit gets an error, and other words a new chunk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.engines.remote.contract import Contract
from dysl_vla_ros.engines.remote.protocol import ProtocolError
from dysl_vla_ros.engines.remote.request import ASK
from dysl_vla_ros.errors import DyslError, InputError
from dysl_vla_ros.serving.episode import Episode

VERSION = 1
_TYPES = ('hello', 'observation', 'action', 'episode_start', 'episode_end', 'error')
_ROTATIONS = {'eef_delta': 'axis_angle', 'eef_pose': 'axis_angle'}


class HarnessSession:
    """One connection of the harness."""

    def __init__(self, episode: Episode, plays: int = 0, given: bool = False) -> None:
        """Begin.

        Args:
            episode: Of this connection.
            plays: Rows of a chunk that are given out before the next pass; 0 = all.
            given: Whether the contract is of a file, which names the keys; else pictures are
                taken in the order in which they come.
        """
        self._episode = episode
        self._given = given
        self._plays = plays
        self._rows: list[FloatArray] = []
        self._instruction = ''
        self._said: dict[str, Any] = {}
        self._fitted = given

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any] | None:
        """The message to send back; None for none."""
        kind, payload, number = message.get('type'), message.get('payload'), message.get('seq')
        if kind not in _TYPES or not isinstance(payload, Mapping) or type(number) is not int:
            raise ProtocolError(
                f'a message of type {str(kind)[:40]!r}: expected type, payload and seq of vla-eval'
            )
        if kind == 'hello':
            return _message('hello', self._hello(), number)
        if kind in ('episode_start', 'episode_end'):
            self._episode.reset()
            self._rows, self._fitted = [], self._given
            return None
        if kind != 'observation':
            return None
        try:
            return _message('action', self._action(payload), number)
        except DyslError as error:
            return _message('error', {'error': f'observation_failed: {error}'}, number)

    def _hello(self) -> dict[str, Any]:
        contract = self._episode.contract
        return {
            'harness_version': 'dysl_vla_ros', 'protocol_version': VERSION,
            'model_server': f'dysl_vla_ros:{contract.name}', 'capabilities': {},
            'observation_params': {
                'send_wrist_image': len(contract.cameras) > 1, 'send_state': contract.needs_state,
            },
            'action_spec': _specs(contract),
        }  # fmt: skip

    def _action(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        if not self._fitted:
            self._episode.contract = as_it_comes(self._episode.contract, payload)
        observation = self._episode.read(payload)
        self._fitted = True  # by one that fits: a wrong one tells no keys
        if observation.instruction != self._instruction:  # what is left was for other words
            self._rows, self._instruction = [], observation.instruction
        if not self._rows:
            answer = self._episode.answer(payload, observation)
            rows = answer[self._episode.contract.action.key]
            self._said = answer[ASK]
            self._rows = list(rows[: self._plays or len(rows)])
        row = self._rows.pop(0)
        said = {key: self._said[key] for key in ('mode', 'skip_ratio', 'layers_spent')}
        return {'actions': np.asarray(row, np.float32), ASK: said}


def as_it_comes(contract: Contract, payload: Mapping[str, Any]) -> Contract:
    """The contract with the keys of a harness: pictures by their names, or in their order.

    Raises:
        InputError: There are fewer pictures than the policy has cameras.
    """
    images = payload.get('images')
    names = [name for name in images if isinstance(name, str)] if isinstance(
        images, Mapping) else []  # fmt: skip
    wanted = list(contract.cameras)
    if len(names) < len(wanted):
        raise InputError(f'images = {names}: expected {len(wanted)}, for {wanted}')
    by_name = set(wanted) <= set(names)
    keys = wanted if by_name else names[: len(wanted)]
    request: dict[str, Any] = {
        'images': {key: f'camera {camera}' for key, camera in zip(keys, wanted, strict=True)},
        'task_description': 'instruction',
    }
    if contract.needs_state:
        request['state' if 'states' not in payload else 'states'] = 'state'
    return replace(contract, request=request)


def _specs(contract: Contract) -> dict[str, Any]:
    action = contract.action
    if not action.space.startswith('eef'):
        size = action.dim
        return {'joints': {'name': 'joints', 'dims': size, 'format': action.space}}
    way = 'delta_xyz' if action.space == 'eef_delta' else 'absolute_xyz'
    found = {
        'position': {'name': 'position', 'dims': 3, 'format': way},
        'rotation': {'name': 'rotation', 'dims': 3, 'format': _ROTATIONS[action.space]},
    }
    if action.gripper:
        close = action.gripper_closed > action.gripper_open
        raw = (action.gripper_closed, action.gripper_open) == (0.0, 1.0)
        form = 'continuous_01' if raw else f'binary_close_{"positive" if close else "negative"}'
        found['gripper'] = {'name': 'gripper', 'dims': 1, 'format': form}
    return found


def _message(kind: str, payload: dict[str, Any], number: int) -> dict[str, Any]:
    return {'type': kind, 'payload': payload, 'seq': number, 'timestamp': time.time()}
