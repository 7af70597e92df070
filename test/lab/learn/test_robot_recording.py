"""Chunks along held-out episodes, as the calibration wants them."""

from __future__ import annotations

import numpy as np
import torch
from lerobot_files import write_set

from dysl_vla_ros.lab.data.robot_samples import load_robot_samples, read_set
from dysl_vla_ros.lab.data.set_choice import SetChoice
from dysl_vla_ros.lab.learn.robot_policy import fresh
from dysl_vla_ros.lab.learn.robot_recording import displacements, record_held_out

TOY = {'layers': 4, 'width': 32, 'head_dim': 16, 'stem_channels': (8, 8, 8),
       'auxiliary_layer': 1}  # fmt: skip


def opened(tmp_path):
    folder = write_set(tmp_path / 'set', state=7, action=7, names=[*'abcdef', 'gripper'],
                       video=False, lengths=(16, 17, 14), tasks=('go',))  # fmt: skip
    data, reading, rows = read_set(str(folder), SetChoice(horizon=8))
    samples = load_robot_samples(data, reading, rows)
    return fresh(samples.training, reading, TOY, 0), reading, samples


def test_half_a_chunk_passes_between_two_passes_of_an_episode(tmp_path):
    checkpoint, reading, samples = opened(tmp_path)
    (passes,) = record_held_out(checkpoint, reading, samples, torch.device('cpu'))
    assert len(passes) == -(-samples.held_out.frames // 4)
    assert all(entry.played == 4 and entry.chunk.shape == (8, 7) for entry in passes)


def test_an_arm_that_stands_still_is_displaced_by_nothing_and_its_opening_is_no_step(tmp_path):
    checkpoint, reading, samples = opened(tmp_path)
    data = samples.held_out
    from dysl_vla_ros.lab.data.demonstrations import normalise

    stood = normalise(data.proprioception[3], checkpoint.statistics.proprioception)
    chunk = np.repeat(stood[None], 8, axis=0).astype(np.float32)
    found = displacements(checkpoint, reading, chunk, data, 3)
    np.testing.assert_allclose(found[:, :6], 0.0, atol=1e-5)
    opening = 2.0 * data.proprioception[3, 6] - 1.0
    np.testing.assert_allclose(found[:, 6], opening, atol=1e-5)
