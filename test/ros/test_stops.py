"""What stops the arm, what starts it again, and what is refused."""

from __future__ import annotations

import threading
import time

import pytest
from conftest import wait_for
from fakes import FakePolicy, make_urdf

from dysl_vla_ros.errors import EngineError, InputError

pytestmark = pytest.mark.ros


def ends_at_rest(message):
    last = message.points[-1]
    seconds = last.time_from_start.sec + 1e-9 * last.time_from_start.nanosec
    return not any(last.velocities) and seconds <= 0.5


def test_every_window_ends_at_rest_within_half_a_second_even_when_the_node_is_killed(rig):
    rig = rig().run()
    wait_for(lambda: len(rig.robot.trajectories) > 30, what='commands')
    messages = [message for _, message in rig.robot.trajectories]
    assert all(ends_at_rest(message) for message in messages)
    assert all(message.header.stamp.sec > 0 for message in messages)
    starts = [message.points[0].time_from_start for message in messages]
    assert all((start.sec, start.nanosec) == (0, 0) for start in starts)
    assert any(any(message.points[0].velocities) for message in messages)


def test_it_waits_for_the_robot_description_and_names_it(rig):
    rig = rig()
    rig.configure()
    rig.activate()
    rig.wait_reason('robot_description: not received yet')
    answer = rig.ask('start')
    assert not answer.success
    assert 'robot_description' in answer.message
    rig.robot.describe(make_urdf(('shoulder', 'elbow')))
    rig.wait_reason('robot_description:', 'wrist')
    rig.robot.describe()
    rig.wait_state('ready')


def test_a_silent_camera_is_stale_within_its_timeout_and_the_arm_rests_then_goes_on(rig):
    rig = rig(timeout__image_s=0.5).run()
    wait_for(lambda: rig.robot.position[0] > 0.05, what='motion')
    rig.robot.cameras_on = False
    silent = time.monotonic()
    rig.wait_state('stale')
    assert time.monotonic() - silent < 0.6 + 0.4  # a picture under way, a loaded machine
    assert 'image: newest is' in rig.session.reason
    wait_for(rig.at_rest, what='rest')
    assert ends_at_rest(rig.robot.trajectories[-1][1])
    where = rig.robot.position[0]
    rig.robot.cameras_on = True
    rig.wait_state('running')
    wait_for(lambda: rig.robot.position[0] > where + 0.02, what='motion again')


def test_before_the_first_joint_state_it_waits_and_names_it(rig):
    rig = rig()
    rig.robot.joints_on = False
    rig.up()
    wait_for(lambda: rig.session.loop is not None, what='the arm')
    wait_for(lambda: 'joint_states' in rig.session.loop.reason, what='a tick')
    assert rig.session.state == rig.session.loop.state == 'waiting'
    assert rig.robot.trajectories == []


def test_silent_joints_are_stale(rig):
    rig = rig(timeout__joint_states_s=0.2).run()
    rig.robot.joints_on = False
    rig.wait_state('stale')
    rig.wait_reason('joint_states: newest is', 'at most 0.2 s')


def test_estop_latches_rests_and_leaves_only_by_reset_and_start(rig):
    rig = rig().run()
    wait_for(lambda: rig.robot.position[0] > 0.05, what='motion')
    rig.publish_bool('estop', True)
    rig.wait_state('e-stop')
    early = rig.ask('estop_reset')
    assert not early.success
    wait_for(rig.at_rest, what='rest')
    rig.publish_bool('estop', False)
    assert not rig.ask('start').success
    time.sleep(0.5)
    assert rig.session.state == 'e-stop'
    assert rig.ask('estop_reset').success
    rig.wait_state('ready')
    assert rig.at_rest()
    rig.start()
    rig.wait_state('running')


def test_an_estop_before_the_robot_is_known_still_latches(rig):
    rig = rig()
    rig.configure()
    rig.activate()
    rig.publish_bool('estop', True)
    wait_for(lambda: rig.session._early_estop, what='e-stop')
    rig.robot.describe()
    rig.wait_state('e-stop')


@pytest.mark.parametrize(('then', 'reason'), [('', 'holds no words'), ('go', 'not started')])
def test_why_an_instruction_was_refused_is_told_also_where_the_robot_was_not_known_yet(
    rig, then, reason
):
    rig = rig(instruction='gibberish')
    said = rig.policy.tokens

    def tokens(text):
        if text == 'gibberish':
            raise InputError('instruction holds no words')
        return said(text)

    rig.policy.tokens = tokens
    rig.configure()
    rig.activate()
    if then:
        rig.instruct(then)
        wait_for(lambda: rig.session.inputs.instruction == then, what='the next instruction')
    rig.robot.describe()
    rig.wait_state('ready')
    assert reason in rig.wait_reason(reason)


