"""Chunks along held-out episodes, as the calibration wants them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lerobot_files import write_set
from robot_files import robot_set

from dysl_vla_ros.core.continuity import continuity
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.lab.data.demonstrations import normalise
from dysl_vla_ros.lab.data.robot_samples import load_robot_samples, read_set
from dysl_vla_ros.lab.data.set_choice import SetChoice
from dysl_vla_ros.lab.learn.robot_policy import fresh
from dysl_vla_ros.lab.learn.robot_recording import displacements, record_held_out
from dysl_vla_ros.verified_pass import displacements as on_the_robot

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
    stood = normalise(data.proprioception[3], checkpoint.statistics.proprioception)
    chunk = np.repeat(stood[None], 8, axis=0).astype(np.float32)
    found = displacements(checkpoint, reading, chunk, data, 3)
    np.testing.assert_allclose(found[:, :6], 0.0, atol=1e-5)
    opening = 2.0 * data.proprioception[3, 6] - 1.0
    np.testing.assert_allclose(found[:, 6], opening, atol=1e-5)


JOINTS = ('j1', 'j2', 'j3', 'j4', 'j5', 'j6')
POSE = ('x', 'y', 'z')


@pytest.mark.parametrize(('state', 'action', 'space'), [
    (JOINTS, JOINTS, 'joint_position'),
    ((*POSE, 'roll', 'pitch', 'yaw'), (*POSE, 'roll', 'pitch', 'yaw'), 'eef_pose'),
    ((*POSE, 'rx', 'ry', 'rz'), (*POSE, 'rx', 'ry', 'rz'), 'eef_pose'),
    (JOINTS, (*POSE, 'roll', 'pitch', 'yaw'), 'eef_pose'),
])  # fmt: skip
def test_a_chunk_has_the_continuity_that_it_has_on_the_robot(tmp_path, state, action, space):
    folder = robot_set(tmp_path / 'set', (*state, 'gripper'), (*action, 'gripper'))
    data, reading, rows = read_set(str(folder), SetChoice(space=space))
    samples = load_robot_samples(data, reading, rows)
    checkpoint = fresh(samples.training, reading, TOY, 0)
    held, spec = samples.held_out, checkpoint.robot.displacement
    assert spec is not None
    chunk = normalise(held.chunk[10:11], checkpoint.statistics.action)[0]
    found = displacements(checkpoint, reading, chunk, held, 10)
    manifest = manifest_of(checkpoint, reading, spec)
    seen = held.proprioception[10].astype(float)
    read = Observation(0.0, {}, seen[:6], float(seen[6]), 'touch it')
    wanted = on_the_robot(manifest, chunk.astype(float), read)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.abs(found[:, :6]).max() < 2.0, 'steps are normalised by the range of steps'
    weights = np.ones(7)
    assert continuity(found, 5, weights) == pytest.approx(continuity(wanted, 5, weights), abs=1e-4)


def manifest_of(checkpoint, reading, displacement):
    """What an export writes of the actions and the state."""
    from types import SimpleNamespace

    action = SimpleNamespace(
        space=reading.space, dim=7, gripper=True, displacement=displacement,
        normalisation=checkpoint.statistics.action,
    )  # fmt: skip
    return SimpleNamespace(action=action, proprioception=SimpleNamespace(source=reading.source))
