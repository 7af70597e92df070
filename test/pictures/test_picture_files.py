"""JPEG and PNG: told by their bytes, measured before they are decoded, decoded one way."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dysl_vla_ros.errors import InputError
from dysl_vla_ros.pictures.files import check_file, decode_file, encode_png, kind_of_file

image = pytest.importorskip('PIL.Image', reason='Pillow decodes compressed images')

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
AS_SENT = 'whatever; the driver says'


def packed(kind, picture=None, mode='RGB', **options):
    stream = io.BytesIO()
    picture = image.fromarray(RGB) if picture is None else picture
    picture.convert(mode).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'P', 'L'])
def test_a_png_is_decoded_exactly_whatever_its_mode_and_its_format_field(mode):
    data = packed('PNG', mode=mode)
    expected = np.asarray(image.fromarray(RGB).convert(mode).convert('RGB'))
    assert check_file('image', data, AS_SENT) == RGB.shape[:2]
    np.testing.assert_array_equal(decode_file('image', data, AS_SENT), expected)


@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_bytes_are_bytes_whoever_read_the_message(kind):
    data = packed(kind)
    expected = decode_file('image', data)
    for same in (array('B', data), np.frombuffer(data, np.uint8), memoryview(data)):
        assert kind_of_file(same) == kind.lower()
        np.testing.assert_array_equal(decode_file('image', same), expected)


def test_what_is_written_as_png_comes_back():
    np.testing.assert_array_equal(decode_file('image', encode_png(RGB)), RGB)


@pytest.mark.parametrize('options', [{}, {'progressive': True}, {'exif': True}, {'gray': True}])
def test_a_jpeg_is_decoded_as_the_camera_sent_it(options):
    mode = 'L' if options.pop('gray', False) else 'RGB'
    if options.pop('exif', False):  # "turn me by 90 degrees": the sensor's rows stay rows
        exif = image.Exif()
        exif[0x0112] = 6
        options['exif'] = exif.tobytes()
    smooth = image.fromarray(np.full((48, 64, 3), (200, 90, 40), np.uint8))
    data = packed('JPEG', smooth, mode, quality=95, **options)
    assert check_file('image', data) == (48, 64)
    found = decode_file('image', data)
    assert found.shape == (48, 64, 3) and found.flags['C_CONTIGUOUS']
    expected = np.asarray(smooth.convert(mode).convert('RGB'), dtype=int)
    assert abs(found.astype(int) - expected).max() < 6


def bomb(height, width):
    """A PNG of a few bytes that says it is large."""
    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    chunk = b'IHDR' + head
    return b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + chunk + struct.pack(
        '>I', zlib.crc32(chunk))  # fmt: skip


def jpeg_that_says(height, width):
    data = bytearray(packed('JPEG'))
    frame = data.index(b'\xff\xc0')
    data[frame + 5 : frame + 9] = height.to_bytes(2, 'big') + width.to_bytes(2, 'big')
    return bytes(data)


WRONG = {
    'no image': (lambda: b'no image', 'begin with .*expected a JPEG or PNG'),
    'nothing': (lambda: b'', '0 bytes that begin with'),
    'gif': (lambda: packed('GIF'), 'expected a JPEG or PNG'),
    'bmp': (lambda: packed('BMP'), 'expected a JPEG or PNG'),
    'tiff': (lambda: packed('TIFF'), 'expected a JPEG or PNG'),
    'png bomb': (lambda: bomb(60000, 60000), '60000 x 60000: expected at most 16777216 pixels'),
    'png of 2^31': (lambda: bomb(2**31, 2**31), 'expected at most 16777216 pixels'),
    'png of nothing': (lambda: bomb(0, 5), 'expected at least 1 x 1'),
    'png cut in its header': (lambda: bomb(5, 7)[:20], 'without a size'),
    'jpeg bomb': (lambda: jpeg_that_says(65000, 65000), 'expected at most 16777216 pixels'),
    'jpeg of nothing': (lambda: jpeg_that_says(0, 7), 'expected at least 1 x 1'),
    'jpeg without a frame': (lambda: b'\xff\xd8\xff\xd9' + bytes(40), 'without a size'),
    'jpeg of markers': (lambda: b'\xff\xd8' + b'\xff\x01' * 10**6, 'without a size'),
    'jpeg of padding': (lambda: b'\xff\xd8' + b'\xff' * 10**6, 'without a size'),
    'too many bytes': (lambda: bomb(5, 7) + bytes(64 << 20), 'expected at most 67108864'),
}


@pytest.mark.parametrize('name', WRONG)
def test_a_compressed_image_is_measured_before_it_is_decoded(name, monkeypatch):
    make_data, words = WRONG[name]
    data = make_data()
    monkeypatch.setattr(image, 'open', lambda *_, **__: pytest.fail('the decoder was asked'))
    for look in (check_file, decode_file):
        with pytest.raises(InputError, match=f'^image: .*{words}') as caught:
            look('image', data, 'jpeg')
        assert len(str(caught.value)) < 300


def test_a_compressed_image_that_breaks_off_is_named():
    for kind in ('PNG', 'JPEG'):
        data = packed(kind)
        data = data[: len(data) * 3 // 4]
        with pytest.raises(InputError, match='bytes: expected a JPEG or PNG image: '):
            decode_file('image', data)


def test_a_png_of_sixteen_bits_keeps_the_upper_eight_unless_it_holds_distances():
    deep = image.fromarray(np.full((5, 7), 40000, np.uint16))
    data = packed('PNG', deep, deep.mode)
    found = decode_file('image', data, 'mono16; png compressed ')
    np.testing.assert_array_equal(found, np.full((5, 7, 3), 40000 >> 8))
    with pytest.raises(InputError, match="format = '16UC1; .* a PNG of distances"):
        check_file('image', data, '16UC1; png compressed ')


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b'', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n']),
       st.integers(0, 2**32 - 1))  # fmt: skip
def test_any_bytes_give_an_image_or_an_input_error(data, start, place):
    whole = bytearray(packed('PNG' if place % 2 else 'JPEG'))
    whole[place % len(whole)] ^= 0xFF
    for content in (start + data, bytes(whole)):
        with contextlib.suppress(InputError):
            assert decode_file('image', content).ndim == 3
