"""A film as pictures: a sheet (PNG), or one picture after the other (MP4, GIF)."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.film import PICTURE, Film, Frame
from dysl_vla_ros.lab.evaluation.film_video import need_encoder, write_video
from dysl_vla_ros.lab.evaluation.plots import PHASE_COLOURS
from dysl_vla_ros.targets import file_target, write_whole

SUFFIXES = ('.mp4', '.gif', '.png')
_OWN = b'dysl film'
"""Stands in each file: somebody else's picture is not overwritten."""
_HEAD = 1 << 18
_MARGIN, _LEFT, _GAP = 14, 74, 10
_CELL = 9
_BAND = 20
_CURVE = 70
_SHOWN = 5
_LAST_S = 1.5
_INK, _PALE, _BLANK, _SKIPPED = '#1c2733', '#75808c', '#ffffff', '#e7ebef'
_RAN = {'skipped': '#2a78b5', 'full': '#e8a33d', 'rerun': '#b8478f'}


def check_target(path: Path, field: str = '--out') -> Path:
    """Refuse a place for a film before the work.

    Args:
        path: As the user gave it.
        field: Name of the option, for the message.

    Raises:
        ConfigError: Another ending, a folder, a link, or a picture that is not a film of ours.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(field, str(path), f'a name that ends in {" or ".join(SUFFIXES)}')
    if path.suffix.lower() == '.mp4':
        need_encoder()
    return file_target(field, path, is_film, 'a film that dysl film made')


def write_film(path: Path, film: Film, field: str = '--out') -> None:
    """Write a sheet or an animation, by the ending of the name.

    Args:
        path: Target; its folder is made.
        film: What it shows.
        field: Name of the option, for the message.

    Raises:
        ConfigError: As ``check_target``; or the model did not run once.
    """
    target = check_target(path, field)
    if not film.frames:
        raise ConfigError('episode', film.instruction, 'one in which the model runs')
    if path.suffix.lower() == '.png':
        note = PngInfo()
        note.add_text('Software', _OWN.decode())
        write_whole(target, partial(sheet(film).save, format='PNG', pnginfo=note, optimize=True))
        return
    times = [frame.time for frame in film.frames] + [film.seconds, film.seconds + _LAST_S]
    shown = [max(20, round(1e3 * (b - a))) for a, b in zip(times[:-1], times[1:], strict=True)]
    instants = (_instant(film, index) for index in range(len(film.frames) + 1))
    if path.suffix.lower() == '.mp4':
        write_whole(target, lambda place: write_video(place, instants, shown, _OWN.decode()))
        return
    pictures = [picture.quantize(128) for picture in instants]
    write_whole(
        target,
        partial(
            pictures[0].save, format='GIF', save_all=True, append_images=pictures[1:],
            duration=shown, loop=0, comment=_OWN,
        ),
    )  # fmt: skip


def sheet(film: Film) -> Image.Image:
    """Some of the frames, the map of layers below them, continuity at the bottom."""
    shown = _chosen(film)
    side = PICTURE * 3 // 4
    width = max(2 * _MARGIN + len(shown) * (side + _GAP) - _GAP, 900)
    out, draw = _paper(width, 44 + side + 26 + _map_height(film))
    draw.text((_MARGIN, 12), _title(film), _INK, _font(18))
    for k, (image, caption) in enumerate(shown):
        x = _MARGIN + k * (side + _GAP)
        out.paste(Image.fromarray(image).resize((side, side)), (x, 44))
        draw.text((x, 48 + side), caption, _INK, _font(13))
    _map(draw, film, (_MARGIN, 44 + side + 26, width - 2 * _MARGIN), len(film.frames))
    return out


def _instant(film: Film, index: int) -> Image.Image:
    """The picture of one pass, and the map up to it."""
    image = film.last if index == len(film.frames) else film.frames[index].image
    width = 760
    out, draw = _paper(width, 44 + PICTURE + 10 + _map_height(film))
    draw.text((_MARGIN, 12), _title(film), _INK, _font(18))
    out.paste(Image.fromarray(image), (_MARGIN, 44))
    frame = film.frames[min(index, len(film.frames) - 1)]
    x = _MARGIN + PICTURE + 2 * _GAP
    for row, text in enumerate(_said(frame)):
        draw.text((x, 52 + 30 * row), text, _INK, _font(17))
    _map(draw, film, (_MARGIN, 44 + PICTURE + 10, width - 2 * _MARGIN), index + 1)
    return out


def _said(frame: Frame) -> tuple[str, ...]:
    smooth = '-' if frame.continuity is None else f'{frame.continuity:.2f}'
    return (
        f'{frame.time:.1f} s   {frame.phase}',
        f'{frame.mask.count("1")} of {len(frame.mask)} layers ({frame.mode})',
        f'continuity {smooth}',
    )


def _map(draw: ImageDraw.ImageDraw, film: Film, place: tuple[int, int, int], shown: int) -> None:
    """Layers downwards, passes to the right; phases above, continuity below."""
    left, top, width = place
    layers = len(film.frames[0].mask)
    step = (width - _LEFT) / len(film.frames)
    gap = 1 if step > 2 else 0
    y = top + _BAND + 2
    draw.text((left, y + layers * _CELL / 2 - 8), 'layers', _PALE, _font(13))
    bottom = y + layers * _CELL + 8
    draw.text((left, bottom + _CURVE / 2 - 8), 'continuity', _PALE, _font(13))
    points: list[tuple[float, float]] = []
    labels: list[tuple[float, str]] = []
    before = ''
    for k, frame in enumerate(film.frames[:shown]):
        x = left + _LEFT + k * step
        draw.rectangle((x, top, x + step, top + _BAND), PHASE_COLOURS.get(frame.phase, _BLANK))
        for layer, bit in enumerate(frame.mask):
            cell = (x, y + layer * _CELL, x + max(step - gap, 0), y + (layer + 1) * _CELL - 2)
            draw.rectangle(cell, _RAN.get(frame.mode, _PALE) if bit == '1' else _SKIPPED)
        if frame.continuity is not None:
            down = min(max(-frame.continuity, 0.0), 2.0) / 2.0 * _CURVE
            points.append((x + step / 2, bottom + down))
        if frame.phase != before:
            labels.append((x + 3, frame.phase))
            before = frame.phase
    for x, phase in labels:  # last, so that no band covers them
        draw.text((x, top + 2), phase, _INK, _font(13))
    if len(points) > 1:
        draw.line(points, '#bd4b1e', 2)
    x = left + _LEFT
    for colour, text in _LEGEND:
        draw.rectangle((x, bottom + _CURVE + 10, x + 12, bottom + _CURVE + 22), colour)
        draw.text((x + 17, bottom + _CURVE + 8), text, _PALE, _font(13))
        x += 30 + int(_font(13).getlength(text))


_LEGEND = (
    (_RAN['skipped'], 'ran'),
    (_SKIPPED, 'jumped'),
    (_RAN['full'], 'full pass: every layer'),
    (_RAN['rerun'], 'continuity dropped: run again'),
)


def _map_height(film: Film) -> int:
    return _BAND + len(film.frames[0].mask) * _CELL + _CURVE + 2 * _MARGIN + 20


def _chosen(film: Film) -> list[tuple[ImageArray, str]]:
    """The pass in the middle of each phase as far as there is room, and the last picture."""
    middles = [
        phase[len(phase) // 2]
        for phase in (list(group) for _, group in groupby(film.frames, lambda f: f.phase))
    ][: _SHOWN - 1]
    if len(middles) == 1:  # no phases are known
        middles = list(film.frames[:: max(1, -(-len(film.frames) // (_SHOWN - 1)))])
    shown = [
        (f.image, f'{f.time:.1f} s{f.phase and ", "}{f.phase}: {f.mask.count("1")} of '
                  f'{len(f.mask)} layers')
        for f in middles
    ]  # fmt: skip
    ended = '' if film.success is None else ': done' if film.success else ': not done'
    return [*shown, (film.last, f'{film.seconds:.1f} s{ended}')]


def _title(film: Film) -> str:
    ran = sum(frame.mask.count('1') for frame in film.frames)
    share = 100 * ran / (len(film.frames) * len(film.frames[0].mask))
    return f'"{film.instruction}": {share:.0f} % of the layers ran'


def _paper(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new('RGB', (width, height), _BLANK)
    return image, ImageDraw.Draw(image)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def is_film(path: Path) -> bool:
    """Whether a file is one that ``write_film`` made."""
    with path.open('rb') as stream:
        return _OWN in stream.read(_HEAD)


def fitted(image: ImageArray | NDArray[np.float32]) -> ImageArray:
    """Into the film's square, its shape kept; values from 0 to 255, fractions are rounded."""
    picture = Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))
    scale = PICTURE / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    out = Image.new('RGB', (PICTURE, PICTURE))
    out.paste(picture.resize(size), ((PICTURE - size[0]) // 2, (PICTURE - size[1]) // 2))
    return np.asarray(out)
