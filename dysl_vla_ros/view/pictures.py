"""Pictures for the page: JPEG, no wider than it shows them."""

from __future__ import annotations

from dysl_vla_ros.pictures.files import to_jpeg
from dysl_vla_ros.view.feed import Shot

WIDEST = 640
"""Wider pictures are halved until they are no wider [pixels]."""
_QUALITY = 80


def jpeg(shot: Shot) -> bytes:
    """The file to send; what came as a file goes on as it is."""
    if isinstance(shot.image, bytes):
        return shot.image
    image = shot.image
    while image.shape[1] > WIDEST:
        image = image[::2, ::2]
    return to_jpeg(image, _QUALITY)
