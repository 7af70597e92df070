"""Bundles of published robots, straight from their folders, each on an arm that fits.

LIBERO: seven joints, pose and two fingers, two cameras; OFT+ (FiLM) the same. BRIDGE: six joints,
roll, pitch and yaw, one camera. ALOHA: two arms of six joints, fourteen numbers, three cameras.
Dense at once, and after calibration and distillation, with every command between. Tiny and random.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import pytest

for name in ('torch', 'transformers', 'timm', 'pyarrow', 'rclpy', 'pinocchio'):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f'needs {name}', allow_module_level=True)

import torch
from lerobot_files import write_set
from tiny_oft import ROBOTS, UpstreamOft, save_oft

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.ros, pytest.mark.timeout(600)]
ROS = Path(__file__).parent / 'ros'
SIX = ('waist', 'shoulder', 'elbow', 'forearm_roll', 'wrist_angle', 'wrist_rotate')
ARMS = {
    'libero': tuple(f'panda_joint{n}' for n in range(1, 8)), 'bridge': SIX,
    'aloha': (*(f'left_{n}' for n in SIX), *(f'right_{n}' for n in SIX)),
}  # fmt: skip
ARMS['film'] = ARMS['libero']
SHAPES = {**ROBOTS, 'film': {'film': True}}
CAMERAS = {'libero': ('image', 'wrist_image'), 'film': ('image', 'wrist_image'),
           'bridge': ('image_0',),
           'aloha': ('image', 'left_wrist_image', 'right_wrist_image')}  # fmt: skip
TOPICS = {'left': 'left_arm/joint_trajectory', 'right': 'right_arm/joint_trajectory'}
TWO = {
    'arms.names': ['left', 'right'],
    **{f'arms.{side}.joint_names': [f'{side}_{n}' for n in SIX] for side in TOPICS},
    **{f'arms.{side}.command_topic': topic for side, topic in TOPICS.items()},
    **{f'arms.{side}.gripper.joint': f'{side}_finger' for side in TOPICS},
}
INSTRUCTION = 'pick up the red cube'


def chain(names, base, tip, apart):
    """Links of 0.2 m, turning and bending by turns; bends alternate so that it stays clear."""
    links = [base, *(f'{name}_link' for name in names)]
    parts = [f'<link name="{link}"/>' for link in (*links[1:], tip)]
    for number, (parent, joint) in enumerate(zip(links, names, strict=False)):
        axis = '0 0 1' if number % 2 == 0 else '0 1 0'
        place = f'0 {apart if number == 0 else 0} 0.2'
        parts.append(
            f'<joint name="{joint}" type="revolute"><parent link="{parent}"/>'
            f'<child link="{joint}_link"/><origin xyz="{place}"/><axis xyz="{axis}"/>'
            '<limit lower="-2.8" upper="2.8" velocity="3.0" effort="50"/></joint>'
        )
    parts.append(f'<joint name="{tip}_joint" type="fixed"><parent link="{links[-1]}"/>'
                 f'<child link="{tip}"/><origin xyz="0 0 0.15"/></joint>')  # fmt: skip
    return ''.join(parts)


def description(robot):
    names = ARMS[robot]
    sides = [(names, 'grasp_link', 0)] if robot != 'aloha' else [
        (names[:6], 'left_tip', -1.5), (names[6:], 'right_tip', 1.5)]  # fmt: skip
    inside = ''.join(chain(part, 'base_link', tip, apart) for part, tip, apart in sides)
    return f'<robot name="{robot}"><link name="base_link"/>{inside}</robot>'


@pytest.fixture
def ros(monkeypatch):
    monkeypatch.syspath_prepend(str(ROS))
    spec = importlib.util.spec_from_file_location('ros_rig_of_robots', ROS / 'conftest.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['ros_rig_of_robots'] = module
    spec.loader.exec_module(module)
    return module


def robot_of(robot, node):
    """A stand-in robot with its own cameras, joints and, for ALOHA, two controllers."""
    from fakes import FakeRobot, desired_by
    from rclpy.qos import QoSProfile, qos_profile_sensor_data
    from sensor_msgs.msg import Image, JointState
    from trajectory_msgs.msg import JointTrajectory

    stand_in = FakeRobot(node, ARMS[robot])
    cameras = CAMERAS[robot]
    stand_in.images = {
        name: (node.create_publisher(Image, name, qos_profile_sensor_data), 96) for name in cameras
    }
    bent = [0.1, -0.6, 0.1, -1.4, 0.1, 1.2, 0.3]
    joints = ARMS[robot]
    # Absolute positions of a random network lie around zero: farther away they are refused.
    stand_in.position = np.full(12, 0.05) if robot == 'aloha' else np.array(bent[: len(joints)])
    if robot != 'aloha':
        return stand_in
    stand_in.taken = {}

    def take(side, message):
        now = time.monotonic()
        stand_in.trajectories.append((now, message))
        stand_in.taken[side] = message

    for side, topic in TOPICS.items():
        node.create_subscription(JointTrajectory, topic,
                                 lambda message, side=side: take(side, message),
                                 QoSProfile(depth=10))  # fmt: skip

    def follow():
        for first, side in ((0, 'left'), (6, 'right')):
            if side in stand_in.taken:
                stand_in.position[first : first + 6] = desired_by(stand_in.taken[side], node)

    def publish():
        follow()
        message = JointState()
        message.header.stamp = node.get_clock().now().to_msg()
        message.name = [*joints, 'left_finger', 'right_finger']
        message.position = [*stand_in.position.tolist(), 0.5, 0.5]
        stand_in.states.publish(message)

    stand_in.joints_on = False
    stand_in._follow = lambda: None
    node.create_timer(0.02, publish)
    return stand_in


def published_of(robot, folder, layers):
    """A folder whose random actions are gentle ones: an arm follows them."""
    torch.set_num_threads(1)
    upstream = UpstreamOft(layers, **SHAPES[robot])
    with torch.no_grad():
        upstream.action_head['fc2'].weight.mul_(0.05)
        upstream.action_head['fc2'].bias.mul_(0.05)
    save_oft(upstream, folder)
    return folder


def moves_the_arm(robot, ros, bundle, skipping):
    """The node runs the bundle, and the arm moves; with ``skipping`` in a pass that skips."""
    from rclpy.node import Node
    from rclpy.parameter import Parameter

    import dysl_vla_ros.ros.lifecycle_node as module

    frames = {} if robot == 'aloha' else {
        'action.frame_id': 'base_link', 'action.tip_link': 'grasp_link'}  # fmt: skip
    parameters = {
        'engine.path': str(bundle),
        'armed': True,
        'skip.mode': 'max_skip' if skipping else 'full',
        **frames,
        **(TWO if robot == 'aloha' else {'action.joint_names': list(ARMS[robot])}),
    }
    graph = ros.Graph()
    try:
        rig = object.__new__(ros.Rig)
        rig.graph, rig.heard = graph, {}
        rig.robot = robot_of(robot, graph.add(Node('robot', context=graph.context)))
        before = rig.robot.position.copy()
        rig.node = graph.add(module.VlaNode(context=graph.context, parameter_overrides=[
            Parameter(key, value=value) for key, value in parameters.items()]))  # fmt: skip
        assert rig.configure() == 'SUCCESS'
        assert rig.activate() == 'SUCCESS'
        rig.robot.describe(description(robot))
        rig.instruct(INSTRUCTION)
        rig.wait_state('ready', timeout=120)
        answer = rig.ask('start')
        assert answer.success, answer.message
        if robot != 'aloha':  # no joint is compared with a number of the pose
            assert not any(joint in answer.message for joint in ARMS[robot]), answer.message
        ros.wait_for(lambda: len(rig.robot.trajectories) > 10, 120, 'commands')
        halves = (slice(0, 6), slice(6, 12)) if robot == 'aloha' else (slice(None),)
        ros.wait_for(lambda: all(abs(rig.robot.position[half] - before[half]).max() > 1e-3
                                 for half in halves), 120,
                     f'motion, but: {rig.session.state}, {rig.session.reason}')  # fmt: skip
        mode = 'skipped' if skipping else 'full'
        ros.wait_for(lambda: rig.session.stats.report().mode_last == mode, 120, mode)
    finally:
        graph.close()


@pytest.mark.parametrize('robot', sorted(ARMS))
def test_a_folder_becomes_a_bundle_that_moves_an_arm_that_fits(robot, ros, tmp_path, capsys):
    published, bundle = published_of(robot, tmp_path / 'published', 3), tmp_path / 'bundle'
    assert main(['inspect', str(published)]) == 0
    assert main(['export', str(published), str(bundle)]) == 0, capsys.readouterr().err
    moves_the_arm(robot, ros, bundle, skipping=False)


@pytest.mark.parametrize('robot', sorted(ARMS))
def test_a_distilled_folder_is_verified_measured_and_skips_on_its_arm(
    robot, ros, tmp_path, capsys
):
    published = published_of(robot, tmp_path / 'published', 5)
    shape, cameras = {'proprio': 8, 'action_dim': 7, **SHAPES[robot]}, CAMERAS[robot]
    data = write_set(tmp_path / 'set', video=False, cameras=cameras, state=shape['proprio'],
                     action=shape['action_dim'], fps=10)  # fmt: skip
    described = ['--dataset', str(data), *(['--turned'] if cameras[-1] == 'wrist_image' else [])]
    layers, out, bundle = (tmp_path / name for name in ('layers', 'out', 'bundle'))
    skipping = ['--skipping', str(out / 'skipping.safetensors')]

    def dysl(*words):
        assert main([str(word) for word in words]) == 0, capsys.readouterr().err

    dysl('calibrate', published, *described, '--out', layers, '--batch', 4, '--batches', 2)
    dysl('distill', published, *described, '--layers', layers / 'layers.json', '--out', out,
         '--adapter-steps', 12, '--controller-steps', 12, '--batch', 4, '--skip-weight', 1,
         '--note-every', 6, '--rank', 8)  # fmt: skip
    dysl('export', published, bundle, *skipping)
    dysl('verify', bundle, '--against', published, *skipping, '--observations', 1)
    dysl('bench', '--engine', bundle, '--runs', 2, '--count', 2, '--warm-up', 0)
    assert len(open_bundle(bundle).manifest.static_layers) == 3
    moves_the_arm(robot, ros, bundle, skipping=True)
