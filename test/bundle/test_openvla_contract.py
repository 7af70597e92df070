"""What OpenVLA asks of the contract: a last token, clipped joints, a gripper of two positions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tiny_bundle import TOKENS, write_tiny_bundle
from tokenizers import Tokenizer

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.motion import MotionPlanner
from dysl_vla_ros.policy import Policy


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return open_bundle(write_tiny_bundle(tmp_path_factory.mktemp('bundle'), layers=4))


def policy(bundle, **changes):
    manifest = bundle.manifest
    for part, values in changes.items():
        found = dataclasses.replace(getattr(manifest, part), **values)
        manifest = dataclasses.replace(manifest, **{part: found})
    return Policy(None, manifest, Tokenizer.from_file(str(bundle.path('tokenizer.json'))))


def test_the_end_token_follows_the_last_word(bundle):
    plain = policy(bundle).tokens('pick up the cube')[0]
    ended = policy(bundle, instruction={'end_id': 29}).tokens('pick up the cube')[0]
    assert plain[4:].tolist() == [0] * (TOKENS - 4)
    assert ended.tolist() == [*plain[:4], 29, *[0] * (TOKENS - 5)]


def test_the_end_token_is_not_added_twice(bundle):
    words = policy(bundle).tokens('pick up the cube')[0]
    last = int(words[3])
    again = policy(bundle, instruction={'end_id': last}).tokens('pick up the cube')[0]
    assert again.tolist() == words.tolist()


def test_joints_beyond_their_range_are_clipped_where_the_contract_says_so(bundle):
    images = {camera.name: np.zeros((camera.height, camera.width, 3), np.uint8)
              for camera in bundle.manifest.cameras}  # fmt: skip
    far = Observation(0.0, images, np.full(6, 50.0), 0.5, 'pick up the cube')
    plain = policy(bundle).prepare(far)['proprioception']
    clipped = policy(bundle, proprioception={'clip': True}).prepare(far)['proprioception']
    assert plain.max() > 1.0
    np.testing.assert_array_equal(clipped, np.clip(plain, -1.0, 1.0))


def planner(bundle, threshold):
    names = tuple(f'j{index}' for index in range(6))
    limits = MotionLimits(
        names, np.full(6, -3.0), np.full(6, 3.0), np.ones(6), acceleration=1.0, max_lead=0.2
    )
    action = dataclasses.replace(
        bundle.manifest.action, space='joint_delta', gripper_threshold=threshold
    )
    action = dataclasses.replace(
        action,
        normalisation=dataclasses.replace(
            action.normalisation, mask=(*action.normalisation.mask[:-1], False)
        ),
    )
    return MotionPlanner(action, limits, None)


def test_a_gripper_threshold_leaves_open_and_closed_only(bundle):
    chunk = np.zeros((4, 7))
    chunk[:, -1] = (-0.3, 0.49, 0.51, 1.4)
    np.testing.assert_array_equal(planner(bundle, 0.5).actions(chunk)[:, -1], [0, 0, 1, 1])
    np.testing.assert_array_equal(planner(bundle, None).actions(chunk)[:, -1], [0, 0.49, 0.51, 1])


def test_a_threshold_that_a_gripper_cannot_cross_is_refused(bundle):
    with pytest.raises(BundleError, match='gripper_threshold = 1.0'):
        policy(bundle, action={'gripper_threshold': 1.0})


def pose_spec(bundle, **changes):
    base = bundle.manifest.proprioception
    state = dataclasses.replace(base.normalisation, low=(-1.0,) * 8, high=(1.0,) * 8,
                                mask=(True,) * 8)  # fmt: skip
    action = dataclasses.replace(bundle.manifest.action, space='eef_delta')
    spec = {'dim': 8, 'gripper': True, 'normalisation': state, 'source': 'eef_axis_angle',
            'fingers': ((0.0, 0.04), (0.0, -0.04)), **changes}  # fmt: skip
    return dataclasses.replace(
        bundle.manifest, action=action, proprioception=dataclasses.replace(base, **spec)
    )


def test_two_fingers_are_made_from_one_opening(bundle):
    manifest = pose_spec(bundle)
    images = {camera.name: np.zeros((camera.height, camera.width, 3), np.uint8)
              for camera in manifest.cameras}  # fmt: skip
    one = Policy(None, manifest, Tokenizer.from_file(str(bundle.path('tokenizer.json'))))
    seen = Observation(0.0, images, np.arange(6) / 10, 0.75, 'pick up the cube')
    found = one.prepare(seen)['proprioception'][0]
    np.testing.assert_allclose(found, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.03, -0.03], atol=1e-7)


def test_a_pose_has_six_numbers_and_needs_a_frame(bundle):
    with pytest.raises(BundleError, match='7 for eef_rpy: a pose and the gripper'):
        pose_spec(bundle, source='eef_rpy', fingers=((0.0, 1.0),))
    with pytest.raises(BundleError, match='none without a gripper'):
        pose_spec(bundle, gripper=False)
    with pytest.raises(BundleError, match='joints, where actions move joints'):
        dataclasses.replace(
            pose_spec(bundle),
            action=dataclasses.replace(bundle.manifest.action, space='joint_delta'),
        )
