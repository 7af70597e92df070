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


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('encoding', CASES)
def test_every_encoding_becomes_the_same_rgb_image(encoding, padding):
    from dysl_vla_ros.ros.images import check_image, to_rgb

    sent, expected = CASES[encoding]
    message = make(encoding, sent, padding)
    check_image('image', message)
    image = to_rgb(message)
    assert image.dtype == np.uint8
    assert image.flags['C_CONTIGUOUS']
    np.testing.assert_array_equal(image, expected)


WIDE = {
    'mono16': GREY, 'rgb16': RGB, 'bgr16': RGB[:, :, ::-1], '16UC3': RGB[:, :, ::-1],
    'rgba16': ALPHA, 'bgra16': ALPHA[:, :, [2, 1, 0, 3]],
}  # fmt: skip


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('bigendian', [False, True])
@pytest.mark.parametrize('encoding', WIDE)
def test_sixteen_bits_keep_the_upper_eight_in_either_byte_order(encoding, bigendian, padding):
    from dysl_vla_ros.ros.images import check_image, to_rgb

    wide = (WIDE[encoding].astype(np.uint16) << 8) + 5
    message = make(encoding, wide.astype('>u2' if bigendian else '<u2'), padding, bigendian)
    check_image('image', message)
    expected = np.repeat(GREY, 3, axis=2) if encoding == 'mono16' else RGB
    np.testing.assert_array_equal(to_rgb(message), expected)


# ---- brightness with colour differences; the expected numbers are OpenCV 5.0's ------------------

COLOURS = {  # Y, U, V -> red, green, blue
    (16, 128, 128): (0, 0, 0), (235, 128, 128): (255, 255, 255), (81, 90, 240): (254, 0, 0),
    (145, 54, 34): (0, 255, 1), (41, 240, 110): (0, 0, 255), (0, 90, 240): (179, 0, 0),
    (255, 90, 240): (255, 202, 202), (126, 128, 128): (128, 128, 128),
}  # fmt: skip


def yuv_message(encoding, y, u, v, padding=0):
    """Two rows of two pixels of one colour, as a camera sends them."""
    pair = {'yuyv': (y, u, y, v), 'uyvy': (u, y, v, y)}
    pair |= {'yuv422_yuy2': pair['yuyv'], 'yuv422': pair['uyvy']}
    if encoding in pair:
        rows = [pair[encoding]] * 2
    else:
        colours = (v, u) if encoding == 'nv21' else (u, v)
        rows = [(y, y), (y, y)] + [colours] * (4 if encoding == 'nv24' else 1)
    message = make(encoding, np.array(rows, np.uint8)[:, :, np.newaxis], padding)
    message.height = message.width = 2
    return message


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize(
    'encoding', ['yuyv', 'uyvy', 'yuv422', 'yuv422_yuy2', 'nv12', 'nv21', 'nv24']
)
def test_brightness_and_colour_differences_become_the_colours_of_opencv(encoding, padding):
    from dysl_vla_ros.ros.images import check_image, to_rgb

    if encoding == 'nv24':
        padding = 0  # its colours come two bytes a pixel: rows of another length
    for sent, expected in COLOURS.items():
        message = yuv_message(encoding, *sent, padding)
        check_image('image', message)
        found = to_rgb(message)
        assert found.shape == (2, 2, 3) and found.dtype == np.uint8
        assert abs(found.astype(int) - expected).max() <= 2, (sent, found[0, 0])


def test_pixels_of_a_pair_share_their_colour_and_keep_their_brightness():
    from dysl_vla_ros.ros.images import to_rgb

    rows = np.array([[[16, 90, 235, 240], [81, 128, 126, 128]]] * 2, np.uint8)
    found = to_rgb(make('yuyv', rows.reshape(2, 4, 2)))
    expected = [[179, 0, 0], [255, 179, 178], [76, 76, 76], [128, 128, 128]]
    assert abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize('encoding', ['yuyv', 'nv12', 'nv21'])
def test_an_odd_width_has_no_pairs(encoding):
    from dysl_vla_ros.errors import InputError
    from dysl_vla_ros.ros.images import check_image

    message = make(encoding, np.zeros((6, 7, 2), np.uint8))
    with pytest.raises(InputError, match=f'6 x 7: expected multiples of . and 2 in {encoding}'):
        check_image('image', message)


