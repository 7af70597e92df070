"""Image conversion: every encoding, padding, byte order; what is wrong is named."""

from __future__ import annotations

import contextlib
import io
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.ros

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[:, :, :1]


def make(encoding, pixels, padding=0, bigendian=False):
    from sensor_msgs.msg import Image

    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    data = array('B')
    data.frombytes(rows.tobytes())
    message = Image(
        height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=rows.shape[1]
    )
    message.is_bigendian = int(bigendian)
    message.data = data
    return message


ALPHA = np.concatenate([RGB, np.full((5, 7, 1), 77, np.uint8)], axis=2)
CASES = {
    'rgb8': (RGB, RGB),
    'bgr8': (RGB[:, :, ::-1], RGB),
    'rgba8': (ALPHA, RGB),
    'bgra8': (ALPHA[:, :, [2, 1, 0, 3]], RGB),
    '8UC3': (RGB[:, :, ::-1], RGB),
    '8UC4': (ALPHA[:, :, [2, 1, 0, 3]], RGB),
    'mono8': (GREY, np.repeat(GREY, 3, axis=2)),
    '8UC1': (GREY, np.repeat(GREY, 3, axis=2)),
}


@pytest.fixture(params=['numpy', 'cv_bridge'])
def convert(request, monkeypatch):
    from dysl_vla_ros.ros import images

    if request.param == 'numpy':
        monkeypatch.setattr(images, 'CvBridge', None)
    elif images.CvBridge is None:
        pytest.skip('cv_bridge is not installed: it comes with ROS, not from PyPI')
    return lambda message: images.to_rgb('image', message)


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('encoding', CASES)
def test_every_encoding_becomes_the_same_rgb_image(convert, encoding, padding):
    from dysl_vla_ros.ros.images import check_image

    sent, expected = CASES[encoding]
    message = make(encoding, sent, padding)
    check_image('image', message)
    image = convert(message)
    assert image.dtype == np.uint8
    assert image.flags['C_CONTIGUOUS']
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize('bigendian', [False, True])
def test_sixteen_bits_keep_the_upper_eight_in_either_byte_order(bigendian):
    from dysl_vla_ros.ros.images import with_numpy

    wide = (GREY.astype(np.uint16) << 8) + 5
    sent = wide.astype('>u2' if bigendian else '<u2')
    np.testing.assert_array_equal(
        with_numpy(make('mono16', sent, bigendian=bigendian)), np.repeat(GREY, 3, axis=2)
    )


def test_the_padding_of_the_last_row_may_be_missing():
    from dysl_vla_ros.ros.images import check_image, with_numpy

    message = make('rgb8', RGB, padding=3)
    message.data = message.data[:-3]
    check_image('image', message)
    np.testing.assert_array_equal(with_numpy(message), RGB)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'encoding': 'yuv422'}, ("encoding = 'yuv422'", 'rgb8', 'bgra8', 'mono16')),
        ({'width': 0}, ('5 x 0', 'at least 1 x 1')),
        ({'width': 8}, ('step = 21', 'at least 24', '8 pixels of rgb8')),
        ({'height': 6}, ('105 bytes', 'expected 126', 'height 6')),
    ],
)
def test_a_wrong_header_is_refused_naming_field_value_and_what_is_right(change, words):
    from dysl_vla_ros.errors import InputError
    from dysl_vla_ros.ros.images import check_image

    message = make('rgb8', RGB)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InputError) as caught:
        check_image('wrist_image', message)
    assert str(caught.value).startswith('wrist_image: ')
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'height': 2**32 - 1, 'width': 2**32 - 1}, 'at most 16777216 pixels'),
        ({'height': 4097, 'width': 4096}, 'at most 16777216 pixels'),
        ({'height': 1, 'step': 2**32 - 1}, 'step x height = 4294967295 x 1, 105 bytes: expected'),
        ({'height': 2**24, 'width': 1, 'step': 5}, 'at most 67108864 bytes'),
        ({'encoding': 'x' * 10**6}, "encoding = 'xxxx"),
    ],
)
def test_what_an_image_may_cost_is_bounded_by_its_header(change, words):
    from dysl_vla_ros.errors import InputError
    from dysl_vla_ros.ros.images import check_image

    message = make('rgb8', RGB)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InputError, match=words) as caught:
        check_image('image', message)
    assert len(str(caught.value)) < 300


# ---- compressed --------------------------------------------------------------------------------


