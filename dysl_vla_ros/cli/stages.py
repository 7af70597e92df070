"""Progress of long stages as bars, and what they found as lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dysl_vla_ros.cli.output import Output


class StageBars:
    """One bar per stage; use as a context manager."""

    def __init__(self, console: Output, shown: bool = True) -> None:
        """Prepare.

        Args:
            console: Where to draw.
            shown: False in all but one of several processes.
        """
        self._console, self._shown = console, shown
        self._bars = Progress(
            TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn('{task.fields[figures]}'),
            console=console, disable=not shown,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> StageBars:
        self._bars.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._bars.stop()

    def progress(self, stage: str, step: int, steps: int, figures: Mapping[str, float]) -> None:
        """How far a stage is, and its newest figures."""
        shown = ' '.join(f'{name} {value:.3g}' for name, value in figures.items()
                         if name not in ('step', 'seconds', 'learning_rate', 'norm'))  # fmt: skip
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=steps, figures='')
        self._bars.update(self._tasks[stage], completed=step, total=steps, figures=shown)

    def count(self, stage: str) -> Any:
        """Progress of a stage that only counts: a function of (done, total)."""
        return lambda done, total: self.progress(stage, done, total, {})

    def say(self, text: str) -> None:
        """A line above the bars."""
        if self._shown:
            self._console.say(text)

    def told(self, stage: str, figures: Mapping[str, Any]) -> None:
        """What a stage found."""
        if self._shown:
            shown = ', '.join(f'{name.replace("_", " ")} {_shown(value)}'
                              for name, value in figures.items()
                              if not isinstance(value, dict))  # fmt: skip
            self._console.say(f'{stage}: {shown}')


def listed(numbers: Iterable[object]) -> str:
    """Numbers as one writes them: 0, 3 and 19."""
    words = [str(number) for number in numbers]
    return ' and '.join([', '.join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:.4g}'
    if isinstance(value, (list, tuple)):
        return listed(_shown(one) for one in value) or 'none'
    return str(value)
