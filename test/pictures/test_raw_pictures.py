"""Raw pictures: every encoding, padding, byte order; what is wrong is named."""

from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dysl_vla_ros.errors import InputError
from dysl_vla_ros.pictures.encodings import ENCODINGS
from dysl_vla_ros.pictures.raw import RawPicture, check_raw, raw_to_rgb

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[:, :, :1]


def make(encoding, pixels, padding=0, bigendian=False):
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    data = array('B')  # as rclpy has it
    data.frombytes(rows.tobytes())
    return RawPicture(encoding, pixels.shape[0], pixels.shape[1], rows.shape[1], bigendian, data)


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
    sent, expected = CASES[encoding]
    picture = make(encoding, sent, padding)
    check_raw('image', picture)
    image = raw_to_rgb('image', picture)
    assert image.dtype == np.uint8
    assert image.flags['C_CONTIGUOUS']
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize('encoding', CASES)
def test_bytes_are_bytes_whoever_read_them(encoding):
    sent, expected = CASES[encoding]
    picture = make(encoding, sent)
    data = picture.data.tobytes()
    for same in (data, np.frombuffer(data, np.uint8), memoryview(data)):
        found = raw_to_rgb('image', replace(picture, data=same))
        np.testing.assert_array_equal(found, expected)


WIDE = {
    'mono16': GREY, 'rgb16': RGB, 'bgr16': RGB[:, :, ::-1], '16UC3': RGB[:, :, ::-1],
    'rgba16': ALPHA, 'bgra16': ALPHA[:, :, [2, 1, 0, 3]],
}  # fmt: skip


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('bigendian', [False, True])
@pytest.mark.parametrize('encoding', WIDE)
def test_sixteen_bits_keep_the_upper_eight_in_either_byte_order(encoding, bigendian, padding):
    wide = (WIDE[encoding].astype(np.uint16) << 8) + 5
    picture = make(encoding, wide.astype('>u2' if bigendian else '<u2'), padding, bigendian)
    check_raw('image', picture)
    expected = np.repeat(GREY, 3, axis=2) if encoding == 'mono16' else RGB
    np.testing.assert_array_equal(raw_to_rgb('image', picture), expected)


# ---- brightness with colour differences; the expected numbers are OpenCV 5.0's ------------------

COLOURS = {  # Y, U, V -> red, green, blue
    (16, 128, 128): (0, 0, 0), (235, 128, 128): (255, 255, 255), (81, 90, 240): (254, 0, 0),
    (145, 54, 34): (0, 255, 1), (41, 240, 110): (0, 0, 255), (0, 90, 240): (179, 0, 0),
    (255, 90, 240): (255, 202, 202), (126, 128, 128): (128, 128, 128),
}  # fmt: skip


def yuv_picture(encoding, y, u, v, padding=0):
    """Two rows of two pixels of one colour, as a camera sends them."""
    pair = {'yuyv': (y, u, y, v), 'uyvy': (u, y, v, y)}
    pair |= {'yuv422_yuy2': pair['yuyv'], 'yuv422': pair['uyvy']}
    if encoding in pair:
        rows = [pair[encoding]] * 2
    else:
        colours = (v, u) if encoding == 'nv21' else (u, v)
        rows = [(y, y), (y, y)] + [colours] * (4 if encoding == 'nv24' else 1)
    sent = make(encoding, np.array(rows, np.uint8)[:, :, np.newaxis], padding)
    return replace(sent, height=2, width=2)


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize(
    'encoding', ['yuyv', 'uyvy', 'yuv422', 'yuv422_yuy2', 'nv12', 'nv21', 'nv24']
)
def test_brightness_and_colour_differences_become_the_colours_of_opencv(encoding, padding):
    if encoding == 'nv24':
        padding = 0  # its colours come two bytes a pixel: rows of another length
    for sent, expected in COLOURS.items():
        picture = yuv_picture(encoding, *sent, padding)
        check_raw('image', picture)
        found = raw_to_rgb('image', picture)
        assert found.shape == (2, 2, 3) and found.dtype == np.uint8
        assert abs(found.astype(int) - expected).max() <= 2, (sent, found[0, 0])


def test_pixels_of_a_pair_share_their_colour_and_keep_their_brightness():
    rows = np.array([[[16, 90, 235, 240], [81, 128, 126, 128]]] * 2, np.uint8)
    found = raw_to_rgb('image', make('yuyv', rows.reshape(2, 4, 2)))
    expected = [[179, 0, 0], [255, 179, 178], [76, 76, 76], [128, 128, 128]]
    assert abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize('encoding', ['yuyv', 'nv12', 'nv21'])
def test_an_odd_width_has_no_pairs(encoding):
    picture = make(encoding, np.zeros((6, 7, 2), np.uint8))
    with pytest.raises(InputError, match=f'6 x 7: expected multiples of . and 2 in {encoding}'):
        check_raw('image', picture)


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
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    slope = np.stack([40 + 6 * x, 200 - 5 * y, 90 + 3 * x + 2 * y], -1)
    mosaic = mosaic_of(slope.astype('<u2') << 8 if wide else slope.astype(np.uint8), pattern)
    picture = make(f'bayer_{pattern}{16 if wide else 8}', mosaic)
    check_raw('image', picture)
    found = raw_to_rgb('image', picture).astype(int)
    # Along a slope the mean of neighbours is the pixel itself; the border copies its neighbour.
    np.testing.assert_array_equal(found[1:-1, 1:-1], slope[1:-1, 1:-1])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[:, -1], found[:, -2])


def test_a_mosaic_is_rounded_as_opencv_does():
    mosaic = np.array([[1, 2, 4, 7], [11, 16, 22, 29], [37, 46, 56, 67], [79, 92, 106, 121]])
    found = raw_to_rgb('image', make('bayer_rggb8', mosaic.astype(np.uint8)[:, :, np.newaxis]))
    expected = [[[25, 20, 16], [30, 22, 23]], [[47, 46, 54], [56, 60, 65]]]  # OpenCV 5.0's
    np.testing.assert_array_equal(found[1:-1, 1:-1], expected)


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_distances_are_refused_with_what_works(encoding):
    with pytest.raises(InputError, match='distances are no picture.*mono16.*one of rgb8'):
        check_raw('image', make(encoding, np.zeros((5, 7, 4), np.uint8)))


def test_the_padding_of_the_last_row_may_be_missing():
    picture = make('rgb8', RGB, padding=3)
    picture = replace(picture, data=picture.data[:-3])
    check_raw('image', picture)
    np.testing.assert_array_equal(raw_to_rgb('image', picture), RGB)


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
    picture = replace(make('rgb8', RGB), **change)
    for look in (check_raw, raw_to_rgb):
        with pytest.raises(InputError) as caught:
            look('wrist_image', picture)
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
    picture = replace(make('rgb8', RGB), **change)
    with pytest.raises(InputError, match=words) as caught:
        check_raw('image', picture)
    assert len(str(caught.value)) < 500


def test_the_page_about_cameras_names_every_encoding():
    page = Path(__file__).parents[2].joinpath('doc', 'cameras.md').read_text(encoding='utf-8')
    short = {name for name in ENCODINGS if name.startswith('bayer') and name.endswith('16')}
    assert len(short) == 4
    assert [name for name in ENCODINGS if name not in short and f'`{name}`' not in page] == []
