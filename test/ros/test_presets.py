"""Every preset on a stand-in robot, started as its page says: nothing refused, all of it moves."""

from __future__ import annotations

import time

import numpy as np
import pytest
from conftest import granted, wait_for
from motion_checks import MessageChecks
from preset_facts import ARMS, launch_arguments, resolved
from stand_in_robot import StandIn, serve_gripper

pytestmark = pytest.mark.ros

IMAGE = '/camera/color/image_raw'
QUICK = {('gen3', '/joint_trajectory_controller')}
"""This runs always; the others take seconds each, and go with the slow ones."""


def slider_at_full_speed(node):
    """What UR's speed_scaling_state_broadcaster says of a slider at 100 %."""
    from std_msgs.msg import Float64

    topic = '/speed_scaling_state_broadcaster/speed_scaling'
    publisher = node.create_publisher(Float64, topic, 1)
    node.create_timer(0.05, lambda: publisher.publish(Float64(data=100.0)))


def ways(arm, controller):
    """Of the gripper: '' where no action is used, else the types that its server may offer."""
    by_action = 'gripper.action_name' in controller.changes or arm.gripper.ships
    return arm.gripper.types if by_action and not controller.joints else ('',)


def cases():
    for robot, arm in ARMS.items():
        for controller in arm.controllers:
            for kind in ways(arm, controller):
                quick = (robot, controller.name) in QUICK and kind != 'GripperCommand'
                yield pytest.param(
                    robot, controller, kind, marks=() if quick else pytest.mark.slow,
                    id=f'{robot}{controller.name.replace("/", "-")}{kind and "-"}{kind}',
                )  # fmt: skip


class Bench:
    """The stand-in, and the node of the launch line."""

    def __init__(self, graph, robot, controller, kind, monkeypatch, tmp_path):
        from rclpy.parameter import Parameter

        from dysl_vla_ros import bringup
        from dysl_vla_ros.ros.lifecycle_node import VlaNode

        self.graph = graph
        arm = ARMS[robot]
        self.robot = StandIn(graph, arm, controller, IMAGE)
        if robot == 'ur5e':
            slider_at_full_speed(self.robot.node)
        if kind:
            serve_gripper(self.robot, kind, arm.gripper.action, monkeypatch)
        self.arguments = launch_arguments(robot)
        assert self.arguments['image_topic'] == IMAGE and self.arguments['engine'] == 'fake'
        if controller.changes:
            lines = ''.join(f'    {name}: {value}\n' for name, value in controller.changes.items())
            path = tmp_path / 'params.yaml'
            path.write_text(f'/**:\n  ros__parameters:\n{lines}')
            self.arguments['params_file'] = str(path)
        if controller.topic != arm.controllers[0].topic:
            self.arguments['command_topic'] = controller.topic
        (spec,) = bringup.nodes(self.arguments)
        words = spec.command_line('python')
        self.node = graph.add(
            VlaNode(
                context=graph.context, use_global_arguments=False,
                cli_args=words[words.index('--ros-args'):],
                parameter_overrides=[Parameter('engine.in_process', value=True)],
            )
        )  # fmt: skip

    @property
    def session(self):
        configured = self.node._configured
        return None if configured is None else configured.session

    def ask(self, name, data=None):
        from std_srvs.srv import SetBool, Trigger

        kind = Trigger if data is None else SetBool
        client = self.robot.node.create_client(kind, resolved(f'vla_node/{name}', self.arguments))
        assert client.wait_for_service(5.0)
        request = Trigger.Request() if data is None else SetBool.Request(data=data)
        future = client.call_async(request)
        wait_for(future.done, what=name)
        return future.result()

    def say(self, text):
        from std_msgs.msg import String

        topic = resolved('instruction', self.arguments)
        publisher = self.robot.node.create_publisher(String, topic, 1)
        wait_for(publisher.get_subscription_count, what='the instruction is heard')
        publisher.publish(String(data=text))

    def why(self):
        session = self.session
        return session and (session.state, session.reason, session.around.newest.check)


@pytest.fixture
def bench(graph, monkeypatch, tmp_path):
    return lambda *case: Bench(graph, *case, monkeypatch, tmp_path)


@pytest.mark.parametrize(('robot', 'controller', 'kind'), list(cases()))
def test_the_launch_line_of_the_page_moves_arm_and_gripper_and_nothing_is_refused(
    bench, robot, controller, kind
):
    bench = bench(robot, controller, kind)
    arm, stand_in = ARMS[robot], bench.robot
    bench.say('try the wiring')
    wait_for(lambda: bench.session and bench.session.state == 'ready', 15, 'ready')
    wait_for(lambda: bench.session.around.newest.check.startswith('fits'), 10, 'the check')
    limits = bench.session.loop.limits
    assert limits.names == arm.names
    rated = [joint.velocity for joint in arm.joints]
    np.testing.assert_allclose(limits.rated, rated)
    stand_in.checks = MessageChecks(limits)
    granted(bench.ask, 'arm', True)
    granted(bench.ask, 'start')
    first, gripper = arm.names[0], arm.gripper
    opened = stand_in.q[gripper.joint]
    half = 0.5 * (gripper.upper - gripper.lower)
    wait_for(lambda: stand_in.q[first] - arm.home[0] > 0.1, 10, f'the arm moves: {bench.why()}')
    wait_for(
        lambda: abs(stand_in.q[gripper.joint] - opened) > half, 15,
        f'the gripper closes: {bench.why()}, {bench.session.publishers.gripper_problem()}',
    )  # fmt: skip
    wait_for(lambda: stand_in.q[first] - arm.home[0] < 0.05, 15, f'it turns: {bench.why()}')
    assert bench.session.state == 'running', bench.why()
    assert stand_in.refused == [] and stand_in.taken > 50
    assert stand_in.checks.wrong == []
    assert bench.ask('stop').success
    others = [abs(stand_in.q[n] - at) for n, at in zip(arm.names[1:], arm.home[1:], strict=True)]
    assert max(others) < 0.01, others
    assert bool(stand_in.goals) == (controller.joints is None)  # else it is one of the joints


def test_a_preset_on_the_wrong_controller_is_refused_before_it_moves(bench):
    controller = ARMS['so101'].controllers[0]
    wrong = type(controller)(
        controller.name, controller.type, controller.parameters, '', controller.joints[:5]
    )
    bench = bench('so101', wrong, '')
    bench.say('try the wiring')
    wait_for(lambda: bench.session and bench.session.state == 'ready', 15, 'ready')
    wait_for(lambda: bench.session.around.newest.misfit, 10, 'the misfit')
    answer = bench.ask('arm', True)
    assert not answer.success and 'it does not have gripper: it refuses all' in answer.message
    granted(bench.ask, 'start')  # in shadow
    wait_for(lambda: bench.session.state == 'running', 5, bench.why())
    time.sleep(0.3)
    assert bench.robot.taken == 0 and bench.robot.refused == []
