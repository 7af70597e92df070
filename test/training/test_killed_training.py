"""A training whose process is killed loses at most the time since it was saved last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

import tiny_dataset

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.model.checkpoint import load_checkpoint, load_tensors


def arguments(folder, out):
    return ['train', '--dataset', str(folder), '--out', str(out), '--preset', 'toy', '--device',
            'cpu', '--steps', '60', '--ground-steps', '2', '--batch', '4', '--layers', '4',
            '--save-every', '0.001', '--free-motion', '1']  # fmt: skip


def saved_step(path):
    """The step of the state, which must be whole whenever there is one; 0 without."""
    try:
        return load_tensors(path)[1]['step']
    except BundleError:
        return 0


def test_a_killed_training_goes_on_and_ends_where_it_would_have(tmp_path):
    torch.set_num_threads(1)
    folder = tiny_dataset.write_dataset(tmp_path / 'data')
    out = tmp_path / 'killed'
    state = out / 'train.state.safetensors'
    child = subprocess.Popen(
        [sys.executable, '-m', 'dysl_vla_ros.cli.main', *arguments(folder, out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 200
        while saved_step(state) < 3 and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert 3 <= saved_step(state) < 60
    assert not (out / 'dense.safetensors').exists()
    assert main(arguments(folder, out)) == 0
    assert not state.exists()
    assert main(arguments(folder, tmp_path / 'whole')) == 0
    killed, whole = (load_checkpoint(tmp_path / name / 'dense.safetensors').network
                     for name in ('killed', 'whole'))  # fmt: skip
    for (name, a), b in zip(whole.named_parameters(), killed.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-3), name
