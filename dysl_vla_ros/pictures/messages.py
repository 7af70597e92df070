"""``sensor_msgs/Image`` and ``sensor_msgs/CompressedImage`` -> RGB, whoever read the message.

A node has messages of rclpy, a recording those of the reader of bags: they have the same fields,
and nothing else is looked at.
"""

from __future__ import annotations

from typing import Any

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.pictures.files import check_file, decode_file, kind_of_file
from dysl_vla_ros.pictures.raw import RawPicture, check_raw, raw_to_rgb


def is_raw(message: Any) -> bool:
    """Whether it is an ``Image``; a ``CompressedImage`` has a ``format`` instead."""
    return hasattr(message, 'encoding')


def kind_of(message: Any) -> str:
    """Its encoding, or ``jpeg``, ``png``, ``?`` by the first bytes."""
    return str(message.encoding) if is_raw(message) else kind_of_file(message.data)


def check_message(name: str, message: Any) -> tuple[int, int]:
    """Height and width by the header; cheap, done on arrival.

    Args:
        name: Of the stream, in front of what is wrong.
        message: Of either type.

    Raises:
        InputError: As ``check_raw`` and ``check_file``.
    """
    if not is_raw(message):
        return check_file(name, message.data, message.format)
    picture = _raw(message)
    check_raw(name, picture)
    return picture.height, picture.width


def rgb_of(name: str, message: Any) -> ImageArray:
    """The picture, (height, width, 3).

    Args:
        name: Of the stream, in front of what is wrong.
        message: Of either type.

    Raises:
        InputError: As ``check_message``; or compressed data cannot be decoded, or Pillow is not
            installed.
    """
    if is_raw(message):
        return raw_to_rgb(name, _raw(message))
    return decode_file(name, message.data, message.format)


def _raw(message: Any) -> RawPicture:
    return RawPicture(
        message.encoding, message.height, message.width, message.step,
        bool(message.is_bigendian), message.data,
    )  # fmt: skip
