"""Controllers and adapters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.checkpoint import load_checkpoint
from dysl_vla_ros.lab.model.skipping import Adapter, Controller, SkipModules
from dysl_vla_ros.lab.model.skipping_file import load_skipping

LAYOUT = LayerLayout(6, (0, 3, 5))


def test_an_adapter_starts_as_the_identity() -> None:
    hidden = torch.randn(2, 5, 32)
    assert torch.equal(Adapter(32, 2)(hidden), hidden)


def test_a_controller_starts_undecided_and_gives_one_score_per_sample() -> None:
    score = Controller(32)(torch.randn(4, 5, 32))
    assert score.shape == (4,)
    assert torch.allclose(score, torch.full((4,), 0.5), atol=0.05)


def test_masked_tokens_do_not_move_the_score() -> None:
    controller = Controller(32)
    torch.nn.init.normal_(controller.outer.weight)
    hidden, mask = torch.randn(1, 5, 32), torch.tensor([[1, 1, 1, 0, 0]])
    changed = hidden.clone()
    changed[:, 3:] += 5.0
    assert torch.allclose(controller(hidden, mask), controller(changed, mask))
    assert not torch.allclose(controller(hidden), controller(changed))


def test_only_dynamic_layers_have_skipping_parts() -> None:
    modules = SkipModules(LAYOUT, 32)
    assert list(modules.controllers) == list(modules.adapters) == ['1', '2', '4']
    assert modules.rank == 2


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({'x': torch.zeros(1)}, tmp_path / 'other.safetensors')
    with pytest.raises(BundleError, match='kind'):
        load_checkpoint(tmp_path / 'other.safetensors')


def test_a_file_of_controllers_that_is_not_there_is_asked_of_the_command_that_writes_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(BundleError, match='as dysl distill writes them'):
        load_skipping(tmp_path / 'none', 'x', 6, lambda layout, rank: SkipModules(layout, 32))
