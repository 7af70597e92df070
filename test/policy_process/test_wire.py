"""Messages as bytes: what is sent arrives, and what is no message is refused before it is read."""

from __future__ import annotations

import json
import os
import socket
import threading
import time

import numpy as np
import pytest

from dysl_vla_ros.errors import InputError
from dysl_vla_ros.policy_process.shared_memory import SharedMemory
from dysl_vla_ros.policy_process.wire import MAGIC, PREFIX, Bounds, Channel, Message, WireError


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    memory = SharedMemory.create(1 << 16)
    theirs = SharedMemory(os.dup(memory.descriptor), writable=False)
    yield Channel(one, memory), Channel(other, theirs), one
    for thing in (one, other, memory, theirs):
        thing.close()


def raw(header, body=b''):
    data = json.dumps(header).encode()
    return PREFIX.pack(MAGIC, len(data), len(body)) + data + body


def header(*arrays, **changes):
    return {'kind': 'x', 'values': {}, 'shared': False, 'arrays': list(arrays), **changes}


ARRAYS = {
    'image/a': np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3),
    'joints': np.array([0.1, -np.inf, np.nan]),
    'none': np.zeros((0, 7)),
    'ids': np.array([[2**62, -1]]),
    'turned': np.arange(12, dtype=np.float32).reshape(3, 4).T[::-1],
}


@pytest.mark.parametrize('shared', [False, True])
def test_what_is_sent_arrives_bit_for_bit_any_number_of_arrays(ends, shared):
    ours, theirs, _ = ends
    values = {'text': 'grün', 'number': 0.1 + 0.2, 'nothing': None, 'list': [1, [2]]}
    for _ in range(3):
        ours.send(Message('kind', values, ARRAYS), shared=shared)
        got = theirs.receive(time.monotonic() + 5)
        assert (got.kind, got.values) == ('kind', values)
        assert list(got.arrays) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert got.arrays[name].dtype == array.dtype
            assert got.arrays[name].shape == array.shape
            assert got.arrays[name].tobytes() == array.tobytes()


def test_several_messages_in_one_read_are_told_apart(ends):
    ours, theirs, _ = ends
    for number in range(3):
        ours.send(Message(str(number), {}, {'a': np.full(9, number, np.float64)}))
    for number in range(3):
        got = theirs.receive()
        assert (got.kind, got.arrays['a'][0]) == (str(number), number)


def test_shared_arrays_cannot_be_written_by_the_side_that_reads_nor_the_memory_shortened(ends):
    ours, theirs, _ = ends
    ours.send(Message('x', {}, ARRAYS), shared=True)
    with pytest.raises(ValueError, match='read-only'):
        theirs.receive().arrays['image/a'][:] = 0
    with pytest.raises(PermissionError):
        os.ftruncate(ends[1]._memory.descriptor, 0)


def test_arrays_that_do_not_fit_the_memory_are_refused_with_their_shapes(ends):
    ours, _, _ = ends
    wide = np.broadcast_to(np.uint8(0), (10**6, 10**6))
    with pytest.raises(InputError, match=r'image \(1000000, 1000000\): 1000000000000 bytes'):
        ours.send(Message('x', {}, {'image': wide}), shared=True)
    with pytest.raises(InputError, match='of type object'):
        ours.send(Message('x', {}, {'image': np.array([{}])}), shared=True)


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (b'GET / HTTP/1.1\r\n', "begins with b'GET ': expected b'dysl'"),
        (PREFIX.pack(MAGIC, 2000, 0), 'header of 2000 bytes: expected at most 1000'),
        (PREFIX.pack(MAGIC, 2, 5000) + b'{}', 'body of 5000 bytes: expected at most 4000'),
        (PREFIX.pack(MAGIC, 3, 0) + b'{]}', 'expected JSON'),
        (PREFIX.pack(MAGIC, 2, 0) + b'\xff\xfe', 'expected JSON'),
        (PREFIX.pack(MAGIC, 900, 0) + b'[' * 900, 'header: '),
        (raw([]), 'expected kind, values, shared and arrays'),
        (raw({'kind': 'x'}), 'expected kind, values, shared and arrays'),
        (raw(header(shared=1)), 'expected kind, values, shared and arrays'),
        (raw(header(*[['a', 'uint8', [0], 0]] * 80)), 'header of|80 arrays'),
        (raw(header(['a', 'object', [1], 0]), bytes(8)), 'expected name, type, shape, offset'),
        (raw(header(['a', 'uint8', [-1], 0]), bytes(8)), 'expected name, type, shape, offset'),
        (raw(header(['a', 'uint8', [1.5], 0]), bytes(8)), 'expected name, type, shape, offset'),
        (raw(header(['a', 'uint8', 7, 0]), bytes(8)), 'expected name, type, shape, offset'),
        (raw(header(['a', 'uint8', [1], -8]), bytes(8)), 'expected name, type, shape, offset'),
        (raw(header(['a', 'uint8', [1] * 9, 0]), bytes(8)), 'expected name, type, shape, offset'),
        (raw(header('abcd'), bytes(8)), 'expected name, type, shape, offset'),
        (raw(header(['a', 'float64', [2], 0]), bytes(8)), 'ends at byte 16 of 8'),
        (raw(header(['a', 'uint8', [2**40, 2**40], 0]), bytes(8)), 'ends at byte'),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(ends, data, words):
    _, theirs, stream = ends
    stream.sendall(data)
    with pytest.raises(WireError, match=words):
        theirs.receive(time.monotonic() + 5, Bounds(header=1000, body=4000))


def test_a_side_without_memory_takes_no_shared_arrays(ends):
    one, other = socket.socketpair()
    with one, other:
        one.sendall(raw(header(['a', 'uint8', [1], 0], shared=True)))
        with pytest.raises(WireError, match='expected them in the body'):
            Channel(other).receive()


def test_a_silent_other_side_is_a_timeout_and_one_that_left_an_end(ends):
    _, theirs, stream = ends
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        theirs.receive(begun + 0.05)
    with pytest.raises(TimeoutError):
        theirs.receive(begun - 1.0)
    stream.sendall(raw(header())[:20])
    with pytest.raises(TimeoutError):
        theirs.receive(time.monotonic() + 0.05)
    assert time.monotonic() - begun < 5
    stream.shutdown(socket.SHUT_RDWR)
    with pytest.raises(EOFError):
        theirs.receive(time.monotonic() + 5)


def test_a_full_socket_is_a_timeout_of_the_one_who_sends(ends):
    ours, _, _ = ends
    with pytest.raises(TimeoutError):
        ours.send(Message('x', {}, {'a': np.zeros(1 << 21)}), time.monotonic() + 0.1)


def test_long_bodies_come_through_in_parts(ends):
    ours, theirs, _ = ends
    sent = np.random.default_rng(0).integers(0, 255, 3 << 20, dtype=np.uint8)
    thread = threading.Thread(target=ours.send, args=(Message('x', {}, {'a': sent}),))
    thread.start()
    got = theirs.receive(time.monotonic() + 20)
    thread.join()
    assert got.arrays['a'].tobytes() == sent.tobytes()
