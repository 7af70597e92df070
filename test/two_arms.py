"""Two arms of two joints each under one policy, for tests: parameters, description, contract."""

from __future__ import annotations

from dataclasses import replace

from dysl_vla_ros.bundle.manifest import NormalisationSpec, ProprioceptionSpec
from dysl_vla_ros.engines.fake.bundle import fake_manifest

LEFT, RIGHT = ('left_a', 'left_b'), ('right_a', 'right_b')
JOINTS = (*LEFT, *RIGHT)
STEP = 0.01
FLAT = {
    'arms.names': ['left', 'right'],
    'arms.left.joint_names': list(LEFT),
    'arms.left.command_topic': 'left_arm/joint_trajectory',
    'arms.left.gripper.joint': 'left_finger',
    'arms.left.gripper.open_value': 0.04,
    'arms.left.gripper.dwell_s': 0.0,
    'arms.right.joint_names': list(RIGHT),
    'arms.right.command_topic': '/right/controller/joint_trajectory',
    'arms.right.gripper.interface': 'joint',
    'arms.right.gripper.joint': 'right_finger',
    'arms.right.gripper.dwell_s': 0.0,
}


def two_arm_manifest(space='joint_delta', gripper=True, horizon=8):
    """``[left joints, left opening, right joints, right opening]``, as in ALOHA."""
    base = fake_manifest(6, (0, 3, 5))
    dim = 4 + 2 * gripper
    mask = ((True,) * 2 + (False,) * gripper) * 2
    scale = NormalisationSpec((-STEP,) * dim, (STEP,) * dim, mask)
    unit = NormalisationSpec((-1.0,) * dim, (1.0,) * dim, (True,) * dim)
    return replace(
        base,
        name='two-arms',
        proprioception=ProprioceptionSpec(dim, gripper, unit),
        instruction=replace(base.instruction, tokens=16),
        action=replace(
            base.action, space=space, dim=dim, horizon=horizon, gripper=gripper,
            normalisation=scale, displacement=scale, joint_names=(),
        ),
        calibration=replace(base.calibration, weights=(1.0,) * dim),
    )  # fmt: skip


def two_arm_urdf(apart=2.0):
    """Two chains of revolute joints on one base, ``apart`` metres from each other."""
    text = ['<robot name="two_arms"><link name="world"/>']
    for side, (names, place) in enumerate(((LEFT, -apart / 2), (RIGHT, apart / 2))):
        parent = 'world'
        for index, name in enumerate(names):
            xyz = f'0 {place} 0' if index == 0 else '0 0 0.3'
            text.append(
                f'<link name="{name}_link"/><joint name="{name}" type="revolute">'
                f'<parent link="{parent}"/><child link="{name}_link"/><origin xyz="{xyz}"/>'
                f'<axis xyz="0 1 {side}"/>'
                '<limit lower="-2.0" upper="2.0" velocity="3.0" effort="50"/></joint>'
            )
            parent = f'{name}_link'
    return ''.join(text) + '</robot>'