def pause_at_rest(rig):
    wait_for(lambda: rig.robot.position[0] > 0.05, what='motion')
    assert rig.ask('pause', True).success
    rig.wait_state('paused')
    wait_for(lambda: rig.session.last_command is None, what='silence')
    wait_for(rig.at_rest, what='rest')
    return rig.robot.trajectories[-1][1].points[-1].positions


def test_resume_goes_on_from_the_last_command(rig):
    rig = rig().run()
    told = pause_at_rest(rig)
    rig.robot.trajectories.clear()
    assert rig.ask('pause', False).success
    rig.wait_state('running')
    wait_for(lambda: rig.robot.trajectories, what='commands')
    assert list(rig.robot.trajectories[0][1].points[0].positions) == pytest.approx(list(told))


def test_an_arm_that_was_moved_while_paused_waits_for_a_start(rig):
    rig = rig().run()
    pause_at_rest(rig)
    time.sleep(0.7)  # sooner after a command it would be somebody else's motion, and a fault
    rig.robot.move([0.0, 0.4, 0.0])
    time.sleep(0.8)  # such a jump is believed only when it lasts
    assert rig.ask('pause', False).success
    rig.wait_reason('elbow stands 0.4', '~/start begins from where it is')
    assert rig.session.state == 'ready'
    assert rig.robot.trajectories == []
    moved = rig.robot.position[1]
    rig.start()
    wait_for(lambda: rig.robot.trajectories, what='commands')
    first = rig.robot.trajectories[0][1].points[0].positions[1]
    assert first == pytest.approx(moved, abs=1e-3)


def test_the_deadman_switch_stops_when_released_and_goes_on_when_pressed(rig):
    rig = rig(deadman_timeout_s=0.3).up()
    rig.instruct('go')
    rig.wait_reason('dead-man')
    refused = rig.ask('start')
    assert not refused.success and 'dead-man' in refused.message
    pressed = rig.robot.node.create_timer(0.05, lambda: rig.publish_bool('enable', True))
    rig.wait_reason('not started')
    rig.start()
    rig.wait_state('running')
    rig.graph.call(lambda: rig.robot.node.destroy_timer(pressed))
    rig.wait_state('paused')
    wait_for(rig.at_rest, what='rest')
    for _ in range(2):  # nothing undoes a level: not a stop and a start, not a new instruction
        rig.ask('stop')
        assert not rig.ask('start').success
        rig.instruct('')
        rig.instruct('something else')
        time.sleep(0.2)
        assert rig.at_rest() and rig.session.state == 'ready'


def test_while_the_estop_is_pressed_nothing_releases_it(rig):
    rig = rig().run()
    rig.publish_bool('estop', True)
    rig.wait_state('e-stop')
    time.sleep(0.7)
    refused = rig.ask('estop_reset')
    assert not refused.success and 'estop is true' in refused.message
    rig.publish_bool('estop', False)
    wait_for(lambda: rig.ask('estop_reset').success, what='release')


def test_an_estop_from_a_best_effort_publisher_arrives(rig):
    from rclpy.qos import qos_profile_sensor_data
    from std_msgs.msg import Bool

    rig = rig().run()
    publisher = rig.robot.node.create_publisher(Bool, 'estop', qos_profile_sensor_data)
    wait_for(publisher.get_subscription_count, what='estop subscriber')
    publisher.publish(Bool(data=True))
    rig.wait_state('e-stop')


def test_the_same_instruction_again_does_not_undo_a_stop(rig):
    rig = rig(start_on_instruction=True).up()
    rig.instruct('pick it up')
    rig.wait_state('running')
    assert rig.ask('stop').success
    rig.wait_state('ready')
    for text in ('pick it up', '', 'pick it up'):
        rig.instruct(text)
        time.sleep(0.2)
        assert rig.session.state == 'ready'
    rig.instruct('put it down')
    rig.wait_state('running')


def test_not_armed_everything_goes_to_the_shadow_and_the_arm_stays(rig):
    rig = rig(armed=False).run()
    wait_for(lambda: len(rig.robot.shadow) > 10, what='shadow commands')
    assert rig.robot.trajectories == []
    assert rig.robot.grippers == []
    assert rig.at_rest()


