"""The simulated arm as a URDF string, generated from the table the physics is built from."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from dysl_vla_ros.sim import arm, scene


def _numbers(*values: float) -> str:
    return ' '.join(f'{value:.9g}' for value in values)


def _fixed(robot: ElementTree.Element, name: str, parent: str, child: str, xyz: str) -> None:
    joint = ElementTree.SubElement(robot, 'joint', name=name, type='fixed')
    ElementTree.SubElement(joint, 'origin', xyz=xyz, rpy='0 0 0')
    ElementTree.SubElement(joint, 'parent', link=parent)
    ElementTree.SubElement(joint, 'child', link=child)


def _inertial(link: ElementTree.Element, mass: float, radius: float, length: float,
              middle: tuple[float, ...], pitch: float) -> None:  # fmt: skip
    """A solid cylinder's inertia, near enough for drawing and gravity."""
    inertial = ElementTree.SubElement(link, 'inertial')
    ElementTree.SubElement(inertial, 'origin', xyz=_numbers(*middle), rpy=f'0 {pitch:.9g} 0')
    ElementTree.SubElement(inertial, 'mass', value=_numbers(mass))
    across = mass * (3.0 * radius**2 + length**2) / 12.0
    along = 0.5 * mass * radius**2
    ElementTree.SubElement(
        inertial, 'inertia', ixx=_numbers(across), iyy=_numbers(across), izz=_numbers(along),
        ixy='0', ixz='0', iyz='0',
    )  # fmt: skip


def _capsule(link: ElementTree.Element, joint: arm.ArmJoint) -> None:
    start, end = joint.shape
    middle = tuple(0.5 * (a + b) for a, b in zip(start, end, strict=True))
    along_x = abs(end[0] - start[0]) > 0.1
    pitch = 0.5 * math.pi if along_x else 0.0
    length = math.dist(start, end)
    _inertial(link, joint.mass, joint.radius, length, middle, pitch)
    for tag in ('visual', 'collision'):
        part = ElementTree.SubElement(link, tag)
        ElementTree.SubElement(part, 'origin', xyz=_numbers(*middle), rpy=f'0 {pitch:.9g} 0')
        geometry = ElementTree.SubElement(part, 'geometry')
        ElementTree.SubElement(
            geometry, 'cylinder', radius=_numbers(joint.radius),
            length=_numbers(length + 2.0 * joint.radius),
        )  # fmt: skip


def _box(link: ElementTree.Element, size: tuple[float, float, float], z: float, y: float) -> None:
    for tag in ('visual', 'collision'):
        part = ElementTree.SubElement(link, tag)
        ElementTree.SubElement(part, 'origin', xyz=_numbers(0.0, y, z), rpy='0 0 0')
        geometry = ElementTree.SubElement(part, 'geometry')
        ElementTree.SubElement(geometry, 'box', size=_numbers(*size))


def urdf() -> str:
    """Return the robot description: ``base_link`` to ``tool0`` and ``grasp_link``.

    The gripper is drawn open and has no joint of its own: its opening is a command apart.
    """
    robot = ElementTree.Element('robot', name='dysl_sim_arm')
    parent = arm.BASE_LINK
    ElementTree.SubElement(robot, 'link', name=parent)
    for index, joint in enumerate(arm.JOINTS):
        element = ElementTree.SubElement(robot, 'joint', name=joint.name, type='revolute')
        yaw = arm.BASE_YAW if index == 0 else 0.0
        ElementTree.SubElement(
            element, 'origin', xyz=_numbers(*joint.origin), rpy=_numbers(joint.roll, 0.0, yaw)
        )
        ElementTree.SubElement(element, 'parent', link=parent)
        ElementTree.SubElement(element, 'child', link=joint.link)
        ElementTree.SubElement(element, 'axis', xyz='0 0 1')
        ElementTree.SubElement(
            element, 'limit', lower=f'{joint.lower:.12g}', upper=f'{joint.upper:.12g}',
            velocity=f'{joint.velocity:.12g}', effort=_numbers(joint.effort),
        )  # fmt: skip
        _capsule(ElementTree.SubElement(robot, 'link', name=joint.link), joint)
        parent = joint.link
    tool = ElementTree.SubElement(robot, 'link', name='tool0')
    _inertial(tool, arm.GRIPPER_MASS, 0.04, 0.08, (0.0, 0.0, 0.045), 0.0)
    _box(tool, (0.050, 0.116, 0.084), 0.045, 0.0)
    length = arm.GRASP_OFFSET + scene.FINGER_BELOW_GRASP - 0.087
    for side in (1.0, -1.0):
        y = side * 0.5 * (arm.GRIPPER_STROKE + scene.FINGER_THICKNESS)
        size = (2.0 * scene.PAD_HALF_WIDTH, scene.FINGER_THICKNESS, length)
        _box(tool, size, 0.087 + 0.5 * length, y)
    _fixed(robot, 'tool0_joint', parent, 'tool0', '0 0 0')
    ElementTree.SubElement(robot, 'link', name=arm.TIP_LINK)
    _fixed(robot, 'grasp_joint', 'tool0', arm.TIP_LINK, _numbers(0.0, 0.0, arm.GRASP_OFFSET))
    return ElementTree.tostring(robot, encoding='unicode')
