"""A policy trained on a set of another robot drives that robot's node, in shadow."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import granted, wait_for
from preset_facts import ARMS, launch_arguments
from stand_in_robot import StandIn, serve_gripper

pytestmark = [pytest.mark.ros, pytest.mark.slow, pytest.mark.timeout(1200)]
IMAGE = '/camera/color/image_raw'
SO = [f'{name}.pos' for name in ('shoulder_pan', 'shoulder_lift', 'elbow_flex', 'wrist_flex',
                                 'wrist_roll', 'gripper')]  # fmt: skip


@pytest.fixture
def bundle(tmp_path):
    for library in ('torch', 'pyarrow'):
        pytest.importorskip(library, reason='make test-all')
    sys.path.insert(0, str(Path(__file__).parents[1] / 'lab' / 'data'))
    from lerobot_files import write_set

    from dysl_vla_ros.cli.main import main

    folder = str(write_set(tmp_path / 'set', state=6, action=6, names=SO, fps=30, video=False,
                           lengths=(16, 17, 14), tasks=('pick up the cube',)))  # fmt: skip
    dense, done, out = (str(tmp_path / name) for name in ('dense', 'dysl', 'bundle'))
    assert main(['train', folder, '--out', dense, '--preset', 'toy', '--cameras',
                 'image=front']) == 0  # fmt: skip
    assert main(['distill', f'{dense}/dense.safetensors', '--dataset', folder, '--out', done,
                 '--preset', 'toy']) == 0  # fmt: skip
    policy = f'{done}/policy.safetensors'
    assert main(['calibrate', policy, '--dataset', folder]) == 0
    assert main(['export', policy, out]) == 0
    return out


def test_an_so100_of_a_set_runs_in_shadow(graph, bundle, monkeypatch):
    from rclpy.parameter import Parameter
    from std_msgs.msg import String
    from trajectory_msgs.msg import JointTrajectory

    from dysl_vla_ros import bringup
    from dysl_vla_ros.ros.lifecycle_node import VlaNode

    arm = ARMS['so100']
    robot = StandIn(graph, arm, arm.controllers[0], IMAGE)
    serve_gripper(robot, arm.gripper.types[0], arm.gripper.action, monkeypatch)
    arguments = {**launch_arguments('so100'), 'engine': bundle}
    (spec,) = bringup.nodes(arguments)
    words = spec.command_line('python')
    # The joints of the vendor's driver in place of the set's, in the same order.
    node = graph.add(VlaNode(
        context=graph.context, use_global_arguments=False,
        cli_args=words[words.index('--ros-args'):],
        parameter_overrides=[Parameter('engine.in_process', value=True)],
    ))  # fmt: skip
    sent, shown = [], []
    robot.node.create_subscription(JointTrajectory, arm.controllers[0].topic, sent.append, 10)
    robot.node.create_subscription(JointTrajectory, '/vla_node/shadow/joint_trajectory',
                                   shown.append, 10)  # fmt: skip
    publisher = robot.node.create_publisher(String, '/instruction', 1)
    wait_for(publisher.get_subscription_count, what='the instruction is heard')
    publisher.publish(String(data='pick up the cube'))

    def why():
        session = None if node._configured is None else node._configured.session
        return session and (session.state, session.reason)

    wait_for(lambda: node._configured is not None and node._configured.session
             and node._configured.session.state == 'ready', 60, f'ready: {why()}')  # fmt: skip
    from std_srvs.srv import Trigger

    client = robot.node.create_client(Trigger, '/vla_node/start')
    assert client.wait_for_service(5.0)

    def ask(_):
        future = client.call_async(Trigger.Request())
        wait_for(future.done, what='an answer')
        return future.result()

    granted(ask, 'start')
    wait_for(lambda: len(shown) > 20, 60, f'it shows what it would send: {why()}')
    assert list(shown[-1].joint_names)[:5] == list(arm.names)[:5]
    assert np.isfinite([p.positions for p in shown[-1].points]).all()
    assert sent == []
