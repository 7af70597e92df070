"""Where one life, clock or listener ends and the next begins: nothing of before moves the arm."""

from __future__ import annotations

import time
from dataclasses import replace

import fakes
import numpy as np
import pytest
from conftest import wait_for
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Bool, Float64, Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

pytestmark = pytest.mark.ros


def seconds(duration):
    return duration.sec + 1e-9 * duration.nanosec


# ---- who listens --------------------------------------------------------------------------------


def test_a_controller_that_goes_is_missed_although_the_recorder_listens_on(graph, rig, tmp_path):
    from dysl_vla_ros.ros.recorder_node import RecorderNode

    pytest.importorskip('mcap')
    folder = Parameter('folder', value=str(tmp_path))
    graph.add(RecorderNode(context=graph.context, parameter_overrides=[folder]))
    rig = rig().run()
    wait_for(lambda: rig.session.publishers.listeners == 2, what='the recorder')
    rig.graph.call(rig.robot.deafen)
    rig.wait_state('ready')
    rig.wait_reason('nobody subscribes', '~/start begins anew')
    wait_for(lambda: rig.session.last_command is None, what='the end of the braking')
    robot, deep = rig.robot, QoSProfile(depth=50)
    rig.graph.call(lambda: robot.node.create_subscription(
        JointTrajectory, 'joint_trajectory', robot._on_trajectory, deep))  # fmt: skip
    wait_for(lambda: not rig.session.around.newest.unheard, what='the controller again')
    where = rig.robot.position.copy()
    time.sleep(1.0)
    np.testing.assert_allclose(rig.robot.position, where, atol=0.01)
    assert rig.session.state == 'ready'


def test_who_only_looks_on_is_no_controller(rig):
    rig = rig(armed=False).up()
    rig.instruct('go')
    rig.wait_state('ready')
    looks = rig.graph.add(Node('_ros2cli_1', context=rig.graph.context))
    looks.create_subscription(JointTrajectory, '/joint_trajectory', print, 10)
    rig.graph.call(rig.robot.deafen)
    wait_for(lambda: rig.session.around.newest.unheard, what='the controller to be gone')
    assert rig.ask('arm', True).message == (
        'nobody subscribes to /joint_trajectory: start the controller first'
    )


# ---- lives of the node --------------------------------------------------------------------------


def test_an_estop_that_is_pressed_while_nothing_is_configured_is_not_lost(rig):
    rig = rig().up()
    rig.wait_state('ready')
    rig.deactivate()
    rig.graph.call(rig.node.trigger_cleanup)
    button = rig.robot.node.create_publisher(Bool, 'estop', 10)
    wait_for(lambda: button.get_subscription_count() == 2, what='the node')
    button.publish(Bool(data=True))
    wait_for(lambda: rig.node._remembered.estop_down, what='the button')
    rig.configure()
    rig.activate()
    rig.wait_state('e-stop')
    assert 'the e-stop is pressed' in rig.ask('estop_reset').message
    button.publish(Bool(data=False))
    wait_for(lambda: rig.ask('estop_reset').success, what='the release')


def test_the_instruction_outlives_clean_up_and_configure_for_a_start(rig):
    rig = rig().up()
    rig.instruct('go')
    rig.wait_state('ready')
    rig.deactivate()
    rig.graph.call(rig.node.trigger_cleanup)
    rig.configure()
    rig.activate()
    rig.wait_state('ready')
    assert rig.ask('start').message == 'started'
    rig.wait_state('running')


def test_the_clock_of_the_machine_counts_again_once_the_simulated_one_is_left(rig):
    rig = rig(use_sim_time=True)
    clock, message = rig.robot.node.create_publisher(Clock, '/clock', 1), Clock()
    message.clock.sec = 100
    timer = rig.robot.node.create_timer(0.01, lambda: clock.publish(message))
    rig.up()
    wait_for(lambda: rig.session.speed.ros_now == 100.0, what='simulated time')
    rig.deactivate()
    rig.graph.call(timer.cancel)
    wall = Parameter('use_sim_time', value=False)
    assert rig.graph.call(lambda: rig.node.set_parameters([wall]))[0].successful
    rig.activate()
    rig.instruct('go')
    rig.wait_state('ready')
    rig.start()
    rig.wait_state('running')
    stamps = [seconds(message.header.stamp) for _, message in rig.robot.trajectories]
    assert stamps and stamps[-1] == pytest.approx(time.time(), abs=5.0)


def test_a_clean_up_that_meets_an_error_closes_the_engine_all_the_same(rig):
    rig = rig().up()

    def fails():
        raise RuntimeError('cannot be dropped')

    services = rig.node._configured.services
    drop, services.destroy = services.destroy, fails
    rig.deactivate()
    rig.graph.call(rig.node.trigger_cleanup)
    assert rig.policy.engine.closed
    rig.graph.call(drop)


