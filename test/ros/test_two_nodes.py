"""Two arms in one graph: each node in a namespace of its own, one e-stop for both."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
from conftest import granted, wait_for
from fakes import FakePolicy, FakeRobot

pytestmark = pytest.mark.ros


@pytest.fixture
def arms(graph, monkeypatch):
    """Both running, each told what to do on its own topic."""
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.node import Node
    from rclpy.parameter import Parameter
    from std_msgs.msg import Bool, String
    from std_srvs.srv import Trigger

    import dysl_vla_ros.ros.lifecycle_node as module
    from dysl_vla_ros.ros import qos

    monkeypatch.setattr(module, 'open_policy', lambda config: FakePolicy())
    people = graph.add(Node('people', context=graph.context))
    arms = {}
    for name in ('left', 'right'):
        robot = FakeRobot(graph.add(Node('robot', context=graph.context, namespace=name)))
        node = graph.add(
            module.VlaNode(
                context=graph.context, namespace=name,
                cli_args=['--ros-args', '-r', 'estop:=/estop'],
                parameter_overrides=[Parameter('armed', value=True)],
            )
        )  # fmt: skip
        assert graph.call(node.trigger_configure).name == 'SUCCESS'
        assert graph.call(node.trigger_activate).name == 'SUCCESS'
        robot.describe()
        arms[name] = SimpleNamespace(robot=robot, node=node, session=node._configured.session)

    def ask(arm, service):
        client = people.create_client(Trigger, f'/{arm}/vla_node/{service}')
        assert client.wait_for_service(timeout_sec=5.0)
        future = client.call_async(Trigger.Request())
        wait_for(future.done, what=service)
        return future.result()

    def say(topic, message):
        publisher = people.create_publisher(type(message), topic, qos.REQUEST)
        wait_for(publisher.get_subscription_count, what=topic)
        publisher.publish(message)
        return publisher

    heard = []
    people.create_subscription(DiagnosticArray, '/diagnostics', heard.append, qos.REPORT)
    for name in arms:
        say(f'/{name}/instruction', String(data=f'{name} go'))
        wait_for(lambda name=name: arms[name].session.state == 'ready', what='ready')
        granted(partial(ask, name), 'start')
        wait_for(lambda name=name: arms[name].session.state == 'running', what='running')
    yield SimpleNamespace(
        **arms, ask=ask, estop=lambda: say('/estop', Bool(data=True)), heard=heard
    )
    assert arms['left'].robot.wrong == arms['right'].robot.wrong == []


def test_each_arm_takes_its_own_instruction_and_stops_alone(arms):
    assert arms.left.session.inputs.instruction == 'left go'
    assert arms.right.session.inputs.instruction == 'right go'
    assert arms.ask('left', 'stop').success
    wait_for(lambda: arms.left.session.state == 'ready', what='the left one stops')
    before = arms.right.robot.position
    wait_for(lambda: abs(arms.right.robot.position - before).max() > 0.005, what='the right moves')


def test_one_estop_stops_both(arms):
    arms.estop()
    for arm in (arms.left, arms.right):
        wait_for(lambda arm=arm: arm.session.state == 'e-stop', what='e-stop')


def test_their_diagnostics_are_told_apart_by_the_nodes_full_names(arms):
    wanted = {'/left/vla_node: policy', '/right/vla_node: policy'}
    wait_for(lambda: wanted <= {s.name for m in arms.heard for s in m.status}, what=f'{wanted}')
