"""Two arms under one policy: parameters, the contract, the columns, and one loop over both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from two_arms import FLAT, JOINTS, LEFT, RIGHT, STEP, two_arm_manifest, two_arm_urdf

from dysl_vla_ros.action_columns import action_columns
from dysl_vla_ros.bundle.manifest import ProprioceptionSpec
from dysl_vla_ros.config import from_flat, parameters
from dysl_vla_ros.contract import engine_of, with_bundle
from dysl_vla_ros.core.run_state import InputStatus
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.engines.fake.arm import arm_of
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.motion import ChunkPlan, MotionPlanner, plan_chunk
from dysl_vla_ros.node_parameters import load_yaml

READY = InputStatus(True)


def refused(**changes):
    flat = {**FLAT, **{name.replace('__', '.'): value for name, value in changes.items()}}
    flat = {name: value for name, value in flat.items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        from_flat(flat)
    return str(caught.value)


# ---- parameters ---------------------------------------------------------------------------------


def test_each_arm_has_joints_a_topic_and_a_gripper_of_its_own():
    config = from_flat({**FLAT, 'timeout.gripper_s': 3.0})
    left, right = config.arms.each
    assert (left.name, left.joint_names, left.command_topic) == (
        'left', LEFT, 'left_arm/joint_trajectory',
    )  # fmt: skip
    assert (left.gripper.interface, left.gripper.open_value) == ('topic', 0.04)
    assert (right.gripper.interface, right.gripper.joint) == ('joint', 'right_finger')
    assert {gripper.timeout_s for gripper in config.grippers} == {3.0}
    assert config.arms.joint_names == JOINTS and config.arms.sizes == (2, 2)
    assert from_flat({}).grippers == (from_flat({}).gripper,)


def test_the_parameter_file_is_nested_as_people_write_it(tmp_path):
    path = tmp_path / 'two.yaml'
    path.write_text(
        '/**:\n  ros__parameters:\n    arms:\n      names: [left, right]\n'
        '      left: {joint_names: [a], command_topic: l/jtc, gripper: {joint: f, dwell_s: 1}}\n'
        '      right: {joint_names: [b], command_topic: r/jtc, gripper: {joint: g}}\n'
    )
    config = load_yaml(path)
    assert config.arms.joint_names == ('a', 'b')
    assert config.arms.each[0].gripper.dwell_s == 1.0


def test_the_parameters_of_every_arm_have_texts_and_ranges():
    names = [parameter.name for parameter in parameters(('left', 'right'))]
    assert len(set(names)) == len(names)
    assert 'arms.right.gripper.max_effort' in names and 'arms.left.command_topic' in names
    assert names.count('timeout.gripper_s') == 1
    assert 'gripper.hysteresis = 7' in refused(arms__left__gripper__hysteresis=7.0)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'arms__names': ['left']}, "arms.right.joint_names = "),
        ({'arms__names': ['left', 'left']}, 'arms.right.'),
        ({'arms__middle__joint_names': ['x']}, 'did you mean arms.'),
        ({'arms__left__joint_names': None},
         'arms.left.joint_names = (): expected the joints of this arm'),
        ({'arms__left__command_topic': None}, "arms.left.command_topic = '': expected the name of "
         "a topic, 'left_arm/joint_trajectory'"),
        ({'arms__right__joint_names': ['left_a', 'right_b']},
         "joint_names = 'left_a': expected another one than the other arm has"),
        ({'arms__right__command_topic': 'left_arm/joint_trajectory'},
         'expected another one than the other arm has'),
        ({'arms__right__gripper__joint': 'left_finger'}, "gripper.joint = 'left_finger'"),
        ({'arms__left__gripper__interface': 'action', 'arms__right__gripper__interface': 'action'},
         "gripper.action_name = 'gripper_command_action'"),
        ({'arms__right__gripper__joint': 'left_b'},
         "arms.right.gripper.joint = 'left_b': expected the name of a joint that is none of"),
        ({'arms__left__gripper__interface': 'forward'}, "arms.left.gripper.interface = 'forward'"),
        ({'action__joint_names': ['a']},
         "action.joint_names = ('a',): expected nothing with arms.names = ('left', 'right')"),
        ({'gripper__interface': 'none'}, "gripper = 'none': expected nothing with arms.names"),
        ({'action__space': 'eef_delta'}, "action.space = 'eef_delta': expected joints with"),
        ({'speed__source': 'controller_state'}, "speed.source = 'controller_state': expected"),
        ({'command_type': 'twist'}, "command_type = 'twist': expected joints with arms.names"),
        ({'workspace__min': [0, 0, 0], 'workspace__max': [1, 1, 1]}, 'the box holds one tip'),
    ],
)  # fmt: skip
def test_what_two_arms_cannot_share_is_refused(changes, words):
    assert words in refused(**changes)


def test_one_name_alone_is_no_several_arms():
    flat = {name: value for name, value in FLAT.items() if 'right' not in name}
    with pytest.raises(ConfigError, match='arms.names = .*expected two names or more'):
        from_flat({**flat, 'arms.names': ['left']})


# ---- against the bundle -------------------------------------------------------------------------


def test_the_contract_of_aloha_fits_and_leaves_every_arm_its_joints():
    config = with_bundle(from_flat(FLAT), two_arm_manifest())
    assert config.action.joint_names == () and config.action.space == 'joint_delta'
    assert with_bundle(config, two_arm_manifest()) == config
    assert with_bundle(from_flat(FLAT), two_arm_manifest(gripper=False))


def test_a_bundle_for_another_number_of_joints_is_refused_with_both_numbers():
    one = two_arm_manifest()
    flat = {**FLAT, 'arms.left.joint_names': ['left_a', 'left_b', 'left_c']}
    with pytest.raises(ConfigError, match=r'6 numbers in all, as the actions .* 7, 3 \+ 2 j'):
        with_bundle(from_flat(flat), one)
    reads = replace(one, proprioception=ProprioceptionSpec(
        4, False, two_arm_manifest(gripper=False).proprioception.normalisation))  # fmt: skip
    assert with_bundle(from_flat(FLAT), reads)
    odd = replace(one, proprioception=replace(one.proprioception, gripper=False))
    with pytest.raises(ConfigError, match='with 6 numbers in all, as the readings'):
        with_bundle(from_flat(FLAT), odd)


def test_joints_in_another_order_than_the_bundle_names_them_are_refused():
    named = two_arm_manifest()
    right_first = replace(named, action=replace(named.action, joint_names=(*RIGHT, *LEFT)))
    with pytest.raises(ConfigError, match='arms.left.joint_names = .*in the order of the bundle'):
        with_bundle(from_flat(FLAT), right_first)
    for names in (JOINTS, ('other', 'names', 'of', 'it')):
        other = replace(named, action=replace(named.action, joint_names=names))
        assert with_bundle(from_flat(FLAT), other)


def test_a_policy_of_an_end_effector_is_refused_for_two_arms():
    from dysl_vla_ros.engines.fake.bundle import fake_manifest

    with pytest.raises(ConfigError, match='acts on an end effector .eef_delta.; several arms'):
        with_bundle(from_flat(FLAT), fake_manifest())


def test_an_arm_without_an_opening_is_named():
    flat = {**FLAT, 'arms.right.gripper.interface': 'none'}
    with pytest.raises(ConfigError, match="arms.right.gripper.opening_source = 'measured'"):
        with_bundle(from_flat(flat), two_arm_manifest())


def test_the_policy_without_a_model_moves_two_arms():
    arm = arm_of(engine_of(from_flat({**FLAT, 'engine.path': 'fake'})).path)
    assert arm.sizes == (2, 2) and arm.columns.grippers == (2, 5)
    manifest = arm.manifest
    assert manifest.action.dim == manifest.proprioception.dim == 6
    assert manifest.action.normalisation.mask == (True, True, False) * 2
    assert with_bundle(from_flat(FLAT), manifest)


# ---- columns ------------------------------------------------------------------------------------


def test_columns_go_arm_by_arm_with_the_opening_last():
    aloha = action_columns(True, (6, 6))
    assert aloha.grippers == (6, 13) and aloha.motion == (*range(6), *range(7, 13))
    assert action_columns(True, (3,)).grippers == (3,)
    assert action_columns(False, (2, 2)).motion == (0, 1, 2, 3)


LIMITS = MotionLimits(JOINTS, [-2.0] * 4, [2.0] * 4, [3.0] * 4, acceleration=10.0, max_lead=0.3)
CHUNK = np.array([[1.0, 0, 1.0, 0, -1.0, 0.0], [1.0, 0, 0.2, 0, -1.0, 3.0]])


def planner(space='joint_delta', config=None, **changes):
    action = replace(two_arm_manifest(space, horizon=2).action, **changes)
    return MotionPlanner(action, LIMITS, None, config, arms=(2, 2))


def test_every_column_reaches_the_joint_and_the_gripper_that_it_is_meant_for():
    plan = plan_chunk(planner(), CHUNK, np.array([0.1, 0.2, 0.3, 0.4]), LIMITS, 0.05, True)
    steps = np.array([[STEP, 0, 0, -STEP], [2 * STEP, 0, 0, -2 * STEP]])
    assert plan.targets[1:] == pytest.approx(np.array([0.1, 0.2, 0.3, 0.4]) + steps)
    assert plan.gripper.tolist() == [[1.0, 0.0], [0.2, 1.0]]
    sharp = plan_chunk(planner(gripper_threshold=0.5), CHUNK, np.zeros(4), LIMITS, 0.05, True)
    assert sharp.gripper.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_a_scale_shrinks_motion_of_both_arms_and_no_opening():
    from dysl_vla_ros.config import ActionConfig

    half = planner(config=ActionConfig(scale=0.5)).actions(CHUNK)
    assert half[0].tolist() == [0.5 * STEP, 0, 1.0, 0, -0.5 * STEP, 0.0]


def test_absolute_actions_have_the_displacements_of_the_same_steps():
    start = np.array([0.1, 0.2, 0.3, 0.4])
    steps = planner().actions(CHUNK)
    absolute = steps.copy()
    for column, joint in ((0, 0), (1, 1), (3, 2), (4, 3)):
        absolute[:, column] = start[joint] + np.cumsum(steps[:, column])
    found = planner('joint_position').displacements(absolute, absolute, start)
    wanted = planner().displacements(steps, CHUNK, start)
    motion = [0, 1, 3, 4]
    assert found[:, motion] == pytest.approx(wanted[:, motion])
    assert found[:, [2, 5]] == pytest.approx(steps[:, [2, 5]])
    targets = planner('joint_position').targets(absolute, start)
    assert targets == pytest.approx(planner().targets(steps, start))


def test_another_number_of_actions_than_two_arms_have_is_refused():
    action = two_arm_manifest().action
    three = MotionLimits(JOINTS[:3], [-2.0] * 3, [2.0] * 3, [3.0] * 3, 10.0, 0.3)
    with pytest.raises(ConfigError, match='4 joints, as the .* beside 2 openings, one at the end'):
        MotionPlanner(action, three, None, arms=(2, 1))


@pytest.mark.parametrize(('row', 'limit'), [(0, 2), (1, 5)])
def test_a_prefix_ends_before_either_gripper_moves(row, limit):
    gripper = np.ones((8, 2))
    gripper[limit:, row] = 0.0
    plan = ChunkPlan(*[np.zeros((8, 4))] * 3, gripper, ())
    assert plan.before_gripper(7, (1.0, 1.0)) == limit
    assert plan.before_gripper(7, ()) == 0


# ---- one loop -----------------------------------------------------------------------------------


class Pass:
    """Both arms move, each its first joint its own way; each gripper its own."""

    def __init__(self, contract):
        self.manifest = contract

    def predict(self, observation, plan):
        from dysl_vla_ros.data_types import LayerTrace
        from dysl_vla_ros.policy import Pass as Predicted

        rows = np.tile([1.0, 0.0, 0.0, -1.0, 0.0, 1.0], (self.manifest.action.horizon, 1))
        trace = LayerTrace(tuple(range(6)), 6)
        return Predicted(observation.stamp, observation.instruction, rows, 'full', trace, {})


@pytest.fixture
def bench():
    from motion_checks import LaggingArm, WindowChecks

    pytest.importorskip('pinocchio', reason="needs the extra 'kinematics'")
    from dysl_vla_ros.data_types import Observation
    from dysl_vla_ros.ros.arm import build_loop

    class Bench:
        def __init__(self):
            policy = Pass(two_arm_manifest())
            self.loop, _ = build_loop(policy, from_flat({**FLAT, 'armed': True}), two_arm_urdf())
            self.arm, self.now, self.commands = LaggingArm(np.zeros(4), 0.05), 0.0, []
            self.checks, self.measured_at, self.blocked = WindowChecks(self.loop.limits), 0.0, ()
            self.reading, self.silent = np.zeros(4), False

        def run(self, seconds):
            for _ in range(round(seconds * 50)):
                self.now += 0.02
                before = self.arm.position
                self.arm.advance(self.now)
                for joint in self.blocked:
                    self.arm.position[joint] = before[joint]
                if not self.silent:
                    self.reading, self.measured_at = self.arm.position.copy(), self.now
                command = self.loop.tick(self.now, self.reading, READY, self.measured_at)
                if command is not None:
                    self.checks.check(command)
                    self.commands.append(command)
                    self.arm.command(command)
                if self.loop.wants_pass(self.now):
                    seen = Observation(self.now, {}, self.reading, None, 'go')
                    self.loop.infer(seen, lambda: self.now)
            return self

    return Bench().run(0.2)


@pytest.mark.ros
def test_both_arms_move_and_each_gripper_does_its_own(bench):
    assert bench.loop.start(bench.now) == ''
    bench.run(2.0)
    assert bench.loop.state == 'running'
    way = bench.arm.position[0]
    assert way > 0.1 and bench.arm.position == pytest.approx([way, 0.0, -way, 0.0], abs=0.02)
    last = bench.commands[-1]
    assert (last.gripper, last.more_grippers) == (0.0, (1.0,))


@pytest.mark.ros
@pytest.mark.parametrize('what', ['stop', 'estop', 'blocked', 'silent'])
def test_they_stop_together(bench, what):
    bench.loop.start(bench.now)
    bench.run(1.0)
    if what in ('stop', 'estop'):
        getattr(bench.loop, what)(bench.now, 'a person says so')
    elif what == 'blocked':
        bench.blocked = (2,)  # of the right arm
    else:
        bench.silent = True
    bench.run(4.0)
    states = {'stop': 'ready', 'estop': 'e-stop', 'blocked': 'fault', 'silent': 'stale'}
    assert bench.loop.state == states[what]
    rest = bench.arm.position.copy()
    bench.run(0.5)
    moved = np.abs(bench.arm.position - rest)
    assert moved.max() < 1e-3
