"""A user's OpenVLA-OFT, from its published folder to a moving arm: every step that a user takes.

Tiny and random, but of the published layout, through the commands and classes that the 7B model
takes: load, choose layers, distil, calibrate, export, verify, and run in the lifecycle node.
Two to three minutes on two cores; most of it is torch's exporter.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

for name in ('torch', 'transformers', 'timm', 'rclpy', 'pinocchio'):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f'needs {name}', allow_module_level=True)

import torch
from tiny_oft import UpstreamOft, save_oft
from tokenizers import Tokenizer

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab.guidance.calibrate import calibrate
from dysl_vla_ros.lab.guidance.record import record
from dysl_vla_ros.lab.learn.distill import DistillSettings, distill, live_pass
from dysl_vla_ros.lab.learn.layer_scores import choose_static, layer_scores
from dysl_vla_ros.lab.learn.oft_dense import OftBatch, OftDense
from dysl_vla_ros.lab.model.oft_skipping import oft_skip_modules, save_oft_skipping
from dysl_vla_ros.lab.model.openvla_oft_loader import OftCheckpoint, open_oft
from dysl_vla_ros.lab.model.published_model import EMPTY_ID, TEMPLATE
from dysl_vla_ros.lab.model.skipping_file import Skipping

pytestmark = [pytest.mark.slow, pytest.mark.ros, pytest.mark.timeout(900)]
ROS = Path(__file__).parent / 'ros'
JOINTS = tuple(f'panda_joint{number}' for number in range(1, 8))
BENT = np.array([0.1, -0.6, 0.1, -1.4, 0.1, 1.2, 0.3])
INSTRUCTIONS = ('pick up the red cube', 'put it on the plate')
PROMPT_TOKENS = 28


def observations(checkpoint: OftCheckpoint, number: int, count: int) -> OftBatch:
    """What a recording holds: pictures, an instruction, normalised joints and actions."""
    random = torch.Generator().manual_seed(number)
    size, tokenizer = checkpoint.config.image_size, Tokenizer.from_str(checkpoint.tokenizer)
    tokens = torch.full((count, PROMPT_TOKENS), checkpoint.config.pad_id)
    for row in tokens:
        text = TEMPLATE.format(instruction=INSTRUCTIONS[number % len(INSTRUCTIONS)])
        ids = [*tokenizer.encode(text).ids, EMPTY_ID]
        row[: len(ids)] = torch.tensor(ids)
    coarse = torch.rand(2, count, 3, 4, 4, generator=random)
    images = [torch.nn.functional.interpolate(one, size) for one in coarse]
    joints = torch.rand(count, checkpoint.config.proprioception_dim, generator=random) * 2 - 1
    return OftBatch(tuple(images), tokens, joints)


def distilled(checkpoint: OftCheckpoint) -> Skipping:
    """Choose static layers, distil, calibrate."""
    network = checkpoint.network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    dense = OftDense(network)
    stream = [observations(checkpoint, number, 8) for number in range(8)]
    layout = choose_static(layer_scores(dense, stream, batches=4)['slots'])
    assert len(layout.static_layers) == 3 and len(layout.dynamic_layers) == 2
    torch.manual_seed(0)
    modules = oft_skip_modules(layout, checkpoint.config, rank=8)
    settings = DistillSettings(
        adapter_steps=40, controller_steps=20, adapter_rate=1e-2, controller_rate=3e-2,
        skip_weight=1.0, task_share=0.0,
    )  # fmt: skip
    curve = distill(dense, modules, _endless(stream), settings, note_every=10)
    adapters = [note['unexplained'] for note in curve if note['stage'] == 1]
    assert adapters[-1] < 0.9 * adapters[0]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    unseen = observations(checkpoint, 99, 8)
    _, ran = live_pass(dense, modules, dense.encode(unseen))
    assert ran.max() < checkpoint.config.layers  # asked to skip whatever it costs, it does
    episodes = [[observations(checkpoint, 100 + 10 * e + n, 1) for n in range(6)]
                for e in range(3)]  # fmt: skip
    recording = record(dense, modules, episodes, played=4)
    spec, report = calibrate(recording, (1.0,) * 6 + (0.1,))
    assert report.chunks == 18
    return Skipping(modules, spec, {'recorded': report.chunks})


def _endless(stream):
    while True:
        yield from stream


def test_a_published_checkpoint_is_loaded_distilled_exported_verified_and_moves_the_arm(
    tmp_path, monkeypatch, capsys
):
    torch.set_num_threads(1)
    published, bundle, skip = (tmp_path / n for n in ('oft', 'bundle', 'skip.safetensors'))
    upstream = UpstreamOft(layers=5)
    with torch.no_grad():  # random actions, but gentle ones: an arm follows them
        upstream.action_head['fc2'].weight.mul_(0.05)
        upstream.action_head['fc2'].bias.mul_(0.05)
    save_oft(upstream, published)
    skipping = distilled(open_oft(published, prompt_tokens=PROMPT_TOKENS))
    save_oft_skipping(skip, skipping)

    own = ['--skipping', str(skip), '--prompt-tokens', str(PROMPT_TOKENS), '--joint-names',
           *JOINTS]  # fmt: skip
    described = [*own, '--proprioception', 'joints', '--frame', 'base_link', '--tip',
                 'grasp_link']  # fmt: skip
    assert main(['export', str(published), str(bundle), *described]) == 0
    manifest = open_bundle(bundle).manifest
    assert manifest.calibration == skipping.calibration
    assert manifest.static_layers == skipping.modules.layout.static_layers

    report = tmp_path / 'report.json'
    against = ['verify', str(bundle), '--against', str(published), *described]
    assert main([*against, '--json', str(report)]) == 0
    found = json.loads(report.read_text())
    assert found['within'] and found['resumed_equal']
    assert len(found['passes']) == found['patterns_possible']
    assert len(found['segments']) == 5 + 2 + 2
    assert main([*against, '--budget-actions', '0']) == 1
    assert 'above the budget' in capsys.readouterr().out

    moves_the_arm(bundle, monkeypatch)

    # As published it reads the pose of the gripper: the same graphs, another contract.
    assert main(['export', str(published), str(bundle), *own, '--contract-only']) == 0
    again = open_bundle(bundle).manifest
    assert again.files == manifest.files and again.proprioception.source == 'eef_axis_angle'
    moves_the_arm(bundle, monkeypatch, **{
        'action.frame_id': 'base_link', 'action.tip_link': 'grasp_link'})  # fmt: skip


def moves_the_arm(bundle: Path, monkeypatch, **parameters) -> None:
    """Two cameras, seven joints and a gripper; the node opens the bundle by its path."""
    monkeypatch.syspath_prepend(str(ROS))
    from fakes import FakeRobot

    ros = _load('ros_rig', ROS / 'conftest.py')
    graph = ros.Graph()
    try:
        rig = _rig(ros, graph, bundle, FakeRobot, parameters)
        assert rig.configure() == 'SUCCESS'
        assert rig.activate() == 'SUCCESS'
        rig.robot.describe(arm())
        rig.instruct(INSTRUCTIONS[0])
        rig.wait_state('ready', timeout=20)
        answer = rig.ask('start')
        assert answer.success, answer.message
        rig.wait_state('running', timeout=20)
        stats = rig.session.stats
        ros.wait_for(lambda: stats.report().mode_last == 'skipped', 20, 'a pass that skips')
        ros.wait_for(lambda: len(rig.robot.trajectories) > 20, 20, 'commands')
        ros.wait_for(lambda: abs(rig.robot.position - BENT).max() > 1e-3, 20,
                     f'motion, but: {rig.session.state}, {rig.session.reason}')  # fmt: skip
        names = rig.robot.trajectories[-1][1].joint_names
        assert tuple(names) == JOINTS
        assert rig.robot.grippers or rig.robot.gripper == 1.0
    finally:
        graph.close()


def _rig(ros, graph, bundle, robot_class, changes):
    from rclpy.node import Node
    from rclpy.parameter import Parameter

    import dysl_vla_ros.ros.lifecycle_node as module

    rig = object.__new__(ros.Rig)
    rig.graph, rig.heard = graph, {}
    rig.robot = robot_class(graph.add(Node('robot', context=graph.context)), JOINTS)
    rig.robot.position = BENT.copy()
    parameters = {'engine.path': str(bundle), 'armed': True, 'skip.mode': 'max_skip',
                  **changes}  # fmt: skip
    rig.node = graph.add(module.VlaNode(
        context=graph.context,
        parameter_overrides=[Parameter(key, value=value) for key, value in parameters.items()],
    ))  # fmt: skip
    return rig


def _load(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def arm() -> str:
    """Seven joints, turning and bending by turns, as a Panda's; 0.2 m links."""
    links = ['base_link', *(f'{joint}_link' for joint in JOINTS)]
    parts = [f'<link name="{link}"/>' for link in (*links, 'grasp_link')]
    for number, (parent, joint) in enumerate(zip(links, JOINTS, strict=False)):
        axis = '0 0 1' if number % 2 == 0 else '0 1 0'
        parts.append(
            f'<joint name="{joint}" type="revolute"><parent link="{parent}"/>'
            f'<child link="{joint}_link"/><origin xyz="0 0 0.2"/><axis xyz="{axis}"/>'
            '<limit lower="-2.8" upper="2.8" velocity="3.0" effort="50"/></joint>'
        )
    parts.append(
        f'<joint name="tip" type="fixed"><parent link="{links[-1]}"/><child link="grasp_link"/>'
        '<origin xyz="0 0 0.15"/></joint>'
    )
    return f'<robot name="seven">{"".join(parts)}</robot>'
