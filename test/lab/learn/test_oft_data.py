"""A data set's frames reach the network as the robot's observations do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from lerobot_files import picture, write_set
from tiny_oft import ROBOTS, UpstreamOft, save_oft
from tokenizers import Tokenizer

from dysl_vla_ros.data_types import LayerLayout, Observation
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.lerobot import open_lerobot
from dysl_vla_ros.lab.export.oft_parts import OftExport, OftRobot
from dysl_vla_ros.lab.export.write_bundle import ExportSettings, manifest_of
from dysl_vla_ros.lab.learn.oft_data import Choice, check_fits, load_oft_samples
from dysl_vla_ros.lab.learn.oft_distilling import _steps
from dysl_vla_ros.lab.learn.static_layers import read_layers
from dysl_vla_ros.lab.model.openvla_oft_loader import open_oft
from dysl_vla_ros.lab.model.published_settings import settle
from dysl_vla_ros.policy import Policy

pytest.importorskip('transformers', reason='needs transformers')
KEYS = {'libero': 'libero_spatial_no_noops', 'aloha': ROBOTS['aloha']['key']}


def opened(robot, folder):
    torch.set_num_threads(1)
    save_oft(UpstreamOft(2, **ROBOTS[robot]), folder)
    dims = (14, 14) if robot == 'aloha' else (7, 8)
    settings = settle(KEYS[robot], {}, *dims)
    checkpoint = open_oft(
        folder, cameras=settings.cameras, action_horizon=settings.horizon, prompt_tokens=24,
        bounds=settings.bounds, units=settings.units,
    )  # fmt: skip
    return checkpoint, settings


@pytest.mark.parametrize('turned', [False, True])
def test_a_frame_is_what_the_policy_makes_of_the_same_observation(tmp_path, turned):
    checkpoint, settings = opened('libero', tmp_path / 'oft')
    folder = write_set(tmp_path / 'set', video=False, cameras=('image', 'wrist_image'))
    data = open_lerobot(folder)
    found = load_oft_samples(data, checkpoint, settings, Choice(turned=turned))
    assert len(found.tokens) == data.frames == 14
    robot = OftRobot(
        (),
        space=settings.space,
        rotate_180=settings.rotate_180 and not turned,
        source=settings.source,
        fingers=settings.fingers,
        state_gripper=True,
    )
    export = OftExport(checkpoint, None, robot)
    manifest = manifest_of(export, 'x', ExportSettings(), '')
    policy = Policy(None, manifest, Tokenizer.from_str(checkpoint.tokenizer))
    row, episode, frame = 9, 1, 3
    state = np.random.default_rng(episode).uniform(-0.3, 0.3, (8, 8))[frame]
    # The fingers of the made-up state belong to no opening: they are compared apart.
    seen = Observation(
        0.0, {name: picture(episode, frame, camera, 64)
              for camera, name in enumerate(('image', 'wrist_image'))},
        state[:6], 0.0, 'put it on the plate',
    )  # fmt: skip
    inputs, batch = policy.prepare(seen), found.batch([row])
    for images, name in zip(batch.images, ('image', 'wrist_image'), strict=True):
        np.testing.assert_allclose(images.numpy(), inputs[name], atol=1e-6)
    np.testing.assert_array_equal(batch.tokens.numpy(), inputs['tokens'])
    np.testing.assert_allclose(batch.proprioception.numpy()[:, :6],
                               inputs['proprioception'][:, :6], atol=1e-5)  # fmt: skip
    assert (int(found.episode[row]), int(found.number[row])) == (episode, frame)


def test_frames_are_spread_evenly_and_actions_are_in_metres(tmp_path):
    checkpoint, settings = opened('libero', tmp_path / 'oft')
    data = open_lerobot(write_set(tmp_path / 'set', video=False, fps=20,
                                  cameras=('image', 'wrist_image')))  # fmt: skip
    choice = Choice(turned=True, actions=True, frames=7)
    found = load_oft_samples(data, checkpoint, settings, choice)
    assert found.number.tolist() == [1, 3, 5, 1, 3, 5, 7]
    assert found.chunk.shape == (7, 8, 7)
    actions = np.random.default_rng(1)
    actions.uniform(-0.3, 0.3, (8, 8))
    last = actions.uniform(-0.5, 0.5, (8, 7))[-1] * settings.units
    low, high = (np.array(getattr(checkpoint.action, side)) for side in ('low', 'high'))
    wanted = np.where(checkpoint.action.mask, 2 * (last - low) / (high - low) - 1, last)
    np.testing.assert_allclose(found.chunk[-1].numpy(), np.tile(wanted, (8, 1)), atol=1e-5)


def test_other_names_of_columns_are_found(tmp_path):
    """Sets converted for openpi say image, state and actions; others observation.image."""
    checkpoint, settings = opened('libero', tmp_path / 'oft')
    folder = write_set(tmp_path / 'set', 'v2.1', video=False, fps=20, names={'motors': ['a'] * 8},
                       cameras=('image', 'wrist_image'))  # fmt: skip
    plain = {
        'observation.images.image': 'image',
        'observation.state': 'state',
        'observation.images.wrist_image': 'observation.image',
        'action': 'actions',
    }
    info = json.loads((folder / 'meta/info.json').read_text())
    info['features'] = {plain.get(k, k): v for k, v in info['features'].items()}
    (folder / 'meta/info.json').write_text(json.dumps(info))
    for path in folder.glob('data/*/*.parquet'):
        table = pq.read_table(path)
        pq.write_table(table.rename_columns([plain.get(n, n) for n in table.column_names]), path)
    choice = Choice({'wrist_image': 'observation.image'}, turned=True, actions=True)
    found = load_oft_samples(open_lerobot(folder), checkpoint, settings, choice)
    assert found.chunk.shape == (14, 8, 7) and found.proprioception.shape == (14, 8)


def test_a_set_of_another_rate_gives_no_actions_but_all_the_rest(tmp_path):
    checkpoint, settings = opened('libero', tmp_path / 'oft')
    data = open_lerobot(write_set(tmp_path / 'set', video=False, fps=30,
                                  cameras=('image', 'wrist_image')))  # fmt: skip
    check_fits(data, checkpoint, settings, Choice(turned=True))
    with pytest.raises(ConfigError, match='a rate of 20 Hz, at which the model acts: its is 30'):
        check_fits(data, checkpoint, settings, Choice(turned=True, actions=True))


def test_absolute_joints_are_differenced_from_those_that_were_measured(tmp_path):
    checkpoint, settings = opened('aloha', tmp_path / 'oft')
    state = np.full(14, 0.25)  # of +-2: 0.5 rad
    chunk = np.stack([np.full(14, 0.3), np.full(14, 0.4)])
    found = _steps(chunk, state.astype(np.float32), checkpoint, settings)
    np.testing.assert_allclose(found, [[0.05] * 14, [0.1] * 14], atol=1e-6)
    delta = replace(settings, space='joint_delta')
    np.testing.assert_array_equal(_steps(chunk, state, checkpoint, delta), chunk)


@pytest.mark.parametrize('text', ['{', '{"layers_total": 4}', '{"layers_total": 3, "static": [0]}',
                                  '{"layers_total": 4, "static": [0, 9]}'])  # fmt: skip
def test_another_file_in_place_of_the_layers_is_refused(tmp_path, text):
    path = tmp_path / 'layers.json'
    path.write_text(text)
    with pytest.raises(ConfigError, match='of a model of 4 layers'):
        read_layers(path, 4)
    path.write_text('{"layers_total": 4, "static": [0, 3]}')
    assert read_layers(path, 4) == LayerLayout(4, (0, 3))
    for text in ('{"layers_total": 4, "static": [false, true, 3]}',
                 '{"layers_total": 4, "static": [0, 1, 3], "static": [0, 3]}'):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ConfigError, match='of a model of 4 layers'):
            read_layers(path, 4)
