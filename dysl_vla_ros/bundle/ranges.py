"""Ranges that an arm can have: beyond them a unit is wrong, or a file damaged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dysl_vla_ros.bundle.strict_json import expect
from dysl_vla_ros.data_types import ActionSpace

LARGEST_STEP = 10.0
"""What one action can displace a joint or the tip by [rad or m]; arms do less than 1."""
LARGEST_PLACE = 100.0
"""Where a joint or the tip can stand [rad or m]: 15 turns of a joint without limits. Degrees, of
which half a turn has 180, are beyond it."""
PLACE = LARGEST_PLACE, f'within {LARGEST_PLACE:g} rad or m'
"""That, and the same in words."""
LEAST_CROP = 0.01
"""Share of a picture that a centre crop may leave: a tenth of each side."""
_COLOUR, _LEAST_SPREAD = 10.0, 1e-3


def largest_action(space: ActionSpace) -> tuple[float, str]:
    """The largest number of an action [rad or m], and that in words.

    Args:
        space: Increments are bounded per step, targets by where they lie.
    """
    if space.endswith('delta'):
        return LARGEST_STEP, f'within {LARGEST_STEP:g} rad or m a step'
    return PLACE


def check_reach(
    columns: Iterable[tuple[str, Sequence[float]]],
    largest: float,
    words: str,
    size: int | None = None,
) -> None:
    """Refuse bounds of a normalisation that no arm has.

    Args:
        columns: Names and values of the lower and the upper bounds [rad or m].
        largest: What a value may have, up or down.
        words: That as a phrase.
        size: Only so many of the first values are looked at; None is all.

    Raises:
        BundleError: Names column, index, value and what would be right.
    """
    for name, values in columns:
        for index, value in enumerate(values[:size]):
            expect(f'{name}[{index}]', value, abs(value) <= largest, words)


def check_colours(
    name_mean: str, mean: Sequence[float], name_std: str, std: Sequence[float]
) -> None:
    """Refuse what no picture in [0, 1] is normalised with.

    Args:
        name_mean: Of the means, for the message.
        mean: Per channel.
        name_std: Of the deviations.
        std: Per channel.

    Raises:
        BundleError: Names the channel and its value.
    """
    for value in mean:
        expect(
            name_mean, value, abs(value) <= _COLOUR, f'within {_COLOUR:g}, of colours in [0, 1]'
        )
    for value in std:
        expect(name_std, value, _LEAST_SPREAD <= value <= _COLOUR,
               f'within {_LEAST_SPREAD:g} and {_COLOUR:g}, of colours in [0, 1]')  # fmt: skip
