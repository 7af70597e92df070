"""Pictures that come as files, PNG or JPEG, as a message of a policy server has them."""

from __future__ import annotations

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.engines.remote.protocol import ProtocolError
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.pictures.files import decode_file


def read_picture(data: bytes) -> ImageArray:
    """RGB, shape (height, width, 3).

    Raises:
        ProtocolError: Neither PNG nor JPEG, too large, broken, or Pillow is not installed.
    """
    try:
        return decode_file('a picture', data)
    except InputError as error:
        raise ProtocolError(str(error)) from None
