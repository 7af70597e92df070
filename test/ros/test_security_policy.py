"""The SROS 2 policy grants what the nodes create, all of it and nothing else.

Generated from the real nodes in every configuration that adds a topic, service or action, and
compared; not enforced: the wheels have no security plugins.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import wait_for
from fakes import FakePolicy

pytestmark = pytest.mark.ros

POLICY = Path(__file__).resolve().parents[2] / 'config' / 'sros2' / 'policy.xml'
CONTROLLER = 'joint_trajectory_controller'

# (kind, direction) -> how a node says what it has of that.
PERMISSIONS = {
    ('topic', 'publish'): 'get_publisher_names_and_types_by_node',
    ('topic', 'subscribe'): 'get_subscriber_names_and_types_by_node',
    ('service', 'reply'): 'get_service_names_and_types_by_node',
    ('service', 'request'): 'get_client_names_and_types_by_node',
}

# What only libraries without a wheel create, so that it cannot be generated here.
NOT_INSTALLABLE = {
    ('vla_node', 'action', 'call', '/gripper_command_action'),  # control_msgs
    ('vla_node', 'service', 'request', '/controller_manager/list_controllers'),
    ('vla_node', 'topic', 'subscribe', '/controller_state'),  # control_msgs
}

CONFIGURATIONS = {
    'joint_trajectory': {'command_type': 'joint_trajectory'},
    'unstamped': {'command_type': 'joint_trajectory', 'trajectory.stamped': False},
    'gripper joint': {'gripper.interface': 'joint', 'use_sim_time': True},
    'gripper action': {'gripper.interface': 'action'},
    'joint_commands': {'command_type': 'joint_commands', 'gripper.interface': 'forward'},
    'joint_state': {'command_type': 'joint_state'},
    'twist': {'command_type': 'twist'},
    'pose': {'command_type': 'pose'},
    'speed topic': {
        'speed.source': 'topic',
        'speed.topic': 'speed_scaling_state_broadcaster/speed_scaling',
    },
    'speed of the controller': {'speed.source': 'controller_state'},
}
"""Every command type, gripper interface and source of speed, and simulated time."""

Grant = tuple[str, str, str, str]


def granted() -> set[Grant]:
    """(node, kind, direction, full name) of every rule of the policy."""
    found = set()
    for profile in ElementTree.parse(POLICY).getroot().iter('profile'):
        node, namespace = profile.get('node', ''), profile.get('ns', '')
        for rules in profile:
            kind = rules.tag.removesuffix('s')
            for direction, qualifier in rules.attrib.items():
                assert qualifier == 'ALLOW'
                for rule in rules:
                    name = _resolved(rule.text or '', namespace, node)
                    grant = (node, kind, direction, name)
                    assert grant not in found, f'{grant} stands twice'
                    found.add(grant)
    return found


def _resolved(name: str, namespace: str, node: str) -> str:
    """As sros2's templates resolve an expression."""
    prefix = namespace.rstrip('/')
    if name.startswith('/'):
        return name
    return f'{prefix}/{node}{name[1:]}' if name.startswith('~') else f'{prefix}/{name}'


def created(observer: Any, node: str) -> set[Grant]:
    """What a running node of the observer's namespace has, as if it were in the root's.

    Each test has a namespace of its own: the graph still lists the nodes of the tests before.
    """
    namespace = observer.get_namespace()
    if (node, namespace) not in observer.get_node_names_and_namespaces():
        return set()
    from rclpy.action import (
        get_action_client_names_and_types_by_node,
        get_action_server_names_and_types_by_node,
    )

    found = set()
    for (kind, direction), method in PERMISSIONS.items():
        for name, _ in getattr(observer, method)(node, namespace):
            if '/_action/' not in name:
                found.add((node, kind, direction, name.removeprefix(namespace)))
    for name, _ in get_action_client_names_and_types_by_node(observer, node, namespace):
        found.add((node, 'action', 'call', name.removeprefix(namespace)))
    for name, _ in get_action_server_names_and_types_by_node(observer, node, namespace):
        found.add((node, 'action', 'execute', name.removeprefix(namespace)))
    return found


