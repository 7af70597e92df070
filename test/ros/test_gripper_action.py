"""Goals for the gripper's action server, also when it appears late."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.ros


class Server:
    """Stands in for rclpy's action client: no action type is in the wheels of ROS."""

    def __init__(self, node, action, name):
        self.ready = False
        self.goals = []
        node.append(self)

    def server_is_ready(self):
        return self.ready

    def send_goal_async(self, goal):
        assert self.ready
        self.goals.append(goal.command.position)


class Action:
    class Goal:
        def __init__(self):
            self.command = SimpleNamespace(position=0.0)


@pytest.fixture
def gripper(monkeypatch):
    from dysl_vla_ros.ros import gripper_action

    monkeypatch.setattr(gripper_action, 'ActionClient', Server)
    made = []
    action = gripper_action.GripperAction(made, Action)
    return action, made[0]


def test_a_goal_without_a_server_is_sent_once_as_soon_as_there_is_one(gripper):
    action, server = gripper
    action.send(0.8)
    action.poll()
    assert server.goals == [] and action.waiting == 0.8
    server.ready = True
    for _ in range(3):
        action.poll()
    assert server.goals == [0.8] and action.waiting is None


def test_the_newest_goal_replaces_one_that_waits(gripper):
    action, server = gripper
    action.send(0.8)
    action.send(0.0)
    server.ready = True
    action.poll()
    assert server.goals == [0.0]
    action.send(0.4)
    assert server.goals == [0.0, 0.4]


def test_a_goal_that_waits_is_dropped_when_it_is_forgotten(gripper):
    action, server = gripper
    action.send(0.8)
    action.forget()
    server.ready = True
    action.poll()
    assert server.goals == []


def test_without_control_msgs_the_parameter_is_refused_with_what_to_install():
    import importlib.util

    from dysl_vla_ros.errors import ConfigError
    from dysl_vla_ros.ros.gripper_action import GripperAction

    if importlib.util.find_spec('control_msgs') is not None:
        pytest.skip('control_msgs is installed')
    with pytest.raises(ConfigError, match='gripper.interface.*ros-<distro>-control-msgs'):
        GripperAction(None)