def test_an_activation_that_cannot_start_its_worker_leaves_no_thread_that_commands(
    rig, monkeypatch
):
    import threading

    from dysl_vla_ros.ros.inference_worker import InferenceWorker

    def fails(self):
        raise RuntimeError("can't start new thread")

    rig = rig()
    rig.configure()
    monkeypatch.setattr(InferenceWorker, 'start', fails)
    rig.graph.call(rig.node.trigger_activate)
    assert 'commands' not in {thread.name for thread in threading.enumerate()}


# ---- the motion itself --------------------------------------------------------------------------


def test_a_deactivation_waits_until_single_points_have_braked_the_arm(rig, monkeypatch):
    monkeypatch.setattr(fakes, 'STEP', 0.1)
    policy = fakes.FakePolicy()
    monkeypatch.undo()
    rig = rig(
        policy, command_type='joint_commands', gripper__interface='none',
        gripper__opening_source='commanded', limits__acceleration=0.16,
        limits__velocity_scale=0.1, stop__rest_s=2.0, limits__max_lead=2.0, command_rate_hz=50.0,
    )  # fmt: skip
    sent = []

    def follow(message):
        sent.append(message.data[0])
        rig.robot.position = np.array(message.data[:3])

    rig.robot.node.create_subscription(Float64MultiArray, 'joint_commands', follow, 200)
    rig.run()
    wait_for(lambda: len(sent) > 9 and abs(sent[-1] - sent[-2]) * 50 > 0.22, what='speed')
    rig.deactivate()
    time.sleep(0.3)
    assert abs(sent[-1] - sent[-2]) * 50 < 0.02


@pytest.mark.parametrize('factor', [0.2, 0.6])
def test_a_gripper_that_travels_with_the_arm_does_not_jump_under_a_speed_override(rig, factor):
    class Opens(fakes.FakePolicy):
        def predict(self, observation, plan):
            found = super().predict(observation, plan)
            actions = found.normalised.copy()
            actions[:, -1] = int(time.monotonic() / 4) % 2
            return replace(found, normalised=actions)

    rig = rig(
        Opens(), speed__source='topic', speed__topic='factor', gripper__interface='joint',
        gripper__stroke_s=1.0, gripper__open_value=1.6, gripper__closed_value=0.0,
        gripper__dwell_s=0.0,
    )  # fmt: skip
    robot, told, steps = rig.robot, {}, []

    def value(now):  # of a controller whose clock runs at the factor
        message = told['message']
        times = [seconds(point.time_from_start) for point in message.points]
        columns = np.array([list(point.positions) for point in message.points]).T
        return np.array([np.interp((now - told['at']) * factor, times, one) for one in columns])

    def take(message):
        now = time.monotonic()
        before = value(now) if told else None
        told.update(message=message, at=now)
        if before is not None:
            steps.append(abs(value(now) - before))

    def follow():
        if told:
            joints = value(time.monotonic())
            robot.position, robot.gripper = joints[:3], float(joints[3])

    robot.gripper, robot._follow, robot._on_trajectory = 1.6, follow, take
    rig.graph.call(robot.deafen)
    robot.node.create_subscription(JointTrajectory, 'joint_trajectory', take, 50)
    override = robot.node.create_publisher(Float64, 'factor', 1)
    robot.node.create_timer(0.02, lambda: override.publish(Float64(data=factor)))
    rig.run()
    wait_for(lambda: len(steps) > 20 and robot.gripper < 1.2, 20, what='the gripper to move')
    time.sleep(3.0)
    assert np.max(steps, axis=0)[3] < 0.05


def test_at_five_readings_a_second_a_motion_begins(rig):
    rig = rig(timeout__joint_states_s=0.5)
    for timer in list(rig.robot.node.timers):
        if timer.timer_period_ns == 20_000_000:
            rig.graph.call(lambda timer=timer: rig.robot.node.destroy_timer(timer))
    rig.robot.node.create_timer(0.2, rig.robot.publish_joints)
    rig.up()
    rig.instruct('go')
    rig.wait_state('ready')
    rig.start()
    rig.wait_state('running')


# ---- what it says -------------------------------------------------------------------------------


def test_a_lower_velocity_scale_is_tried_at_once_where_its_lack_was_the_reason(rig):
    rig = rig(limits__acceleration=0.5)
    rig.configure()
    rig.activate()
    rig.robot.describe()
    rig.wait_reason('limits.velocity_scale')
    lower = Parameter('limits.velocity_scale', value=0.05)
    assert rig.graph.call(lambda: rig.node.set_parameters([lower]))[0].successful
    rig.wait_state('ready')


def test_the_mode_of_the_bundle_has_to_be_named_while_configured(rig):
    rig = rig().up()
    answer = rig.graph.call(lambda: rig.node.set_parameters([Parameter('skip.mode', value='')]))[0]
    assert not answer.successful and 'that of the bundle is' in answer.reason
