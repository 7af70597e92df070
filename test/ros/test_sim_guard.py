"""The simulated arm starts beside no other arm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import DOMAIN, wait_for

pytestmark = pytest.mark.ros
ROOT = Path(__file__).resolve().parents[2]


def sim_arm(*arguments):
    return subprocess.Popen(
        [sys.executable, '-m', 'dysl_vla_ros.ros.sim_arm', '--ros-args', '-p',
         'episodes.auto:=false', *arguments],
        cwd=ROOT, env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended(child, timeout=30):
    output, _ = child.communicate(timeout=timeout)
    return child.returncode, output


def publisher(graph, topic, kind, name='driver', latched=False):
    from rclpy.node import Node

    from dysl_vla_ros.ros import qos

    node = graph.add(Node(name, context=graph.context))
    made = node.create_publisher(kind, topic, qos.LATCHED if latched else qos.SENSOR)
    node.create_timer(0.05, lambda: made.publish(kind()))
    return made


@pytest.mark.parametrize('topic', ['joint_states', 'robot_description', 'image'])
@pytest.mark.parametrize('name', ['driver', 'sim_arm'])
def test_beside_another_publisher_it_does_not_start_and_says_what_to_write(graph, topic, name):
    from sensor_msgs.msg import Image, JointState
    from std_msgs.msg import String

    kind = {'joint_states': JointState, 'robot_description': String, 'image': Image}[topic]
    publisher(graph, topic, kind, name, latched=topic == 'robot_description')
    code, output = ended(sim_arm())
    assert code == 1 and 'Traceback' not in output
    assert f"/{topic} = 'published by /{name}'" in output
    assert 'robot:=custom params_file:=FILE' in output and 'ROS_DOMAIN_ID' in output


@pytest.mark.parametrize(
    ('reserved', 'environment', 'name'),
    [
        (True, {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}, 'OURS_S'),
        (True, {'ROS_LOCALHOST_ONLY': '1'}, 'OURS_S'),
        (True, {}, 'ANNOUNCED_S'),
        (True, {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET'}, 'ANNOUNCED_S'),
        (False, {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}, 'ANNOUNCED_S'),
    ],
)
def test_where_an_arm_may_be_it_looks_for_longer_than_a_silent_one_takes_to_be_heard(
    monkeypatch, reserved, environment, name
):
    from dysl_vla_ros.ros import sim_guard

    monkeypatch.setattr(sim_guard, 'is_reserved', lambda domain: reserved and domain == 7)
    for variable in ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY'):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    now = [100.0]
    monkeypatch.setattr(sim_guard.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(sim_guard.time, 'sleep', lambda s: now.__setitem__(0, now[0] + s))
    node = SimpleNamespace(
        context=SimpleNamespace(get_domain_id=lambda: 7),
        resolve_topic_name=lambda topic: topic,
        get_publishers_info_by_topic=lambda topic: [],
    )
    sim_guard.SimGuard(node, ('joint_states',)).wait()
    assert now[0] - 100.0 == pytest.approx(getattr(sim_guard, name))
    assert sim_guard.ANNOUNCED_S > 3.0, 'the announcement period of Fast DDS'


def test_one_that_comes_later_ends_it(graph):
    from sensor_msgs.msg import JointState

    child = sim_arm()
    wait_for(lambda: graph_publishers(graph) == 1, 20, 'sim_arm')
    publisher(graph, 'joint_states', JointState, 'driver')
    code, output = ended(child)
    assert code == 1 and "/joint_states = 'published by /driver'" in output


def graph_publishers(graph):
    from rclpy.node import Node

    if not graph.nodes:
        graph.add(Node('looks', context=graph.context))
    return graph.nodes[0].count_publishers('joint_states')


def test_alone_it_runs_also_after_one_that_was_killed(graph):
    first = sim_arm()
    wait_for(lambda: graph_publishers(graph) == 1, 20, 'sim_arm')
    first.kill()
    first.communicate(timeout=10)
    second = sim_arm()
    try:
        wait_for(lambda: heard(graph), 40, 'joint states of the second')
        assert second.poll() is None
    finally:
        second.send_signal(signal.SIGTERM)
    code, output = ended(second)
    assert code == 0, output


def heard(graph):
    from sensor_msgs.msg import JointState

    from dysl_vla_ros.ros import qos

    if not hasattr(graph, 'states'):
        graph.states = []
        graph.nodes[0].create_subscription(
            JointState, 'joint_states', graph.states.append, qos.SENSOR
        )
    return graph.states


def test_told_to_it_stands_beside_others(graph):
    from sensor_msgs.msg import JointState

    publisher(graph, 'joint_states', JointState)
    child = sim_arm('-p', 'beside_others:=true')
    try:
        wait_for(lambda: graph_publishers(graph) == 2, 20, 'sim_arm')
        time.sleep(1.5)
        assert child.poll() is None
    finally:
        child.send_signal(signal.SIGTERM)
    assert ended(child)[0] == 0
