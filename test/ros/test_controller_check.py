"""Who listens to the commands is asked for its parameters, over the real graph."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from conftest import wait_for
from fakes import JOINTS

pytestmark = pytest.mark.ros

TOPIC = '/jtc/joint_trajectory'
ARM = ['a', 'b', 'c']


def listener(graph, name='jtc', topic=TOPIC, kind=None, **parameters):
    """A node that listens to the command topic, with parameters."""
    from rclpy.node import Node
    from trajectory_msgs.msg import JointTrajectory

    node = graph.add(Node(name, context=graph.context))
    for parameter, value in parameters.items():
        node.declare_parameter(parameter.replace('__', '.'), value)
    node.create_subscription(kind or JointTrajectory, topic, lambda message: None, 1)
    return node


@pytest.fixture
def check(graph, monkeypatch):
    """Makes a check of what is sent; what it logs is in ``said``."""
    from rclpy.node import Node

    from dysl_vla_ros.ros.controller_check import ControllerCheck
    from dysl_vla_ros.ros.controller_fit import Sent

    us = graph.add(Node('vla_node', context=graph.context))
    said = SimpleNamespace(error=[], warning=[])
    log = SimpleNamespace(error=said.error.append, warning=said.warning.append)
    monkeypatch.setattr(us, 'get_logger', lambda: log)
    made = []

    def make(command_type='joint_trajectory', joints=tuple(ARM), stamped=True, topic=TOPIC):
        made.append(ControllerCheck(us, topic, Sent(command_type, joints, 0.12, stamped)))
        made[-1].said = said
        return made[-1]

    yield make
    for one in made:
        graph.call(one.destroy)


def polled(graph, check, condition, what=''):
    def step():
        graph.call(check.poll)
        return condition()

    return wait_for(step, what=what)


def test_nobody_who_listens_is_unknown_and_no_misfit(graph, check):
    one = check()
    graph.call(one.poll)
    assert one.status == 'unknown: no controller listens' and one.misfit == ''


def test_a_controller_that_fits_is_named_with_what_it_takes(graph, check):
    listener(graph, joints=ARM, command_interfaces=['position', 'velocity'])
    one = check()
    polled(graph, one, lambda: one.status.startswith('fits'), 'an answer')
    assert one.status == 'fits: /jtc takes 3 joints, position and velocity'
    assert one.said.error == one.said.warning == [] and one.misfit == ''


def test_a_misfit_is_an_error_that_names_both_sides_once(graph, check):
    listener(graph, joints=['a', 'b'], command_interfaces=['position'])
    one = check()
    polled(graph, one, lambda: one.misfit, 'the misfit')
    for _ in range(5):
        graph.call(one.poll)
    assert '/jtc takes [a, b], and joint_trajectory carries [a, b, c]' in one.misfit
    assert one.status == f'misfit: {one.misfit}'
    (error,) = one.said.error
    assert error == f'{one.misfit}; the arm is neither armed nor started like this'


def test_every_listener_is_asked_and_a_recorder_does_not_hide_the_controller(graph, check):
    listener(graph, 'a_recorder')  # comes first, and declares nothing
    listener(graph, 'rosbag2_recorder')
    listener(graph, joints=['a'], command_interfaces=['position'])
    one = check()
    polled(graph, one, lambda: one.misfit, 'the misfit')
    assert one.misfit.startswith('/jtc takes a, ')


def test_a_listener_that_is_no_controller_leaves_it_unknown(graph, check):
    listener(graph, 'relay', joints=['x'])
    one = check()
    polled(graph, one, lambda: one.status == 'unknown: no controller listens', 'an answer')
    assert one._fits and one.misfit == '' and one.said.error == []


@pytest.mark.parametrize(
    'declared',
    [
        {'open_loop_control': False},
        {'open_loop_control': False, 'interpolate_from_desired_state': False},
        {'interpolate_from_desired_state': False},
    ],
    ids=['humble', 'jazzy', 'kilted'],
)
def test_each_name_is_asked_alone_so_that_one_that_is_unknown_spoils_no_other(
    graph, check, declared
):
    listener(graph, joints=ARM, command_interfaces=['position'], **declared)
    unstamped, stamped = check(stamped=False), check()
    polled(graph, unstamped, lambda: unstamped.said.warning, 'a warning')
    assert all(name in unstamped.said.warning[0] for name in declared)
    polled(graph, stamped, lambda: stamped.status.startswith('fits'), 'an answer')
    assert len(stamped.said.warning) == 1  # a stamp makes it none of our business


def test_a_forward_controller_is_asked_too(graph, check):
    from std_msgs.msg import Float64MultiArray

    topic = '/f/commands'
    listener(graph, 'f', topic, Float64MultiArray, joints=[*ARM, 'g'], interface_name='position')
    one = check('joint_commands', topic=topic)
    polled(graph, one, lambda: one.misfit, 'the misfit')
    assert '3 values for 4' in one.misfit


def test_what_no_controller_takes_is_not_asked_about(graph, check):
    listener(graph, joints=['x'], command_interfaces=['position'])
    one = check('twist')
    graph.call(one.poll)
    assert one.status == 'unknown: no controller takes twist' and not one._asked


def test_a_controller_that_comes_back_with_other_joints_is_asked_again(graph, check):
    from rclpy.parameter import Parameter
    from trajectory_msgs.msg import JointTrajectory

    node = listener(graph, joints=['a'], command_interfaces=['position'])
    one = check()
    polled(graph, one, lambda: one.misfit, 'the misfit')
    graph.call(lambda: [node.destroy_subscription(s) for s in list(node.subscriptions)])
    polled(graph, one, lambda: not one.misfit, 'it left')
    node.set_parameters([Parameter('joints', value=ARM)])
    node.create_subscription(JointTrajectory, TOPIC, lambda message: None, 1)
    polled(graph, one, lambda: one.status.startswith('fits'), 'the new one')


def test_a_controller_that_does_not_answer_is_asked_again(graph, check, monkeypatch):
    from rclpy.client import Client

    from dysl_vla_ros.ros import controller_check

    monkeypatch.setattr(controller_check, '_ANSWER_S', 0.05)
    asked, real = [], Client.call_async

    def silent(client, request):
        from rclpy.task import Future

        asked.append(list(request.names))
        return Future(executor=graph.executor)

    # Silent before there is a client: its first question may leave in the poll that makes it.
    monkeypatch.setattr(Client, 'call_async', silent)
    monkeypatch.setattr(Client, 'remove_pending_request', lambda client, future: None)
    listener(graph, joints=ARM, command_interfaces=['position'])
    one = check()
    polled(graph, one, lambda: len(asked) > 2, 'several questions')
    assert all(len(names) == 1 for names in asked)
    assert one.status == 'unknown: /jtc did not answer for the parameters' and one.misfit == ''
    monkeypatch.setattr(Client, 'call_async', real)
    polled(graph, one, lambda: one.status.startswith('fits'), 'an answer')


# ---- what the node makes of it -----------------------------------------------------------------


def test_a_misfit_is_said_before_a_start_and_nobody_is_armed(rig):
    rig = rig(armed=False).up()
    rig.instruct('go')
    rig.wait_state('ready')
    listener(rig.graph, topic='/joint_trajectory', joints=['shoulder'],
             command_interfaces=['position'])  # fmt: skip
    wait_for(lambda: rig.session.around.newest.misfit, what='the misfit')
    answer = rig.ask('arm', True)
    assert not answer.success and '/jtc takes shoulder, and joint_trajectory' in answer.message
    rig.start()  # the shadow reaches no controller
    rig.wait_state('running')


def test_a_misfit_that_turns_up_in_motion_stops_it_and_is_an_error(rig):
    from diagnostic_msgs.msg import DiagnosticArray

    from dysl_vla_ros.ros import qos

    rig = rig()
    heard = rig.listen('/diagnostics', DiagnosticArray, qos.REPORT)
    rig.run()
    listener(rig.graph, topic='/joint_trajectory', joints=[*JOINTS, 'g'],
             command_interfaces=['position'])  # fmt: skip
    rig.wait_state('ready')
    assert 'g is missing: it refuses all of it' in rig.session.reason
    wait_for(rig.at_rest, what='rest')
    refused = rig.ask('start')
    assert not refused.success and 'g is missing' in refused.message

    def commands():
        return next(s for s in heard[-1].status if s.name.endswith('commands'))

    wait_for(lambda: commands().level == b'\x02' and 'g is missing' in commands().message,
             what='an error')  # fmt: skip
    values = {v.key: v.value for v in commands().values}
    assert values['controller_check'].startswith('misfit: /jtc takes ')