def test_arming_ends_the_shadow_and_the_first_command_is_the_measured_pose(rig):
    rig = rig(armed=False).run()
    wait_for(
        lambda: abs(rig.session.last_command.positions[0] - rig.robot.position[0]) > 0.008,
        what='a shadow that is ahead of the arm',
    )
    rig.arm()
    time.sleep(0.3)
    assert rig.session.state == 'ready'
    assert rig.robot.trajectories == []
    rig.start()
    wait_for(lambda: rig.robot.trajectories, what='commands to the arm')
    first = rig.robot.trajectories[0][1].points[0]
    assert list(first.positions) == pytest.approx(list(rig.robot.position), abs=1e-3)
    assert not any(first.velocities)


def test_arming_is_refused_while_nobody_subscribes_to_the_commands(rig):
    rig = rig(armed=False).up()
    rig.graph.call(rig.robot.deafen)
    wait_for(lambda: not rig.session.publishers.listeners, what='nobody listens')
    rig.wait_state('ready')
    answer = rig.ask('arm', True)
    assert not answer.success
    assert 'nobody subscribes to /joint_trajectory' in answer.message


def test_disarming_brakes_before_the_arm_is_left_alone(rig):
    rig = rig().run()
    wait_for(lambda: rig.robot.position[0] > 0.05, what='motion')
    assert rig.ask('arm', False).success
    wait_for(lambda: not rig.session.loop.armed, what='disarmed')
    assert not any(rig.robot.trajectories[-1][1].points[-1].velocities)
    wait_for(rig.at_rest, what='rest')


def test_an_instruction_starts_it_when_told_so_and_an_empty_one_stops_it(rig):
    rig = rig(start_on_instruction=True).run('pick the red cube')
    assert rig.policy.observations[-1].instruction == 'pick the red cube'
    rig.instruct('')
    rig.wait_state('ready')
    rig.wait_reason('empty instruction')
    assert not rig.ask('start').success
    wait_for(rig.at_rest, what='rest')


def test_a_new_instruction_drops_what_was_predicted_for_the_old_one(rig):
    rig = rig(FakePolicy(latency=0.1)).run('first')
    epoch = rig.session.loop.status().epoch
    rig.instruct('second')
    wait_for(lambda: rig.policy.observations[-1].instruction == 'second', what='second')
    assert rig.session.loop.status().epoch > epoch
    rig.wait_state('running')


def test_a_gripper_is_never_moved_by_a_stop(rig):
    rig = rig().run()
    wait_for(lambda: rig.robot.grippers, what='a gripper command')
    sent = list(rig.robot.grippers)
    rig.publish_bool('estop', True)
    rig.wait_state('e-stop')
    time.sleep(0.2)
    assert rig.robot.grippers == sent


def test_nan_from_the_model_is_an_estop_and_the_recorder_says_where(rig, monkeypatch, tmp_path):
    import dysl_vla_ros.ros.configured as module

    monkeypatch.setattr(module, 'get_logging_directory', lambda: tmp_path)
    rig = rig().run()
    rig.policy.nan = True
    rig.wait_state('e-stop')
    assert 'finite' in rig.session.reason
    wait_for(lambda: list(tmp_path.rglob('dysl_vla_flight_*.json')), what='the recorder')


def test_an_engine_error_is_a_fault_with_its_reason(rig, monkeypatch, tmp_path):
    import dysl_vla_ros.ros.configured as module

    monkeypatch.setattr(module, 'get_logging_directory', lambda: tmp_path)
    rig = rig().run()
    rig.policy.raises = EngineError('device lost')
    rig.wait_state('fault')
    assert 'device lost' in rig.session.reason
    wait_for(rig.at_rest, what='rest')


def test_an_observation_the_policy_refuses_is_a_hold_that_ends_when_it_fits(rig):
    rig = rig().run()
    rig.policy.raises = InputError('instruction: 40 tokens, expected at most 16')
    rig.wait_state('holding')
    rig.wait_reason('40 tokens, expected at most 16')
    rig.policy.raises = None
    rig.wait_state('running')


def test_a_tick_that_raises_is_an_estop_and_commands_go_on(rig, monkeypatch):
    rig = rig().run()
    original = rig.session.inputs.status
    broken, later = [], []

    def status(now):
        if threading.current_thread().name == 'commands':
            command = rig.session.last_command  # of the tick before
            if not broken and command is not None and command.velocities.any():
                broken.append(command.stamp)
                raise RuntimeError('a bug')
            if broken and command is not None and command.stamp > broken[0]:
                later.append(command)
        return original(now)

    monkeypatch.setattr(rig.session.inputs, 'status', status)
    rig.wait_state('e-stop')
    assert "RuntimeError('a bug')" in rig.session.reason
    wait_for(lambda: later, what='commands that brake')


