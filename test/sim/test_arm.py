"""One table makes physics, URDF and kinematics: they must agree."""

from __future__ import annotations

from xml.etree import ElementTree

import mujoco
import numpy as np
import pytest

from dysl_vla_ros.errors import KinematicsError
from dysl_vla_ros.sim import arm, scene
from dysl_vla_ros.sim.robot_description import urdf

_RANDOM_JOINTS = np.random.default_rng(5).uniform(-2.5, 2.5, (20, 6))


def test_physics_and_urdf_place_the_grasp_point_alike() -> None:
    pinocchio = pytest.importorskip('pinocchio')
    model = pinocchio.buildModelFromXML(urdf())
    data = model.createData()
    frame = model.getFrameId(arm.TIP_LINK)
    physics = mujoco.MjModel.from_xml_string(scene.mjcf(('cube',)))
    state = mujoco.MjData(physics)
    assert tuple(model.names)[1:] == arm.JOINT_NAMES
    for joints in _RANDOM_JOINTS:
        pinocchio.framesForwardKinematics(model, data, joints)
        state.qpos[:6] = joints
        mujoco.mj_kinematics(physics, state)
        np.testing.assert_allclose(data.oMf[frame].translation, state.site_xpos[0], atol=1e-7)
        rotation = state.site_xmat[0].reshape(3, 3)
        np.testing.assert_allclose(data.oMf[frame].rotation, rotation, atol=1e-7)


def test_own_kinematics_equal_the_physics() -> None:
    physics = mujoco.MjModel.from_xml_string(scene.mjcf(('cube',)))
    state = mujoco.MjData(physics)
    for joints in _RANDOM_JOINTS:
        state.qpos[:6] = joints
        mujoco.mj_kinematics(physics, state)
        position, rotation = arm.forward(joints)
        np.testing.assert_allclose(position, state.site_xpos[0], atol=1e-7)
        np.testing.assert_allclose(rotation, state.site_xmat[0].reshape(3, 3), atol=1e-7)


def test_the_jacobian_is_the_derivative_of_the_position() -> None:
    joints, step = _RANDOM_JOINTS[0], 1e-6
    matrix = arm.jacobian(joints)[2]
    for index in range(6):
        moved = joints.copy()
        moved[index] += step
        slope = (arm.forward(moved)[0] - arm.forward(joints)[0]) / step
        np.testing.assert_allclose(matrix[:3, index], slope, atol=1e-5)


def test_the_urdf_carries_position_velocity_and_effort_limits() -> None:
    joints = ElementTree.fromstring(urdf()).findall("joint[@type='revolute']")
    for element, joint in zip(joints, arm.JOINTS, strict=True):
        limit = element.find('limit')
        assert limit is not None
        assert float(limit.attrib['lower']) == pytest.approx(joint.lower)
        assert float(limit.attrib['upper']) == pytest.approx(joint.upper)
        assert float(limit.attrib['velocity']) == pytest.approx(np.pi)
    efforts = [float(element.find('limit').attrib['effort']) for element in joints]  # type: ignore[union-attr]
    assert efforts == [150.0, 150.0, 150.0, 28.0, 28.0, 28.0]


def test_the_inverse_finds_every_place_that_tasks_use() -> None:
    home = arm.home_joints()
    for x in (0.33, 0.50, 0.70):
        for y in (-0.24, 0.0, 0.24):
            goal, down = np.array((x, y, 0.03)), arm.pointing_down(0.3)
            position, rotation = arm.forward(arm.inverse(home, goal, down))
            np.testing.assert_allclose(position, goal, atol=1e-4)
            np.testing.assert_allclose(rotation, down, atol=1e-3)


def test_a_pose_out_of_reach_is_refused_with_its_position() -> None:
    with pytest.raises(KinematicsError, match='1.5'):
        arm.inverse(arm.home_joints(), np.array((1.5, 0.0, 0.2)), arm.pointing_down(0.0))


def test_the_home_pose_points_down_away_from_singularities() -> None:
    position, rotation, matrix = arm.jacobian(arm.home_joints())
    np.testing.assert_allclose(position, arm.HOME_POSITION, atol=1e-4)
    np.testing.assert_allclose(rotation[:, 2], (0.0, 0.0, -1.0), atol=1e-3)
    assert np.linalg.svd(matrix, compute_uv=False)[-1] > 0.1
