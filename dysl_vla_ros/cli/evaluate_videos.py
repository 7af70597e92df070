"""The part of ``dysl evaluate`` that films episodes."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dysl_vla_ros.cli.inputs import need
from dysl_vla_ros.cli.values import COUNT
from dysl_vla_ros.errors import ConfigError

if TYPE_CHECKING:
    from dysl_vla_ros.lab.evaluation.videos import Videos

_OF = ('failures', 'all')
_KINDS = ('mp4', 'gif', 'png')


def add_videos(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group('videos', 'each pass with its picture, the layers that ran '
                                      'and continuity')  # fmt: skip
    group.add_argument('--videos', type=Path, metavar='FOLDER', help='film episodes into this '
                       'folder, a file for each; default: none')  # fmt: skip
    group.add_argument('--video-of', choices=_OF, help='default: failures')
    group.add_argument('--video-limit', type=COUNT, help='most films in the folder; default: 50')
    group.add_argument('--video-kind', choices=_KINDS,
                       help='a video (extra film), an animation, or a sheet to look at; default: '
                       'mp4')  # fmt: skip


def videos_of(given: argparse.Namespace) -> Videos | None:
    """What is to be filmed, its folder looked at.

    Raises:
        ConfigError: Options without a folder, or a folder with something else in it.
        ModuleNotFoundError: Pillow is missing.
    """
    named = {'of': given.video_of, 'limit': given.video_limit, 'kind': given.video_kind}
    chosen = {name: value for name, value in named.items() if value is not None}
    if given.videos is None:
        for name, value in chosen.items():
            raise ConfigError(f'--video-{name}', value, '--videos FOLDER beside it')
        return None
    need('compressed', 'PIL')
    from dysl_vla_ros.lab.evaluation.videos import Videos

    found = Videos(given.videos, **chosen)
    found.check()
    return found


def filmed(videos: Videos, episodes: Iterable[tuple[str, str, bool]]) -> str:
    """How many films there are, in one line.

    Args:
        videos: What was asked for.
        episodes: Name, row and success of each.
    """
    wanted = [one for one in episodes if videos.wants(one[2])]
    there = sum(videos.place(*one).is_file() for one in wanted)
    what = 'failures' if videos.of == 'failures' else 'episodes'
    text = f'films of {there} of {len(wanted)} {what} in {videos.folder}'
    if there < len(wanted):
        text += (f'; the others are beyond --video-limit {videos.limit}, were kept from an '
                 'earlier run, or the model never ran')  # fmt: skip
    return text
