"""Lifecycle in process: resources follow states; errors are logged and answered."""

from __future__ import annotations

import time

import pytest
from conftest import wait_for

from dysl_vla_ros.errors import BundleError, ConfigError

pytestmark = pytest.mark.ros


def state_of(rig):
    return rig.node._state_machine.current_state[1]


def test_resources_follow_the_states_and_can_be_made_again(rig):
    rig = rig()
    assert rig.node._configured is None
    for _ in range(2):
        assert rig.configure() == 'SUCCESS'
        assert rig.node._configured is not None
        assert rig.node._active is None
        assert rig.activate() == 'SUCCESS'
        active = rig.node._active
        assert active.alive
        assert rig.deactivate() == 'SUCCESS'
        assert not active.alive
        assert rig.graph.call(rig.node.trigger_cleanup).name == 'SUCCESS'
        assert rig.node._configured is None
        assert rig.policy.engine.closed
    assert state_of(rig) == 'unconfigured'
    assert [topic for topic, _ in rig.node.get_topic_names_and_types() if 'shadow' in topic] == [
        '/vla_node/shadow/joint_trajectory'  # the robot still listens to it
    ]


def test_a_broken_bundle_fails_configure_with_its_reason_and_leaves_nothing(rig, monkeypatch):
    import dysl_vla_ros.ros.lifecycle_node as module

    rig = rig()

    def broken(config):
        raise BundleError('layer_03.onnx: SHA-256 1234..., expected 5678...')

    monkeypatch.setattr(module, 'open_policy', broken)
    assert rig.configure() == 'FAILURE'
    assert state_of(rig) == 'unconfigured'
    assert rig.node._configured is None


def test_a_bug_in_a_transition_is_an_error_and_the_node_can_be_configured_again(rig, monkeypatch):
    import dysl_vla_ros.ros.lifecycle_node as module

    rig = rig()
    working = module.open_policy

    def buggy(config):
        raise ZeroDivisionError

    monkeypatch.setattr(module, 'open_policy', buggy)
    assert rig.configure() == 'ERROR'
    assert state_of(rig) == 'unconfigured'
    monkeypatch.setattr(module, 'open_policy', working)
    assert rig.configure() == 'SUCCESS'


def test_an_invalid_transition_request_is_answered_and_survived(rig):
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    rig = rig()
    client = rig.robot.node.create_client(ChangeState, 'vla_node/change_state')
    assert client.wait_for_service(timeout_sec=5.0)
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVATE))
    future = client.call_async(request)
    wait_for(future.done, what='an answer')
    assert future.result().success is False
    assert rig.configure() == 'SUCCESS'


def test_autostart_configures_and_activates_once_it_spins(rig):
    rig = rig(autostart=True)
    wait_for(lambda: state_of(rig) == 'active', what='active')


def test_autostart_that_cannot_configure_says_so_to_the_process(rig, monkeypatch):
    import dysl_vla_ros.ros.lifecycle_node as module

    rig = rig(autostart=False)

    def broken(config):
        raise BundleError('no manifest.json')

    monkeypatch.setattr(module, 'open_policy', broken)
    node = rig.graph.add(
        module.VlaNode(
            context=rig.graph.context,
            namespace='other',
            parameter_overrides=[module.Parameter('autostart', value=True)],
        )
    )
    wait_for(lambda: node.failed, what='failed')


def test_deactivating_in_motion_brakes_to_rest_and_flushes(rig):
    rig = rig().run()
    wait_for(lambda: rig.robot.position[0] > 0.05, what='motion')
    assert rig.deactivate() == 'SUCCESS'
    last = rig.robot.trajectories[-1][1].points
    assert list(last[-1].velocities) == [0.0, 0.0, 0.0]
    wait_for(rig.at_rest, what='rest')  # at the end of the last window
    assert rig.activate() == 'SUCCESS'
    rig.wait_state('ready')
    assert rig.at_rest()  # what was queued is gone


def test_requests_are_refused_while_inactive(rig):
    rig = rig()
    assert rig.configure() == 'SUCCESS'
    answer = rig.ask('start')
    assert not answer.success
    assert 'not active' in answer.message


def test_every_parameter_is_described_with_text_range_and_when_it_may_change(rig):
    from dysl_vla_ros.config import parameters

    node = rig().node
    for parameter in parameters():
        descriptor = node.describe_parameter(parameter.name)
        assert descriptor.description == parameter.text
        says = descriptor.additional_constraints
        assert ('read when the node is configured' in says) is not parameter.dynamic
    rate = node.describe_parameter('command_rate_hz').floating_point_range[0]
    assert (rate.from_value, rate.to_value) == (20.0, 500.0)
    assert "'max_skip'" in node.describe_parameter('skip.mode').additional_constraints


