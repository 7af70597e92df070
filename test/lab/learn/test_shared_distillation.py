"""Two processes that distil together end with the same weights, made of both their frames."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import os, sys
import torch
from accelerate import PartialState
from torch import nn
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.lab.learn.distill import DistillSettings, distill
from dysl_vla_ros.lab.model.skipping import SkipModules

class Dense:
    layers_total, slots, device = 4, slice(-2, None), torch.device('cpu')
    def __init__(self):
        torch.manual_seed(0)
        self._layers = [nn.Linear(8, 8) for _ in range(4)]
    def encode(self, batch):
        return batch
    def layer(self, index, hidden):
        return hidden + torch.tanh(self._layers[index](hidden))
    def head(self, hidden):
        return hidden[:, -2:]

torch.set_num_threads(1)
rank = PartialState(cpu=True).process_index if 'RANK' in os.environ else int(sys.argv[1])
def frames():
    generator = torch.Generator().manual_seed(7 + rank)
    while True:
        yield torch.randn(4, 5, 8, generator=generator)
torch.manual_seed(1)
modules = SkipModules(LayerLayout(4, (0, 3)), 8, 2)
settings = DistillSettings(adapter_steps=6, controller_steps=6, task_share=0.0)
distill(Dense(), modules, frames(), settings, shared=True)
print('weights', rank, sum(float(p.double().abs().sum()) for p in modules.parameters()))
"""


def started(rank, environment):
    return subprocess.Popen(
        [sys.executable, '-c', SCRIPT, str(rank)], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT), **environment},
    )  # fmt: skip


def weights(process):
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return next(float(line.split()[2]) for line in said.splitlines() if 'weights' in line)


@pytest.mark.timeout(180)
def test_two_processes_share_one_distillation():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    common = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port), 'WORLD_SIZE': '2',
              'LOCAL_WORLD_SIZE': '2'}  # fmt: skip
    both = [started(rank, {**common, 'RANK': str(rank), 'LOCAL_RANK': str(rank)})
            for rank in range(2)]  # fmt: skip
    found = [weights(process) for process in both]
    alone = [weights(started(rank, {})) for rank in range(2)]
    assert found[0] == found[1]
    assert alone[0] != alone[1] and found[0] not in alone
