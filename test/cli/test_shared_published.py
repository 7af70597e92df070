"""Two processes distil a published folder: whole weights in each, or a share of them (FSDP)."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

for name in ('torch', 'transformers', 'timm', 'pyarrow'):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f'needs {name}', allow_module_level=True)

import torch
from lerobot_files import write_set
from safetensors.torch import load_file
from tiny_oft import ROBOTS, UpstreamOft, save_oft

from dysl_vla_ros.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
SHARES = """
import sys
import torch
from dysl_vla_ros.lab.learn.oft_dense import OftDense
from dysl_vla_ros.lab.workspace import training_device
from dysl_vla_ros.lab.learn.sharding import sharded
from dysl_vla_ros.lab.model.openvla_oft_loader import open_oft
network = open_oft(sys.argv[1], cameras=('image_0',), action_horizon=5).network(
    sharded(training_device('cpu')))
OftDense(network, placed=True)
kept = sum(p.to_local().numel() for p in network.parameters())
print('kept', kept / sum(p.numel() for p in network.parameters()))
"""


def together(*command):
    """Run a command in two processes, as torchrun does; returns what each said."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        environment = {
            **os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT), 'WORLD_SIZE': '2',
            'LOCAL_WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port),
            'RANK': str(rank), 'LOCAL_RANK': str(rank),
        }  # fmt: skip
        processes.append(subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=environment))  # fmt: skip
    said = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return said


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp('shared')
    save_oft(UpstreamOft(4, **ROBOTS['bridge']), folder / 'published')
    write_set(folder / 'set', video=False, cameras=('image_0',), state=7, fps=5)
    return folder


def test_weights_in_shares_distil_as_whole_ones_do(published):
    found = {}
    for kind in ('whole', 'shares'):
        out = published / kind
        said = together(
            '-m', 'dysl_vla_ros.cli.main', 'distill', str(published / 'published'), '--dataset',
            str(published / 'set'), '--out', str(out), '--adapter-steps', '4',
            '--controller-steps', '4', '--batch', '2', '--device', 'cpu',
            *(['--shard'] if kind == 'shares' else []))  # fmt: skip
        assert 'memory of cpu' in said[0]
        found[kind] = load_file(out / 'skipping.safetensors')
    assert found['whole'].keys() == found['shares'].keys()
    for name, tensor in found['whole'].items():
        torch.testing.assert_close(found['shares'][name], tensor, atol=1e-4, rtol=1e-3)


def test_a_process_keeps_its_share_alone(published):
    said = together('-c', SHARES, str(published / 'published'))
    for text in said:
        kept = next(float(line.split()[1]) for line in text.splitlines() if 'kept' in line)
        assert 0.4 < kept < 0.6


def test_one_process_has_nothing_to_share(published, capsys):
    call = ['--dataset', str(published / 'set'), '--device', 'cpu', '--shard']
    assert main(['calibrate', str(published / 'published'), *call]) == 2
    assert 'torchrun --nproc-per-node' in capsys.readouterr().err
