"""The folder of a run of training or calibration, told from others without torch."""

from __future__ import annotations

from pathlib import Path

REPORT = 'report.json'
START = 'start.safetensors'
"""What took the place of a run's first training."""
MARK = '.dysl_run'
"""A file in every folder that a run writes into: others are not touched."""


def is_workspace(folder: Path) -> bool:
    """Whether an earlier run wrote into this folder."""
    return (folder / MARK).is_file() or (folder / REPORT).is_file()
