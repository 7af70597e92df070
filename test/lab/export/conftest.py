"""A small distilled policy, exported once in each precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_checkpoint import make_checkpoint

from dysl_vla_ros.lab.export.onnx_files import FileSettings
from dysl_vla_ros.lab.export.small_parts import SmallParts
from dysl_vla_ros.lab.export.write_bundle import ExportSettings, write_bundle
from dysl_vla_ros.lab.model.checkpoint import Checkpoint


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A dozen graphs take half a minute, and on a busy machine ten times as long."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope='session')
def checkpoint() -> Checkpoint:
    torch.set_num_threads(1)
    return make_checkpoint()


@pytest.fixture(scope='session')
def fp32_bundle(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights inside the graphs."""
    folder = tmp_path_factory.mktemp('bundles') / 'fp32'
    write_bundle(SmallParts(checkpoint), folder, 'small')
    return folder


@pytest.fixture(scope='session')
def fp16_bundle(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights beside the graphs, as a large model has them."""
    folder = tmp_path_factory.mktemp('bundles') / 'fp16'
    settings = ExportSettings('fp16', FileSettings(external_from=1))
    write_bundle(SmallParts(checkpoint), folder, 'small', settings)
    return folder
