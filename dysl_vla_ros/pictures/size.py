"""What a picture may cost, by what its header says of it."""

from __future__ import annotations

from dysl_vla_ros.errors import InputError

MAX_PIXELS = 4096 * 4096
MAX_BYTES = 64 << 20
"""Of the data of one message, padding included."""


def check_pixels(name: str, height: int, width: int) -> None:
    """Refuse a picture of no pixels, or of too many.

    Raises:
        InputError: Names both sizes.
    """
    if height < 1 or width < 1:
        raise InputError(f'{name}: height x width = {height} x {width}: expected at least 1 x 1')
    if height * width > MAX_PIXELS:
        raise InputError(
            f'{name}: height x width = {height} x {width}: expected at most {MAX_PIXELS} pixels'
        )
