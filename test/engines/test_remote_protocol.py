"""What a policy server's socket may be sent: plain numbers, or an error, whatever the bytes."""

from __future__ import annotations

import contextlib
import random

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dysl_vla_ros.engines.remote.protocol import ProtocolError, pack, unpack


def an_array(**changes):
    """As openpi packs it."""
    parts = {b'__ndarray__': True, b'data': b'\0' * 24, b'dtype': '<f4', b'shape': (2, 3)}
    return {'a': parts | {key.encode(): value for key, value in changes.items()}}


def test_arrays_and_plain_values_come_back_as_they_were():
    sent = {
        'f': np.arange(6, dtype=np.float32).reshape(2, 3), 'd': np.array([1.5]),
        'u': np.full((4, 5, 3), 200, np.uint8), 'none': np.zeros((0, 7)), 'n': np.float32(2.5),
        'nested': {'t': 'grün', 'l': [1, 2.5, None, True, {'x': np.int64(3)}]},
    }  # fmt: skip
    for text_keys in (False, True):
        back = unpack(pack(sent, text_keys))
        for name in ('f', 'd', 'u', 'none'):
            assert back[name].dtype == sent[name].dtype
            np.testing.assert_array_equal(back[name], sent[name])
        assert back['n'] == 2.5
        assert back['nested'] == {'t': 'grün', 'l': [1, 2.5, None, True, {'x': 3}]}


def test_the_other_byte_order_is_read():
    data = np.array([1.0, 2.0], '>f4')
    message = an_array(data=data.tobytes(), dtype='>f4', shape=(2,))
    found = unpack(msgpack.packb(message))['a']
    assert found.dtype.isnative
    assert found.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'dtype': '|O'}, 'dtype'),
        ({'dtype': 'O'}, 'dtype'),
        ({'dtype': '<c8'}, 'dtype'),
        ({'dtype': '<M8[s]'}, 'dtype'),
        ({'dtype': '|V8'}, 'dtype'),
        ({'dtype': [('x', 'O')]}, 'dtype'),
        ({'dtype': {'names': ['a'], 'formats': ['O']}}, 'dtype'),
        ({'dtype': None}, 'dtype'),
        ({'shape': (2, 4)}, '24 bytes: expected 32'),
        ({'shape': (1 << 40, 1 << 40)}, 'expected'),
        ({'shape': (-1, 6)}, 'shape'),
        ({'shape': (2.0, 3)}, 'shape'),
        ({'shape': (True, 6)}, 'shape'),
        ({'shape': (1,) * 9}, 'shape'),
        ({'shape': 6}, 'shape'),
        ({'shape': (0, 1 << 60), 'data': b''}, 'expected'),
        ({'data': 'text'}, 'bytes'),
        ({'more': 1}, 'data, dtype and shape'),
    ],
)
def test_an_array_that_is_no_plain_one_is_refused(changes, words):
    with pytest.raises(ProtocolError, match=words):
        unpack(msgpack.packb(an_array(**changes)))


@pytest.mark.parametrize(
    'data',
    [
        b'', b'\xc1', b'\x93\x01\x02', msgpack.packb([1]), msgpack.packb(7),
        b'\x91' * 100_000, b'\x81\xa1a' * 50_000, b'\xdd\xff\xff\xff\xff', b'\xdf\xff\xff\xff\xff',
        b'\xc6\xff\xff\xff\xff', b'\xdc\x10\x00' * 1000, b'\x81\xa1a\xd4\x05\x00',
        msgpack.packb({1: 2}), msgpack.packb({b'\xff': 1}), b'\x82\xa1a\x01\xa1a\x02',
        b'\x81\xa1a\x9f' + (b'\xdc\x0f\xff' + b'\x80' * 4095) * 15 + b'\x80' * 60_000,
        b'\x81\xa1a\x9f' + (b'\xdc\x0f\xff' + b'\x9f' + b'\xc0' * 15 + b'\x80' * 4094) * 15,
    ],
)  # fmt: skip
def test_what_is_no_map_or_unfolds_to_too_much_is_refused(data):
    with pytest.raises(ProtocolError):
        unpack(data)


def test_a_message_of_too_many_values_is_refused_though_each_list_is_short():
    lists = {str(i): [{}] * 4000 for i in range(30)}
    with pytest.raises(ProtocolError, match='100000 values'):
        unpack(msgpack.packb(lists))


def test_a_message_is_measured_before_it_is_read():
    with pytest.raises(ProtocolError, match='at most 100'):
        unpack(pack({'a': np.zeros(100)}), largest=100)


def test_what_cannot_be_sent_is_refused_here():
    for value in (np.array([object()]), np.array([1j]), object(), {1, 2}):
        with pytest.raises(ProtocolError):
            pack({'a': value})


def test_a_picture_as_a_file_is_an_error_unless_somebody_reads_it():
    message = msgpack.packb({'a': {'__image__': True, 'format': 'png', 'data': b'x'}})
    with pytest.raises(ProtocolError, match='png'):
        unpack(message)
    read = unpack(message, read_picture=lambda data: np.full((1, 1, 3), len(data), np.uint8))
    assert read['a'].tolist() == [[[1, 1, 1]]]


def test_changed_bytes_of_a_good_message_give_a_map_or_an_error_of_the_protocol():
    good = pack({
        'image': np.zeros((4, 4, 3), np.uint8), 'state': np.zeros(7, np.float32),
        'prompt': 'pick', 'dysl': {'mode': 'full', 'played': 3, 'list': [1, [2, {}]]},
    })  # fmt: skip
    chance = random.Random(7)
    refused = 0
    for _ in range(4000):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        cut = bytes(data[: chance.randrange(1, len(data))]) if chance.random() < 0.1 else data
        try:
            assert isinstance(unpack(bytes(cut)), dict)
        except ProtocolError:
            refused += 1
    assert 400 < refused < 4000


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_map_or_an_error_of_the_protocol(data):
    with contextlib.suppress(ProtocolError):
        assert isinstance(unpack(data), dict)
