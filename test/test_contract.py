"""Where parameters and bundle meet: frames, weights, thresholds."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.bundle.manifest import CameraSpec, NormalisationSpec, ProprioceptionSpec
from dysl_vla_ros.config import from_flat
from dysl_vla_ros.contract import camera_views, engine_of, joint_doubt, with_bundle
from dysl_vla_ros.engines.fake.arm import FakeArm, arm_of
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.engines.image_tensor import View
from dysl_vla_ros.engines.open_engine import bundled_model
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.remote_policy import manifest_of


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


@pytest.mark.parametrize(
    ('parameter', 'value', 'right'),
    [
        ('limits.velocity', (1.0, 1.0), 'one number above 0 for every joint, or 3'),
        ('limits.velocity', (0.0,), 'one number above 0'),
        ('limits.accelerations', (1.0, 1.0), '3 numbers above 0, one per joint'),
        ('limits.accelerations', (1.0, 1.0, 0.0), '3 numbers above 0, one per joint'),
        ('home.positions', (0.1,), '3 numbers, one per joint, or none'),
        ('limits.lower', (0.0, 0.0), '3 numbers, one per joint, or none'),
        ('limits.lower', (0.0, 0.0, 0.0), 'limits.upper beside it'),
    ],
)
def test_a_list_of_another_length_than_the_joints_is_said_before_a_description_is_there(
    parameter, value, right
):
    arm = {'engine.path': 'fake', 'action.joint_names': ['rail', 'lift', 'turn']}
    config = from_flat({**arm, parameter: list(value)})
    with pytest.raises(ConfigError, match=re.escape(f'{parameter} = {value}: expected {right}')):
        with_bundle(config, manifest_of(engine_of(config)))


FIVE = ('pan', 'lift', 'elbow', 'wrist', 'roll')


def on_joints(manifest, names, space='eef_delta'):
    """The bundle, as if it had been trained on an arm of these joints."""
    found, count = manifest.proprioception, len(names)
    scale = found.normalisation
    keep = [*range(count), *([len(scale.low) - 1] if found.gripper else [])]
    parts = (tuple(part[i] for i in keep) for part in (scale.low, scale.high, scale.mask))
    seen = NormalisationSpec(*parts)
    proprioception = ProprioceptionSpec(len(keep), found.gripper, seen, found.clip)
    dim = (6 if space.startswith('eef') else count) + int(manifest.action.gripper)
    action = replace(manifest.action, space=space, dim=dim, joint_names=names)
    return SimpleNamespace(**{**vars(manifest), 'action': action, 'layout': manifest.layout,
                              'proprioception': proprioception})  # fmt: skip


def test_an_end_effector_policy_on_five_joints_is_refused_with_the_ways_out(manifest):
    five = on_joints(manifest, FIVE)
    with pytest.raises(ConfigError) as caught:
        with_bundle(from_flat({}), five)
    assert str(caught.value) == (
        "action.orientation = 'full': expected 'nearest' (the position, and as much of the "
        "orientation as they reach) or 'free' (the position alone), since 5 joints cannot follow "
        f'position and orientation of {manifest.name} (eef_delta)'
    )
    for way in ('nearest', 'free'):
        assert with_bundle(from_flat({'action.orientation': way}), five).action.orientation == way
    two = on_joints(manifest, FIVE[:2])
    with pytest.raises(ConfigError, match='expected at least 3 joints'):
        with_bundle(from_flat({'action.orientation': 'free'}), two)


def test_joints_of_a_joint_policy_may_be_five(manifest):
    weights = {'continuity.weights': [1.0] * (5 + int(manifest.action.gripper))}
    assert with_bundle(from_flat(weights), on_joints(manifest, FIVE, 'joint_delta'))


def skip_of(manifest, **flat):
    config = from_flat({f'skip.{name}': value for name, value in flat.items()})
    found = with_bundle(config, manifest).skip
    return found.mode, found.exit_layer


def uncompared(manifest):
    """A bundle from before modes were compared."""
    return replace(manifest, calibration=replace(manifest.calibration, mode='auto', exit_layer=0))


def test_the_skip_mode_and_its_exit_are_the_bundles_unless_a_parameter_says_another(manifest):
    assert skip_of(manifest) == ('fixed', 8), 'the winner of the bundled tasks'
    assert skip_of(manifest, mode='full') == ('full', 8)
    assert skip_of(manifest, exit_layer=6) == ('fixed', 6)
    assert skip_of(uncompared(manifest)) == ('auto', 0)
    assert skip_of(uncompared(manifest), mode='fixed', exit_layer=18) == ('fixed', 18)


def test_the_mode_by_instruction_is_refused_where_the_bundle_names_no_instruction(manifest):
    with pytest.raises(ConfigError, match='skip.mode = .by_instruction.: .*--by-instruction REPO'):
        skip_of(manifest, mode='by_instruction')
    named = replace(manifest.calibration, exit_by_instruction={'Stack the cubes': 3})
    manifest = replace(manifest, calibration=named)
    assert skip_of(manifest, mode='by_instruction') == ('by_instruction', 8)
    config = with_bundle(from_flat({'skip.mode': 'by_instruction'}), manifest)
    assert skip_settings(config, manifest.calibration).exits == {'stack the cubes': 3}


@pytest.mark.parametrize(
    ('flat', 'words'),
    [
        ({'mode': 'fixed'}, r'skip.exit_layer = 0: expected within \[1, 18\] for tabletop of 20 '
         'layers: skip.mode = fixed needs one, and the bundle names none'),
        ({'exit_layer': 19}, r'skip.exit_layer = 19: expected within \[1, 18\] for tabletop of'),
    ],
)  # fmt: skip
def test_an_exit_that_the_bundle_does_not_have_is_refused_with_those_it_has(manifest, flat, words):
    with pytest.raises(ConfigError, match=words):
        skip_of(uncompared(manifest), **flat)


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
    joints = manifest.proprioception
    six = {name: getattr(joints.normalisation, name)[:6] for name in ('low', 'high', 'mask')}
    bare = replace(joints, gripper=False, dim=6, normalisation=NormalisationSpec(**six))
    blind = replace(manifest, proprioception=bare)
    assert with_bundle(from_flat(none), blind)


# ---- the policy without a model -----------------------------------------------------------------


@pytest.mark.parametrize('engine', [{'engine.path': 'fake'}, {'engine.backend': 'fake'}])
@pytest.mark.parametrize('gripper', ['topic', 'none'])
def test_the_policy_without_a_model_is_told_the_arm_of_the_parameters(engine, gripper):
    config = from_flat({**engine, 'action.joint_names': ['a', 'b'], 'gripper.interface': gripper})
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


@pytest.mark.parametrize('space', ['eef_delta', 'joint_delta'])
@pytest.mark.parametrize('prefix', ['', 'left_'])
def test_the_bundle_s_joints_in_another_order_are_refused(manifest, space, prefix):
    """They are read and moved one by one: a shoulder would follow what was meant for a wrist."""
    own = manifest.action.joint_names
    joints = replace(manifest, action=replace(manifest.action, space=space))
    told = [prefix + name for name in own]
    assert with_bundle(from_flat({'action.joint_names': told}), joints)
    assert joint_doubt(from_flat({'action.joint_names': told}), joints) == ''
    turned = from_flat({'action.joint_names': [*told[1:], told[0]]})
    with pytest.raises(ConfigError) as caught:
        with_bundle(turned, joints)
    assert caught.value.field == 'action.joint_names'
    assert f'the order of the bundle {manifest.name}, {own}' in str(caught.value)
    assert 'home.positions' in str(caught.value)


def test_joints_with_numbers_alone_are_told_apart_by_their_numbers(manifest):
    four = on_joints(manifest, ('j1', 'j2', 'j3', 'j4'), 'joint_delta')
    weights = {'continuity.weights': [1.0] * (4 + int(manifest.action.gripper))}
    assert with_bundle(
        from_flat({**weights, 'action.joint_names': ['a1', 'a2', 'a3', 'a4']}), four
    )
    with pytest.raises(ConfigError, match='the order of the bundle'):
        with_bundle(from_flat({**weights, 'action.joint_names': ['a2', 'a1', 'a3', 'a4']}), four)


def test_joints_of_other_names_are_a_doubt_that_names_who_stands_for_whom(manifest):
    config = from_flat({'action.joint_names': [*'abcdef']})
    assert with_bundle(config, manifest)
    doubt = joint_doubt(config, manifest)
    assert doubt.startswith(f'joints are taken one by one, a for {manifest.action.joint_names[0]}')
    assert joint_doubt(from_flat({}), manifest) == ''


# ---- cameras -----------------------------------------------------------------------------------

TWO = replace(fake_manifest(), cameras=(CameraSpec('image', 96, 96), CameraSpec('wrist', 64, 64)))


def views(**given):
    return camera_views(from_flat({f'image.{key}': value for key, value in given.items()}).inputs,
                        TWO)  # fmt: skip


def test_a_fit_holds_for_every_camera_or_for_one_in_any_order():
    assert views() == {'image': View(), 'wrist': View()}
    assert views(fit=['pad']) == {'image': View('pad'), 'wrist': View('pad')}
    for fit in (['crop', 'wrist=squash'], ['wrist=squash', 'crop']):
        assert views(fit=fit) == {'image': View('crop'), 'wrist': View('squash')}


def test_a_region_is_of_one_camera():
    found = views(roi=['wrist=0.125,0,0.75,1'], fit=['wrist=pad'])
    assert found == {'image': View(), 'wrist': View('pad', (0.125, 0.0, 0.75, 1.0))}
    assert views(roi=['image=0.1,0.2,0.9,0.8'])['image'].region == (0.1, 0.2, 0.9, 0.8)


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        ({'fit': ['stretch']}, "image.fit = 'stretch': expected squash, crop, pad, or CAMERA="),
        ({'fit': ['hand=crop']}, "image.fit = 'hand': expected a camera of the bundle: image, w"),
        ({'fit': ['crop', 'pad']}, 'expected one that is meant for every camera'),
        ({'fit': ['wrist=crop', 'wrist=pad']}, "'wrist': expected every camera once"),
        ({'roi': ['hand=0,0,1,1']}, "image.roi = 'hand': expected a camera of the bundle"),
        ({'roi': ['0,0,1,1']}, "image.roi = '0,0,1,1': expected CAMERA=left,top,width,height"),
        ({'roi': ['wrist=80,0,480,480']}, 'as shares of the picture, inside it'),
        ({'roi': ['wrist=0.5,0,0.6,1']}, 'inside it'),
        ({'roi': ['wrist=0,0,0,1']}, 'inside it'),
        ({'roi': ['wrist=nan,0,1,1']}, 'inside it'),
        ({'roi': ['wrist=0,0,1']}, 'CAMERA=left,top,width,height'),
    ],
)
def test_a_choice_that_fits_no_camera_or_no_picture_is_refused(given, words):
    with pytest.raises(ConfigError) as caught:
        views(**given)
    assert words in str(caught.value)
    with pytest.raises(ConfigError):  # where everything meets, too
        with_bundle(from_flat({f'image.{key}': value for key, value in given.items()}), TWO)
