"""The messages of a policy server, as bytes: msgpack with numpy arrays, as openpi packs them.

The server speaks first: a map about itself. Then each binary frame of the client is an
observation, a map, and each of the server is an answer, a map with ``actions``; a text frame of
the server is an error. There are no numbers on them: an answer belongs to the question before it.

An array is a map: ``{b'__ndarray__': True, b'data': bytes, b'dtype': '<f4', b'shape': (8, 7)}``.
Some pack the keys as text, and pictures as files; both are read.

Whatever the bytes, reading them ends soon: in a value of plain types and plain numbers, or in a
``ProtocolError``. Nothing is unpickled, no type of numpy's that could hold an object is made, and
an array is a view of the bytes that came: none is allocated for what a message merely promises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import LinkError

LARGEST_MESSAGE = 64 << 20
"""Bytes: four raw 4K pictures do not fit, six of 640x480 do with room to spare."""
_MOST_VALUES = 100_000
_MOST_ENTRIES = 4096
_MOST_DIMENSIONS = 8
_KINDS = ('b1', 'u1', 'u2', 'u4', 'u8', 'i1', 'i2', 'i4', 'i8', 'f2', 'f4', 'f8')
_ARRAY, _NUMBER, _PICTURE = '__ndarray__', '__npgeneric__', '__image__'

ReadPicture = Callable[[bytes], NDArray[np.uint8]]


class ProtocolError(LinkError):
    """What came is no message of a policy server."""


def pack(message: dict[str, Any], text_keys: bool = False) -> bytes:
    """A message as bytes.

    Args:
        message: Of plain values and of arrays, nested as the other side expects it.
        text_keys: Mark arrays by keys of text, as the harness ``vla-eval`` reads them; openpi
            reads keys of bytes.

    Raises:
        ProtocolError: A value cannot be sent.
    """

    def encode(value: Any) -> Any:
        if isinstance(value, np.generic) and value.dtype.kind in 'biuf':
            return value.item()
        if not isinstance(value, np.ndarray):
            raise ProtocolError(f'a {type(value).__name__}: expected plain values and arrays')
        if value.dtype.str[1:] not in _KINDS:
            raise ProtocolError(f'an array of {value.dtype}: expected numbers')
        parts = {_ARRAY: True, 'data': value.tobytes(), 'dtype': value.dtype.str,
                 'shape': value.shape}  # fmt: skip
        return parts if text_keys else {key.encode(): part for key, part in parts.items()}

    try:
        packed = msgpack.packb(message, default=encode)
    except (ValueError, TypeError, OverflowError) as error:
        raise ProtocolError(f'a message that cannot be packed: {error}') from None
    return bytes(packed)


def unpack(
    data: bytes, largest: int = LARGEST_MESSAGE, read_picture: ReadPicture | None = None
) -> dict[str, Any]:
    """The map in a frame.

    Args:
        data: A binary frame.
        largest: Bytes that it may have.
        read_picture: Reads pictures that come as files (PNG, JPEG); None refuses them.

    Returns:
        Keys are text; arrays are read-only views of ``data``, in this machine's byte order.

    Raises:
        ProtocolError: It is larger, or is no such map.
    """
    if len(data) > largest:
        raise ProtocolError(f'a message of {len(data)} bytes: expected at most {largest}')
    reader = _Reader(read_picture)
    try:
        found = msgpack.unpackb(
            data, object_pairs_hook=reader.map, list_hook=reader.sequence, raw=False,
            strict_map_key=True, max_array_len=_MOST_ENTRIES, max_map_len=_MOST_ENTRIES,
            max_bin_len=largest, max_str_len=largest, max_ext_len=0,
        )  # fmt: skip
    except ProtocolError:
        raise
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        words = str(error) or type(error).__name__
        raise ProtocolError(f'a frame of {len(data)} bytes that is no msgpack: {words}') from None
    if not isinstance(found, dict):
        raise ProtocolError(f'a {type(found).__name__}: expected a map')
    return found


class _Reader:
    """Counts what a message unfolds to, and makes arrays of the maps that stand for them."""

    def __init__(self, read_picture: ReadPicture | None) -> None:
        self._left = _MOST_VALUES
        self._read_picture = read_picture

    def sequence(self, values: list[Any]) -> list[Any]:
        self._count(len(values))
        return values

    def map(self, given: Iterable[tuple[Any, Any]]) -> Any:
        pairs = list(given)  # msgpack without its C extension gives them one by one
        self._count(2 * len(pairs))
        found: dict[str, Any] = {}
        for key, value in pairs:
            name = _text(key)
            if name in found:
                raise ProtocolError(f'{name[:40]!r} stands twice: expected every key once')
            found[name] = value
        if found.get(_ARRAY) is not None:
            return _array(found)
        if found.get(_NUMBER) is not None:
            return _number(found)
        if found.get(_PICTURE) is not None:
            return self._picture(found)
        return found

    def _count(self, more: int) -> None:
        self._left -= 1 + more
        if self._left < 0:
            raise ProtocolError(f'a message of more than {_MOST_VALUES} values')

    def _picture(self, parts: dict[str, Any]) -> NDArray[Any]:
        kind, data = parts.get('format'), parts.get('data')
        if kind == 'raw':
            return _array(
                {_ARRAY: True}
                | {key: value for key, value in parts.items() if key not in (_PICTURE, 'format')}
            )
        if kind not in ('png', 'jpeg') or not isinstance(data, bytes):
            raise ProtocolError(f'a picture of format {str(kind)[:20]!r}: expected raw, png, jpeg')
        if self._read_picture is None:
            raise ProtocolError(f'a picture as {kind}: expected an array')
        return self._read_picture(data)


def _text(key: Any) -> str:
    try:
        return key if isinstance(key, str) else key.decode()  # type: ignore[no-any-return]
    except (UnicodeDecodeError, AttributeError):
        raise ProtocolError(f'a key {str(key)[:40]}: expected text') from None


def _kind(name: Any) -> np.dtype[Any]:
    """A plain kind of number; the text is compared before numpy sees it."""
    if isinstance(name, bytes):
        name = _text(name)
    known = isinstance(name, str) and len(name) == 3 and name[0] in '<>|=' and name[1:] in _KINDS
    if not known:
        raise ProtocolError(f'dtype {str(name)[:40]!r}: expected one of {", ".join(_KINDS)}')
    kind: np.dtype[Any] = np.dtype(name)
    return kind


def _array(parts: dict[str, Any]) -> NDArray[Any]:
    if set(parts) != {_ARRAY, 'data', 'dtype', 'shape'}:
        raise ProtocolError(f'an array of {sorted(parts)[:6]}: expected data, dtype and shape')
    kind, data, shape = _kind(parts['dtype']), parts['data'], parts['shape']
    right = (
        isinstance(data, bytes)
        and isinstance(shape, list)
        and len(shape) <= _MOST_DIMENSIONS
        and all(type(size) is int and size >= 0 for size in shape)
    )
    if not right:
        raise ProtocolError(f'an array of shape {str(shape)[:60]}: expected sizes, and bytes')
    wanted = math.prod(shape) * kind.itemsize
    if wanted != len(data) or max(shape, default=0) > LARGEST_MESSAGE:
        raise ProtocolError(f'an array {shape} of {kind} in {len(data)} bytes: expected {wanted}')
    found = np.frombuffer(data, kind).reshape(shape)
    return found if found.dtype.isnative else found.astype(kind.newbyteorder('='))


def _number(parts: dict[str, Any]) -> bool | int | float:
    value = parts.get('data')
    if set(parts) != {_NUMBER, 'data', 'dtype'} or not isinstance(value, (bool, int, float)):
        raise ProtocolError(f'a number of {sorted(parts)[:6]}: expected data and dtype')
    _kind(parts['dtype'])
    return value
