"""An arm that stands where training never was is named by joint."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.bundle.manifest import NormalisationSpec, ProprioceptionSpec
from dysl_vla_ros.training_range import outside_training, pose_outside_training

NAMES = ('pan', 'lift', 'turn')
RANGE = NormalisationSpec((-1.0, 0.5, -0.2, 0.0), (1.0, 1.5, 0.2, 1.0), (True,) * 3 + (False,))
SPEC = ProprioceptionSpec(4, True, RANGE)
FIXED = np.zeros(3, dtype=bool)


def found(*joints, spec=SPEC, endless=FIXED):
    return outside_training(spec, NAMES, np.array(joints), endless)


@pytest.mark.parametrize('joints', [(0.0, 1.0, 0.0), (1.09, 0.46, -0.215)])
def test_inside_and_a_little_beyond_nothing_is_said(joints):
    assert found(*joints) == ''


def test_each_joint_outside_is_named_with_what_was_seen():
    assert found(1.2, 0.3, 0.0) == (
        'the arm stands outside what training saw: pan = 1.20 (seen: -1.00 to 1.00), '
        'lift = 0.30 (seen: 0.50 to 1.50); ~/home leads it to home.positions'
    )


def test_whole_turns_of_an_endless_joint_do_not_count():
    turned = (0.0, 1.0, 2 * np.pi + 0.1)
    assert 'turn = 6.38' in found(*turned)
    assert found(*turned, endless=np.array([False, False, True])) == ''
    assert 'turn = 1.00' in found(0.0, 1.0, 2 * np.pi + 1, endless=np.array([False, False, True]))


def test_what_is_not_normalised_and_a_vector_of_other_things_say_nothing():
    masked = NormalisationSpec(RANGE.low, RANGE.high, (False, True, True, False))
    assert found(9.0, 1.0, 0.0, spec=ProprioceptionSpec(4, True, masked)) == ''
    assert found(9.0, 1.0, 0.0, spec=ProprioceptionSpec(4, False, RANGE)) == ''


POSE = NormalisationSpec((0.3, -0.2, 0.1, 2.0, -1.0, -1.0, 0.0, -0.04),
                         (0.6, 0.2, 0.5, 3.5, 1.0, 1.0, 0.04, 0.0), (True,) * 8)  # fmt: skip


def test_six_joints_are_not_compared_with_the_six_numbers_of_a_pose():
    names = tuple('abcdef')
    fingers = ((0.0, 0.04), (0.0, -0.04))
    read = ProprioceptionSpec(8, True, POSE, source='eef_axis_angle', fingers=fingers)
    far = np.full(6, 9.0)
    assert outside_training(read, names, far, np.zeros(6, dtype=bool)) == ''
    joints = ProprioceptionSpec(8, True, POSE, fingers=fingers)
    assert outside_training(joints, names, far, np.zeros(6, dtype=bool)).count('seen: ') == 6


def test_a_tip_where_training_never_was_is_named_with_its_frames():
    read = ProprioceptionSpec(8, True, POSE, source='eef_axis_angle')
    tip = 'hand in base'
    assert pose_outside_training(read, np.array([0.4, 0.0, 0.09, 9.0, 9.0, 9.0]), tip) == ''
    assert pose_outside_training(read, np.array([0.4, 0.0, -0.9, 0.0, 0.0, 0.0]), tip) == (
        'the arm stands outside what training saw: z = -0.90 (seen: 0.10 to 0.50), of hand in '
        'base: action.frame_id and action.tip_link are where training had them?'
    )


def test_joints_of_the_second_arm_are_compared_with_their_own_columns():
    low, high = (-1.0, 0.0, 2.0, 0.0), (1.0, 1.0, 3.0, 1.0)
    spec = ProprioceptionSpec(4, True, NormalisationSpec(low, high, (True,) * 4))
    names, fixed = ('left', 'right'), np.zeros(2, dtype=bool)
    assert outside_training(spec, names, np.array([0.0, 2.5]), fixed, (1, 1)) == ''
    assert 'right = 0.50 (seen: 2.00 to 3.00)' in outside_training(
        spec, names, np.array([0.0, 0.5]), fixed, (1, 1)
    )
    assert outside_training(spec, names, np.array([9.0, 9.0]), fixed, (1, 2)) == ''
