"""Dense bundles of three published robots, straight from their folders, each on an arm that fits.

LIBERO: seven joints, pose and two fingers, two cameras. BRIDGE: six joints, roll, pitch and yaw,
one camera. ALOHA: two arms of six joints, fourteen numbers, three cameras. Tiny and random.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import pytest

for name in ('torch', 'transformers', 'timm', 'rclpy', 'pinocchio'):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f'needs {name}', allow_module_level=True)

import torch
from tiny_oft import ROBOTS, UpstreamOft, save_oft

from dysl_vla_ros.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.ros, pytest.mark.timeout(600)]
ROS = Path(__file__).parent / 'ros'
SIX = ('waist', 'shoulder', 'elbow', 'forearm_roll', 'wrist_angle', 'wrist_rotate')
ARMS = {
    'libero': tuple(f'panda_joint{n}' for n in range(1, 8)), 'bridge': SIX,
    'aloha': (*(f'left_{n}' for n in SIX), *(f'right_{n}' for n in SIX)),
}  # fmt: skip
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
    cameras = {'libero': ('image', 'wrist_image'), 'bridge': ('image_0',),
               'aloha': ('image', 'left_wrist_image', 'right_wrist_image')}[robot]  # fmt: skip
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


@pytest.mark.parametrize('robot', sorted(ARMS))
def test_a_folder_becomes_a_bundle_that_moves_an_arm_that_fits(robot, ros, tmp_path, capsys):
    from rclpy.node import Node
    from rclpy.parameter import Parameter

    import dysl_vla_ros.ros.lifecycle_node as module

    torch.set_num_threads(1)
    upstream = UpstreamOft(3, **ROBOTS[robot])
    with torch.no_grad():  # random actions, but gentle ones: an arm follows them
        upstream.action_head['fc2'].weight.mul_(0.05)
        upstream.action_head['fc2'].bias.mul_(0.05)
    published, bundle = tmp_path / 'published', tmp_path / 'bundle'
    save_oft(upstream, published)
    assert main(['inspect', str(published)]) == 0
    assert main(['export', str(published), str(bundle)]) == 0, capsys.readouterr().err

    frames = {} if robot == 'aloha' else {
        'action.frame_id': 'base_link', 'action.tip_link': 'grasp_link'}  # fmt: skip
    parameters = {
        'engine.path': str(bundle),
        'armed': True,
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
        ros.wait_for(lambda: len(rig.robot.trajectories) > 10, 120, 'commands')
        ros.wait_for(lambda: abs(rig.robot.position - before).max() > 1e-3, 120,
                     f'motion, but: {rig.session.state}, {rig.session.reason}')  # fmt: skip
        if robot == 'aloha':
            halves = (slice(0, 6), slice(6, 12))
            ros.wait_for(lambda: all(abs(rig.robot.position[half] - before[half]).max() > 1e-3
                                     for half in halves), 120, 'both arms')  # fmt: skip
    finally:
        graph.close()
