"""A training whose process is killed loses at most the time since it was saved last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import tiny_dataset
import torch

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab.model.checkpoint import load_checkpoint, load_tensors

KILLED_WHILE_SAVING = """
import os, signal, sys
from dysl_vla_ros.cli.main import main
from dysl_vla_ros import targets

class Os:
    saved = 0
    __getattr__ = lambda self, name: getattr(os, name)

    def replace(self, partial, path):
        # The sixth state is written, but not yet in its place.
        Os.saved += path.name == 'train.state.safetensors'
        if Os.saved == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        os.replace(partial, path)

targets.os = Os()
sys.exit(main(sys.argv[1:]))
"""


def arguments(folder, out):
    return ['train', '--dataset', str(folder), '--out', str(out), '--preset', 'toy', '--device',
            'cpu', '--steps', '12', '--ground-steps', '2', '--batch', '4', '--layers', '4',
            '--save-every', '1e-9', '--free-motion', '1']  # fmt: skip


def test_a_killed_training_goes_on_and_ends_where_it_would_have(tmp_path):
    torch.set_num_threads(1)
    folder = tiny_dataset.write_dataset(tmp_path / 'data')
    out = tmp_path / 'killed'
    state = out / 'train.state.safetensors'
    child = subprocess.run(
        [sys.executable, '-c', KILLED_WHILE_SAVING, *arguments(folder, out)],
        env={**os.environ, 'OMP_NUM_THREADS': '1'}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert load_tensors(state)[1]['step'] == 5
    assert not (out / 'dense.safetensors').exists()
    assert main(arguments(folder, out)) == 0
    assert not state.exists()
    assert main(arguments(folder, tmp_path / 'whole')) == 0
    killed, whole = (load_checkpoint(tmp_path / name / 'dense.safetensors').network
                     for name in ('killed', 'whole'))  # fmt: skip
    for (name, a), b in zip(whole.named_parameters(), killed.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-3), name
