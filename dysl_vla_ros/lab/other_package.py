"""What is asked of another package: an exception of its own is told with the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dysl_vla_ros.errors import DyslError

Answer = TypeVar('Answer')


def answer_of(
    title: str, call: Callable[[], Answer], error: type[DyslError], right: str,
    passes: tuple[type[Exception], ...] = (),
) -> Answer:  # fmt: skip
    """An answer of another package.

    Args:
        title: What errors call the package and the call.
        call: Asks.
        error: What is raised for an exception that is no error of ours.
        right: What would be right, with what comes before it.
        passes: Exceptions that are an answer, too: a stream's end.

    Raises:
        DyslError: It raised; names the call.
    """
    untouched: tuple[type[Exception], ...] = (DyslError, *passes)
    try:
        return call()
    except untouched:
        raise
    except Exception as raised:
        raise error(f'{title} fails: {raised!r}{right}') from raised
