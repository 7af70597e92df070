"""Self-collision and planes: what is refused, what may move, and which pairs are judged."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from dysl_vla_ros.collision import ArmCollision
from dysl_vla_ros.collision_shapes import read_shapes
from dysl_vla_ros.config import from_flat
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.errors import ChunkError, ConfigError, KinematicsError
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.motion import MotionPlanner
from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.robot_description import urdf

CAPSULE = '<capsule radius="0.05" length="0.15"/>'
NAMES = ('j0', 'j1', 'j2')


def chain(
    geometry=CAPSULE, count=3, origin='<origin xyz="0 0 0.1"/>', kind='revolute', base='0 0 0',
    tail='',
):  # fmt: skip
    """A planar chain about y: links of 0.2 m with one solid each; the first is fixed in place.

    ``geometry`` is one solid for all links, or one text per link ('' = no collision).
    """
    texts = [geometry] * (count + 1) if isinstance(geometry, str) else geometry
    body = [f'<robot name="chain"><link name="world"/>{_fixed("world", "l0", base)}']
    for index, text in enumerate(texts):
        solid = f'<collision>{origin}<geometry>{text}</geometry></collision>' if text else ''
        inertial = '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" '
        body.append(f'<link name="l{index}">{inertial}iyz="0"/></inertial>{solid}</link>')
    for index in range(count):
        body.append(
            f'<joint name="j{index}" type="{kind}"><parent link="l{index}"/>'
            f'<child link="l{index + 1}"/><origin xyz="0 0 0.2"/><axis xyz="0 1 0"/>'
            '<limit lower="-3" upper="3" velocity="2" effort="1"/></joint>'
        )
    return ''.join(body) + tail + '</robot>'


def _fixed(parent, child, xyz, rpy='0 0 0'):
    return (
        f'<joint name="{child}_fix" type="fixed"><parent link="{parent}"/>'
        f'<child link="{child}"/><origin xyz="{xyz}" rpy="{rpy}"/></joint>'
    )


def rows(*targets):
    return np.array(targets, dtype=float)


def refusal(collision, path):
    with pytest.raises(ChunkError) as caught:
        collision.check(path)
    return str(caught.value)


# ---- self-collision ---------------------------------------------------------------------------


def test_an_arm_that_folds_onto_itself_is_refused_with_the_pair_and_the_action():
    collision = ArmCollision(chain(), NAMES, 'l0')
    collision.check(rows((0, 0, 0), (0.5, 0.5, 0.5)))
    message = refusal(collision, rows((0, 0, 0), (0, 0.5, 0), (0, 2.9, 0), (0, 2.9, 2.9)))
    assert 'action 1 moves l0 into l3' in message and 'workspace.self_collision' in message
    depth = float(message.split('by ')[1].split(' m')[0])
    assert 0.0 < depth <= 0.1


def test_the_overlap_is_the_one_that_geometry_gives():
    """Balls of 0.1 m on l1 and l3; j1 folds them to 0.4 cos(angle / 2) of each other."""
    spheres = chain('<sphere radius="0.1"/>', origin='')
    collision = ArmCollision(spheres, NAMES, 'l0')
    collision.check(rows((0, 0, 0), (0, 2 * math.acos(0.51), 0)))
    deep = 2 * math.acos(0.3)  # 0.12 m apart: the balls overlap by 0.08 m
    message = refusal(collision, rows((0, deep - 0.8, 0), (0, deep, 0)))
    assert 'action 0 moves l1 into l3' in message
    depths = []
    for angle in np.linspace(deep - 0.8, deep, 200):
        overlap = 0.2 - 0.4 * math.cos(0.5 * angle)
        if overlap > 1e-3:
            depths.append((angle, overlap))
    for angle, overlap in depths[::20]:
        message = refusal(collision, rows((0, depths[0][0] - 0.01, 0), (0, angle, 0)))
        assert float(message.split('by ')[1].split(' m')[0]) <= overlap + 6e-4
    message = refusal(collision, rows((0, deep - 0.05, 0), (0, deep, 0)))
    assert message.endswith('(workspace.self_collision)') and 'by 0.080 m' in message


def test_what_lies_between_two_far_targets_is_judged_too():
    """Small balls on l0 and l2 that meet only near j0 = pi / 2."""
    ball = '<sphere radius="0.03"/>'
    text = chain([ball, '', ball], count=2, origin='<origin xyz="0.2 0 0"/>')
    before, after = (0.5 * math.pi - 0.3, 0.0), (0.5 * math.pi + 0.3, 0.0)
    ArmCollision(text, ('j0', 'j1'), 'l0').check(rows(before, before))
    collision = ArmCollision(text, ('j0', 'j1'), 'l0')
    collision.check(rows(after, after))
    assert 'action 0 moves l0 into l2' in refusal(collision, rows(before, after))


def test_an_arm_in_contact_may_come_out_but_not_go_deeper():
    collision = ArmCollision(chain(), NAMES, 'l0')
    collision.check(rows((0, 0, 0), (0, 0, 0)))
    inside = (0.0, 2.75, 0.0)
    message = refusal(collision, rows(inside, (0, 2.9, 0)))
    assert 'l1 into l3' in message or 'l0' in message
    collision.check(rows(inside, inside, (0, 2.5, 0), (0, 0, 0)))
    message = refusal(collision, rows(inside, (0, 2.0, 0), (0, 2.75, 0)))
    assert 'action 1' in message


def test_links_that_hang_together_are_not_judged_even_when_they_overlap():
    collision = ArmCollision(chain('<sphere radius="0.15"/>'), NAMES, 'l0')
    assert all(abs(int(a[1]) - int(b[1])) > 1 for a, b in collision.judged)


def test_a_frame_between_two_links_does_not_part_them():
    text = chain('<sphere radius="0.08"/>', count=1, origin='').replace(
        '<parent link="l0"/>', '<parent link="frame"/>'
    )
    frame = '<link name="frame"/>' + _fixed('l0', 'frame', '0 0 0')
    text = text.replace('</robot>', f'{frame}</robot>')
    assert ArmCollision(text, ('j0',), 'l0').judged == ()


def test_links_that_overlap_in_most_poses_are_not_judged_and_that_is_said():
    collision = ArmCollision(chain('<sphere radius="0.35"/>', count=2), ('j0', 'j1'), 'l0')
    assert collision.judged == ()
    assert 'overlap in most poses: l0 and l2' in collision.warning


def test_links_that_overlap_where_the_arm_stands_first_are_not_judged(caplog):
    folded = (0.0, 0.0, 2.9)
    collision = ArmCollision(chain(), NAMES, 'l0')
    assert collision.judged == (('l0', 'l2'), ('l0', 'l3'), ('l1', 'l3'))
    collision.check(rows(folded, (0, 0, 2.95)))
    assert collision.judged == (('l0', 'l2'), ('l0', 'l3'))
    assert 'where the arm stands: l1 and l3' in caplog.text


def test_only_the_first_pose_is_taken_for_how_the_shapes_are_drawn():
    collision = ArmCollision(chain(), NAMES, 'l0')
    collision.check(rows((0, 0, 0), (0, 0, 0)))
    before = collision.judged
    collision.check(rows((0, 2.9, 0), (0, 2.9, 0)))
    assert collision.judged == before


def test_switched_off_nothing_is_judged():
    collision = ArmCollision(chain(), NAMES, 'l0', self_collision=False)
    collision.check(rows((0, 0, 0), (0, 2.9, 0)))
    assert collision.judged == ()


def test_targets_that_are_no_numbers_are_refused():
    collision = ArmCollision(chain(), NAMES, 'l0')
    assert 'not finite' in refusal(collision, rows((0, 0, 0), (0, np.nan, 0)))


def test_a_joint_that_is_not_in_the_description_is_named():
    with pytest.raises(KinematicsError, match="'j9'"):
        ArmCollision(chain(), ('j0', 'j9'), 'l0')


# ---- shapes -----------------------------------------------------------------------------------


def test_links_without_a_readable_shape_are_left_out_and_named():
    geometry = [CAPSULE, '<mesh filename="package://nowhere/arm.stl"/>', '', '<cone/>']
    collision = ArmCollision(chain(geometry), NAMES, 'l0')
    assert collision.judged == ()
    for words in ('l1 (mesh', 'package://nowhere/arm.stl', 'l2 (no <collision>)', 'l3 (cone'):
        assert words in collision.warning, collision.warning
    assert 'l0 (' not in collision.warning and 'world' not in collision.warning


@pytest.mark.parametrize(
    'geometry',
    [
        '<sphere radius="nan"/>', '<sphere radius="-1"/>', '<sphere/>', '<box size="1 1"/>',
        '<box size="a b c"/>', '<cylinder radius="0.1"/>', '', '<mesh/>',
        '<mesh filename="file:///dev/zero"/>', '<mesh filename="file:///"/>',
    ],
)  # fmt: skip
def test_a_shape_that_makes_no_sense_is_left_out_not_an_error(geometry):
    text = f'<robot name="r"><link name="a"><collision><geometry>{geometry}</geometry>'
    robot = read_shapes(f'{text}</collision></link></robot>')
    assert robot.shapes == () and list(robot.left_out) == ['a']


def test_elements_of_other_vocabularies_hide_no_shape():
    text = chain().replace('<link name="world"/>', '<link name="world"/><sensor:note/>')
    found = ArmCollision(text, NAMES, 'l0')
    assert found.warning == '' and found.judged == ArmCollision(chain(), NAMES, 'l0').judged != ()


TETRAHEDRON = 'v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nv 0 0 0.2\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n'


@pytest.mark.parametrize('scheme', ['file', 'package'])
def test_a_mesh_that_is_found_becomes_its_hull(tmp_path, monkeypatch, scheme):
    folder = tmp_path / 'share' / 'arm_description'
    folder.mkdir(parents=True)
    (folder / 'link.obj').write_text(TETRAHEDRON)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    where = 'arm_description/link.obj' if scheme == 'package' else str(folder / 'link.obj')
    text = chain(f'<mesh filename="{scheme}://{where}" scale="1 1 2"/>')
    robot = read_shapes(text)
    assert robot.left_out == {} and len(robot.shapes) == 4
    axes = np.vstack([np.eye(3), -np.eye(3)])
    assert robot.shapes[0].reach(axes) == pytest.approx([0.1, 0.1, 0.4, 0, 0, 0], abs=1e-6)
    assert ArmCollision(text, NAMES, 'l0').judged


# ---- planes -----------------------------------------------------------------------------------

SOLIDS = {
    'box': ('<box size="0.1 0.2 0.3"/>', lambda n: abs(n) @ (0.05, 0.1, 0.15)),
    'sphere': ('<sphere radius="0.1"/>', lambda n: 0.1),
    'cylinder': (
        '<cylinder radius="0.1" length="0.4"/>',
        lambda n: 0.2 * abs(n[2]) + 0.1 * math.hypot(n[0], n[1]),
    ),
    'capsule': ('<capsule radius="0.1" length="0.4"/>', lambda n: 0.2 * abs(n[2]) + 0.1),
}


def about_y(angle):
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])


@pytest.mark.parametrize('kind', SOLIDS)
def test_a_plane_is_met_exactly_where_the_solid_touches_it(kind):
    """One link that turns about y, its solid a little beside the axis: its reach is known."""
    geometry, reach = SOLIDS[kind]
    text = chain(['', geometry], count=1, origin='<origin xyz="0.05 0 0"/>')
    generator, tried = np.random.default_rng(1), 0
    for _ in range(30):
        normal = generator.normal(size=3)
        normal /= np.linalg.norm(normal)
        angle = generator.uniform(-1, 1)

        def lowest(at, normal=normal):
            centre = (0.0, 0.0, 0.2) + about_y(at) @ (0.05, 0.0, 0.0)
            return float(normal @ centre - reach(about_y(at).T @ normal))

        for offset, legal in ((-1e-4, True), (1e-4, False)):
            # Any length of the normal; from a start beside it that is clear, where there is one.
            plane = (*(3.0 * normal), 3.0 * (lowest(angle) + offset))
            start = max(angle - 0.05, angle + 0.05, key=lowest)
            if lowest(start) < lowest(angle) + 2e-4:
                continue
            tried += 1
            collision = ArmCollision(text, ('j0',), 'l0', plane)
            if legal:
                collision.check(rows((start,), (angle,)))
            else:
                assert 'moves l1' in refusal(collision, rows((start,), (angle,)))
    assert tried > 20


def test_a_table_stops_the_arm_and_says_which_link_and_which_plane():
    text = chain(count=2)
    collision = ArmCollision(text, ('j0', 'j1'), 'l0', (1, 0, 0, -5, 0, 0, 1, 0.1))
    collision.check(rows((0, 0), (1.0, 0.5)))
    message = refusal(collision, rows((0, 0), (1.0, 0.5), (1.6, 0.6)))
    assert 'action 1 moves l2' in message
    assert 'plane 1 of workspace.planes, [0.0, 0.0, 1.0, 0.1]' in message


def test_planes_are_in_the_frame_of_the_base_link():
    high = chain(count=1, base='0 0 1')
    path = rows((0,), (1.4,))
    ArmCollision(high, ('j0',), 'world', (0, 0, 1, 1.0)).check(path)
    ArmCollision(high, ('j0',), 'l0', (0, 0, 1, 0.0)).check(path)
    refusal(ArmCollision(high, ('j0',), 'l0', (0, 0, 1, 0.5)), path)
    refusal(ArmCollision(high, ('j0',), 'world', (0, 0, 1, 1.5)), path)


def test_a_turned_base_turns_the_planes_with_it():
    turned = '<link name="turned"/>' + _fixed('l0', 'turned', '0 0 0', '0 1.570796326795 0')
    collision = ArmCollision(chain(count=1, tail=turned), ('j0',), 'turned', (1, 0, 0, -0.25))
    collision.check(rows((1.2,), (1.5,)))  # its x points down: the plane is a ceiling at 0.25
    refusal(collision, rows((1.5,), (1.0,)))


def test_links_that_never_move_may_lie_beyond_a_plane():
    text = chain(['<box size="1 1 1"/>', CAPSULE], count=1)
    ArmCollision(text, ('j0',), 'l0', (0, 0, 1, 0.0)).check(rows((0,), (0.1,)))


def test_an_arm_beyond_a_plane_may_come_back_but_not_go_farther():
    collision = ArmCollision(chain(count=1), ('j0',), 'l0', (0, 0, 1, 0.35))
    beyond = 1.2
    refusal(collision, rows((beyond,), (1.3,)))
    collision.check(rows((beyond,), (beyond,), (1.0,), (0.5,), (0.0,)))
    assert 'action 1' in refusal(collision, rows((beyond,), (1.0,), (1.1,)))


def test_a_link_without_a_shape_is_held_above_the_plane_by_its_origin():
    collision = ArmCollision(chain(['', '', ''], count=2), ('j0', 'j1'), 'l0', (0, 0, 1, 0.3))
    collision.check(rows((0, 0), (1.0, 0)))
    assert 'moves l2' in refusal(collision, rows((0, 0), (1.2, 0)))


# ---- the simulated arm ------------------------------------------------------------------------


def test_the_simulated_arm_stands_clear_of_itself_and_can_be_folded_into_itself():
    collision = ArmCollision(urdf(), arm.JOINT_NAMES, arm.BASE_LINK, (0, 0, 1, 0.0))
    home = arm.home_joints()
    assert collision.warning == ''
    kinematics = ArmKinematics(urdf(), arm.JOINT_NAMES, arm.TIP_LINK, arm.BASE_LINK)
    collision.check(np.array([home, home + 0.05, home]))
    assert ('forearm_link', 'tool0') in collision.judged
    folded = home.copy()
    folded[2] = 3.0
    without = ArmCollision(urdf(), arm.JOINT_NAMES, arm.BASE_LINK)
    message = refusal(without, np.linspace(home, folded, 9))
    assert 'into' in message and 'workspace.self_collision' in message
    position, rotation = kinematics.forward(home)
    low = kinematics.inverse_chunk(
        home, position - np.linspace(0, 0.27, 9)[:, None] * (0, 0, 1), np.array([rotation] * 9)
    )
    assert 'moves tool0' in refusal(collision, np.vstack([home, low]))


def test_a_chunk_is_judged_in_a_few_milliseconds():
    collision = ArmCollision(urdf(), arm.JOINT_NAMES, arm.BASE_LINK, (0, 0, 1, 0.0))
    path = arm.home_joints() + np.linspace(0, 0.2, 9)[:, None] * np.ones(6)
    collision.check(path)
    spent = []
    for _ in range(20):
        began = time.process_time()
        collision.check(path)
        spent.append(time.process_time() - began)
    assert min(spent) < 0.02


# ---- parameters and the planner ---------------------------------------------------------------


@pytest.mark.parametrize(
    ('planes', 'message'),
    [
        ((0.0, 0.0, 1.0), 'four numbers per plane'),
        ((0.0, 0.0, 1.0, 0.0, 1.0), 'four numbers per plane'),
        ((0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0), 'a normal, not'),
        ((0.0, 0.0, math.inf, 0.0), 'a finite number'),
    ],
)
def test_planes_that_make_no_sense_are_refused_by_name(planes, message):
    with pytest.raises(ConfigError, match=f'workspace.planes = .*{message}'):
        from_flat({'workspace.planes': planes})


def test_planes_and_self_collision_are_parameters():
    config = from_flat({'workspace.planes': [0, 0, 1, 0], 'workspace.self_collision': False})
    assert config.safety.planes == (0.0, 0.0, 1.0, 0.0)
    assert config.safety.self_collision is False and from_flat({}).safety.self_collision is True


def planner(collision=None, workspace=None):
    """Of joint deltas on the chain of three joints, one radian per unit."""
    text = chain(tail='<link name="tip"/>' + _fixed('l3', 'tip', '0 0 0.2'))
    kinematics = ArmKinematics(text, NAMES, 'tip', 'l0')
    limits = MotionLimits(
        names=NAMES, lower=np.full(3, -3.0), upper=np.full(3, 3.0), velocity=np.ones(3),
        acceleration=10.0, max_lead=0.3,
    )  # fmt: skip
    action = replace(fake_manifest(6, (0, 3, 5)).action, space='joint_delta', dim=4)
    return MotionPlanner(action, limits, kinematics, None, workspace, collision)


def test_the_planner_judges_the_targets_of_every_chunk():
    folding = np.zeros((2, 4))
    folding[:, 2] = 1.45
    start = np.zeros(3)
    assert planner().targets(folding, start)[-1] == pytest.approx((0, 0, 2.9))
    with pytest.raises(ChunkError, match='action 1 moves l1 into l3'):
        planner(ArmCollision(chain(), NAMES, 'l0')).targets(folding, start)
    table = planner(ArmCollision(chain(), NAMES, 'l0', (0, 0, 1, 0.5), self_collision=False))
    with pytest.raises(ChunkError, match='action 1 moves l3 .* beyond plane 0'):
        table.targets(folding, start)


def test_a_box_that_does_not_hold_the_tip_is_named_by_axis_and_value():
    box = (np.array((-0.1, -0.1, 0.5)), np.array((0.1, 0.1, 0.9)))
    inside, aside = np.zeros(3), np.array((0.5, 0.0, 0.0))
    assert planner(workspace=box).workspace_problem(inside) == ''
    assert planner().workspace_problem(aside) == ''
    message = planner(workspace=box).workspace_problem(aside)
    assert message.startswith('the tip is at x = 0.288 m: expected within workspace.min')
    assert '[-0.1, 0.1]' in message
    low = (box[0], np.array((0.1, 0.1, 0.7)))
    assert 'z = 0.800 m' in planner(workspace=low).workspace_problem(inside)


# ---- between the targets ------------------------------------------------------------------------


def arm_beside_a_post(radius):
    """A link of 0.9 m that turns about z, and a post that stands 0.8 m away."""
    bar = f'<cylinder radius="{radius}" length="0.9"/>'
    return (
        '<robot name="r"><link name="base"/>'
        f'<link name="post"><collision><geometry><cylinder radius="{radius}" length="0.5"/>'
        '</geometry></collision></link>'
        '<joint name="stands" type="fixed"><parent link="base"/><child link="post"/>'
        '<origin xyz="0.8 0 0"/></joint><link name="hub"/>'
        '<joint name="j0" type="revolute"><parent link="base"/><child link="hub"/>'
        '<axis xyz="0 0 1"/><limit lower="-3" upper="3" velocity="3" effort="1"/></joint>'
        f'<link name="bar"><collision><origin xyz="0.5 0 0" rpy="0 1.5708 0"/><geometry>{bar}'
        '</geometry></collision></link>'
        '<joint name="j1" type="revolute"><parent link="hub"/><child link="bar"/>'
        '<axis xyz="0 1 0"/><limit lower="-3" upper="3" velocity="3" effort="1"/></joint></robot>'
    )


@pytest.mark.parametrize('radius', [0.002, 0.015, 0.05])
@pytest.mark.parametrize(
    ('begin', 'end'), [(-0.15, 0.25), (-0.275, 0.45), (-0.5, 0.9), (-1.4, 1.1)]
)
def test_a_link_that_would_pass_through_another_between_two_targets_is_refused(radius, begin, end):
    collision = ArmCollision(arm_beside_a_post(radius), ('j0', 'j1'), 'base')
    assert ('bar', 'post') in {tuple(sorted(pair)) for pair in collision.judged}
    collision.check(rows((begin, 0.0), (begin, 0.3)))
    message = refusal(collision, rows((begin, 0.0), (end, 0.0), (end, 0.1)))
    assert message.startswith('action 0 moves ') and 'bar' in message and 'post' in message


def test_a_step_through_a_plane_and_back_between_two_targets_is_refused():
    low = 0.2 - 0.9 * 0.99  # the bar's end, hanging straight down, is lower
    collision = ArmCollision(
        arm_beside_a_post(0.015), ('j0', 'j1'), 'base', planes=(0.0, 0.0, 1.0, low - 0.2)
    )
    ends = rows((1.5, math.pi / 2 - 0.6), (1.5, math.pi / 2 + 0.6))
    assert 'beyond plane 0' in refusal(collision, ends)


def test_places_in_between_are_judged_only_where_something_is_near():
    collision = ArmCollision(arm_beside_a_post(0.015), ('j0', 'j1'), 'base')
    judged, measure = [], collision._measure

    def counted(joints):
        judged.append(joints)
        return measure(joints)

    collision._measure = counted
    collision.check(rows((1.0, 0.0), (1.2, 0.0), (1.4, 0.0)))
    far = len(judged)
    judged.clear()
    collision.check(rows((0.05, 0.0), (0.3, 0.0), (0.5, 0.0)))
    assert far == 3 and 3 < len(judged) < 40
