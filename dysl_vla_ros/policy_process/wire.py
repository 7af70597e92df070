"""How one message looks: a fixed prefix, a JSON header, and a list of named arrays.

    magic | bytes of the header | bytes of the body | header | body

Everything that is read is bounded before it is read, and nothing is ever unpickled. Arrays of a
request lie in shared memory (two 640 x 480 images: 0.1 ms instead of 0.3 through the socket),
those of an answer, a few hundred bytes, follow in the body.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import EngineError, InputError
from dysl_vla_ros.policy_process.shared_memory import SharedMemory

MAGIC = b'dysl'
PREFIX = struct.Struct('<4sIQ')
DTYPES = ('uint8', 'int64', 'float32', 'float64')
_ALIGNMENT = 64
_SEND_S = 1e-3
"""A message is always tried for a moment: 0 would mean not to wait for the buffer at all [s]."""
_BLOCK = 1 << 16
_MOST_ARRAYS = 64
_MOST_DIMENSIONS = 8

Arrays = Sequence[tuple[str, NDArray[Any]]]


class WireError(EngineError):
    """A message is not one of ours."""


@dataclass(frozen=True)
class Bounds:
    """The longest message that is read: bytes of its header and of its body."""

    header: int = 1 << 20
    body: int = 8 << 20


@dataclass(frozen=True)
class Message:
    """One request or answer.

    Attributes:
        kind: What it asks for or says.
        values: Whatever JSON can say.
        arrays: Name -> array, any number; of a request read-only views into the shared memory,
            valid until the next request.
    """

    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Channel:
    """One end of the connection; one thread at a time."""

    def __init__(self, stream: socket.socket, memory: SharedMemory | None = None) -> None:
        """Args: the socket, and the memory that requests lie in."""
        self._stream = stream
        self._memory = memory
        self._read = bytearray()

    def send(self, message: Message, deadline: float | None = None, shared: bool = False) -> None:
        """Send one message.

        Args:
            message: Its arrays are copied.
            deadline: Latest end on the monotonic clock [s]; None waits for ever.
            shared: Put the arrays into the shared memory.

        Raises:
            InputError: The arrays do not fit the shared memory.
            TimeoutError: The deadline passed.
            OSError: The other side is gone.
        """
        arrays = list(message.arrays.items())
        offsets, size = _layout(arrays)
        header = json.dumps({
            'kind': message.kind,
            'values': message.values,
            'shared': shared,
            'arrays': [
                [name, one.dtype.name, list(one.shape), offset]
                for (name, one), offset in zip(arrays, offsets, strict=True)
            ],
        }).encode()  # fmt: skip
        if shared:
            self._fill(arrays, offsets, size)
            body = b''
        else:
            body = _body(arrays, offsets, size)
        self._wait_until(deadline, at_least=_SEND_S)
        self._stream.sendall(PREFIX.pack(MAGIC, len(header), len(body)) + header + body)

    def receive(self, deadline: float | None = None, bounds: Bounds | None = None) -> Message:
        """Wait for one message.

        Args:
            deadline: Latest end on the monotonic clock [s]; None waits for ever.
            bounds: Longest message that is read.

        Raises:
            EOFError: The other side is gone.
            TimeoutError: The deadline passed.
            WireError: It is not a message, or longer than the bounds.
            OSError: The socket broke.
        """
        bounds = bounds or Bounds()
        self._fill_up(PREFIX.size, deadline)
        magic, header_size, body_size = PREFIX.unpack(self._take(PREFIX.size))
        if magic != MAGIC:
            raise WireError(f'message begins with {magic!r}: expected {MAGIC!r}')
        if header_size > bounds.header:
            raise WireError(f'header of {header_size} bytes: expected at most {bounds.header}')
        if body_size > bounds.body:
            raise WireError(f'body of {body_size} bytes: expected at most {bounds.body}')
        self._fill_up(header_size + body_size, deadline)
        header = _header(self._take(header_size))
        body = np.frombuffer(self._take(body_size), np.uint8)
        if header['shared']:
            if self._memory is None:
                raise WireError('arrays in shared memory: expected them in the body')
            body = self._memory.view
        arrays = dict(_array(spec, body) for spec in header['arrays'])
        return Message(header['kind'], header['values'], arrays)

    def _fill(self, arrays: Arrays, offsets: Sequence[int], size: int) -> None:
        if self._memory is None:
            raise WireError('this side has no shared memory')
        room = self._memory.view
        if size > len(room):
            sizes = ', '.join(f'{name} {one.shape}' for name, one in arrays)
            raise InputError(f'{sizes}: {size} bytes, expected at most {len(room)} in all')
        for (_, one), offset in zip(arrays, offsets, strict=True):
            place = room[offset : offset + one.nbytes].view(one.dtype).reshape(one.shape)
            np.copyto(place, one)  # whatever the strides

    def _fill_up(self, size: int, deadline: float | None) -> None:
        """Read until ``size`` bytes are there; one system call for a whole answer."""
        while len(self._read) < size:
            self._wait_until(deadline)
            try:
                data = self._stream.recv(_BLOCK)
            except BlockingIOError:  # the deadline has passed, and nothing is there
                raise TimeoutError from None
            if not data:
                raise EOFError
            self._read += data

    def _take(self, size: int) -> bytes:
        taken, self._read = self._read[:size], self._read[size:]
        return bytes(taken)

    def _wait_until(self, deadline: float | None, at_least: float = 0.0) -> None:
        # After the deadline what is there already is still taken: this process may have slept.
        left = None if deadline is None else max(at_least, deadline - time.monotonic())
        self._stream.settimeout(left)


def _layout(arrays: Arrays) -> tuple[list[int], int]:
    """Offset of each array, and the bytes of all."""
    offsets, size = [], 0
    for name, one in arrays:
        if one.dtype.name not in DTYPES:
            raise InputError(f'{name} of type {one.dtype}: expected one of {", ".join(DTYPES)}')
        offsets.append(size)
        size += -(-one.nbytes // _ALIGNMENT) * _ALIGNMENT
    return offsets, size


def _body(arrays: Arrays, offsets: Sequence[int], size: int) -> bytes:
    body = bytearray(size)
    for (_, one), offset in zip(arrays, offsets, strict=True):
        body[offset : offset + one.nbytes] = one.tobytes()
    return bytes(body)


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f'header: {error}: expected JSON') from None
    right = (
        isinstance(header, dict)
        and isinstance(header.get('kind'), str)
        and isinstance(header.get('values'), dict)
        and isinstance(header.get('shared'), bool)
        and isinstance(header.get('arrays'), list)
    )
    if not right:
        raise WireError('header: expected kind, values, shared and arrays')
    if len(header['arrays']) > _MOST_ARRAYS:
        raise WireError(f'{len(header["arrays"])} arrays: expected at most {_MOST_ARRAYS}')
    return dict(header)


def _array(spec: Any, body: NDArray[np.uint8]) -> tuple[str, NDArray[Any]]:
    try:
        name, dtype, shape, offset = spec
        right = isinstance(name, str) and dtype in DTYPES and len(shape) <= _MOST_DIMENSIONS
        right = right and all(type(n) is int and n >= 0 for n in [*shape, offset])
    except (TypeError, ValueError):
        right = False
    if not right:
        raise WireError(f'array {str(spec)[:80]}: expected name, type, shape, offset')
    size = np.dtype(dtype).itemsize * math.prod(shape)
    if offset + size > len(body):
        raise WireError(f'array {name} ends at byte {offset + size} of {len(body)}')
    return name, body[offset : offset + size].view(dtype).reshape(shape)