def reconfigured(rig):
    """Through the whole life cycle, as a supervisor would restart it."""
    assert rig.deactivate() == 'SUCCESS'
    assert rig.graph.call(rig.node.trigger_cleanup).name == 'SUCCESS'
    return rig.up()


def test_an_estop_outlives_clean_up_and_configure_and_its_button_too(rig):
    rig = rig(start_on_instruction=True).run('pick it up')
    rig.publish_bool('estop', True)
    rig.wait_state('e-stop')
    reconfigured(rig).wait_state('e-stop')
    rig.instruct('put it down')
    time.sleep(0.6)
    assert rig.session.state == 'e-stop'
    assert 'estop is true' in rig.ask('estop_reset').message
    rig.publish_bool('estop', False)
    wait_for(lambda: rig.ask('estop_reset').success, what='release')
    rig.wait_state('ready')


def test_a_disarm_and_the_last_instruction_outlive_clean_up_and_configure(rig):
    rig = rig(start_on_instruction=True).run('pick it up')
    assert rig.ask('arm', False).success
    wait_for(lambda: not rig.session.loop.armed, what='disarmed')
    reconfigured(rig).wait_state('ready')
    assert not rig.session.loop.armed
    rig.instruct('pick it up')
    time.sleep(0.4)
    assert rig.session.state == 'ready'


def test_a_pause_outlives_deactivation_clean_up_and_configure(rig):
    rig = rig(start_on_instruction=True).run('pick it up')
    assert rig.ask('pause', True).success
    rig.wait_state('paused')
    assert rig.graph.call(rig.node.trigger_deactivate).name == 'SUCCESS'
    assert rig.graph.call(rig.node.trigger_activate).name == 'SUCCESS'
    rig.wait_state('paused')
    reconfigured(rig).wait_state('paused')
    rig.instruct('put it down')
    time.sleep(0.4)
    assert rig.session.state == 'paused' and not rig.ask('start').success
    assert rig.ask('pause', False).success
    rig.wait_state('ready')


def test_an_estop_that_is_true_for_an_instant_is_not_lost(rig):
    from std_msgs.msg import Bool

    from dysl_vla_ros.ros import qos

    rig = rig().run()
    publisher = rig.robot.node.create_publisher(Bool, 'estop', qos.STOP)
    wait_for(publisher.get_subscription_count, what='estop subscriber')

    def press_and_release():
        time.sleep(0.1)  # in the node's own executor: nothing is heard meanwhile
        for value in (True, *[False] * 10):
            publisher.publish(Bool(data=value))
        time.sleep(0.1)

    rig.graph.call(press_and_release)
    rig.wait_state('e-stop')


def test_an_instruction_given_while_inactive_starts_nothing(rig):
    rig = rig(start_on_instruction=True)
    rig.configure()
    rig.instruct('pick it up')
    rig.activate()
    rig.robot.describe()
    rig.wait_state('ready')
    time.sleep(0.4)
    assert rig.session.state == 'ready' and rig.robot.trajectories == []
    rig.instruct('put it down')
    rig.wait_state('running')


def test_a_start_by_instruction_that_is_refused_says_why(rig):
    box = {'workspace.min': [5.0, 5.0, 5.0], 'workspace.max': [6.0, 6.0, 6.0]}
    rig = rig(start_on_instruction=True, **box).up()
    rig.wait_state('ready')
    rig.instruct('pick it up')
    rig.wait_reason('not started', 'workspace.min')
    assert rig.session.state == 'ready'
    assert rig.ask('estop_reset').message == 'nothing to release: the state is ready'


@pytest.mark.parametrize('rate', [30.0, 50.0, 100.0])
def test_after_an_estop_and_after_a_pause_the_commands_end_at_every_rate(rig, rate):
    rig = rig(command_rate_hz=rate).run()

    def fall_silent(state):
        rig.wait_state(state)
        wait_for(lambda: rig.session.last_command is None, what=f'silence in {state}')
        wait_for(quiet, what=f'the last of the commands in {state}')
        assert rig.session.last_command is None

    def quiet():
        said = len(rig.robot.trajectories)
        time.sleep(0.5)
        return len(rig.robot.trajectories) == said

    assert rig.ask('pause', True).success
    fall_silent('paused')
    assert rig.ask('pause', False).success
    rig.wait_state('running')
    rig.publish_bool('estop', True)
    fall_silent('e-stop')
