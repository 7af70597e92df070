"""Where a run of training keeps its files, and whom it tells what it finds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.folders import MARK, REPORT, is_workspace
from dysl_vla_ros.targets import folder_target, write_whole

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Called with (stage, step, steps, newest figures)."""


def _silent(stage: str, step: int, steps: int, figures: Mapping[str, float]) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Workspace:
    """One run in one folder.

    Attributes:
        folder: Of resumable states; what is found there is continued.
        results: Of checkpoints, plots and the report.
        device: Where this process computes.
        progress: Told how far each stage is.
        told: Told what each stage found, beside the report.
        report: What was found so far.
    """

    folder: Path
    results: Path
    device: torch.device
    progress: Progress = _silent
    told: Callable[[str, Mapping[str, Any]], None] | None = None
    report: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the folders; go on with the report of an earlier run.

        Raises:
            ConfigError: One is not a folder of an earlier run, and not empty.
        """
        for folder in dict.fromkeys((self.folder, self.results)):
            if self.main:
                folder_target('folder', folder, is_workspace, 'the folder of an earlier run')
                write_whole(folder / MARK, b'Written by the training and calibration of dysl.\n')
            folder.mkdir(parents=True, exist_ok=True)
        path = self.results / REPORT
        if path.is_file():
            found = json.loads(path.read_text('utf-8'))
            self.report.update({k: v for k, v in found.items() if k not in self.report})

    @property
    def main(self) -> bool:
        """Whether this process is the one, of several, that writes files."""
        return bool(PartialState().is_main_process)

    @property
    def process(self) -> int:
        """Number of this process, of several that train together."""
        return int(PartialState().process_index)

    def note(self, stage: str, **figures: Any) -> None:
        """Keep what a stage found in ``report.json``, written atomically."""
        if not self.main:
            return
        self.report[stage] = figures
        self.write(REPORT, self.report)
        if self.told is not None:
            self.told(stage, figures)

    def say(self, text: str) -> None:
        """A line for whoever watches: of several processes one says it."""
        if self.main:
            print(text, flush=True)

    def write(self, name: str, document: Any) -> None:
        """Write a JSON document into the results, atomically."""
        if not self.main:
            return
        text = json.dumps(document, indent=1, default=str) + '\n'
        write_whole(self.results / name, text.encode())


def training_device(name: str = '') -> torch.device:
    """The device of this process; of several processes each takes the GPU of its own number.

    Raises:
        ConfigError: The device is not on this machine.
    """
    if not name:
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cpu':
        PartialState(cpu=True)  # else it leaves the processes of a CPU apart
    if name == 'cuda':
        name = f'cuda:{PartialState().local_process_index}'
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError('device', name, f'cpu, or a GPU of this machine ({error})') from None
    if device.type == 'cuda':
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision('high')
    return device
