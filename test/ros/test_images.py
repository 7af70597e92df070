"""Image conversion: every encoding, padding, byte order; what is wrong is named."""

from __future__ import annotations

import io
from array import array

import numpy as np
import pytest

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


def test_a_compressed_image_is_decoded_and_a_broken_one_is_named():
    image = pytest.importorskip('PIL.Image', reason='Pillow decodes compressed images')
    from sensor_msgs.msg import CompressedImage

    from dysl_vla_ros.errors import InputError
    from dysl_vla_ros.ros.images import decompress

    stream = io.BytesIO()
    image.fromarray(RGB).save(stream, 'PNG')
    message = CompressedImage(format='png', data=stream.getvalue())
    np.testing.assert_array_equal(decompress('image', message), RGB)
    message.data = b'no image'
    with pytest.raises(InputError, match="format = 'png', 8 bytes: expected a JPEG or PNG"):
        decompress('image', message)