def test_whole_numbers_may_stand_for_floats_and_lists_are_read(rig):
    config = rig(command_rate_hz=50, action__joint_names=['a', 'b']).node.config
    assert config.timing.command_rate_hz == 50.0
    assert config.action.joint_names == ('a', 'b')


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('command_rate_hz', 0.0, r'command_rate_hz = 0.0: expected a number within \[20, 500\]'),
        ('comand_rate_hz', 30.0, 'comand_rate_hz = 30.0: .*did you mean command_rate_hz'),
        ('skip__mode', 'fast', "skip.mode = 'fast': expected one of 'auto'"),
        ('autostart', 'yes', "autostart = 'yes': expected a bool"),
    ],
)
def test_a_wrong_parameter_is_an_error_naming_field_value_and_what_is_right(
    rig, name, value, words
):
    with pytest.raises(ConfigError, match=words):
        rig(**{name: value})


def test_the_skip_mode_changes_while_running_and_a_wrong_one_is_refused(rig):
    from rclpy.parameter import Parameter

    rig = rig().run()
    modes = [Parameter('skip.mode', value=value) for value in ('max_skip', 'fastest')]
    results = rig.graph.call(lambda: rig.node.set_parameters(modes))
    assert [result.successful for result in results] == [True, False]
    assert "skip.mode = 'fastest': expected one of 'auto'" in results[1].reason
    assert rig.session.loop.skip_mode == 'max_skip'
    wait_for(lambda: rig.session.stats.report().mode_last == 'skipped', what='a skipped pass')


def test_a_fixed_exit_is_taken_while_running_only_where_one_is_known(rig):
    from rclpy.parameter import Parameter

    change = [Parameter('skip.mode', value='fixed')]
    without = rig().run()
    answer = without.graph.call(lambda: without.node.set_parameters(change))[0]
    assert not answer.successful and 'skip.exit_layer = 0: expected within [1, ' in answer.reason
    assert without.session.loop.skip_mode == 'auto'


def test_a_fixed_exit_runs_on_the_node(rig):
    rig = rig(skip__mode='fixed', skip__exit_layer=3).run()
    assert rig.session.loop.skip_mode == 'fixed'
    report = rig.session.stats.report
    wait_for(lambda: report().mode_last == 'skipped', what='a pass that left at its exit')
    assert report().layers_run_mean == 4 and rig.session.loop.status().reruns == 0


def test_the_clock_is_not_changed_while_the_node_is_active(rig):
    from rclpy.parameter import Parameter

    rig = rig().run()
    change = [Parameter('use_sim_time', value=True)]
    answer = rig.graph.call(lambda: rig.node.set_parameters(change))[0]
    assert not answer.successful and 'not while the node is active' in answer.reason
    assert not rig.node.get_clock().ros_time_is_active


def set_one(rig, name, value):
    from rclpy.parameter import Parameter

    return rig.graph.call(lambda: rig.node.set_parameters([Parameter(name, value=value)]))[0]


def value_of(rig, name):
    return rig.node.get_parameters_by_prefix('')[name].value


def test_a_parameter_may_change_until_configure_and_again_after_clean_up(rig):
    rig = rig()
    assert set_one(rig, 'command_rate_hz', 40.0).successful
    assert rig.configure() == 'SUCCESS'
    assert rig.session.config.timing.command_rate_hz == 40.0
    answer = set_one(rig, 'command_rate_hz', 50.0)
    assert not answer.successful
    assert answer.reason == (
        'command_rate_hz = 50.0: expected no change while the node is configured: clean up first'
    )
    assert rig.graph.call(rig.node.trigger_cleanup).name == 'SUCCESS'
    assert set_one(rig, 'command_rate_hz', 50.0).successful
    assert not set_one(rig, 'command_rate_hz', 5.0).successful
    assert rig.configure() == 'SUCCESS'
    assert rig.session.config.timing.command_rate_hz == 50.0


def test_parameters_that_contradict_each_other_fail_configure_and_can_be_mended(rig):
    rig = rig()
    assert set_one(rig, 'gripper.open_value', 0.0).successful
    assert rig.configure() == 'FAILURE'
    assert set_one(rig, 'gripper.closed_value', 1.0).successful
    assert rig.configure() == 'SUCCESS'


def test_param_dump_shows_what_is_in_force_and_after_clean_up_what_was_given(rig):
    rig = rig(continuity__hysteresis=0.05)
    manifest = rig.policy.manifest
    assert not value_of(rig, 'action.joint_names')
    assert value_of(rig, 'action_period_s') == 0.0
    assert rig.configure() == 'SUCCESS'
    assert value_of(rig, 'action.joint_names') == list(manifest.action.joint_names)
    assert value_of(rig, 'action.space') == manifest.action.space
    assert value_of(rig, 'action_period_s') == manifest.action.period_s
    assert value_of(rig, 'continuity.threshold') == manifest.calibration.threshold
    assert list(value_of(rig, 'continuity.weights')) == list(manifest.calibration.weights)
    assert value_of(rig, 'continuity.hysteresis') == 0.05
    assert value_of(rig, 'skip.rule') == manifest.calibration.rule
    assert rig.graph.call(rig.node.trigger_cleanup).name == 'SUCCESS'
    assert not value_of(rig, 'action.joint_names')
    assert value_of(rig, 'action_period_s') == 0.0
    assert value_of(rig, 'continuity.hysteresis') == 0.05
    assert rig.configure() == 'SUCCESS'


