"""Where an ONNX graph keeps its weights, its opset, its table of tokens; without the onnx package.

The robot has no onnx package, yet a graph names its external files itself: one that pointed out of
the bundle, or at a file without a checksum, would slip past the manifest. So the few fields that
lead to those names are walked (onnx.proto3; protobuf wire format, both public).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
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
_PASS_ON = ('Cast', 'Identity', 'Reshape', 'Squeeze', 'Unsqueeze')
"""Operators whose first output holds the values of their first input."""
_FIXED = {1: 8, 5: 4}
_NUMBER, _LENGTH = 0, 2
_LARGEST_KEY = 0xFFFF_FFFF
"""Readers in C++ drop what stands above: a field that is none here would be one of theirs."""
_DEEPEST = 100
"""Messages inside one another; protobuf's own readers stop there too."""
_OPSET_IMPORT = 8


def external_locations(path: Path) -> frozenset[str]:
    """Names of the external weight files that a graph refers to, as written in it.

    Raises:
        BundleError: Not an ONNX file.
    """
    with _opened(path) as data:
        return frozenset(_locations(data, 0, len(data), 'model', 1))


def opset_version(path: Path) -> int:
    """Opset of the default domain; 0 when the file names none.

    Raises:
        BundleError: Not an ONNX file.
    """
    with _opened(path) as data:
        for number, first, last in _fields(data, 0, len(data)):
            if number == _OPSET_IMPORT:
                domain = [data[a:b] for n, a, b in _fields(data, first, last) if n == 1 and a < b]
                if not domain or domain == [b'ai.onnx']:
                    return dict(_numbers(data, first, last)).get(2, 0)
        return 0


def looked_up_rows(path: Path, name: str) -> int | None:
    """Rows of the table in which the values of an input are looked up; None where none is found.

    Args:
        path: An ONNX file.
        name: Of the input; it may be cast or reshaped on its way, and the table cast.

    Raises:
        BundleError: Not an ONNX file.
    """
    with _opened(path) as data:
        tables: dict[str, int] = {}
        nodes: list[tuple[str, list[str], list[str]]] = []
        for _, first, last in _only(data, 0, len(data), 7):  # the graph
            for _, a, b in _only(data, first, last, 5):  # initializers: dims, name
                names = [bytes(data[c:d]).decode() for _, c, d in _only(data, a, b, 8)]
                rows = _first_dimension(data, a, b)
                if names and rows is not None:
                    tables[names[0]] = rows
            for _, a, b in _only(data, first, last, 1):
                words = {n: [bytes(data[c:d]).decode() for _, c, d in _only(data, a, b, n)]
                         for n in (1, 2, 4)}  # fmt: skip
                nodes.append((''.join(words[4]), words[1], words[2]))
    return _rows(nodes, tables, name)


def _rows(
    nodes: list[tuple[str, list[str], list[str]]], tables: dict[str, int], name: str
) -> int | None:
    values, found = {name}, []
    for kind, inputs, outputs in nodes:
        if kind in _PASS_ON and inputs and outputs:
            if inputs[0] in values:
                values.add(outputs[0])
            if inputs[0] in tables and kind in ('Cast', 'Identity'):
                tables[outputs[0]] = tables[inputs[0]]
        elif kind == 'Gather' and len(inputs) == 2 and inputs[1] in values:
            found += [tables[inputs[0]]] if inputs[0] in tables else []
    return min(found, default=None)


def _first_dimension(data: mmap.mmap, start: int, end: int) -> int | None:
    for number, wire, first, last in _entries(data, start, end):
        if number == 1:  # packed or not
            return _varint(data, first, last if wire == _LENGTH else end)[0]
    return None


def _only(data: mmap.mmap, start: int, end: int, wanted: int) -> Iterator[tuple[int, int, int]]:
    return (field for field in _fields(data, start, end) if field[0] == wanted)


@contextmanager
def _opened(path: Path) -> Iterator[mmap.mmap]:
    if path.stat().st_size == 0:
        raise BundleError(f'{path.name}: empty, expected an ONNX file')
    with path.open('rb') as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            yield data
        except (IndexError, ValueError, UnicodeDecodeError) as error:
            raise BundleError(f'{path.name}: not an ONNX file: {error}') from None


def _locations(data: mmap.mmap, start: int, end: int, kind: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError(f'nested too deeply at byte {start}: expected at most {_DEEPEST} levels')
    for number, first, last in _fields(data, start, end):
        inside = _INSIDE[kind].get(number)
        if inside == 'entry':
            parts = {n: bytes(data[a:b]).decode() for n, a, b in _fields(data, first, last)}
            if parts.get(1) == 'location':
                yield parts.get(2, '')
        elif inside is not None:
            yield from _locations(data, first, last, inside, depth + 1)


def _numbers(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(number, value) of every field that is a plain number."""
    for number, wire, first, _ in _entries(data, start, end):
        if wire == _NUMBER:
            yield number, _varint(data, first, end)[0]


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, first byte, end) of every length-delimited field."""
    for number, wire, first, last in _entries(data, start, end):
        if wire == _LENGTH:
            yield number, first, last


def _entries(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, wire type, first byte, end) of every field."""
    while start < end:
        at = start
        key, start = _varint(data, start, end)
        if key > _LARGEST_KEY:
            raise ValueError(f'key {key:#x} at byte {at}: expected at most {_LARGEST_KEY:#x}')
        number, wire = key >> 3, key & 7
        if wire == _NUMBER:
            first, (_, start) = start, _varint(data, start, end)
        elif wire == _LENGTH:
            size, first = _varint(data, start, end)
            start = first + size
        elif wire in _FIXED:
            first, start = start, start + _FIXED[wire]
        else:
            raise ValueError(f'wire type {wire} at byte {start}')
        yield number, wire, first, start
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
