"""The controller's state, and the other nodes at the command topic.

Nodes and transitions are real. ``controller_manager_msgs`` has no wheel, so its
service cannot be sent here: a stand-in with the fields of the published definitions (Humble's and
Jazzy's ``ListControllers.srv`` and ``ControllerState.msg``) answers through a client of its own.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from conftest import wait_for

pytestmark = pytest.mark.ros

TOPIC = '/controller/joint_trajectory'

# Fields of controller_manager_msgs/msg/ControllerState, as published.
HUMBLE = (
    'name', 'state', 'type', 'claimed_interfaces', 'required_command_interfaces',
    'required_state_interfaces', 'is_chainable', 'is_chained', 'reference_interfaces',
    'chain_connections',
)  # fmt: skip
JAZZY = (*HUMBLE, 'is_async', 'update_rate', 'exported_state_interfaces')


def controller(graph, name='controller', topic=TOPIC, lifecycle=True, **options):
    """A node that listens to the command topic, as a controller does."""
    from rclpy.lifecycle import LifecycleNode
    from rclpy.node import Node
    from trajectory_msgs.msg import JointTrajectory

    kind = LifecycleNode if lifecycle else Node
    node = graph.add(kind(name, context=graph.context, **options))
    node.create_subscription(JointTrajectory, topic, lambda message: None, 1)
    return node


@pytest.fixture
def us(graph):
    """The node that commands, with its publisher."""
    from rclpy.node import Node
    from trajectory_msgs.msg import JointTrajectory

    node = graph.add(Node('vla_node', context=graph.context))
    node.create_publisher(JointTrajectory, TOPIC, 1)
    return node


def polled(graph, thing, condition, what=''):
    def step():
        graph.call(thing.poll)
        return condition()

    return wait_for(step, what=what)


# ---- transitions that a controller announces --------------------------------------------------


@pytest.fixture
def watched(graph, us):
    """A real lifecycle node at the command topic, and a watch that hears it."""
    from dysl_vla_ros.ros.controller_watch import ControllerWatch

    node = controller(graph)
    watch = ControllerWatch(us, TOPIC)
    event = '/controller/transition_event'

    def heard():
        return node.count_subscribers(event) and us.count_publishers(event)

    polled(graph, watch, heard, 'transitions are heard')
    yield SimpleNamespace(node=node, watch=watch)
    graph.call(watch.destroy)


def test_before_anything_is_announced_nothing_is_known_and_nothing_is_wrong(watched):
    assert watched.watch.status == 'unknown: not installed'
    assert watched.watch.problem() == ''
    assert watched.watch.restarted_at is None and watched.watch.changed_at is None


def test_a_controller_that_is_stopped_is_a_problem_and_one_that_runs_again_is_a_restart(
    graph, watched
):
    watch, node = watched.watch, watched.node
    graph.call(node.trigger_configure)
    # "configuring" may be heard first, and is no more active.
    wait_for(
        lambda: '/controller is inactive; expected active' in watch.problem(), what='inactive'
    )
    assert watch.status == 'inactive'
    graph.call(node.trigger_activate)
    wait_for(lambda: watch.status == 'active', what='active')
    assert watch.problem() == ''
    graph.call(node.trigger_deactivate)
    wait_for(lambda: watch.status == 'inactive', what='inactive again')
    assert watch.problem()
    before = time.monotonic()
    graph.call(node.trigger_activate)
    wait_for(lambda: watch.status == 'active', what='active again')
    assert before <= watch.restarted_at <= time.monotonic()
    assert watch.changed_at >= watch.restarted_at


def test_a_restart_between_two_polls_is_noticed(graph, watched):
    watch, node = watched.watch, watched.node
    graph.call(node.trigger_configure)
    graph.call(node.trigger_activate)
    wait_for(lambda: watch.status == 'active', what='active')
    before = time.monotonic()
    graph.call(lambda: (node.trigger_deactivate(), node.trigger_activate()))
    wait_for(lambda: (watch.restarted_at or 0) > before, what='the restart, without a poll')


def test_a_controller_that_is_unloaded_is_gone(graph, watched):
    watch, node = watched.watch, watched.node
    graph.call(node.trigger_configure)
    graph.call(node.trigger_activate)
    wait_for(lambda: watch.status == 'active', what='active')
    graph.call(lambda: [node.destroy_subscription(s) for s in list(node.subscriptions)])
    polled(graph, watch, lambda: watch.status == 'inactive', 'gone')
    assert '/controller is gone' in watch.problem()


# ---- controller_manager, by a stand-in --------------------------------------------------------


def controller_state(fields, **values):
    return SimpleNamespace(**{field: values.get(field, '') for field in fields})


class StandIn:
    """A controller_manager: its graph entry, and a client that answers in the executor."""

    def __init__(self, graph, node, monkeypatch, fields, service='/controller_manager'):
        from dysl_vla_ros.ros import controller_watch

        self.graph = graph
        self.fields = fields
        self.states = {}
        self.answers = True
        self.questions = []
        self.removed = 0
        self.service = f'{service}/list_controllers'
        request = SimpleNamespace(Request=lambda: 'list')
        monkeypatch.setattr(controller_watch, 'ListControllers', request)
        real_services, real_client = node.get_service_names_and_types, node.create_client
        entry = (self.service, ['controller_manager_msgs/srv/ListControllers'])
        monkeypatch.setattr(
            node, 'get_service_names_and_types', lambda: [*real_services(), entry], raising=True
        )

        def create_client(kind, name, **options):
            return self if kind is request else real_client(kind, name, **options)

        monkeypatch.setattr(node, 'create_client', create_client)
        real_destroy = node.destroy_client
        monkeypatch.setattr(
            node, 'destroy_client', lambda c: True if c is self else real_destroy(c)
        )

    def service_is_ready(self):
        return True

    def call_async(self, request):
        from rclpy.task import Future

        assert request == 'list'
        future = Future(executor=self.graph.executor)
        self.questions.append(future)
        if self.answers:
            listed = [
                controller_state(self.fields, name=name, state=state)
                for name, state in self.states.items()
            ]
            future.set_result(SimpleNamespace(controller=listed))
        return future

    def remove_pending_request(self, future):
        self.removed += 1


@pytest.fixture(params=[HUMBLE, JAZZY], ids=['humble', 'jazzy'])
def managed(request, graph, us, monkeypatch):
    from dysl_vla_ros.ros.controller_watch import ControllerWatch

    manager = StandIn(graph, us, monkeypatch, request.param)
    controller(graph, lifecycle=False)
    watch = ControllerWatch(us, TOPIC)
    yield SimpleNamespace(manager=manager, watch=watch, node=us)
    graph.call(watch.destroy)


def test_controller_manager_knows_the_state_that_held_before_we_came(graph, managed):
    managed.manager.states = {'joint_state_broadcaster': 'inactive', 'controller': 'active'}
    polled(graph, managed.watch, lambda: managed.watch.status == 'active', 'active')
    assert managed.watch.problem() == '' and managed.watch.restarted_at is None


def test_a_stop_and_a_start_are_seen_at_the_polls(graph, managed):
    manager, watch = managed.manager, managed.watch
    manager.states = {'controller': 'active'}
    polled(graph, watch, lambda: watch.status == 'active', 'active')
    manager.states = {'controller': 'inactive'}
    polled(graph, watch, lambda: watch.status == 'inactive', 'inactive')
    assert 'the controller does not run: /controller is inactive' in watch.problem()
    assert watch.restarted_at is None and watch.changed_at is not None
    before = time.monotonic()
    manager.states = {'controller': 'active'}
    polled(graph, watch, lambda: watch.status == 'active', 'active again')
    assert watch.restarted_at >= before and watch.problem() == ''


def test_a_controller_that_is_not_listed_any_more_is_a_problem(graph, managed):
    manager, watch = managed.manager, managed.watch
    manager.states = {'controller': 'active'}
    polled(graph, watch, lambda: watch.status == 'active', 'active')
    manager.states = {'another': 'active'}
    polled(graph, watch, lambda: 'unloaded' in watch.problem(), 'unloaded')


def test_a_listener_that_is_no_controller_is_unknown_and_no_problem(graph, managed):
    managed.manager.states = {'another': 'inactive'}
    graph.call(managed.watch.poll)
    wait_for(lambda: managed.manager.questions, what='a question')
    assert managed.watch.status == (
        'unknown: no controller of controller_manager takes the commands'
    )
    assert managed.watch.problem() == ''


def test_a_manager_that_does_not_answer_is_asked_again_and_nothing_waits(graph, managed):
    manager, watch = managed.manager, managed.watch
    manager.states = {'controller': 'active'}
    polled(graph, watch, lambda: watch.status == 'active', 'active')
    manager.answers = False
    polled(graph, watch, lambda: not manager.questions[-1].done(), 'an open question')
    asked = len(manager.questions)
    for _ in range(5):
        graph.call(watch.poll)
    assert len(manager.questions) == asked, 'one question at a time'
    polled(graph, watch, lambda: 'does not answer' in watch.status, 'silence')
    assert watch.problem() == ''
    polled(graph, watch, lambda: manager.removed >= 1, 'the old question is dropped')
    manager.answers = True
    polled(graph, watch, lambda: watch.status == 'active', 'active')
    assert watch.restarted_at is None


def test_an_answer_that_fails_changes_nothing(graph, managed):
    manager, watch = managed.manager, managed.watch
    manager.states = {'controller': 'active'}
    polled(graph, watch, lambda: watch.status == 'active', 'active')
    manager.answers = False
    polled(graph, watch, lambda: not manager.questions[-1].done(), 'an open question')
    graph.call(lambda: manager.questions[-1].set_exception(RuntimeError('gone')))
    manager.answers = True
    asked = len(manager.questions)
    polled(graph, watch, lambda: len(manager.questions) > asked, 'the next question')
    assert watch.status == 'active'


def test_the_manager_of_another_namespace_does_not_speak_for_our_controller(
    graph, us, monkeypatch
):
    from dysl_vla_ros.ros.controller_watch import ControllerWatch

    manager = StandIn(graph, us, monkeypatch, JAZZY, '/left/controller_manager')
    controller(graph, lifecycle=False)
    watch = ControllerWatch(us, TOPIC)
    manager.states = {'controller': 'inactive'}
    polled(graph, watch, lambda: len(manager.questions) > 2, 'questions')
    assert watch.problem() == '' and watch.status.startswith('unknown: no controller of')
    graph.call(watch.destroy)


def test_without_a_manager_the_status_says_so(graph, us, monkeypatch):
    from dysl_vla_ros.ros import controller_watch

    monkeypatch.setattr(controller_watch, 'ListControllers', SimpleNamespace())
    watch = controller_watch.ControllerWatch(us, TOPIC)
    graph.call(watch.poll)
    assert watch.status == 'unknown: no controller_manager' and watch.problem() == ''


# ---- who is at the command topic --------------------------------------------------------------


def test_listeners_and_other_publishers_are_named_and_we_are_not(graph, us):
    from rclpy.node import Node
    from trajectory_msgs.msg import JointTrajectory

    from dysl_vla_ros.ros.command_graph import CommandGraph

    look = CommandGraph(us, TOPIC)
    us.create_subscription(JointTrajectory, TOPIC, lambda message: None, 1)
    wait_for(lambda: us.count_subscribers(TOPIC), what='our own subscription')
    graph.call(look.poll)
    assert look.listeners == () and look.others == ()
    controller(graph, lifecycle=False)
    controller(graph, 'arm', lifecycle=False, namespace='/left')
    controller(graph, 'rosbag2_recorder', lifecycle=False)
    controller(graph, '_ros2cli_123', lifecycle=False)
    polled(graph, look, lambda: len(look.listeners) == 2, 'listeners')
    assert look.listeners == ('/controller', '/left/arm') and look.others == ()
    rival = graph.add(Node('_ros2cli_456', context=graph.context))
    publisher = rival.create_publisher(JointTrajectory, TOPIC, 1)
    polled(graph, look, lambda: look.others == ('/_ros2cli_456',), 'the other publisher')
    graph.call(lambda: rival.destroy_publisher(publisher))
    polled(graph, look, lambda: look.others == (), 'the other publisher leaves')


def test_a_second_node_of_our_own_name_is_another_publisher(graph, us):
    from rclpy.node import Node
    from trajectory_msgs.msg import JointTrajectory

    from dysl_vla_ros.ros.command_graph import CommandGraph

    look = CommandGraph(us, TOPIC)
    graph.call(look.poll)
    assert look.others == ()
    twin = graph.add(Node('vla_node', context=graph.context))
    twin.create_publisher(JointTrajectory, TOPIC, 1)
    polled(graph, look, lambda: look.others == ('/vla_node',), 'the twin')


def test_a_publisher_without_a_node_name_counts_after_a_moment(graph, us, monkeypatch):
    from dysl_vla_ros.ros import command_graph

    monkeypatch.setattr(command_graph, '_UNKNOWN_PATIENCE_S', 0.2)
    look = command_graph.CommandGraph(us, TOPIC)
    nameless = SimpleNamespace(node_namespace='_NODE_NAMESPACE_UNKNOWN_', node_name='')
    real = us.get_publishers_info_by_topic
    monkeypatch.setattr(us, 'get_publishers_info_by_topic', lambda topic: [*real(topic), nameless])
    graph.call(look.poll)
    assert look.others == ()
    polled(graph, look, lambda: look.others == ('a participant without a node name',), 'it stays')