_RUNS = itertools.count()


@pytest.fixture
def namespace():
    return f'/run_{next(_RUNS)}'


@pytest.fixture
def robot(graph, namespace):
    """The real simulated arm, a controller at every command topic, a compressed camera."""
    from geometry_msgs.msg import PoseStamped, TwistStamped
    from rclpy.node import Node
    from rclpy.parameter import Parameter
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray
    from trajectory_msgs.msg import JointTrajectory

    from dysl_vla_ros.ros.sim_node import SimNode

    sim = SimNode(
        context=graph.context,
        namespace=namespace,
        parameter_overrides=[Parameter('cameras', value=['image', 'wrist_image'])],
    )
    controller = Node(CONTROLLER, context=graph.context, namespace=namespace)
    for kind, topic in (
        (JointTrajectory, 'joint_trajectory'), (Float64MultiArray, 'joint_commands'),
        (JointState, 'joint_command'),
        (TwistStamped, 'twist_commands'), (PoseStamped, 'pose_target'),
    ):  # fmt: skip
        controller.create_subscription(kind, topic, lambda message: None, 1)
    graph.add(sim)
    return graph.add(controller)


def vla_node(graph, namespace, monkeypatch, parameters):
    """The real node, configured and active, with all that it asks of the graph later."""
    from rclpy.parameter import Parameter

    import dysl_vla_ros.ros.lifecycle_node as module
    from dysl_vla_ros.ros.controller_watch import ControllerWatch

    monkeypatch.setattr(module, 'open_policy', lambda config: FakePolicy())
    node = graph.add(
        module.VlaNode(
            context=graph.context,
            namespace=namespace,
            parameter_overrides=[Parameter(key, value=value) for key, value in parameters.items()],
        )
    )
    assert graph.call(node.trigger_configure).name == 'SUCCESS'
    assert graph.call(node.trigger_activate).name == 'SUCCESS'
    topic = node._configured.session.publishers.command_topic
    watch = ControllerWatch(node, topic)
    wait_for(lambda: node.count_subscribers(topic), what='a listener')
    graph.call(watch.poll)
    return node


def settled(observer: Any, wanted: set[str]) -> set[Grant]:
    """What both nodes have once all that is wanted is there and nothing new comes any more."""
    found: set[Grant] = set()
    changed = time.monotonic()

    def quiet() -> bool:
        nonlocal found, changed
        now = created(observer, 'vla_node') | created(observer, 'sim_arm')
        if now - found:
            found, changed = found | now, time.monotonic()
        return wanted <= {name for *_, name in found} and time.monotonic() - changed > 0.5

    wait_for(quiet, what=f'{sorted(wanted)}')
    return found


@pytest.fixture(scope='module')
def generated():
    """The union over all configurations, collected by the tests below."""
    return set()


@pytest.mark.parametrize('name', CONFIGURATIONS)
def test_the_policy_covers_the_nodes_in_every_configuration(
    graph, namespace, robot, monkeypatch, generated, name
):
    if name in ('gripper action', 'speed of the controller'):
        pytest.importorskip('control_msgs', reason='control_msgs has no wheel; part of ROS')
    wanted = {f'/{CONTROLLER}/transition_event', '/sim_arm/reset'}
    if name == 'unstamped':
        wanted |= {'/sim_arm/get_parameters', f'/{CONTROLLER}/get_parameters'}
    vla_node(graph, namespace, monkeypatch, CONFIGURATIONS[name])
    found = settled(robot, wanted)
    generated |= found
    assert sorted(found - granted()) == []


