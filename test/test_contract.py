"""Where parameters and bundle meet: frames, weights, thresholds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.config import from_flat
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.engines.open_engine import bundled_model
from dysl_vla_ros.errors import ConfigError


@pytest.fixture(scope='module')
def manifest():
    """The bundled policy, as if it had been trained in the frames of another arm."""
    found = open_bundle(bundled_model()).manifest
    return replace(found, action=replace(found.action, frame_id='base', tip_link='tool0'))


def frames(config):
    return config.action.frame_id, config.action.tip_link


def test_the_frames_are_the_bundles_unless_a_parameter_says_the_same(manifest):
    assert frames(with_bundle(from_flat({}), manifest)) == ('base', 'tool0')
    same = from_flat({'action.frame_id': 'base', 'action.tip_link': 'tool0'})
    assert frames(with_bundle(same, manifest)) == ('base', 'tool0')


@pytest.mark.parametrize(
    ('name', 'value', 'own'),
    [('action.frame_id', 'base_link', 'base'), ('action.tip_link', 'flange', 'tool0')],
)
def test_a_frame_that_contradicts_the_bundle_is_an_error_that_names_both(
    manifest, name, value, own
):
    with pytest.raises(ConfigError, match=f"{name} = '{value}': expected '' or '{own}'"):
        with_bundle(from_flat({name: value}), manifest)


def test_a_policy_that_names_no_frame_takes_the_parameters_and_asks_for_them(manifest):
    open_one = replace(manifest, action=replace(manifest.action, frame_id='', tip_link=''))
    given = from_flat({'action.frame_id': 'base', 'action.tip_link': 'flange'})
    assert frames(with_bundle(given, open_one)) == ('base', 'flange')
    with pytest.raises(ConfigError, match="action.tip_link = '': expected a name: .* --tip"):
        with_bundle(from_flat({'action.frame_id': 'base'}), open_one)


def test_a_policy_of_joints_was_trained_in_no_frame(manifest):
    joints = replace(manifest, action=replace(manifest.action, space='joint_delta'))
    config = from_flat({'action.frame_id': 'base_link'})
    assert frames(with_bundle(config, joints)) == ('base_link', 'tool0')


def test_the_fake_policy_tries_the_wiring_of_an_arm_with_frames_of_its_own():
    config = from_flat({'action.frame_id': 'base_link', 'action.tip_link': 'tool0'})
    assert frames(with_bundle(config, fake_manifest())) == ('base_link', 'tool0')
    assert frames(with_bundle(from_flat({}), fake_manifest())) == ('base_link', 'grasp_link')
    own = replace(fake_manifest(), action=replace(fake_manifest().action, frame_id='base'))
    with pytest.raises(ConfigError, match="action.frame_id = 'base_link': expected '' or 'base'"):
        with_bundle(config, own)


@pytest.mark.parametrize('weights', [[1.0], [1.0] * 8])
def test_weights_of_another_length_than_an_action_are_refused(manifest, weights):
    with pytest.raises(ConfigError, match='continuity.weights = .*: expected 7 numbers'):
        with_bundle(from_flat({'continuity.weights': weights}), manifest)
    assert with_bundle(from_flat({'continuity.weights': [1.0] * 7}), manifest)


def test_the_thresholds_that_will_be_used_fit_each_other(manifest):
    found = manifest.calibration
    low, high = found.hysteresis / 2, found.threshold * 2
    for given, words in (
        ({'continuity.threshold': low}, 'of the bundle; set both'),
        ({'continuity.hysteresis': high}, f'continuity.hysteresis = {high}; set both'),
    ):
        with pytest.raises(ConfigError, match=f'continuity.threshold = .*{words}'):
            with_bundle(from_flat(given), manifest)
    both = {'continuity.threshold': low, 'continuity.hysteresis': low}
    assert with_bundle(from_flat(both), manifest).continuity.threshold == low
    with pytest.raises(ConfigError, match=r'continuity.threshold = 0.1: expected at least .* 0.2'):
        from_flat({'continuity.threshold': 0.1, 'continuity.hysteresis': 0.2})


def test_a_gripper_that_is_open_where_it_is_closed_is_refused():
    with pytest.raises(ConfigError, match='gripper.open_value = 0.4: expected another value than'):
        from_flat({'gripper.open_value': 0.4, 'gripper.closed_value': 0.4})


@pytest.mark.ros
def test_the_loop_is_built_in_the_bundles_frames_and_not_against_them(manifest, monkeypatch):
    from types import SimpleNamespace

    from dysl_vla_ros.ros import arm

    seen = []
    monkeypatch.setattr(arm, 'ArmKinematics', lambda *given: seen.append(given[2:]) or 1 / 0)
    policy = SimpleNamespace(manifest=manifest)
    with pytest.raises(ZeroDivisionError):
        arm.build_loop(policy, from_flat({}), '')
    assert seen == [('tool0', 'base')]
    for wrong in ({'action.tip_link': 'flange'}, {'continuity.weights': [1.0]}):
        with pytest.raises(ConfigError):
            arm.build_loop(policy, from_flat(wrong), '')
    assert len(seen) == 1
