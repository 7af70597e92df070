"""The table top as a MuJoCo model: arm, gripper, bin, objects, all from primitives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal
from xml.etree import ElementTree

from dysl_vla_ros.sim import arm

Shape = Literal['cube', 'cylinder']
SHAPES: tuple[Shape, ...] = ('cube', 'cylinder')

CUBE_SIZE = 0.044
"""Edge of a cube [m]."""
CYLINDER_RADIUS = 0.020
CYLINDER_HEIGHT = 0.054
OBJECT_MASS = 0.08

BIN_POSITION = (0.325, 0.235)
"""Middle of the bin before its jitter, in ``base_link`` [m]."""
BIN_HALF = 0.070
BIN_HEIGHT = 0.055
_BIN_WALL = 0.004

TABLE_X = (-0.25, 0.90)
TABLE_Y = (-0.45, 0.45)
PUSH_LINE = 0.20
"""The painted lines run along x at this distance on both sides of the middle [m]."""

PHYSICS_STEP = 0.002
"""Step of the physics [s]."""

FINGER_THICKNESS = 0.010
PAD_HALF_WIDTH = 0.011
"""Half the width of a finger pad, across its opening direction [m]."""
FINGER_BELOW_GRASP = 0.012
"""How far the fingertips reach beyond the grasp point [m]."""

FINGER_NAMES = ('left_finger', 'right_finger')
_FINGER_STIFFNESS = 10000.0
_FINGER_DAMPING = 200.0
_FINGER_FORCE = 40.0

_PAD_CONTACT = {'friction': '1.3 0.01 0.0002', 'condim': '4', 'solref': '0.006 1'}
_OBJECT_CONTACT = {'friction': '0.6 0.005 0.001', 'condim': '4', 'solref': '0.006 1'}


def half_height(shape: Shape) -> float:
    """Half the height of an upright object [m]."""
    return 0.5 * (CUBE_SIZE if shape == 'cube' else CYLINDER_HEIGHT)


def grasp_width(shape: Shape) -> float:
    """Gripper opening, 0..1, at which the fingers touch an object of this shape."""
    return (CUBE_SIZE if shape == 'cube' else 2.0 * CYLINDER_RADIUS) / arm.GRIPPER_STROKE


def _numbers(*values: float) -> str:
    return ' '.join(f'{value:.9g}' for value in values)


def _add(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    names = {name.rstrip('_'): value for name, value in attributes.items()}
    return ElementTree.SubElement(parent, tag, names)


def _add_arm(world: ElementTree.Element) -> ElementTree.Element:
    """Add the arm's bodies and return the last link, whose frame is tool0."""
    base = _add(world, 'body', name=arm.BASE_LINK)
    _add(base, 'geom', name='base', type='cylinder', size=_numbers(0.075, 0.05), pos='0 0 0.05',
         class_='arm')  # fmt: skip
    parent = base
    for index, joint in enumerate(arm.JOINTS):
        x, y, z = joint.origin
        half = 0.5 * joint.roll
        turn = (math.cos(half), math.sin(half), 0.0, 0.0)
        if index == 0:
            turn = (math.cos(0.5 * arm.BASE_YAW), 0.0, 0.0, math.sin(0.5 * arm.BASE_YAW))
        body = _add(parent, 'body', name=joint.link, pos=_numbers(x, y, z), quat=_numbers(*turn),
                    gravcomp='1')  # fmt: skip
        _add(body, 'joint', name=joint.name, axis='0 0 1',
             range=_numbers(joint.lower, joint.upper), armature=_numbers(joint.armature),
             actuatorgravcomp='true',
             actuatorfrcrange=_numbers(-joint.effort, joint.effort))  # fmt: skip
        start, end = joint.shape
        _add(body, 'geom', name=joint.link, type='capsule', size=_numbers(joint.radius),
             fromto=_numbers(*start, *end), mass=_numbers(joint.mass), class_='arm')  # fmt: skip
        parent = body
    return parent


def _add_gripper(tool: ElementTree.Element) -> None:
    tip = arm.GRASP_OFFSET
    _add(tool, 'site', name=arm.TIP_LINK, pos=_numbers(0.0, 0.0, tip))
    _add(tool, 'geom', name='gripper_base', type='box', size=_numbers(0.025, 0.058, 0.042),
         pos=_numbers(0.0, 0.0, 0.045), mass=_numbers(arm.GRIPPER_MASS), class_='arm')  # fmt: skip
    half_length = 0.5 * (tip + FINGER_BELOW_GRASP - 0.087)
    middle = 0.087 + half_length
    for name, side in zip(FINGER_NAMES, (1.0, -1.0), strict=True):
        finger = _add(tool, 'body', name=name, gravcomp='1')
        _add(finger, 'joint', name=f'{name}_joint', type='slide', axis=_numbers(0.0, side, 0.0),
             range=_numbers(0.0, 0.5 * arm.GRIPPER_STROKE), armature='0.1')  # fmt: skip
        _add(finger, 'geom', name=name, type='box', mass='0.05', class_='finger',
             size=_numbers(PAD_HALF_WIDTH, 0.5 * FINGER_THICKNESS, half_length),
             pos=_numbers(0.0, side * 0.5 * FINGER_THICKNESS, middle))  # fmt: skip
    # Behind the gripper, tilted so that the fingertips stand in the middle of the picture.
    _add(tool, 'camera', name='wrist_image', pos='-0.085 0 0.062', fovy='62',
         xyaxes='0 1 0 0.804 0 -0.594')  # fmt: skip