def test_the_velocity_scale_changes_while_the_arm_moves(rig):
    rig = rig().run()
    rated = rig.session.kinematics.limits.velocity
    assert set_one(rig, 'limits.velocity_scale', 0.25).successful
    assert rig.session.loop.limits.velocity == pytest.approx(0.25 * rated)
    assert rig.session.state in ('running', 'holding', 'verifying')
    assert not set_one(rig, 'limits.velocity_scale', 0.0).successful
    assert rig.session.loop.limits.velocity == pytest.approx(0.25 * rated)


def test_a_velocity_scale_under_which_a_window_cannot_rest_in_time_is_refused_live(rig):
    rig = rig(limits__velocity_scale=0.1, limits__acceleration=1.0).run()
    answer = set_one(rig, 'limits.velocity_scale', 1.0)
    assert not answer.successful and answer.reason.startswith('stop.rest_s = 0.5: expected')
    assert value_of(rig, 'limits.velocity_scale') == 0.1
    assert rig.session.config.safety.velocity_scale == 0.1


def test_a_request_for_all_parameters_at_once_as_a_dump_makes_it_is_answered(rig):
    from rcl_interfaces.srv import GetParameters, ListParameters

    rig = rig()
    for _ in range(2):  # before configure, and after it
        listed = asked(rig, ListParameters, 'list_parameters', ListParameters.Request())
        names = listed.result.names
        assert {'workspace.min', 'home.positions', 'action.joint_names'} <= set(names)
        request = GetParameters.Request(names=names)
        answer = asked(rig, GetParameters, 'get_parameters', request)
        assert len(answer.values) == len(names) > 90
        assert all(value.type for value in answer.values)  # 0 is "not set"
        if rig.node._configured is None:
            assert rig.configure() == 'SUCCESS'


def asked(rig, kind, service, request):
    client = rig.robot.node.create_client(kind, f'vla_node/{service}')
    assert client.wait_for_service(timeout_sec=5.0)
    future = client.call_async(request)
    wait_for(future.done, what=service)
    return future.result()


def test_after_a_clean_up_nothing_of_the_arm_can_be_asked_for(rig):
    def asked():
        names = {service.srv_name.rsplit('/', 1)[-1] for service in rig.node.services}
        return names & {'start', 'stop', 'home', 'estop_reset', 'arm', 'pause'}

    rig = rig().up()
    assert len(asked()) == 6
    assert rig.deactivate() == 'SUCCESS'
    assert rig.graph.call(rig.node.trigger_cleanup).name == 'SUCCESS'
    assert asked() == set()


def test_activated_again_a_latched_stop_tells_nobody_the_place_of_before(rig):
    rig = rig().run()
    wait_for(lambda: rig.robot.position[0] > 0.05, what='motion')
    assert rig.deactivate() == 'SUCCESS'
    wait_for(rig.at_rest, what='rest')
    rig.publish_bool('estop', True)
    rig.publish_bool('estop', False)
    wait_for(lambda: rig.session.latched, what='the latch')
    sent = len(rig.robot.trajectories)
    by_hand = rig.robot.position + 0.08
    rig.robot._follow = lambda: None
    rig.robot.position = by_hand
    time.sleep(0.3)
    assert rig.activate() == 'SUCCESS'
    rig.wait_state('e-stop')
    time.sleep(0.6)
    assert len(rig.robot.trajectories) == sent


@pytest.mark.parametrize('when', ['inactive', 'before the description'])
def test_an_estop_that_was_pressed_while_nothing_ticked_outlives_a_clean_up(rig, when):
    rig = rig()
    assert rig.configure() == 'SUCCESS'
    if when == 'inactive':
        rig.robot.describe()
        wait_for(lambda: rig.session.loop is not None, what='the loop')
    rig.publish_bool('estop', True)
    rig.publish_bool('estop', False)
    wait_for(lambda: rig.session.latched, what='the latch')
    wait_for(lambda: not rig.node._remembered.estop_down, what='false')
    assert rig.graph.call(rig.node.trigger_cleanup).name == 'SUCCESS'
    rig.up()
    rig.wait_state('e-stop')


def test_what_was_made_for_the_shadow_is_not_sent_to_an_arm_that_is_armed_meanwhile(rig):
    """The tick is over, its command is not sent yet, and an operator arms."""
    rig = rig(armed=False).run()
    wait_for(lambda: len(rig.robot.shadow) > 30, what='a shadow that has moved')
    loop = rig.session.loop
    tick = loop.tick

    def ticked(*args, **named):
        command = tick(*args, **named)
        loop.armed = True
        loop.tick = tick
        return command

    loop.tick = ticked
    wait_for(lambda: loop.armed, what='armed')
    time.sleep(0.5)
    assert rig.robot.trajectories == []
