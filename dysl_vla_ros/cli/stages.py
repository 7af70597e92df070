"""Progress of long stages as bars, and what they found as lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class StageBars:
    """One bar per stage; use as a context manager."""

    def __init__(self, console: Console, shown: bool = True) -> None:
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

    def told(self, stage: str, figures: Mapping[str, Any]) -> None:
        """What a stage found."""
        if self._shown:
            shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()
                     if not isinstance(v, dict)}  # fmt: skip
            self._console.print(f'{stage}: {shown}', highlight=False)
