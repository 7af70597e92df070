"""Whether the rows of an episode are its frames, one after the other, at the set's rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import ConfigError

_OFF = 0.1
"""Share of a period by which the middle one may differ: clocks differ, rates are rounded."""
_GAP = 0.5
"""Share of a period by which any one may."""


def refuse_other_order(where: str, numbers: NDArray[np.float64], every_frame: bool) -> None:
    """Rows are read as they lie: each must come behind the one before.

    Args:
        where: File and episode.
        numbers: ``frame_index`` of its rows, (frames,).
        every_frame: Whether none may be missing between two.

    Raises:
        ConfigError: Rows are out of order, twice, or missing.
    """
    steps = np.diff(numbers)
    wrong = np.flatnonzero(~((steps == 1) if every_frame else (steps > 0)))
    if len(wrong):
        row = int(wrong[0]) + 1
        found, before = (f'{numbers[place]:.0f}' for place in (row, row - 1))
        right = 'one more than' if every_frame else 'more than'
        raise ConfigError(f'{where}: frame_index of row {row}', found, f'{right} {before} of the '
                          'row before: rows in the order of the frames, each once; sort the file '
                          'by episode_index and frame_index')  # fmt: skip


def refuse_other_rate(where: str, times: NDArray[np.float64], fps: float) -> None:
    """Refuse frames that are not as far apart as the set says.

    Args:
        where: File and episode.
        times: ``timestamp`` of its rows, (frames,) [s], as they were stored in single precision.
        fps: Frames per second, as the description says.

    Raises:
        ConfigError: Names how far frames are apart, and how far they should be.
    """
    steps = np.diff(times)
    if not len(steps):
        return
    # A time since 1970 in single precision says nothing about a frame.
    coarse = 2.0 * float(np.spacing(np.float32(np.abs(times).max())))
    middle, period = float(np.median(steps)), 1.0 / fps
    if abs(middle - period) > _OFF * period + coarse:
        raise ConfigError(f'{where}: timestamp', f'{middle:.4g} s apart',
                          f'{period:.4g} s, which fps = {fps:g} of meta/info.json says; one of '
                          'both is wrong, and a policy would move by the wrong one')  # fmt: skip
    far = np.flatnonzero(np.abs(steps - middle) > _GAP * period + coarse)
    if len(far):
        row = int(far[0]) + 1
        raise ConfigError(f'{where}: timestamp of row {row}', f'{steps[row - 1]:.4g} s behind the '
                          'one before', f'{period:.4g} s at fps = {fps:g}: frames are missing or '
                          'twice; cut the episode there')  # fmt: skip
