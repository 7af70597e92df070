"""A forward controller that runs faster than it is told is said, with the rate to set."""

from __future__ import annotations

import pytest
from conftest import wait_for

from dysl_vla_ros.ros import controller_rate

pytestmark = pytest.mark.ros

TOPIC = '/forward/commands'


def node(graph, name, update_rate=None, listens=True):
    from rclpy.node import Node
    from std_msgs.msg import Float64MultiArray

    one = graph.add(Node(name, context=graph.context))
    if update_rate is not None:
        one.declare_parameter('update_rate', update_rate)
    if listens:
        one.create_subscription(Float64MultiArray, TOPIC, lambda message: None, 1)
    return one


@pytest.fixture
def said(graph):
    """Begins to ask with a command rate; the warnings so far."""
    from rclpy.node import Node

    us = graph.add(Node('vla_node', context=graph.context))
    made = []

    def begin(rate):
        warnings = []
        one = controller_rate.ControllerRate(us, TOPIC, rate, warnings.append)
        made.append(one)
        us.create_timer(0.05, one.poll)
        return one, warnings

    yield begin
    for one in made:
        graph.call(one.destroy)


def leave(graph, one):
    """Its process has ended."""
    graph.nodes.remove(one)
    graph.executor.remove_node(one)
    graph.call(one.destroy_node)


def answered(one, name):
    def heard():
        return name in one._asked and one._asked[name].poll() is not None

    return heard


def test_a_faster_controller_is_named_once_with_both_rates_and_the_one_to_set(graph, said):
    node(graph, 'forward', 500)
    one, warnings = said(30.0)
    wait_for(lambda: warnings, what='the warning')
    assert warnings[0] == one.problem
    assert one.problem == (
        '/forward runs at update_rate = 500 Hz and is told at command_rate_hz = 30: it repeats '
        'every target 17 times, and the arm moves in steps; set command_rate_hz: 500'
    )
    wait_for(answered(one, '/forward'))
    graph.call(one.poll)
    assert len(warnings) == 1


def test_a_rate_of_0_is_that_of_the_manager(graph, said):
    node(graph, 'forward', 0)
    node(graph, 'controller_manager', 100, listens=False)
    _, warnings = said(50.0)
    wait_for(lambda: warnings, what='the warning')
    assert 'update_rate = 100 Hz' in warnings[0] and warnings[0].endswith('command_rate_hz: 100')


def test_a_controller_that_left_is_forgotten_and_one_that_comes_back_is_asked_anew(graph, said):
    old = node(graph, 'forward', 500)
    one, warnings = said(100.0)
    wait_for(lambda: warnings, what='the warning')
    leave(graph, old)
    wait_for(lambda: '/forward' not in one._asked, what='the old one to be forgotten')
    assert one.problem == ''
    # The driver is started again under another name, at a rate that is reached.
    other = node(graph, 'forward_2', 100)
    wait_for(answered(one, '/forward_2'))
    graph.call(one.poll)
    assert one.problem == '' and len(warnings) == 1
    leave(graph, other)
    # And under its own, faster than before.
    node(graph, 'forward', 1000)
    wait_for(lambda: len(warnings) == 2, what='the second warning')
    assert '/forward runs at update_rate = 1000 Hz' in one.problem and one.problem == warnings[1]


def test_a_manager_is_asked_anew_once_its_controllers_have_left(graph, said):
    old = node(graph, 'forward', 0)
    manager = node(graph, 'controller_manager', 500, listens=False)
    one, warnings = said(100.0)
    wait_for(lambda: warnings, what='the warning')
    leave(graph, old)
    wait_for(lambda: not one._asked, what='both to be forgotten')
    leave(graph, manager)
    node(graph, 'controller_manager', 100, listens=False)
    node(graph, 'forward', 0)
    wait_for(answered(one, '/controller_manager'))
    graph.call(one.poll)
    assert one.problem == '' and len(warnings) == 1


def test_a_rate_that_is_reached_and_a_listener_without_one_are_not_said(graph, said):
    node(graph, 'forward', 100)
    node(graph, 'relay')
    one, warnings = said(100.0)
    wait_for(answered(one, '/forward'))
    wait_for(answered(one, '/relay'))
    for _ in range(3):
        graph.call(one.poll)
    assert warnings == [] and one.problem == ''


def test_beyond_the_highest_command_rate_both_are_to_be_set():
    text = controller_rate.rate_problem('/f', 1000.0, 100.0)
    assert text.endswith('set command_rate_hz: 500, the highest, and a lower update_rate there')


def test_the_highest_rate_is_that_of_the_parameter():
    from dysl_vla_ros.config import parameters

    (rate,) = (item for item in parameters() if item.name == 'command_rate_hz')
    assert rate.high == controller_rate.HIGHEST_HZ


def test_the_node_asks_where_it_sends_single_positions(rig, graph, monkeypatch):
    said = []
    rig = rig(command_type='joint_commands')
    log = rig.node.get_logger()
    monkeypatch.setattr(log, 'warning', lambda text, **given: said.append(text))
    monkeypatch.setattr(rig.node, 'get_logger', lambda: log)
    monkeypatch.setattr('test_controller_rate.TOPIC', 'joint_commands')
    node(graph, 'forward', 500)
    rig.up()
    wait_for(lambda: any('set command_rate_hz: 500' in text for text in said), what='the warning')
