"""Around the arm: contact, other commanders, the controller; over the real graph."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import wait_for
from fakes import JOINTS

pytestmark = pytest.mark.ros

TOPIC = '/joint_trajectory'
RIVAL = f'/rival publishes on {TOPIC} too: expected nobody else, or allow_other_commanders = true'


# ---- contact ------------------------------------------------------------------------------------


def sample(efforts):
    return SimpleNamespace(efforts=None if efforts is None else np.array(efforts))


@pytest.mark.parametrize(
    ('efforts', 'limit', 'joint', 'size'),
    [
        ([1.0, -7.26, 2.0], 5.0, 'elbow', '7.3'),
        ([9.0, 6.0, 0.0], 5.0, 'shoulder', '9.0'),
        ([0.0, np.nan, 1.0], 5.0, 'elbow', 'nan'),
        ([0.0, 1.0, -np.inf], 5.0, 'wrist', 'inf'),
    ],
)
def test_an_effort_beyond_the_limit_is_contact_by_joint_and_size(efforts, limit, joint, size):
    from dysl_vla_ros.ros.around import contact

    assert contact(sample(efforts), limit, JOINTS) == (
        f'contact: {joint} feels {size}, contact.effort = 5: something is in the way'
    )


@pytest.mark.parametrize(
    ('efforts', 'limit'), [([5.0, -5.0, 0.0], 5.0), (None, 0.0), ([99.0, 0.0, 0.0], 0.0)]
)
def test_at_the_limit_and_switched_off_nothing_is_felt(efforts, limit):
    from dysl_vla_ros.ros.around import contact

    assert contact(sample(efforts), limit, JOINTS) == ''


def test_an_arm_that_tells_no_efforts_is_not_commanded_where_contact_is_to_be_felt(rig):
    rig = rig(contact__effort=5.0, armed=False).up()
    rig.instruct('go')
    rig.wait_state('ready')
    refused = rig.ask('arm', True)
    assert not refused.success
    assert 'contact.effort = 5: joint_states carries no efforts' in refused.message
    rig.robot.efforts = [1.0, 0.0, 0.0]
    wait_for(lambda: rig.ask('arm', True).success, what='efforts')
    rig.start()
    rig.wait_state('running')
    rig.robot.efforts = None
    rig.wait_state('fault')
    assert 'carries no efforts' in rig.session.reason


def test_contact_in_motion_is_a_fault_and_the_arm_rests(rig):
    rig = rig(contact__effort=5.0)
    rig.robot.efforts = [9.0, 0.0, 0.0]
    rig.up()
    rig.instruct('go')
    rig.wait_state('ready')  # not armed motion: whatever holds the arm may hold it
    rig.robot.efforts = [4.0, 0.0, 0.0]
    wait_for(lambda: rig.session.inputs.joints.newest.efforts[0] == 4.0, what='the new effort')
    rig.start()
    rig.wait_state('running')
    rig.robot.efforts = [0.0, 0.0, -7.0]
    rig.wait_state('fault')
    assert rig.session.reason == (
        'contact: wrist feels 7.0, contact.effort = 5: something is in the way'
    )
    wait_for(rig.at_rest, what='rest')


def test_the_shadow_feels_nothing(rig):
    rig = rig(contact__effort=5.0, armed=False)
    rig.robot.efforts = [9.0, 0.0, 0.0]
    rig.run()
    count = len(rig.robot.shadow)
    wait_for(lambda: len(rig.robot.shadow) > count + 10, what='the shadow moves on')
    assert rig.session.state == 'running'


# ---- who else commands the arm ------------------------------------------------------------------


def rival(rig):
    from rclpy.node import Node
    from trajectory_msgs.msg import JointTrajectory

    node = rig.graph.add(Node('rival', context=rig.graph.context))
    publisher = node.create_publisher(JointTrajectory, TOPIC, 1)
    wait_for(lambda: rig.session.around.newest.others == ('/rival',), what='the rival is seen')
    return node, publisher


def commands_status(rig):
    from diagnostic_msgs.msg import DiagnosticArray

    from dysl_vla_ros.ros import qos

    heard = rig.listen('/diagnostics', DiagnosticArray, qos.REPORT)

    def newest():
        return heard and next(s for s in heard[-1].status if s.name == '/vla_node: commands')

    return newest


def test_a_second_commander_is_warned_of_by_name_and_nobody_is_armed_or_started(rig):
    rig = rig(armed=False)
    status = commands_status(rig)
    rig.up()
    rig.instruct('go')
    rig.wait_state('ready')
    other, publisher = rival(rig)
    wait_for(lambda: status() and RIVAL in status().message, what='a warning')
    assert status().level == b'\x01'  # WARN
    assert {v.key: v.value for v in status().values}['other_commanders'] == '/rival'
    answer = rig.ask('arm', True)
    assert not answer.success and answer.message == RIVAL
    rig.start()  # in shadow: the arm is not moved
    rig.wait_state('running')
    rig.graph.call(lambda: other.destroy_publisher(publisher))
    wait_for(lambda: rig.session.around.newest.others == (), what='the rival leaves')
    rig.arm()


def test_an_armed_node_does_not_start_beside_a_second_commander(rig):
    rig = rig().up()
    rig.instruct('go')
    rig.wait_state('ready')
    rival(rig)
    answer = rig.ask('start')
    assert not answer.success and answer.message == RIVAL
    assert rig.robot.trajectories == []


def test_a_second_commander_that_is_allowed_hinders_nobody(rig):
    rig = rig(armed=False, allow_other_commanders=True).up()
    rig.instruct('go')
    rig.wait_state('ready')
    rival(rig)
    rig.arm()
    rig.start()
    rig.wait_state('running')


def test_whoever_listens_is_known_and_without_a_listener_nobody_is_armed(rig):
    rig = rig().up()
    wait_for(lambda: rig.session.around.newest.listeners == ('/robot',), what='the listener')
    around = rig.session.around
    assert around.arming_problem() == ''
    rig.graph.call(rig.robot.deafen)
    wait_for(around.arming_problem, what='nobody to listen')
    assert around.arming_problem() == f'nobody subscribes to {TOPIC}: start the controller first'


# ---- the controller -----------------------------------------------------------------------------


def stand_in(rig, status='active', problem='', restarted_at=None):
    """A controller as the watch would report it."""
    watch = SimpleNamespace(
        status=status, said=problem, restarted_at=restarted_at, poll=lambda: None,
        problem=lambda: watch.said, destroy=lambda: None,
    )  # fmt: skip
    rig.graph.call(rig.session.around.destroy)
    rig.session.around._topics[0]._watch = watch
    return watch


def test_a_controller_that_goes_inactive_stops_the_motion_and_a_start_is_asked_for(rig):
    rig = rig()
    status = commands_status(rig)
    rig.run()
    watch = stand_in(rig)
    wait_for(lambda: rig.session.around.newest.controller == 'active', what='the stand-in')
    wait_for(lambda: rig.robot.position[0] > 0.05, what='motion')
    begun = time.monotonic()
    watch.status, watch.said = 'inactive', 'the controller does not run: /c is inactive'
    rig.wait_state('ready')
    assert time.monotonic() - begun < 0.3 + 0.5  # one look, and a loaded machine
    assert rig.session.reason == 'stopped: the controller does not run: /c is inactive'
    wait_for(rig.at_rest, what='rest')
    wait_for(lambda: status() and '/c is inactive' in status().message, what='a warning')
    refused = rig.ask('start')
    assert not refused.success and refused.message == 'the controller does not run: /c is inactive'
    watch.status, watch.said = 'active', ''
    wait_for(lambda: rig.session.around.newest.controller == 'active', what='active again')
    assert rig.session.state == 'ready' and rig.at_rest()
    rig.start()
    rig.wait_state('running')


def test_a_controller_that_was_started_again_in_motion_needs_a_start(rig):
    rig = rig().run()
    watch = stand_in(rig)
    wait_for(lambda: rig.robot.position[0] > 0.05, what='motion')
    watch.restarted_at = time.monotonic()
    rig.wait_state('ready')
    [gripper] = [arm.gripper for arm in rig.session.publishers.arms]
    assert gripper.receiver_since == watch.restarted_at
    assert rig.session.reason == (
        'the controller was started again; ~/start begins from where it is'
    )
    wait_for(rig.at_rest, what='rest')
    rig.start()
    rig.wait_state('running')


def test_arming_is_refused_while_the_controller_does_not_run(rig):
    rig = rig(armed=False).up()
    rig.wait_state('ready')
    stand_in(rig, 'inactive', 'the controller does not run: /c is inactive')
    wait_for(lambda: rig.session.around.newest.controller_problem, what='the stand-in')
    answer = rig.ask('arm', True)
    assert not answer.success and answer.message == 'the controller does not run: /c is inactive'


def test_a_real_controller_that_is_deactivated_in_motion_stops_it(rig):
    from rclpy.lifecycle import LifecycleNode
    from trajectory_msgs.msg import JointTrajectory

    rig = rig().up()
    rig.instruct('go')
    node = rig.graph.add(LifecycleNode('controller', context=rig.graph.context))
    node.create_subscription(JointTrajectory, TOPIC, lambda message: None, 1)
    event = '/controller/transition_event'
    wait_for(
        lambda: node.count_subscribers(event) and rig.node.count_publishers(event), what='heard'
    )
    rig.graph.call(node.trigger_configure)
    rig.graph.call(node.trigger_activate)
    wait_for(lambda: rig.session.around.newest.controller == 'active', what='active')
    rig.start()
    rig.wait_state('running')
    rig.graph.call(node.trigger_deactivate)
    # A look that falls between the two announcements says "is deactivating".
    rig.wait_reason('the controller does not run: /controller is ', '; expected active')
    assert rig.session.state == 'ready'
    wait_for(rig.at_rest, what='rest')
