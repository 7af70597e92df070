"""Which files an ONNX graph keeps its weights in, read without the onnx package.

The robot has no onnx package, yet a graph names its external files itself: one that pointed out of
the bundle, or at a file without a checksum, would slip past the manifest. So the few fields that
lead to those names are walked (onnx.proto3; protobuf wire format, both public).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from dysl_vla_ros.errors import BundleError

# Message -> field number -> message inside; everything else is stepped over.
_INSIDE = {
    'model': {7: 'graph', 20: 'training', 25: 'function'},
    'training': {1: 'graph', 2: 'graph'},
    'function': {7: 'node', 11: 'attribute'},
    'graph': {1: 'node', 5: 'tensor', 15: 'sparse'},
    'node': {5: 'attribute'},
    'attribute': {5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse'},
    'sparse': {1: 'tensor', 2: 'tensor'},
    'tensor': {13: 'entry'},
}
_FIXED = {1: 8, 5: 4}
_LENGTH = 2


def external_locations(path: Path) -> frozenset[str]:
    """Names of the external weight files that a graph refers to, as written in it.

    Raises:
        BundleError: Not an ONNX file.
    """
    if path.stat().st_size == 0:
        raise BundleError(f'{path.name}: empty, expected an ONNX file')
    with path.open('rb') as stream, mmap.mmap(
        stream.fileno(), 0, access=mmap.ACCESS_READ
    ) as data:
        try:
            return frozenset(_locations(data, 0, len(data), 'model'))
        except (IndexError, ValueError, UnicodeDecodeError) as error:
            raise BundleError(f'{path.name}: not an ONNX file: {error}') from None


def _locations(data: mmap.mmap, start: int, end: int, kind: str) -> Iterator[str]:
    for number, first, last in _fields(data, start, end):
        inside = _INSIDE[kind].get(number)
        if inside == 'entry':
            parts = {n: bytes(data[a:b]).decode() for n, a, b in _fields(data, first, last)}
            if parts.get(1) == 'location':
                yield parts.get(2, '')
        elif inside is not None:
            yield from _locations(data, first, last, inside)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, first byte, end) of every length-delimited field."""
    while start < end:
        key, start = _varint(data, start, end)
        number, wire = key >> 3, key & 7
        if wire == 0:
            _, start = _varint(data, start, end)
        elif wire == _LENGTH:
            size, start = _varint(data, start, end)
            yield number, start, start + size
            start += size
        elif wire in _FIXED:
            start += _FIXED[wire]
        else:
            raise ValueError(f'wire type {wire} at byte {start}')
    if start != end:
        raise ValueError(f'a field ends at byte {start}, expected {end}')


def _varint(data: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while start < end and shift < 64:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, start
        shift += 7
    raise ValueError(f'a number is cut off at byte {start}')
