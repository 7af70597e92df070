"""From a robot description to the limits, kinematics and control loop of this arm."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import JOINTS, FakePolicy, make_manifest, make_urdf

from dysl_vla_ros.config import from_flat
from dysl_vla_ros.errors import ChunkError, ConfigError, KinematicsError
from dysl_vla_ros.kinematics import ArmKinematics

pytestmark = pytest.mark.ros


@pytest.fixture(scope='module')
def kinematics():
    return ArmKinematics(make_urdf(), JOINTS, 'grasp_link', 'base_link')


def refusal(call, kind=ConfigError):
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_limits_are_those_of_the_description_tightened_by_margin_and_scale(kinematics):
    from dysl_vla_ros.ros.arm import tightened

    limits = tightened(kinematics, from_flat({
        'limits.position_margin': 0.05, 'limits.velocity_scale': 0.1, 'limits.max_lead': 0.2,
        'limits.acceleration': 4.0,
    }))  # fmt: skip
    assert limits.names == JOINTS
    assert limits.lower == pytest.approx([-1.95] * 3)
    assert limits.upper == pytest.approx([1.95] * 3)
    assert limits.velocity == pytest.approx([0.3] * 3)
    assert limits.rated == pytest.approx([3.0] * 3)  # what the arm itself can do
    assert limits.acceleration == pytest.approx([4.0] * 3)
    assert limits.max_lead.tolist() == [0.2] * 3 and limits.units == ('rad',) * 3


FINGER = '<limit lower="0.021" upper="0.057" velocity="1.0"/>'


def with_a_slide(limit=FINGER, name='wrist'):
    """The arm of the tests whose last joint slides."""
    text = make_urdf()
    head, tail = text.split(f'<joint name="{name}" type="revolute"')
    mine, rest = tail.split('</joint>', 1)
    mine = re.sub('<limit[^>]*/>', limit, mine)
    return f'{head}<joint name="{name}" type="prismatic"{mine}</joint>{rest}'


def slide_of(text, **flat):
    from dysl_vla_ros.ros.arm import tightened

    config = from_flat({name.replace('__', '.'): value for name, value in flat.items()})
    return tightened(ArmKinematics(text, JOINTS, 'grasp_link', 'base_link'), config)


@pytest.mark.parametrize(('low', 'high'), [(0.021, 0.057), (0.0, 1.0), (0.0, 0.4)])
def test_a_joint_that_slides_has_margins_and_leads_in_metres(low, high):
    limits = slide_of(with_a_slide(f'<limit lower="{low}" upper="{high}" velocity="1.0"/>'))
    assert limits.units == ('rad', 'rad', 'm')
    assert limits.lower == pytest.approx([-1.98, -1.98, low + 0.001])
    assert limits.upper == pytest.approx([1.98, 1.98, high - 0.001])
    assert limits.max_lead == pytest.approx([0.12, 0.12, 0.01])
    assert limits.acceleration == pytest.approx([10.0, 10.0, 3.0])
    own = slide_of(with_a_slide(), limits__position_margin_m=0.004, limits__max_lead_m=0.002,
                   limits__acceleration_m=2.5)  # fmt: skip
    assert (own.lower[2], own.max_lead[2], own.acceleration[2]) == (0.025, 0.002, 2.5)


def test_a_margin_that_leaves_no_travel_is_refused_by_parameter_joint_and_unit():
    words = refusal(lambda: slide_of(with_a_slide(), limits__position_margin_m=0.02))
    assert words == (
        'limits.position_margin_m = 0.02: expected less than 0.018 m, half of the travel of wrist'
    )
    narrow = make_urdf().replace('lower="-2.0"', 'lower="1.99"')
    assert refusal(lambda: slide_of(narrow)).startswith('limits.position_margin = 0.02: expected ')


def test_a_slide_that_cannot_rest_in_time_is_refused_in_metres():
    from dysl_vla_ros.ros.arm import check_rest

    limits = slide_of(with_a_slide('<limit lower="0" upper="1" velocity="2.0"/>'))
    assert refusal(lambda: check_rest(limits, from_flat({}))) == (
        'stop.rest_s = 0.5: expected at least 0.67, what wrist takes to brake from 2 m/s at '
        'limits.acceleration_m = 3; or a lower limits.velocity_scale'
    )


def test_a_joint_without_a_speed_is_settled_by_a_parameter_of_the_node():
    still = make_urdf().replace('velocity="3.0"', 'velocity="0"')
    words = refusal(lambda: build(still), KinematicsError)
    assert 'joint shoulder (revolute): velocity limit 0 rad/s' in words
    loop, _ = build(still, limits__velocity=[1.5])
    assert loop.limits.velocity.tolist() == [1.5] * 3


@pytest.mark.parametrize(
    ('home', 'words'),
    [
        ([0.1], 'home.positions = (0.1,): expected 3 numbers, one per joint, or none'),
        ([0.1, -1.99, 0.0], 'home.positions of elbow = -1.99: expected within its limits and '
         'their margin, -1.980 to 1.980 rad'),
    ],
)  # fmt: skip
def test_a_home_where_the_arm_cannot_be_is_refused(home, words):
    assert refusal(lambda: build(home__positions=home)) == words
    assert build(home__positions=[0.1, -1.98, 0.0])


def test_each_joint_may_have_an_acceleration_of_its_own(kinematics):
    from dysl_vla_ros.ros.arm import tightened

    own = from_flat({'limits.accelerations': [9.0, 8.0, 7.0]})
    assert tightened(kinematics, own).acceleration.tolist() == [9.0, 8.0, 7.0]


@pytest.mark.parametrize('given', [[9.0, 8.0], [9.0, 8.0, 7.0, 6.0], [9.0, 0.0, 7.0]])
def test_accelerations_of_another_number_or_of_zero_are_refused(kinematics, given):
    from dysl_vla_ros.ros.arm import tightened

    config = from_flat({'limits.accelerations': given})
    assert refusal(lambda: tightened(kinematics, config)) == (
        f'limits.accelerations = {tuple(given)!r}: expected 3 numbers above 0, one per joint'
    )


def test_parameters_under_which_a_window_could_not_rest_in_time_are_refused(kinematics):
    from dysl_vla_ros.ros.arm import check_rest, tightened

    def check(**flat):
        config = from_flat({name.replace('__', '.'): value for name, value in flat.items()})
        check_rest(tightened(kinematics, config), config)

    check(limits__acceleration=6.0)  # 3 rad/s / 6 rad/s^2 = stop.rest_s
    words = refusal(lambda: check(limits__accelerations=[9.0, 5.0, 9.0]))
    assert words == (
        'stop.rest_s = 0.5: expected at least 0.60, what elbow takes to brake from 3 rad/s at '
        'limits.acceleration = 5; or a lower limits.velocity_scale'
    )
    check(limits__accelerations=[9.0, 5.0, 9.0], limits__velocity_scale=0.5)
    check(limits__acceleration=5.0, stop__rest_s=0.6)


def test_joints_are_those_of_the_parameter_else_of_the_bundle():
    from dysl_vla_ros.ros.arm import joint_names

    manifest = make_manifest()
    assert joint_names(manifest, from_flat({})) == JOINTS
    own = from_flat({'action.joint_names': ['a', 'b', 'c']})
    assert joint_names(manifest, own) == ('a', 'b', 'c')
    nameless = replace(manifest, action=replace(manifest.action, joint_names=()))
    assert refusal(lambda: joint_names(nameless, from_flat({}))) == (
        'action.joint_names = (): expected the joints of the arm, in order'
    )
    twice = from_flat({'action.joint_names': ['a', 'b', 'a']})
    assert refusal(lambda: joint_names(manifest, twice)) == (
        "action.joint_names = ('a', 'b', 'a'): expected every name once"
    )


def build(urdf=None, **flat):
    from dysl_vla_ros.ros.arm import build_loop

    config = from_flat({name.replace('__', '.'): value for name, value in flat.items()})
    return build_loop(FakePolicy(), config, make_urdf() if urdf is None else urdf)


def test_a_loop_is_built_with_the_tightened_limits_and_unarmed_unless_told_so():
    loop, kinematics = build(limits__velocity_scale=0.5)
    assert loop.limits.velocity == pytest.approx([1.5] * 3) and not loop.armed
    assert kinematics.limits.names == JOINTS
    assert build(armed=True)[0].armed


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({}, ''),
        ({'name="tip" type="fixed"': 'name="tip" type="planar"'}, 'tip'),
        ({'name="tip" type="fixed"': 'name="tip" type="continuous"'}, 'tip'),
    ],
)
def test_a_joint_before_the_tip_that_is_none_of_the_arm_s_is_said(change, words, caplog):
    urdf = make_urdf()
    for old, new in change.items():
        urdf = urdf.replace(old, new)
    build(urdf)
    said = [text for text in caplog.messages if 'hangs on' in text]
    assert said == [
        f"tip_link = 'grasp_link' hangs on {words} too, none of action.joint_names: taken to "
        'stand at 0'
    ] * bool(words)


def test_a_loop_that_could_not_rest_in_time_is_not_built():
    assert 'stop.rest_s = 0.5: expected at least 0.60' in refusal(
        lambda: build(limits__acceleration=5.0)
    )


def test_a_workspace_of_the_parameters_holds_the_loop_s_starts():
    above = {'workspace__min': [-1.0, -1.0, 2.0], 'workspace__max': [1.0, 1.0, 3.0]}
    around = {**above, 'workspace__min': [-1.0, -1.0, 0.5]}
    status = SimpleNamespace(ready=True, reason='')
    for box, words in ((above, 'the tip is at z = 1.200 m'), (around, '')):
        loop, _ = build(**box)
        for tick in range(5):
            loop.tick(0.1 * tick, np.zeros(3), status, 0.1 * tick)
        assert loop.start(0.5).startswith(words) and bool(loop.start(0.5)) is bool(words)


def test_planes_and_self_collision_of_the_parameters_judge_the_loop_s_chunks():
    solid = '<collision><geometry><sphere radius="0.05"/></geometry></collision></link>'
    urdf = re.sub(r'(<link name="\w+")/>', lambda m: f'{m[1]}>{solid}', make_urdf())
    loop, _ = build(urdf, workspace__planes=[0.0, 0.0, -1.0, -1.0])  # a ceiling at 1 m
    up = np.array([[-0.4, 0.0, 0.0, 1.0]] * 3)
    with pytest.raises(ChunkError, match='plane 0 of workspace.planes'):
        loop._planner.targets(up, np.array([1.2, 0.0, 0.0]))
    free, _ = build(urdf)
    free._planner.targets(up, np.array([1.2, 0.0, 0.0]))
    over = np.array([[0.0, 1.0, 0.0, 1.0]] * 3)
    with pytest.raises(ChunkError, match='workspace.self_collision'):
        free._planner.targets(np.array([[0.0, 1.0, 1.0, 1.0]] * 3), np.zeros(3))
    assert len(free._planner.targets(0.1 * over, np.zeros(3))) == 4


def test_a_description_in_which_joints_and_links_share_names_is_built():
    """As that of the SO-100: the joint of its jaw and the link that carries it are `gripper`."""
    extra = (
        '<link name="gripper"/><link name="jaw"/><joint name="mount" type="fixed">'
        '<parent link="grasp_link"/><child link="gripper"/></joint><joint name="gripper" '
        'type="revolute"><parent link="gripper"/><child link="jaw"/><limit lower="0" upper="1" '
        'velocity="1"/></joint></robot>'
    )
    loop, kinematics = build(make_urdf().replace('</robot>', extra))
    assert loop.limits.names == kinematics.limits.names == JOINTS


def test_what_a_library_says_of_a_description_becomes_the_reason_and_no_traceback(monkeypatch):
    from dysl_vla_ros.ros import arm
    from dysl_vla_ros.ros.session import Session

    def choke(*given):
        raise RuntimeError('the frame tip has no parent')

    monkeypatch.setattr(arm, 'ArmCollision', choke)
    session = SimpleNamespace(
        loop=None, policy=FakePolicy(), config=from_flat({}), watch=lambda policy: policy
    )
    words = Session.describe_robot(session, make_urdf())
    assert (
        words == session._description_problem == ('robot_description: the frame tip has no parent')
    )


def test_a_description_without_the_tip_of_the_bundle_is_refused():
    words = refusal(lambda: build(make_urdf().replace('grasp_link', 'flange')), KinematicsError)
    assert words.startswith("tip_link = 'grasp_link' is not in robot_description")