def test_the_policy_covers_a_compressed_camera(graph, namespace, monkeypatch, generated):
    from rclpy.node import Node
    from sensor_msgs.msg import CompressedImage
    from trajectory_msgs.msg import JointTrajectory

    robot = graph.add(Node(CONTROLLER, context=graph.context, namespace=namespace))
    robot.create_subscription(JointTrajectory, 'joint_trajectory', lambda message: None, 1)
    topics = {'/image/compressed', '/wrist_image/compressed'}
    for topic in topics:
        robot.create_publisher(CompressedImage, topic[1:], 1)
    vla_node(graph, namespace, monkeypatch, {})
    found = settled(robot, topics)
    generated |= found
    assert sorted(found - granted()) == []


def test_the_policy_grants_nothing_that_no_node_creates(generated):
    names = {name for *_, name in generated}
    if not names >= {'/joint_commands', '/twist_commands', '/clock', '/image/compressed'}:
        pytest.skip('needs what the other tests of this file generate: run them together')
    others = {grant for grant in granted() if grant[0] == 'vla_recorder'}
    assert sorted(granted() - generated - NOT_INSTALLABLE - others) == []
    assert sorted(NOT_INSTALLABLE - granted()) == []


@pytest.mark.parametrize('packed', [False, True])
def test_the_recorder_may_listen_to_what_it_records_and_to_nothing_else(
    graph, namespace, monkeypatch, tmp_path, packed
):
    pytest.importorskip('mcap', reason="pip install 'dysl_vla_ros[record]'")
    from rclpy.node import Node
    from rclpy.parameter import Parameter
    from sensor_msgs.msg import CompressedImage, Image

    from dysl_vla_ros.ros.recorder_node import RecorderNode

    robot = graph.add(Node('robot', context=graph.context, namespace=namespace))
    for camera in ('image', 'wrist_image'):
        kind, ending = (CompressedImage, '/compressed') if packed else (Image, '')
        robot.create_publisher(kind, camera + ending, 1)
    given = {'folder': str(tmp_path), 'video': True}
    recorder = graph.add(
        RecorderNode(
            context=graph.context,
            namespace=namespace,
            parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
        )
    )
    vla_node(graph, namespace, monkeypatch, {})
    of_cameras = {'/image', '/wrist_image'}
    if packed:
        of_cameras = {f'{name}/compressed' for name in of_cameras}
    wanted = {grant for grant in granted() if grant[0] == 'vla_recorder'} - {
        ('vla_recorder', 'topic', 'subscribe', f'/{name}{ending}')
        for name in ('image', 'wrist_image')
        for ending in ('', '/compressed')
        if f'/{name}{ending}' not in of_cameras
    }
    wait_for(lambda: created(robot, 'vla_recorder') >= wanted, what='all subscriptions')
    assert sorted(created(robot, 'vla_recorder') - wanted) == []
    graph.call(recorder.finish)


def test_what_cannot_be_generated_is_what_the_code_would_create():
    from dysl_vla_ros.config import GripperConfig
    from dysl_vla_ros.ros.controller_watch import SERVICE_TYPE

    assert f'/{GripperConfig().action_name}' in {name for *_, name in NOT_INSTALLABLE}
    assert SERVICE_TYPE == 'controller_manager_msgs/srv/ListControllers'


def test_the_policy_has_the_form_of_the_schema():
    """Elements and attributes of sros2's policy.xsd, version 0.2.0."""
    root = ElementTree.parse(POLICY).getroot()
    assert root.tag == 'policy' and root.attrib == {'version': '0.2.0'}
    attributes = {
        'topics': {'publish', 'subscribe'}, 'services': {'reply', 'request'},
        'actions': {'call', 'execute'},
    }  # fmt: skip
    (enclaves,) = root
    paths = [enclave.get('path') for enclave in enclaves]
    assert paths == ['/dysl/vla_node', '/dysl/vla_recorder', '/dysl/sim_arm']
    for enclave in enclaves:
        (profiles,) = enclave
        for profile in profiles:
            assert set(profile.attrib) == {'ns', 'node'}
            for rules in profile:
                assert set(rules.attrib) <= attributes[rules.tag] and len(rules.attrib) == 1
                assert {rule.tag for rule in rules} == {rules.tag.removesuffix('s')}
                assert all(rule.text and '*' not in rule.text for rule in rules)