def _add_bin(world: ElementTree.Element) -> None:
    body = _add(world, 'body', name='bin', pos=_numbers(*BIN_POSITION, 0.0))
    outer, wall = BIN_HALF, 0.5 * _BIN_WALL
    _add(body, 'geom', name='bin_floor', type='box', size=_numbers(outer, outer, wall),
         pos=_numbers(0.0, 0.0, wall))  # fmt: skip
    for name, x, y in (('back', -1, 0), ('front', 1, 0), ('left', 0, 1), ('right', 0, -1)):
        _add(body, 'geom', name=f'bin_{name}', type='box',
             size=_numbers(wall if x else outer, wall if y else outer, 0.5 * BIN_HEIGHT),
             pos=_numbers(x * (outer - wall), y * (outer - wall), 0.5 * BIN_HEIGHT))  # fmt: skip


def _add_object(world: ElementTree.Element, name: str, shape: Shape) -> None:
    body = _add(world, 'body', name=name, pos='0.5 0 0.1')
    _add(body, 'freejoint')
    if shape == 'cube':
        size = _numbers(*(0.5 * CUBE_SIZE,) * 3)
        _add(body, 'geom', name=name, type='box', size=size, mass=_numbers(OBJECT_MASS))
    else:
        size = _numbers(CYLINDER_RADIUS, 0.5 * CYLINDER_HEIGHT)
        # Six contact dimensions: without rolling friction a toppled one rolls for ever.
        _add(body, 'geom', name=name, type='cylinder', size=size, mass=_numbers(OBJECT_MASS),
             condim='6')  # fmt: skip


def mjcf(shapes: Sequence[Shape]) -> str:
    """Return the scene with one free object per entry of ``shapes`` as MuJoCo XML."""
    root = ElementTree.Element('mujoco', model='table_top')
    _add(root, 'compiler', angle='radian', autolimits='true')
    _add(root, 'option', timestep=_numbers(PHYSICS_STEP), integrator='implicitfast',
         cone='elliptic', impratio='10')  # fmt: skip
    default = _add(root, 'default')
    _add(default, 'geom', **_OBJECT_CONTACT)
    # The arm collides with table, bin and objects but not with itself.
    _add(_add(default, 'default', class_='arm'), 'geom', contype='2', conaffinity='0')
    finger = _add(default, 'default', class_='finger')
    _add(finger, 'geom', contype='1', conaffinity='1', priority='1', **_PAD_CONTACT)
    world = _add(root, 'worldbody')
    table = (0.5 * (TABLE_X[1] - TABLE_X[0]), 0.5 * (TABLE_Y[1] - TABLE_Y[0]), 0.02)
    _add(world, 'geom', name='table', type='box', size=_numbers(*table), conaffinity='3',
         pos=_numbers(0.5 * sum(TABLE_X), 0.5 * sum(TABLE_Y), -0.02))  # fmt: skip
    _add(world, 'camera', name='image', pos='1.10 0.02 0.72', fovy='36',
         xyaxes='0 1 0 -0.676 0 0.737')  # fmt: skip
    _add_gripper(_add_arm(world))
    _add_bin(world)
    for index, shape in enumerate(shapes):
        _add_object(world, f'object_{index}', shape)
    for element in world.iter('geom'):
        if element.get('class') is None:
            element.set('conaffinity', '3')
    actuator = _add(root, 'actuator')
    for joint in arm.JOINTS:
        _add(actuator, 'position', name=joint.name, joint=joint.name, kp=_numbers(joint.stiffness),
             kv=_numbers(arm.DRIVE_LAG * joint.stiffness))  # fmt: skip
    for name in FINGER_NAMES:
        _add(actuator, 'position', name=name, joint=f'{name}_joint',
             kp=_numbers(_FINGER_STIFFNESS), kv=_numbers(_FINGER_DAMPING),
             forcerange=_numbers(-_FINGER_FORCE, _FINGER_FORCE))  # fmt: skip
    left, right = (f'{name}_joint' for name in FINGER_NAMES)
    _add(_add(root, 'equality'), 'joint', joint1=left, joint2=right, polycoef='0 1 0 0 0',
         solref='0.004 1')  # fmt: skip
    return ElementTree.tostring(root, encoding='unicode')
