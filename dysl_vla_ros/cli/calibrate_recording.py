"""Where ``dysl calibrate`` keeps its recording of a bundle until it is complete."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
    from dysl_vla_ros.lab.guidance.kept_recording import KeptRecording

_CHOSEN = ('mode', 'exit_layer', 'exit_by_instruction')
"""Of a calibration: what a recording, always of mode ``auto``, does not depend on."""


def kept_recording(options: EvaluateOptions, folder: Path) -> KeptRecording:
    """What an interrupted run left that recorded under the bundle's guidance, or wrote it.

    Args:
        options: What is recorded.
        folder: Of the results.
    """
    from dysl_vla_ros.lab.guidance.kept_recording import KeptRecording

    wrote = _place(options, folder, written=True)
    return KeptRecording(wrote if wrote.is_file() else _place(options, folder, written=False))


def keep_as_written(kept: KeptRecording, options: EvaluateOptions, folder: Path) -> None:
    """The guidance that the bundle has now came of this recording: whoever goes on finds it."""
    kept.move(_place(options, folder, written=True))


def _place(options: EvaluateOptions, folder: Path, written: bool) -> Path:
    from dysl_vla_ros.lab.evaluation.evaluate import about
    from dysl_vla_ros.lab.evaluation.ledger import waiting_place

    facts = about(options)
    guidance = {name: value for name, value in facts['bundle']['calibration'].items()
                if name not in _CHOSEN}  # fmt: skip
    bundle = {key: facts['bundle'][key] for key in ('files', 'static_layers')}
    named = {**facts, 'bundle': bundle, 'written' if written else 'under': guidance,
             'episodes': [asdict(spec) for spec in options.specs()]}  # fmt: skip
    return waiting_place('recording', named, folder)