def packed(kind, picture=None, mode='RGB', **options):
    from sensor_msgs.msg import CompressedImage

    image = pytest.importorskip('PIL.Image', reason='Pillow decodes compressed images')
    stream = io.BytesIO()
    picture = image.fromarray(RGB) if picture is None else picture
    picture.convert(mode).save(stream, kind, **options)
    return CompressedImage(format='whatever; the driver says', data=stream.getvalue())


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'P', 'L'])
def test_a_png_is_decoded_exactly_whatever_its_mode_and_its_format_field(mode):
    image = pytest.importorskip('PIL.Image', reason='Pillow decodes compressed images')
    from dysl_vla_ros.ros.compressed import check_compressed, decompress

    message = packed('PNG', mode=mode)
    expected = np.asarray(image.fromarray(RGB).convert(mode).convert('RGB'))
    assert check_compressed('image', message) == RGB.shape[:2]
    np.testing.assert_array_equal(decompress('image', message), expected)


@pytest.mark.parametrize('options', [{}, {'progressive': True}, {'exif': True}, {'gray': True}])
def test_a_jpeg_is_decoded_as_the_camera_sent_it(options):
    image = pytest.importorskip('PIL.Image', reason='Pillow decodes compressed images')
    from dysl_vla_ros.ros.compressed import check_compressed, decompress

    mode = 'L' if options.pop('gray', False) else 'RGB'
    if options.pop('exif', False):  # "turn me by 90 degrees": the sensor's rows stay rows
        exif = image.Exif()
        exif[0x0112] = 6
        options['exif'] = exif.tobytes()
    smooth = image.fromarray(np.full((48, 64, 3), (200, 90, 40), np.uint8))
    message = packed('JPEG', smooth, mode, quality=95, **options)
    assert check_compressed('image', message) == (48, 64)
    found = decompress('image', message)
    assert found.shape == (48, 64, 3) and found.flags['C_CONTIGUOUS']
    expected = np.asarray(smooth.convert(mode).convert('RGB'), dtype=int)
    assert abs(found.astype(int) - expected).max() < 6


def bomb(height, width):
    """A PNG of a few bytes that says it is large."""
    import struct
    import zlib

    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    chunk = b'IHDR' + head
    return b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + chunk + struct.pack(
        '>I', zlib.crc32(chunk))  # fmt: skip


def jpeg_that_says(height, width):
    data = bytearray(bytes(packed('JPEG').data))
    frame = data.index(b'\xff\xc0')
    data[frame + 5 : frame + 9] = height.to_bytes(2, 'big') + width.to_bytes(2, 'big')
    return bytes(data)


WRONG = {
    'no image': (lambda: b'no image', 'begin with .*expected a JPEG or PNG'),
    'nothing': (lambda: b'', '0 bytes that begin with'),
    'gif': (lambda: bytes(packed('GIF').data), 'expected a JPEG or PNG'),
    'bmp': (lambda: bytes(packed('BMP').data), 'expected a JPEG or PNG'),
    'tiff': (lambda: bytes(packed('TIFF').data), 'expected a JPEG or PNG'),
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
    image = pytest.importorskip('PIL.Image', reason='Pillow decodes compressed images')
    from types import SimpleNamespace

    from dysl_vla_ros.errors import InputError
    from dysl_vla_ros.ros.compressed import check_compressed, decompress

    make_data, words = WRONG[name]
    message = SimpleNamespace(data=make_data(), format='jpeg')
    monkeypatch.setattr(image, 'open', lambda *_, **__: pytest.fail('the decoder was asked'))
    for look in (check_compressed, decompress):
        with pytest.raises(InputError, match=f'^image: .*{words}') as caught:
            look('image', message)
        assert len(str(caught.value)) < 300


def test_a_compressed_image_that_breaks_off_is_named():
    from dysl_vla_ros.errors import InputError
    from dysl_vla_ros.ros.compressed import decompress

    for kind in ('PNG', 'JPEG'):
        message = packed(kind)
        message.data = message.data[: len(message.data) * 3 // 4]
        with pytest.raises(InputError, match='bytes: expected a JPEG or PNG image: '):
            decompress('image', message)


def test_sixteen_bits_per_channel_are_refused_for_decoders_disagree():
    image = pytest.importorskip('PIL.Image', reason='Pillow decodes compressed images')
    from dysl_vla_ros.errors import InputError
    from dysl_vla_ros.ros.compressed import check_compressed

    deep = image.fromarray(np.full((5, 7), 40000, np.uint16))
    with pytest.raises(InputError, match='a PNG of 16 bits per channel: expected at most 8'):
        check_compressed('image', packed('PNG', deep, deep.mode))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b'', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n']),
       st.integers(0, 2**32 - 1))  # fmt: skip
def test_any_bytes_give_an_image_or_an_input_error(data, start, place):
    from types import SimpleNamespace

    from dysl_vla_ros.errors import InputError
    from dysl_vla_ros.ros.compressed import decompress

    whole = bytearray(bytes(packed('PNG' if place % 2 else 'JPEG').data))
    whole[place % len(whole)] ^= 0xFF
    for content in (start + data, bytes(whole)):
        with contextlib.suppress(InputError):
            assert decompress('image', SimpleNamespace(data=content, format='')).ndim == 3
