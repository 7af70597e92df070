"""Films of the episodes of an evaluation: which ones, where, and no more than were asked for.

What draws them is imported once a film is wanted: an evaluation without needs no Pillow.
"""

from __future__ import annotations

import multiprocessing
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.film import Film
from dysl_vla_ros.targets import folder_target

VideoOf = Literal['failures', 'all']
VIDEO_OF: tuple[VideoOf, ...] = get_args(VideoOf)
VIDEO_KINDS = ('mp4', 'gif', 'png')
_ENDS = ('lost', 'won')
_UNSAFE = re.compile(r'[^A-Za-z0-9.=]+')


@dataclass(frozen=True)
class Videos:
    """What is filmed of an evaluation.

    Attributes:
        folder: Where the films go; one that holds anything else is refused.
        of: ``failures``, or ``all`` episodes.
        limit: Most films in the folder; failures come first come, first served.
        kind: ``mp4``, ``gif``, or ``png``: a sheet.
    """

    folder: Path
    of: VideoOf = 'failures'
    limit: int = 50
    kind: str = 'mp4'

    def __post_init__(self) -> None:
        """Check ranges and choices."""
        if self.of not in VIDEO_OF:
            raise ConfigError('--video-of', self.of, 'one of ' + ', '.join(VIDEO_OF))
        if self.kind not in VIDEO_KINDS:
            raise ConfigError('--video-kind', self.kind, 'one of ' + ', '.join(VIDEO_KINDS))
        if self.limit < 1:
            raise ConfigError('--video-limit', self.limit, 'at least 1')

    def check(self) -> None:
        """Refuse the folder before the first episode is played.

        Raises:
            ConfigError: It holds something that is no film of ours, or cannot be written; or the
                library that writes this kind is missing.
        """
        from dysl_vla_ros.lab.evaluation.film_video import need_encoder

        folder_target('--videos', self.folder, _only_films, 'one with nothing but films of dysl')
        if self.kind == 'mp4':
            need_encoder('--video-kind', self.kind, 'gif')

    def wants(self, success: bool) -> bool:
        """Whether an episode with this end is filmed."""
        return self.of == 'all' or not success

    def place(self, episode: str, row: str, success: bool) -> Path:
        """The file of an episode in a row of the table: ``1000003-push-auto-lost.mp4``."""
        name = f'{episode}-{_UNSAFE.sub("_", row)}-{_ENDS[success]}.{self.kind}'
        return self.folder.expanduser() / name

    def count(self) -> int:
        """Films in the folder."""
        folder = self.folder.expanduser()
        return sum(map(_named_so, folder.iterdir())) if folder.is_dir() else 0


class Shelf:
    """The folder's places, shared by all workers."""

    def __init__(self, videos: Videos, taken: Any) -> None:
        """Write into the folder of ``videos``.

        Args:
            videos: What is asked for.
            taken: ``taken_places``.
        """
        self._videos, self._taken = videos, taken

    def open_for(self, episode: str, row: str, success: bool) -> bool:
        """Whether this episode is to be filmed; then it has a place."""
        if not self._videos.wants(success):
            return False
        if any(self._videos.place(episode, row, end).is_file() for end in (False, True)):
            return True  # one of the same name is replaced
        with self._taken.get_lock():
            if self._taken.value >= self._videos.limit:
                return False
            self._taken.value += 1
        return True

    def put(self, episode: str, row: str, film: Film) -> None:
        """Write a film; one of the same episode that ended otherwise goes.

        Raises:
            ConfigError: A file that is not ours is in its place.
            OSError: The disk is full.
        """
        from dysl_vla_ros.lab.evaluation.film_pictures import is_film, write_film

        success = bool(film.success)
        write_film(self._videos.place(episode, row, success), film, '--videos')
        other = self._videos.place(episode, row, not success)
        if other.is_file() and is_film(other):
            other.unlink()


def taken_places(videos: Videos) -> Any:
    """How many films there are, as a number that processes share."""
    return multiprocessing.get_context('spawn').Value('i', videos.count())


def _named_so(path: Path) -> bool:
    return path.suffix.removeprefix('.') in VIDEO_KINDS and not path.name.startswith('.')


def _only_films(folder: Path) -> bool:
    """Whether nothing but films of ours is there; what a killed run left half written counts."""
    from dysl_vla_ros.lab.evaluation.film_pictures import is_film

    shown = [path for path in folder.iterdir() if not path.name.startswith('.')]
    return all(_named_so(path) and path.is_file() and is_film(path) for path in shown)
