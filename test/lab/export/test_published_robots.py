"""Folders as upstream publishes them for three robots: exported dense by one command, exact."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny_oft import PAD, ROBOTS, UpstreamOft, save_oft
from tokenizers import Tokenizer

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.engines.open_engine import open_engine
from dysl_vla_ros.lab.model.published_statistics import LIBERO_UNITS
from dysl_vla_ros.policy import Policy, load_tokenizer

pytest.importorskip('transformers', reason='needs transformers')


@pytest.fixture(scope='module', params=sorted(ROBOTS))
def robot(request):
    return request.param


@pytest.fixture(scope='module')
def exported(robot, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(robot)
    upstream = UpstreamOft(3, **ROBOTS[robot])
    save_oft(upstream, folder / 'published')
    text = json.loads((folder / 'published/tokenizer.json').read_text())
    text['truncation'] = {'max_length': 4, 'strategy': 'LongestFirst', 'stride': 0,
                          'direction': 'Right'}  # fmt: skip
    (folder / 'published/tokenizer.json').write_text(json.dumps(text))
    assert main(['export', str(folder / 'published'), str(folder / 'bundle')]) == 0
    return upstream, folder


def test_the_dense_bundle_gives_the_actions_of_the_upstream_libraries(exported):
    upstream, folder = exported
    opened = open_engine(str(folder / 'bundle'), 'onnxruntime')
    manifest, random = opened.manifest, np.random.default_rng(1)
    policy = Policy(opened.engine, manifest, load_tokenizer(manifest, opened.tokenizer))
    spec = manifest.proprioception
    images = {c.name: random.integers(0, 256, (28, 28, 3), np.uint8) for c in manifest.cameras}
    gripper = 0.4 if spec.gripper else None
    seen = Observation(0.0, images, random.uniform(-0.4, 0.3, spec.body), gripper,
                       'Pick up the red cube and put it on the plate')  # fmt: skip
    inputs = policy.prepare(seen)
    prompt = torch.tensor([[t for t in inputs['tokens'][0].tolist() if t != PAD]])
    assert prompt.shape[1] > 15  # the tokenizer's own limit of 4 is off
    wanted = upstream.actions(
        [torch.from_numpy(inputs[c.name]) for c in manifest.cameras], prompt,
        torch.from_numpy(inputs['proprioception']),
    )  # fmt: skip
    found, trace = forward(opened.engine, opened.engine.encode(inputs),
                           manifest.layout.full_plan())  # fmt: skip
    np.testing.assert_allclose(opened.engine.decode(found), wanted[0].numpy(), atol=1e-4)
    assert trace.layers_run == (0, 1, 2) and manifest.layout.dynamic_layers == ()


def test_the_contract_is_the_robots(robot, exported):
    manifest = open_bundle(exported[1] / 'bundle').manifest
    action, state = manifest.action, manifest.proprioception
    cameras = manifest.cameras
    assert len(cameras) == {'libero': 2, 'bridge': 1, 'aloha': 3}[robot]
    assert all(camera.rotate_180 == (robot == 'libero') for camera in cameras)
    assert (action.space, action.dim, action.horizon, action.period_s, action.gripper) == {
        'libero': ('eef_delta', 7, 8, 0.05, True), 'bridge': ('eef_delta', 7, 5, 0.2, True),
        'aloha': ('joint_position', 14, 25, 0.04, True),
    }[robot]  # fmt: skip
    assert (state.source, state.dim, state.body, state.gripper) == {
        'libero': ('eef_axis_angle', 8, 6, True), 'bridge': ('eef_rpy', 7, 6, True),
        'aloha': ('joints', 14, 13, True),
    }[robot]  # fmt: skip
    high = {'libero': 0.94 * LIBERO_UNITS[0], 'bridge': 0.02, 'aloha': 2.0}[robot]
    assert action.normalisation.high[0] == pytest.approx(high)
    assert manifest.instruction.tokens == 40
    assert action.gripper_threshold == (None if robot == 'aloha' else 0.5)


def test_a_bundle_of_one_robot_is_verified_against_its_folder(robot, exported, capsys):
    folder = exported[1]
    against = ['--against', str(folder / 'published')]
    assert main(['verify', str(folder / 'bundle'), *against, '--observations', '1']) == 0
    assert 'within the budget' in capsys.readouterr().out
    if robot == 'bridge':
        call = ['bench', '--engine', str(folder / 'bundle'), '--runs', '2', '--count', '2']
        assert main([*call, '--warm-up', '0']) == 0


def test_an_unknown_key_asks_for_everything_that_is_missing_at_once(tmp_path, capsys):
    shape = {**ROBOTS['bridge'], 'key': 'my_robot'}
    save_oft(UpstreamOft(2, **shape), tmp_path / 'published')
    call = ['export', str(tmp_path / 'published'), str(tmp_path / 'bundle')]
    assert main(call) == 2
    said = capsys.readouterr().err
    assert '--horizon' in said and '--cameras' in said and '--proprioception' in said
    assert not (tmp_path / 'bundle').exists()


def test_the_tokenizer_in_the_bundle_neither_cuts_nor_pads(exported):
    text = (exported[1] / 'bundle/tokenizer.json').read_text()
    assert Tokenizer.from_str(text).truncation is None
