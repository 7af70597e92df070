"""Where parameters and bundle meet: frames, weights, thresholds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.bundle.manifest import NormalisationSpec, ProprioceptionSpec
from dysl_vla_ros.config import from_flat
from dysl_vla_ros.contract import engine_of, with_bundle
from dysl_vla_ros.engines.fake.arm import FakeArm, arm_of
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
    monkeypatch.setattr(arm, 'ArmKinematics', lambda *given: seen.append(given[2:4]) or 1 / 0)
    policy = SimpleNamespace(manifest=manifest)
    with pytest.raises(ZeroDivisionError):
        arm.build_loop(policy, from_flat({}), '')
    assert seen == [('tool0', 'base')]
    for wrong in ({'action.tip_link': 'flange'}, {'continuity.weights': [1.0]}):
        with pytest.raises(ConfigError):
            arm.build_loop(policy, from_flat(wrong), '')
    assert len(seen) == 1


def test_a_bundle_that_reads_an_opening_and_an_arm_without_one_are_refused_with_the_way_out(
    manifest,
):
    assert manifest.proprioception.gripper
    none = {'gripper.interface': 'none'}
    with pytest.raises(
        ConfigError, match="gripper.opening_source = 'measured': expected 'commanded' with .*reads"
    ):
        with_bundle(from_flat(none), manifest)
    assert with_bundle(from_flat({**none, 'gripper.opening_source': 'commanded'}), manifest)
    blind = replace(manifest, proprioception=replace(manifest.proprioception, gripper=False))
    assert with_bundle(from_flat(none), blind)


# ---- the policy without a model -----------------------------------------------------------------


@pytest.mark.parametrize('engine', [{'engine.path': 'fake'}, {'engine.backend': 'fake'}])
@pytest.mark.parametrize('gripper', ['topic', 'none'])
def test_the_policy_without_a_model_is_told_the_arm_of_the_parameters(engine, gripper):
    config = from_flat(
        {**engine, 'action.joint_names': ['a', 'b'], 'gripper.interface': gripper}
    )
    arm = arm_of(engine_of(config).path)
    assert arm == FakeArm(('a', 'b'), gripper == 'topic')


def test_a_bundle_brings_its_own_joints_and_without_names_fake_stays_as_it_is():
    bundle = from_flat({'engine.path': '/models/x', 'action.joint_names': ['a', 'b']})
    assert engine_of(bundle) == bundle.engine
    assert engine_of(from_flat({'engine.path': 'fake'})).path == 'fake'


# ---- the number of joints ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ('space', 'does', 'number'), [('eef_delta', 'reads', 6), ('joint_delta', 'moves', 6)]
)
def test_another_number_of_joints_than_the_bundle_has_is_refused(manifest, space, does, number):
    joints = replace(manifest, action=replace(manifest.action, space=space))
    config = from_flat({'action.joint_names': ['a', 'b', 'c', 'd', 'e']})
    with pytest.raises(ConfigError, match=f'expected {number} joints, as the bundle .* {does}'):
        with_bundle(config, joints)
    assert with_bundle(from_flat({'action.joint_names': [*'abcdef']}), joints)
    blind = replace(
        joints, proprioception=ProprioceptionSpec(0, False, NormalisationSpec((), (), ()))
    )
    if space == 'eef_delta':  # it neither reads joints nor moves them itself
        assert with_bundle(config, blind)
