"""What is meant for a simulated arm reaches no other one, however late the two are found."""

from __future__ import annotations

import pytest
from conftest import wait_for

pytestmark = pytest.mark.ros


@pytest.fixture
def simulated(rig):
    """A node that takes the fake robot for its simulation, armed and started by an instruction."""
    return rig(simulator='robot', start_on_instruction=True)


def another_arm(rig, name='driver', speaks=True):
    """Of the same joints, listening to the same commands; returns what it was told."""
    from rclpy.node import Node
    from sensor_msgs.msg import JointState
    from trajectory_msgs.msg import JointTrajectory

    from dysl_vla_ros.ros import qos

    node = rig.graph.add(Node(name, context=rig.graph.context))
    if speaks:
        node.create_publisher(JointState, 'joint_states', qos.SENSOR)
    told = []
    node.create_subscription(JointTrajectory, 'joint_trajectory', told.append, qos.COMMAND)
    return told


def test_beside_the_simulated_arm_alone_it_moves(simulated):
    simulated.run()
    wait_for(lambda: simulated.robot.position[0] > 0.05, what='motion')


def test_another_arm_that_is_there_keeps_it_from_starting(simulated):
    told = another_arm(simulated)
    simulated.up()
    simulated.instruct('go')
    reason = simulated.wait_reason('/driver publishes on /joint_states', 'expected nobody else')
    assert 'robot:=PRESET' in reason and simulated.session.state == 'ready'
    refused = simulated.ask('start')
    assert not refused.success and '/driver' in refused.message
    assert not told and not simulated.robot.trajectories


def test_another_arm_that_comes_later_is_sent_nothing_and_the_simulated_one_rests(simulated):
    simulated.run()
    wait_for(lambda: simulated.robot.position[0] > 0.05, what='motion')
    told = another_arm(simulated)
    simulated.wait_state('paused')
    simulated.wait_reason('/driver publishes on /joint_states')
    wait_for(simulated.at_rest, what='rest')
    assert not told


def test_who_only_listens_holds_it_for_a_moment(simulated):
    simulated.run()
    wait_for(lambda: simulated.robot.position[0] > 0.05, what='motion')
    states = []
    note = simulated.session._note
    simulated.session._note = lambda state, why: (states.append((state, why)), note(state, why))
    told = another_arm(simulated, 'echo', speaks=False)
    wait_for(lambda: told, what='commands for who listens')
    assert any(state == 'paused' and 'somebody new' in why for state, why in states)
    simulated.wait_state('running')


def test_without_its_simulation_it_waits(rig):
    rig = rig(simulator='sim_arm', start_on_instruction=True).up()
    rig.instruct('go')
    rig.wait_reason('waiting for /sim_arm')
    assert not rig.ask('start').success and not rig.robot.trajectories


def test_a_real_arm_may_have_several_who_publish_joints(rig):
    rig = rig()
    told = another_arm(rig)
    rig.run()
    wait_for(lambda: told, what='commands')


def test_the_launch_of_the_simulation_says_who_is_simulated_and_that_of_an_arm_does_not():
    from dysl_vla_ros.bringup import check, nodes

    def simulator(**given):
        (node,) = [spec for spec in nodes(check(given)) if spec.name == 'vla_node']
        return node.parameters.get('simulator')

    assert simulator(robot='sim') == 'sim_arm'
    assert simulator(robot='ur5e', engine='fake') is None


def test_an_arm_that_takes_the_place_of_who_left_is_new_all_the_same():
    from types import SimpleNamespace

    from dysl_vla_ros.ros.only_simulated import SETTLE_S, OnlySimulated

    present = [b'sim', b'echo']

    def end(name, gid=b''):
        return SimpleNamespace(node_namespace='/', node_name=name, endpoint_gid=list(gid))

    node = SimpleNamespace(
        get_namespace=lambda: '/',
        resolve_topic_name=lambda topic: f'/{topic}',
        get_publishers_info_by_topic=lambda topic: [end('sim_arm')],
        get_subscriptions_info_by_topic=lambda topic: [end('?', gid) for gid in present],
    )
    only = OnlySimulated(node, 'sim_arm', '/joint_trajectory', lambda: len(present))
    only.poll()
    assert 'somebody new' in only.problem()
    only._seen_at -= SETTLE_S
    only.poll()
    assert only.problem() == ''
    present[1] = b'arm'
    assert 'somebody new' in only.problem(), 'as many as before, but another'
    present.pop()
    assert only.problem() == '', 'who leaves is not waited for'
