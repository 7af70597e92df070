"""What a robot description may look like, and what is said of one that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('pinocchio', reason="needs the extra 'kinematics'")

from dysl_vla_ros.collision import ArmCollision
from dysl_vla_ros.description import parse_xml, read_description
from dysl_vla_ros.errors import KinematicsError
from dysl_vla_ros.kinematics import ArmKinematics

LIMIT = '<limit lower="-2.9" upper="2.9" effort="50" velocity="2"/>'
FINGER = '<limit lower="0" upper="0.04" effort="20" velocity="0.1"/>'


def joint(name, parent, child, kind='revolute', limit=LIMIT, axis='0 1 0', more=''):
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="0 0 0.3"/><axis xyz="{axis}"/>{limit}{more}</joint>'
    )


def arm(extra='', tip='tool0'):
    links = ''.join(f'<link name="{name}"/>' for name in ('base', 'upper', 'lower', tip))
    return (
        f'<robot name="arm">{links}{joint("shoulder", "base", "upper", axis="0 0 1")}'
        f'{joint("elbow", "upper", "lower")}{joint("tool", "lower", tip, "fixed", "")}'
        f'{extra}</robot>'
    )


def kinematics(text, tip='tool0', names=('shoulder', 'elbow')):
    return ArmKinematics(text, names, tip, 'base')


POSE = np.array([0.3, 0.4])
TIP = kinematics(arm()).forward(POSE)[0]


def refusal(text, **given):
    with pytest.raises(KinematicsError) as caught:
        kinematics(text, **given)
    return str(caught.value)


LINK = '<link name="{}"/>'.format
SAME = {
    'a joint beside the arm and its link': LINK('jaw') + LINK('gripper')
    + joint('mount', 'lower', 'gripper', 'fixed') + joint('gripper', 'gripper', 'jaw'),
    'a fixed joint and its link': LINK('camera') + joint('camera', 'lower', 'camera', 'fixed'),
    'a joint of the arm and a link': LINK('elbow') + joint('e', 'lower', 'elbow', 'fixed'),
    'a link and the world of the library': LINK('universe')
    + joint('u', 'lower', 'universe', 'fixed'),
}  # fmt: skip


@pytest.mark.parametrize('extra', SAME.values(), ids=list(SAME))
def test_a_joint_and_a_link_may_share_a_name(extra):
    assert kinematics(arm(extra)).forward(POSE)[0] == pytest.approx(TIP)
    ArmCollision(arm(extra), ('shoulder', 'elbow'), 'base')


def test_the_tip_link_may_have_the_name_of_a_joint():
    assert kinematics(arm(tip='elbow'), tip='elbow').forward(POSE)[0] == pytest.approx(TIP)


@pytest.mark.parametrize('kind', ['floating', 'planar'])
def test_a_mobile_base_stands_where_it_is(kind):
    text = arm(LINK('odom') + joint('drive', 'odom', 'base', kind, ''))
    assert kinematics(text).forward(POSE)[0] == pytest.approx(TIP)


def test_a_joint_that_mimics_one_of_the_arm_moves_with_it():
    """A parallelogram: the hand keeps its direction."""
    follows = joint('level', 'lower', 'hand', limit=LIMIT,
                    more='<mimic joint="elbow" multiplier="-1" offset="0.25"/>')  # fmt: skip
    arms = kinematics(arm(LINK('hand') + follows), tip='hand')
    _, rotation = arms.forward(np.array([0.0, 0.7]))
    turned = np.array([[np.cos(0.25), 0, np.sin(0.25)], [0, 1, 0], [-np.sin(0.25), 0,
                                                                    np.cos(0.25)]])  # fmt: skip
    assert rotation == pytest.approx(turned)
    jacobian = arms.jacobian(np.array([0.0, 0.7]))
    assert jacobian[3:, 1] == pytest.approx([0, 0, 0], abs=1e-12)  # it turns back
    assert jacobian[0, 1] == pytest.approx(0.3 * np.cos(0.7))


def test_what_mimics_a_joint_beside_the_arm_stands_at_its_offset():
    fingers = LINK('f1') + LINK('f2') + joint('one', 'tool0', 'f1', 'prismatic', FINGER) + joint(
        'two', 'tool0', 'f2', 'prismatic', FINGER, '0 0 1',
        more='<mimic joint="one" offset="0.01"/>')  # fmt: skip
    rest = kinematics(arm(fingers), tip='f1').forward(np.zeros(2))[0]
    moved = kinematics(arm(fingers), tip='f2').forward(np.zeros(2))[0]
    assert moved - rest == pytest.approx([0, 0, 0.01])


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (('joint="one"', 'joint="two"'), 'joint two: it mimics itself'),
        (('joint="one"', 'joint="six"'), "joint two: it mimics 'six', which is no joint"),
        (('multiplier="2"', 'multiplier="x"'), "joint two: mimic multiplier = 'x': expected a"),
    ],
)
def test_a_joint_that_mimics_nothing_is_refused(change, words):
    text = arm(
        LINK('f1') + LINK('f2') + joint('one', 'tool0', 'f1') + joint(
            'two', 'tool0', 'f2', more='<mimic joint="one" multiplier="2"/>')
    )  # fmt: skip
    kinematics(text)
    assert refusal(text.replace(*change)).startswith(words)


def test_a_mimic_joint_is_not_one_that_can_be_commanded():
    text = arm(LINK('f') + joint('two', 'tool0', 'f', more='<mimic joint="elbow"/>'))
    words = refusal(text, names=('shoulder', 'two'))
    assert words.startswith("joint 'two' follows 'elbow' (mimic)")


@pytest.mark.parametrize(
    'text',
    [
        '\ufeff<?xml version="1.0"?>' + arm(),
        '\n  <?xml version="1.0" encoding="utf-8"?><!-- généré par Müller 机器人 -->' + arm(),
        arm('<gazebo><sensor:camera name="c"/></gazebo>'),  # a prefix that nobody declared
        arm('<transmission name="t"><joint name="elbow"/></transmission>'),
        arm('<ros2_control name="x"><joint name="elbow"/></ros2_control>'),
        arm('<material><color rgba="1 1 1 1"/></material>'),
        arm().replace('0 1 0', '0 2 0'),
        arm().replace('upper="2.9"', 'upper=" +2.9 "'),
        arm().replace(' effort="50"', ''),
    ],
)
def test_what_other_readers_stumble_over_is_no_hindrance(text):
    found = kinematics(text)
    assert found.forward(POSE)[0] == pytest.approx(TIP)
    assert found.limits.upper.tolist() == [2.9, 2.9]


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (arm(LINK('stray')), 'robot_description: 2 links hang on no joint, base, stray: expected'),
        (arm(LINK('upper')), "robot_description: link 'upper' is there twice"),
        (arm(LINK('x') + joint('elbow', 'lower', 'x')), "robot_description: joint 'elbow' is"),
        (arm(joint('x', 'lower', 'gone')), "joint x: child 'gone' is no link of robot_desc"),
        (arm(joint('x', 'tool0', 'upper')), "link 'upper' is moved by two joints, shoulder and x"),
        (arm(LINK('a') + LINK('b') + joint('x', 'a', 'b') + joint('y', 'b', 'a')),
         'robot_description: joints x, y form a circle'),
        (arm().replace('0 1 0', '0 0 0'), "joint elbow: axis xyz = '0 0 0': expected a dir"),
        (arm().replace('0 1 0', '0 1'), "joint elbow: axis xyz = '0 1': expected 3 numbers"),
        (arm().replace('0 0 0.3', '0 0 ${height}'), "joint shoulder: origin xyz = '0 0 ${height}"),
        (arm().replace('0 0 0.3', '0 0 1e999'), 'joint shoulder: origin xyz = '),
        (arm().replace('"revolute"', '"hinge"'), "joint shoulder: type = 'hinge': expected one"),
        (arm().replace('<child link="upper"/>', ''), 'joint shoulder: it has no <child'),
        (arm().replace(' name="shoulder"', ''), 'robot_description: a <joint> has no name'),
        (arm().replace('velocity="2"', 'velocity="2,0"'), "joint shoulder: limit velocity = '2,0"),
        ('', 'robot_description, 0 characters: it is not XML: no element found'),
        ('<sdf version="1.6"/>', 'robot_description, 20 characters: it begins with <sdf>'),
        ('<robot><xacro:arm prefix=""/></robot>', 'robot_description, 37 characters: it has no l'),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + arm(), "robot_description declares 'a' (DOCTYPE)"),
        ('<a>' * 5000, 'robot_description: elements lie in each other 101 deep at <a>'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_the_joint_or_link(text, words, capfd):
    assert refusal(text).startswith(words)
    assert capfd.readouterr() == ('', '')  # in the error, and nowhere else


@pytest.mark.parametrize('text', ['', '<robot><xacro:arm prefix=""/></robot>'])
def test_a_macro_that_was_not_expanded_is_answered_with_how_to(text):
    assert refusal(text).endswith('Expected the text of a URDF (run xacro first)')


def test_joints_come_after_the_one_that_carries_them_whatever_the_text_s_order():
    text = arm(LINK('f') + joint('last', 'tool0', 'f'))
    turned = '<robot name="r">' + ''.join(
        element + '</joint>' for element in reversed(text.split('</joint>')[:-1])
    ).replace('<robot name="arm">', '') + '</robot>'  # fmt: skip
    names = [joint.name for joint in read_description(turned).joints]
    assert names == ['shoulder', 'elbow', 'tool', 'last']


def test_an_xml_reader_keeps_prefixes_as_they_are_written():
    assert [child.tag for child in parse_xml('<robot><a:b/><c/></robot>')] == ['a:b', 'c']