# ---- mosaics -----------------------------------------------------------------------------------

PATTERNS = {'rggb': 'RGGB', 'bggr': 'BGGR', 'gbrg': 'GBRG', 'grbg': 'GRBG'}


def mosaic_of(image, pattern):
    mosaic = np.empty(image.shape[:2], image.dtype)
    for place, letter in enumerate(PATTERNS[pattern]):
        at = (slice(place // 2, None, 2), slice(place % 2, None, 2))
        mosaic[at] = image[at][:, :, 'RGB'.index(letter)]
    return mosaic[:, :, np.newaxis]


@pytest.mark.parametrize('wide', [False, True])
@pytest.mark.parametrize('size', [(12, 16), (7, 9), (3, 3)])
@pytest.mark.parametrize('pattern', PATTERNS)
def test_a_mosaic_becomes_its_picture(pattern, size, wide):
    from dysl_vla_ros.ros.images import check_image, to_rgb

    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    slope = np.stack([40 + 6 * x, 200 - 5 * y, 90 + 3 * x + 2 * y], -1)
    mosaic = mosaic_of(slope.astype('<u2') << 8 if wide else slope.astype(np.uint8), pattern)
    message = make(f'bayer_{pattern}{16 if wide else 8}', mosaic)
    check_image('image', message)
    found = to_rgb(message).astype(int)
    # Along a slope the mean of neighbours is the pixel itself; the border copies its neighbour.
    np.testing.assert_array_equal(found[1:-1, 1:-1], slope[1:-1, 1:-1])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[:, -1], found[:, -2])


def test_a_mosaic_is_rounded_as_opencv_does():
    from dysl_vla_ros.ros.images import to_rgb

    mosaic = np.array([[1, 2, 4, 7], [11, 16, 22, 29], [37, 46, 56, 67], [79, 92, 106, 121]])
    found = to_rgb(make('bayer_rggb8', mosaic.astype(np.uint8)[:, :, np.newaxis]))
    expected = [[[25, 20, 16], [30, 22, 23]], [[47, 46, 54], [56, 60, 65]]]  # OpenCV 5.0's
    np.testing.assert_array_equal(found[1:-1, 1:-1], expected)


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_distances_are_refused_with_what_works(encoding):
    from dysl_vla_ros.errors import InputError
    from dysl_vla_ros.ros.images import check_image

    with pytest.raises(InputError, match='distances are no picture.*mono16.*one of rgb8'):
        check_image('image', make(encoding, np.zeros((5, 7, 4), np.uint8)))


def test_the_padding_of_the_last_row_may_be_missing():
    from dysl_vla_ros.ros.images import check_image, to_rgb

    message = make('rgb8', RGB, padding=3)
    message.data = message.data[:-3]
    check_image('image', message)
    np.testing.assert_array_equal(to_rgb(message), RGB)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'encoding': 'h264'}, ("encoding = 'h264'", 'rgb8', 'yuyv', 'bayer_rggb8')),
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
    assert len(str(caught.value)) < 500


def test_the_page_about_cameras_names_every_encoding():
    from pathlib import Path

    from dysl_vla_ros.ros.images import ENCODINGS

    page = Path(__file__).parents[2].joinpath('doc', 'cameras.md').read_text(encoding='utf-8')
    short = {name for name in ENCODINGS if name.startswith('bayer') and name.endswith('16')}
    assert len(short) == 4
    assert [name for name in ENCODINGS if name not in short and f'`{name}`' not in page] == []


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


def test_a_png_of_sixteen_bits_keeps_the_upper_eight_unless_it_holds_distances():
    image = pytest.importorskip('PIL.Image', reason='Pillow decodes compressed images')
    from dysl_vla_ros.errors import InputError
    from dysl_vla_ros.ros.compressed import check_compressed, decompress

    deep = image.fromarray(np.full((5, 7), 40000, np.uint16))
    message = packed('PNG', deep, deep.mode)
    message.format = 'mono16; png compressed '
    np.testing.assert_array_equal(decompress('image', message), np.full((5, 7, 3), 40000 >> 8))
    message.format = '16UC1; png compressed '
    with pytest.raises(InputError, match="format = '16UC1; .* a PNG of distances"):
        check_compressed('image', message)


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
