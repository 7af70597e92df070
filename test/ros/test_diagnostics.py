"""How `dysl_vla: commands` is judged: what outranks what, and at which number."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.ros

OK, WARN, ERROR = 0, 1, 2


def judged(rate=30.0, state='running', reason='', armed=True, listeners=1, unheard=(), others='',
           controller='', misfit='', gripper='', redescribed='', **loop):  # fmt: skip
    from dysl_vla_ros.ros import diagnostics

    session = SimpleNamespace(
        state=state, reason=reason, redescribed=redescribed,
        config=SimpleNamespace(timing=SimpleNamespace(command_rate_hz=30.0)),
        around=SimpleNamespace(
            newest=SimpleNamespace(
                controller_problem=controller, misfit=misfit, unheard=unheard),
            intruders=lambda: others,
        ),
        publishers=SimpleNamespace(
            listeners=listeners, command_topic='/joint_trajectory',
            gripper_problem=lambda: gripper,
        ),
    )  # fmt: skip
    counted = {'armed': armed, 'warning': '', 'limited': 0, 'commands': 100, **loop}
    return diagnostics._judge_commands(
        session, SimpleNamespace(**counted), SimpleNamespace(rate_hz=rate)
    )


def test_all_well_is_ok_with_the_state():
    assert judged() == (OK, 'running')
    assert judged(rate=None) == (OK, 'running')
    assert judged(state='ready', reason='not started') == (OK, 'ready: not started')


def test_a_gripper_that_does_not_do_what_is_wanted_is_a_warning():
    assert judged(gripper='refused: hand') == (WARN, 'running: refused: hand')


@pytest.mark.parametrize(
    ('rate', 'level', 'message'),
    [
        (28.6, OK, 'running'),
        (28.4, WARN, 'command rate 28.4 Hz: expected 30'),
        (19.6, WARN, 'command rate 19.6 Hz: expected 30'),
        (19.4, ERROR, 'command rate 19.4 Hz: expected 30, at least 20'),
    ],
)
def test_a_rate_below_95_percent_is_a_warning_and_below_20_hz_an_error(rate, level, message):
    assert judged(rate) == (level, message)


def test_a_latch_is_an_error_whatever_else_is_wrong():
    assert judged(state='fault', reason='engine', others='x', controller='y') == (
        ERROR, 'fault: engine')  # fmt: skip


@pytest.mark.parametrize('state', ['running', 'ready', 'waiting'])
def test_a_controller_that_the_commands_do_not_fit_is_an_error_in_every_state(state):
    assert judged(state=state, misfit='/c takes a', others='x') == (ERROR, f'{state}: /c takes a')


def test_another_robot_than_the_one_it_was_built_from_is_an_error():
    assert judged(state='ready', redescribed='robot_description changed') == (
        ERROR, 'ready: robot_description changed')  # fmt: skip


@pytest.mark.parametrize('state', ['running', 'ready'])
def test_what_is_wrong_around_the_arm_is_a_warning_in_every_state(state):
    assert judged(state=state, others='somebody') == (WARN, f'{state}: somebody')
    assert judged(state=state, controller='stopped') == (WARN, f'{state}: stopped')
    deaf = 'armed, and nobody subscribes to /joint_trajectory'
    assert judged(state=state, listeners=0) == (WARN, f'{state}: {deaf}')
    assert judged(state=state, unheard=('/joint_trajectory',)) == (WARN, f'{state}: {deaf}')
    assert judged(state='running', listeners=0, armed=False) == (OK, 'running')


def test_what_the_watchdogs_say_is_a_warning():
    assert judged(warning='elbow lags') == (WARN, 'elbow lags')


def test_more_than_five_percent_of_limited_commands_are_a_warning():
    assert judged(limited=5) == (OK, 'running')
    assert judged(limited=6) == (WARN, '6 % of the commands hit a limit')
    assert judged(limited=0, commands=0) == (OK, 'running')


def test_before_a_start_an_arm_outside_what_training_saw_is_a_warning():
    from dysl_vla_ros.ros import diagnostics

    def policy(state, unseen):
        session = SimpleNamespace(state=state, config=None, unseen=lambda: unseen)
        loop = SimpleNamespace(state=state)
        return diagnostics._judge_policy(session, loop, None, 0.0)

    level, message = policy('ready', 'lift = 0.30')
    assert level == WARN and 'lift = 0.30' in message
    assert policy('ready', '')[0] == policy('homing', 'lift = 0.30')[0] == OK


def test_the_session_compares_the_measured_joints_with_the_bundle_s_range():
    from dataclasses import replace

    import numpy as np
    from fakes import JOINTS, make_manifest

    from dysl_vla_ros.config import NodeConfig
    from dysl_vla_ros.ros.session import Session

    config = NodeConfig()
    session = SimpleNamespace(
        config=replace(config, action=replace(config.action, tip_link='hand', frame_id='base')),
        inputs=SimpleNamespace(joints=SimpleNamespace(newest=None)),
        loop=SimpleNamespace(limits=SimpleNamespace(names=JOINTS, endless=np.zeros(3, bool))),
        policy=SimpleNamespace(manifest=make_manifest()),
    )
    assert Session.unseen(session) == ''
    high = make_manifest().proprioception.normalisation.high
    session.inputs.joints.newest = SimpleNamespace(positions=np.array([0.0, high[1] + 1, 0.0]))
    assert f'outside what training saw: {JOINTS[1]} = ' in Session.unseen(session)
    # A policy that reads the pose of the tip: its numbers are none of joints.
    manifest, place = make_manifest(), np.array([0.0, 0.0, high[2] + 1])
    read = replace(manifest.proprioception, source='eef_rpy')
    scale = [(*ends[:3], *ends) for ends in (read.normalisation.low, high)]
    wide = replace(read.normalisation, low=scale[0], high=scale[1], mask=(True,) * 7)
    read = replace(read, dim=7, normalisation=wide)
    session.policy.manifest = SimpleNamespace(proprioception=read, family='published')
    session.kinematics = SimpleNamespace(forward=lambda joints: (place, np.eye(3)))
    said = Session.unseen(session)
    assert 'training saw: z = ' in said and 'of hand in base' in said and JOINTS[1] not in said


@pytest.mark.parametrize(
    ('state', 'reason', 'said'),
    [
        ('holding', "an answer of ['x']: expected 'actions'", "s; an answer of ['x']: expected"),
        ('holding', '', 's; last refusal: actions = nan'),
        ('running', '', 's; last refusal: actions = nan'),
    ],
)
def test_while_the_arm_holds_the_reason_is_what_is_wrong_now_and_not_what_once_was(
    state, reason, said
):
    from dysl_vla_ros.ros import diagnostics

    session = SimpleNamespace(
        state=state, reason=reason, playing_since=0.0, policy=SimpleNamespace(link={}),
        config=SimpleNamespace(inputs=SimpleNamespace(max_observation_age_s=1.0)),
    )  # fmt: skip
    loop = SimpleNamespace(state=state, last_rejection='actions = nan')
    _, message = diagnostics._judge_policy(session, loop, SimpleNamespace(last_at=1.0), 9.0)
    assert message.startswith('no pass for 8.0 s; ') and said in message


@pytest.mark.parametrize(
    ('ratio', 'said'),
    [
        (-0.2, 'skip_ratio = -0.200: expected within [0, 0.9], skip.expected_min to '
               'skip.expected_max; full passes that were run again cost more layers than skipping '
               'saved'),
        (0.95, 'skip_ratio = 0.950: expected within [0, 0.9], skip.expected_min to '
               'skip.expected_max'),
    ],
)  # fmt: skip
def test_a_skip_ratio_outside_its_band_names_the_parameters_and_what_a_negative_one_is(
    ratio, said
):
    from dysl_vla_ros.ros import diagnostics

    session = SimpleNamespace(
        state='running', reason='', playing_since=0.0,
        policy=SimpleNamespace(link={}, manifest=SimpleNamespace(
            action=SimpleNamespace(horizon=8, period_s=0.05))),
        config=SimpleNamespace(
            inputs=SimpleNamespace(max_observation_age_s=1.0),
            timing=SimpleNamespace(request_threshold=0.5, action_period_s=0.05),
            skip=SimpleNamespace(expected_min=0.0, expected_max=0.9),
        ),
    )  # fmt: skip
    chunks = SimpleNamespace(last_at=9.0, inference_ms=None, skip_ratio=ratio)
    loop = SimpleNamespace(state='running', last_rejection='')
    assert diagnostics._judge_policy(session, loop, chunks, 9.1) == (WARN, said)
