"""Which layers ran, pass by pass: layers downwards, time to the right, two layers per cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

_CELLS = {(False, False): '·', (True, False): '▀', (False, True): '▄', (True, True): '█'}
_COLOURS = {'skipped': 'cyan', 'full': 'yellow', 'rerun': 'magenta'}
_LETTERS = {'full': 'F', 'rerun': 'R'}
_PHASES = 'phase '


@dataclass(frozen=True)
class PassSeen:
    """One pass, as ``~/chunk_info`` tells of it.

    Attributes:
        mask: '1' for each layer that ran, '0' for each that did not.
        mode: ``full``, ``skipped`` or ``rerun``.
        phase: What the arm was doing; '' where nobody says.
    """

    mask: str
    mode: str
    phase: str = ''


def heat_map(passes: Sequence[PassSeen], columns: int, colour: bool = True) -> Text:
    """The newest passes at the right; the last row names phases where they begin.

    Args:
        passes: Oldest first, all with as many layers.
        columns: Width in cells, the labels' six included.
        colour: False adds letters for full passes and re-runs, which colours tell else.
    """
    shown = list(passes)[-(max(columns, 8) - len(_PHASES)) :]
    text = Text(no_wrap=True)
    layers = len(shown[-1].mask) if shown else 0
    shown = [item for item in shown if len(item.mask) == layers]
    masks = [_ran(item) for item in shown]
    for top in range(0, layers, 2):
        text.append(f'{top:5d} ', 'dim')
        for item, mask in zip(shown, masks, strict=True):
            pair = mask[top] == '1', mask[top + 1 : top + 2] == '1'
            text.append(_CELLS[pair], _COLOURS.get(item.mode, 'white') if any(pair) else 'dim')
        text.append('\n')
    if shown and not colour:
        text.append('pass  ', 'dim')
        text.append(''.join(_LETTERS.get(item.mode, ' ') for item in shown) + '\n')
    if any(item.phase for item in shown):
        text.append(_PHASES, 'dim')
        text.append(_phase_row(shown))
    elif shown:
        text.right_crop(1)
    return text


def _ran(item: PassSeen) -> str:
    """Its mask; a re-run goes on from the pass before, whose first layers are its own too."""
    jumped = item.mask.find('1') if item.mode == 'rerun' else 0
    return '1' * jumped + item.mask[jumped:] if jumped > 0 else item.mask


def _phase_row(passes: Sequence[PassSeen]) -> str:
    """Each phase's name where it begins, as far as there is room before the next."""
    row, before = '', ''
    for index, item in enumerate(passes):
        if item.phase != before:
            row = row[: max(index - 1, 0)].ljust(index) + item.phase
            before = item.phase
    return row[: len(passes)]
