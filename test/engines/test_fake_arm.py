"""The policy without a model, made for the joints of an arm."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dysl_vla_ros.bundle.manifest import manifest_from_dict, manifest_to_dict
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.engines.fake.arm import FakeArm, JointSweep, arm_of, is_fake_path
from dysl_vla_ros.engines.fake.engine import FakeEngine
from dysl_vla_ros.engines.open_engine import open_engine
from dysl_vla_ros.errors import BundleError

ARMS = {
    'five with a gripper': FakeArm(('a', 'b', 'c', 'd', 'e'), True),
    'seven with a gripper': FakeArm(tuple(f'left/joint_{i}' for i in range(7)), True),
    'six without': FakeArm(tuple('abcdef'), False),
    'one': FakeArm(('slide',), False),
}
STEP = 0.005


@pytest.fixture(params=ARMS.values(), ids=ARMS)
def arm(request):
    return request.param


def test_the_contract_is_a_legal_one_for_any_number_of_joints(arm):
    manifest = arm.manifest
    assert manifest_from_dict(json.loads(json.dumps(manifest_to_dict(manifest)))) == manifest
    assert manifest.action.space == 'joint_delta' and manifest.action.joint_names == arm.joints
    assert manifest.action.dim == manifest.proprioception.dim == len(arm.joints) + arm.gripper


def test_the_path_tells_another_process_which_arm(arm):
    assert is_fake_path(arm.path) and arm_of(arm.path) == arm
    opened = open_engine(arm.path)
    assert isinstance(opened.engine, FakeEngine) and opened.manifest == arm.manifest


def test_without_an_arm_it_is_what_it_pretends_to_be_by_itself():
    assert is_fake_path('fake') and arm_of('fake') is None
    assert not is_fake_path('fakes') and not is_fake_path('/models/fake')
    assert open_engine('fake').manifest.action.space == 'eef_delta'


@pytest.mark.parametrize('path', ['fake{', 'fake{"joints": 3, "gripper": 1}', 'fake{}'])
def test_a_path_of_another_form_is_refused(path):
    with pytest.raises(BundleError, match="expected a folder, or 'fake'"):
        open_engine(path)


# ---- the sweep ---------------------------------------------------------------------------------


def chunk_at(sweep, arm, angle):
    readings = np.zeros((1, arm.manifest.proprioception.dim), np.float32)
    readings[0, 0] = angle
    return sweep({'proprioception': readings, 'tokens': np.array([[1, 0]])})


@pytest.mark.parametrize('home', [0.0, 0.4])  # at 0 every reading is 0, as in a warm-up
def test_the_first_joint_alone_goes_to_and_fro_near_home_and_the_gripper_closes_on_the_way_back(
    arm, home
):
    sweep = JointSweep(arm, 8)
    angle, seen, openings = home, [], []
    for _ in range(200):
        chunk = chunk_at(sweep, arm, angle)
        assert chunk.shape == (8, arm.manifest.action.dim) and np.abs(chunk[:, 0]).max() <= 1.0
        assert not chunk[:, 1 : len(arm.joints)].any()
        before = angle
        angle += chunk[:4, 0].sum() * STEP
        seen.append(angle - home)
        if arm.gripper:
            openings.append(chunk[0, -1])
            assert openings[-1] == float(angle > before)
    assert max(seen) > 0.1 and min(seen) < -0.1 and max(np.abs(seen)) < 0.18
    assert set(openings) == ({0.0, 1.0} if arm.gripper else set())


def test_where_it_does_not_get_on_it_turns_round():
    arm = ARMS['one']
    sweep = JointSweep(arm, 8)
    angle, lowest = 0.0, 0.0
    for _ in range(150):
        angle = min(0.05, angle + chunk_at(sweep, arm, angle)[:4, 0].sum() * STEP)  # a limit
        lowest = min(lowest, angle)
    assert lowest < -0.1


def test_a_blank_observation_moves_nothing_and_becomes_no_home():
    arm = ARMS['five with a gripper']
    sweep = JointSweep(arm, 8)
    blank = {'proprioception': np.zeros((1, 6), np.float32), 'tokens': np.zeros((1, 64), int)}
    assert not sweep(blank)[:, :5].any() and (sweep(blank)[:, -1] == 1.0).all()
    assert chunk_at(sweep, arm, 2.0)[0, 0] == 1.0  # home is 2.0, so it does not rush to 0


def test_the_whole_policy_warms_up_and_predicts(arm):
    from dysl_vla_ros.config import EngineConfig
    from dysl_vla_ros.policy import open_policy

    policy = open_policy(EngineConfig(path=arm.path, warmup_runs=2))
    image = {'image': np.zeros((96, 96, 3), np.uint8)}
    seen = Observation(0.0, image, np.zeros(len(arm.joints)), 1.0 if arm.gripper else None, 'go')
    made = policy.predict(seen, policy.engine.layout.full_plan())
    assert made.normalised.shape == (8, arm.manifest.action.dim) and made.normalised[0, 0] == 1.0
