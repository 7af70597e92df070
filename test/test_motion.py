"""Actions of all four spaces become joint targets, and what is refused on the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('pinocchio', reason="needs the extra 'kinematics'")

from dysl_vla_ros.bundle.manifest import NormalisationSpec
from dysl_vla_ros.config import ActionConfig
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.errors import ChunkError, ConfigError, KinematicsError
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.motion import MotionPlanner, plan_chunk
from dysl_vla_ros.rotations import rotation_matrix, rotation_vector
from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.robot_description import urdf

HOME = arm.home_joints()
LOW = (-0.01, -0.02, -0.01, -0.05, -0.05, -0.05, 0.0)
HIGH = (0.01, 0.04, 0.01, 0.05, 0.05, 0.05, 1.0)
RANGE = NormalisationSpec(LOW, HIGH, (True,) * 6 + (False,))
KINEMATICS = ArmKinematics(urdf(), arm.JOINT_NAMES, arm.TIP_LINK, arm.BASE_LINK)
TIP, TURN = KINEMATICS.forward(HOME)
LIMITS = MotionLimits(
    arm.JOINT_NAMES, KINEMATICS.limits.lower, KINEMATICS.limits.upper, KINEMATICS.limits.velocity,
    10.0, 0.3,
)  # fmt: skip


def contract(space, **changes):
    values = {'space': space, 'normalisation': RANGE, 'displacement': RANGE, **changes}
    return replace(fake_manifest().action, **values)


def planner(space, kinematics=KINEMATICS, config=None, workspace=None, limits=LIMITS, **changes):
    box = None if workspace is None else tuple(np.array(side, float) for side in workspace)
    return MotionPlanner(contract(space, **changes), limits, kinematics, config, box)


def rows(*first, gripper=1.0):
    """Actions whose leading columns are given; the rest is 0."""
    values = np.zeros((len(first), 7))
    for row, numbers in zip(values, first, strict=True):
        row[: len(numbers)] = numbers
    values[:, -1] = gripper
    return values


def test_inverse_kinematics_stays_inside_the_limits_in_force_and_not_only_the_description_s():
    narrow = replace(LIMITS, lower=HOME - 0.02, upper=HOME + 0.02)
    made = planner('eef_delta', limits=narrow)
    targets = made.targets(rows([0.0, 0.0, -0.002], [0.0, 0.0, -0.002]), HOME)
    assert (np.abs(targets - HOME) <= 0.02 + 1e-9).all()
    with pytest.raises(KinematicsError, match='at its limit: '):
        made.targets(rows(*[[0.0, 0.0, -0.005]] * 20), HOME)


def test_of_the_orientation_only_what_the_parameter_says_is_followed():
    turn = rows([0.0, 0.0, 0.0, 0.05, 0.025])
    moved = {}
    for orientation in ('full', 'nearest', 'free'):
        made = planner('eef_delta', config=ActionConfig(orientation=orientation))
        targets = made.targets(turn, HOME)
        position, rotation = KINEMATICS.forward(targets[-1])
        assert position == pytest.approx(TIP, abs=1e-4)
        moved[orientation] = np.linalg.norm(rotation_vector(rotation @ TURN.T))
    wanted = np.hypot(0.05, 0.025)
    assert moved['full'] == pytest.approx(wanted, abs=1e-3)
    assert moved['nearest'] == pytest.approx(wanted, abs=1e-3)  # six joints reach all of it
    assert moved['free'] == pytest.approx(0.0, abs=1e-6)


def test_a_way_is_judged_by_workspace_and_collision_and_its_start_is_not():
    class Judge:
        def check(self, rows):
            if rows[-1, 0] > HOME[0] + 0.5:
                raise ChunkError('action 3 moves a into b')

    way = np.linspace(HOME, HOME + [0.3, 0, 0, 0, 0, 0], 4)
    boxed = planner('eef_delta', workspace=(TIP - [1, 0.02, 1], TIP + [1, 1, 1]))
    assert boxed.way_problem(way[:1]) == boxed.way_problem(np.vstack([way[-1], HOME])) == ''
    turned = np.linspace(HOME, HOME - [0.3, 0, 0, 0, 0, 0], 4)
    problems = [boxed.way_problem(way), boxed.way_problem(turned)]
    assert sorted(problem[:8] for problem in problems) == ['', 'action 0'], problems
    judged = MotionPlanner(contract('eef_delta'), LIMITS, KINEMATICS, collision=Judge())
    assert judged.way_problem(way) == ''
    assert judged.way_problem(way + [0.4, 0, 0, 0, 0, 0]) == 'action 3 moves a into b'


# ---- physical actions -------------------------------------------------------------------------


@pytest.mark.parametrize('space', ['joint_delta', 'joint_position', 'eef_delta', 'eef_pose'])
def test_the_model_s_numbers_become_physical_ones_by_the_contract_s_range(space):
    actions = planner(space).actions(rows([1.0, -1.0, 0.0], [-1.0, 1.0, 0.5]))
    assert actions[:, :3] == pytest.approx(np.array([[0.01, -0.02, 0.0], [-0.01, 0.04, 0.005]]))
    assert actions[:, -1].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ('space', 'factor'),
    [('joint_delta', 0.5), ('eef_delta', 0.5), ('joint_position', 1.0), ('eef_pose', 1.0)],
)
def test_a_scale_shrinks_displacements_and_neither_positions_nor_the_gripper(space, factor):
    config = ActionConfig(scale=0.5)
    model = rows([1.0] * 6, gripper=0.8)
    whole = planner(space).actions(model)
    scaled = planner(space, config=config).actions(model)
    assert scaled[:, :6] == pytest.approx(factor * whole[:, :6])
    assert scaled[0, -1] == 0.8


def test_the_gripper_is_clipped_or_thresholded_and_left_out_where_there_is_none():
    openings = rows([0], [0], [0], [0])
    openings[:, -1] = [-0.3, 0.5, 0.51, 1.7]
    assert planner('eef_delta').actions(openings)[:, -1].tolist() == [0.0, 0.5, 0.51, 1.0]
    sharp = planner('eef_delta', gripper_threshold=0.5).actions(openings)
    assert sharp[:, -1].tolist() == [0.0, 0.0, 1.0, 1.0]
    six = NormalisationSpec(LOW[:6], HIGH[:6], (True,) * 6)
    for scale in (1.0, 0.5):
        config = ActionConfig(scale=scale)
        bare = planner('eef_delta', config=config, gripper=False, dim=6, normalisation=six)
        assert bare.actions(np.ones((2, 6))) == pytest.approx(scale * np.tile(HIGH[:6], (2, 1)))


# ---- targets ----------------------------------------------------------------------------------


def test_joint_deltas_add_up_from_the_start():
    targets = planner('joint_delta').targets(rows([0.1], [0.1, 0.2], [0, 0, 0, 0, 0, -0.3]), HOME)
    assert targets[0].tolist() == HOME.tolist()
    assert targets[1:] - HOME == pytest.approx(
        np.array([[0.1, 0, 0, 0, 0, 0], [0.2, 0.2, 0, 0, 0, 0], [0.2, 0.2, 0, 0, 0, -0.3]])
    )


def test_joint_positions_are_the_targets():
    wanted = HOME + np.linspace(0.1, 0.3, 3)[:, None]
    targets = planner('joint_position').targets(np.hstack([wanted, np.ones((3, 1))]), HOME)
    assert targets == pytest.approx(np.vstack([HOME, wanted]))


def test_tip_displacements_move_the_tip_by_as_much_in_the_base_frame():
    targets = planner('eef_delta').targets(rows([0.01], [0, 0.02], [0, 0, -0.01, 0, 0, 0.1]), HOME)
    steps = [[0.01, 0, 0], [0.01, 0.02, 0], [0.01, 0.02, -0.01]]
    for target, step in zip(targets[1:], steps, strict=True):
        assert KINEMATICS.forward(target)[0] - TIP == pytest.approx(step, abs=1e-5)
    turned = KINEMATICS.forward(targets[3])[1] @ TURN.T
    assert rotation_vector(turned) == pytest.approx([0, 0, 0.1], abs=1e-4)


def test_tip_poses_are_where_the_tip_goes():
    wanted = rotation_matrix(np.array([0.0, 0.1, 0.0])) @ TURN
    action = [*(TIP + [0.02, 0, 0.01]), *rotation_vector(wanted)]
    position, rotation = KINEMATICS.forward(planner('eef_pose').targets(rows(action), HOME)[1])
    assert position == pytest.approx(TIP + [0.02, 0, 0.01], abs=1e-5)
    assert rotation == pytest.approx(wanted, abs=1e-4)


def test_a_pose_that_cannot_be_reached_is_refused_with_the_action():
    with pytest.raises(KinematicsError, match=r'^action 1: position \['):
        planner('eef_pose').targets(
            rows([*TIP, *rotation_vector(TURN)], [9.0, 0, 0, 0, 0, 0]), HOME
        )


# ---- joints without limits --------------------------------------------------------------------


def endless(*which):
    lower, upper = LIMITS.lower.copy(), LIMITS.upper.copy()
    lower[list(which)], upper[list(which)] = -np.inf, np.inf
    return replace(LIMITS, lower=lower, upper=upper)


def test_a_joint_without_limits_goes_to_an_absolute_target_by_the_shorter_way():
    start = HOME.copy()
    start[0], start[5] = 3.1, 3.1
    actions = rows([-3.1, *HOME[1:5], -3.1], [-3.0, *HOME[1:5], -3.0])
    both = planner('joint_position', limits=endless(0, 5)).targets(actions, start)
    assert both[1:, 0] == pytest.approx([2 * np.pi - 3.1, 2 * np.pi - 3.0])
    assert both[1:, 5] == pytest.approx([2 * np.pi - 3.1, 2 * np.pi - 3.0])
    one = planner('joint_position', limits=endless(5)).targets(actions, start)
    assert one[1:, 0].tolist() == [-3.1, -3.0] and one[1:, 5] == pytest.approx(both[1:, 5])


def test_a_joint_without_limits_counts_on_over_several_turns():
    start = HOME.copy()
    start[5] = 4 * np.pi + 0.2
    angles = np.linspace(0.3, 7.0, 60)
    wrapped = (angles + np.pi) % (2 * np.pi) - np.pi
    actions = np.hstack([np.tile(HOME[:5], (60, 1)), wrapped[:, None], np.ones((60, 1))])
    targets = planner('joint_position', limits=endless(5)).targets(actions, start)
    assert targets[1:, 5] == pytest.approx(4 * np.pi + angles)


def test_with_one_limit_a_joint_is_not_endless():
    lower = LIMITS.lower.copy()
    lower[5] = -np.inf
    start = HOME.copy()
    start[5] = 3.1
    actions = rows([*HOME[:5], -3.1])
    half = planner('joint_position', limits=replace(LIMITS, lower=lower))
    assert half.targets(actions, start)[1, 5] == -3.1


# ---- the workspace box ------------------------------------------------------------------------

BOX = (TIP - 0.05, TIP + 0.05)


def test_tip_targets_beyond_the_box_are_drawn_back_to_its_margin():
    out = planner('eef_delta', workspace=BOX).targets(rows([0.04], [0.04], [-0.2]), HOME)
    reached = np.array([KINEMATICS.forward(row)[0] for row in out[1:]])
    assert reached[:, 0] - TIP[0] == pytest.approx([0.04, 0.045, -0.045], abs=1e-5)
    assert reached[:, 1:] == pytest.approx(np.tile(TIP[1:], (3, 1)), abs=1e-5)


def test_the_margin_of_a_small_box_is_a_tenth_of_its_side():
    small = (TIP - 0.01, TIP + 0.01)
    out = planner('eef_delta', workspace=small).targets(rows([0.04]), HOME)
    assert KINEMATICS.forward(out[1])[0][0] - TIP[0] == pytest.approx(0.008, abs=1e-5)


@pytest.mark.parametrize(('turn', 'way'), [(0.2, 'out'), (0.01, 'in')])
def test_joint_targets_beyond_the_box_are_refused_with_position_and_box(turn, way):
    plan = planner('joint_delta', workspace=BOX)
    actions = rows([0.0], [turn])
    if way == 'in':
        assert plan.targets(actions, HOME).shape == (3, 6)
        return
    moved = HOME + [turn, 0, 0, 0, 0, 0]
    where = np.round(KINEMATICS.forward(moved)[0], 3).tolist()
    with pytest.raises(ChunkError) as caught:
        plan.targets(actions, HOME)
    assert str(caught.value) == (
        f'action 1 moves the tip to {where} m: expected within workspace.min = '
        f'{BOX[0].tolist()} and workspace.max = {BOX[1].tolist()}'
    )


def test_an_arc_that_leaves_a_box_which_holds_its_ends_is_refused():
    ends = [HOME + [turn, 0, 0, 0, 0, 0] for turn in (-0.3, 0.3)]
    low = np.minimum(*(KINEMATICS.forward(end)[0] for end in ends)) - 1e-3
    high = np.maximum(*(KINEMATICS.forward(end)[0] for end in ends)) + 1e-3
    plan = planner('joint_position', workspace=(low, high))
    assert not plan.may_command(HOME)  # the middle of the arc
    with pytest.raises(ChunkError, match='action 0 moves the tip to'):
        plan.targets(np.array([[*ends[1], 1.0]]), ends[0])
    assert 'action 0 moves the tip' in plan.way_problem(np.array(ends))
    assert plan.way_problem(np.array([HOME, ends[1]])) == ''  # from outside it may come in


@pytest.mark.parametrize('space', ['eef_delta', 'eef_pose', 'joint_position', 'joint_delta'])
@pytest.mark.parametrize('number', [1e3, 1e154, 1.7e308])
def test_a_number_that_no_arm_does_is_refused_and_never_computed_with(space, number):
    plan = planner(space)
    for column in range(6):
        actions = np.zeros((2, 7))
        actions[1, column] = number
        with pytest.raises(ChunkError, match=r'action 1 = .* expected within'):
            plan.targets(actions, HOME)


def test_a_turn_that_could_be_any_other_is_refused():
    actions = np.array([[0.0, 0.0, 0.0, 0.0, 2.5, 2.5, 1.0]])
    with pytest.raises(ChunkError, match='and at most half a turn'):
        planner('eef_delta').targets(actions, HOME)


def test_an_arm_outside_the_box_is_named_by_axis_and_value():
    low, high = TIP - 0.05, TIP + 0.05
    low[2], high[2] = TIP[2] + 0.01, TIP[2] + 0.1
    plan = planner('eef_delta', workspace=(low, high))
    assert plan.workspace_problem(HOME) == (
        f'the tip is at z = {TIP[2]:.3f} m: expected within workspace.min and workspace.max, '
        f'[{low[2]:g}, {high[2]:g}]; move the arm or change the box'
    )
    assert not plan.may_command(HOME)
    inside = planner('eef_delta', workspace=BOX)
    assert inside.workspace_problem(HOME) == '' and inside.may_command(HOME)


def test_on_the_faces_of_the_box_the_arm_may_be():
    plan = planner('eef_delta', workspace=(TIP, TIP + 0.1))
    assert plan.workspace_problem(HOME) == '' and plan.may_command(HOME)
    plan = planner('eef_delta', workspace=(TIP - 0.1, TIP))
    assert plan.workspace_problem(HOME) == ''


def test_without_a_box_the_arm_may_be_anywhere():
    plan = planner('joint_delta', kinematics=None)
    assert plan.may_command(HOME + 9.0) and plan.workspace_problem(HOME) == ''


# ---- displacements ----------------------------------------------------------------------------


@pytest.mark.parametrize('space', ['joint_delta', 'eef_delta'])
def test_of_increments_the_model_s_own_numbers_are_the_displacements(space):
    model = rows([0.3], [-0.7])
    plan = planner(space)
    assert plan.displacements(plan.actions(model), model, HOME) is model


@pytest.mark.parametrize(('absolute', 'space'), [('joint_position', 'joint_delta'),
                                                 ('eef_pose', 'eef_delta')])  # fmt: skip
def test_the_same_motion_has_the_same_displacements_in_absolute_and_in_increments(absolute, space):
    model = rows([0.5, -0.2, 0.1, 0.3], [0.4, 0.9], [-1.0, 0, 0.3], gripper=0.7)
    deltas = planner(space).actions(model)
    if absolute == 'joint_position':
        first = np.cumsum(deltas[:, :6], axis=0) + HOME
    else:
        turns, turn = [], TURN
        for row in deltas:
            turn = rotation_matrix(row[3:6]) @ turn
            turns.append(rotation_vector(turn))
        first = np.hstack([np.cumsum(deltas[:, :3], axis=0) + TIP, turns])
    actions = np.hstack([first, deltas[:, 6:]])
    found = planner(absolute).displacements(actions, rows([9.0], [9.0], [9.0]), HOME)
    assert found == pytest.approx(model, abs=1e-9)


# ---- the contract against the arm -------------------------------------------------------------


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: planner('eef_delta', config=ActionConfig(space='joint_delta')),
         "action.space = 'joint_delta': expected the space of the bundle, 'eef_delta'"),
        (lambda: planner('eef_pose', kinematics=None),
         'robot_description = None: expected a URDF, since eef_pose needs kinematics'),
        (lambda: planner('joint_delta', kinematics=None, workspace=BOX),
         'robot_description = None: expected a URDF, since joint_delta needs kinematics'),
        (lambda: planner('joint_delta', dim=6),
         f"action.joint_names = {arm.JOINT_NAMES!r}: expected 5 joints, as the bundle's actions "
         'have'),
        (lambda: planner('eef_delta', dim=8),
         f"action.joint_names = {arm.JOINT_NAMES!r}: expected 7 joints, as the bundle's actions "
         'have'),
    ],
)  # fmt: skip
def test_a_contract_that_does_not_fit_the_arm_is_refused_by_its_field(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == message


@pytest.mark.parametrize(('own', 'given', 'commanded'), [
    ('commanded', '', True), ('measured', '', False),
    ('commanded', 'measured', False), ('measured', 'commanded', True),
])  # fmt: skip
def test_deltas_refer_to_what_the_parameter_says_else_to_what_the_bundle_says(
    own, given, commanded
):
    config = ActionConfig(delta_reference=given)
    assert planner('joint_delta', config=config, delta_reference=own).from_commanded is commanded


def test_the_same_space_as_the_bundle_s_may_be_given():
    assert planner('eef_delta', config=ActionConfig(space='eef_delta')).space == 'eef_delta'


# ---- a whole chunk ----------------------------------------------------------------------------


def chunk(model, start=HOME, period=0.05, has_gripper=True, limits=LIMITS):
    return plan_chunk(
        planner('joint_delta', limits=limits), model, start, limits, period, has_gripper
    )


def test_a_chunk_holds_actions_displacements_targets_and_gripper():
    model = rows([1.0, -1.0], [0.5], gripper=0.25)
    plan = chunk(model)
    assert plan.actions[:, :2] == pytest.approx(np.array([[0.01, -0.02], [0.005, 0.01]]))
    assert plan.displacements is model
    assert plan.targets[-1] - HOME == pytest.approx([0.015, -0.01, 0, 0, 0, 0])
    assert plan.gripper.tolist() == [0.25, 0.25] and plan.moved == ()
    assert chunk(model, has_gripper=False).gripper is None


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused_by_its_place(bad):
    model = rows([0.0], [0.0, bad])
    with pytest.raises(ChunkError) as caught:
        chunk(model)
    assert str(caught.value) == f'normalised actions[1, 1] = {bad}: expected finite'


def test_targets_that_are_not_finite_are_refused_too():
    with pytest.raises(ChunkError, match=r'^joint targets\[0, 2\] = nan: expected finite$'):
        chunk(rows([0.0]), start=np.where(np.arange(6) == 2, np.nan, HOME))


def test_a_chunk_faster_than_the_arm_could_ever_be_is_refused_by_joint():
    with pytest.raises(ChunkError, match=r'^action 1 moves shoulder_lift_joint at 6\.4 times its '
                       r'velocity limit 3\.14159 rad/s: expected at most 5 times$'):  # fmt: skip
        chunk(rows([0.0], [0.0, 1.0]), period=0.002 * 0.99)
    chunk(rows([0.0], [0.0, 1.0]), period=0.003)


def test_targets_beyond_a_joint_s_limit_are_moved_to_it_and_the_joint_is_named():
    upper = LIMITS.upper.copy()
    upper[0] = HOME[0] + 0.015
    plan = chunk(rows([1.0], [1.0]), limits=replace(LIMITS, upper=upper))
    assert plan.targets[:, 0] - HOME[0] == pytest.approx([0.0, 0.01, 0.015])
    assert plan.moved == ('position:shoulder_pan_joint',)
    assert plan.actions[:, 0].tolist() == [0.01, 0.01]  # what the model said stays as it is
