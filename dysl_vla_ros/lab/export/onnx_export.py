"""Checkpoint of the bundled policy -> bundle, in one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.lab.export.onnx_files import FileSettings
from dysl_vla_ros.lab.export.small_parts import SmallParts
from dysl_vla_ros.lab.export.write_bundle import ExportSettings, Precision, Progress, write_bundle
from dysl_vla_ros.lab.model.checkpoint import Checkpoint
from dysl_vla_ros.lab.model.robot_contract import RobotContract


def export_bundle(
    checkpoint: Checkpoint,
    folder: Path,
    name: str,
    robot: RobotContract | None = None,
    half_weights: bool = True,
    progress: Progress | None = None,
    precision: Precision = 'fp32',
    references: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Write a bundle; ``folder`` appears complete or not at all.

    Args:
        checkpoint: Distilled; see ``lab.learn.distill``.
        folder: Replaced when it exists.
        name: Of the model, for people.
        robot: Meaning of the actions; the bundled arm's by default.
        half_weights: With ``fp32``, store weights as float16 all the same: the checkpoint does
            so, too, and the file is half as long.
        progress: Called with (graphs written, graphs, newest name).
        precision: What the graphs compute in.
        references: As ``write_bundle``.

    Raises:
        ConfigError: The checkpoint has no controllers and adapters yet.
    """
    files = FileSettings(half_weights=half_weights and precision == 'fp32')
    settings = ExportSettings(precision, files)
    return write_bundle(
        SmallParts(checkpoint, robot), folder, name, settings, progress, references=references
    )
