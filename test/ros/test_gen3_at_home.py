"""A Kinova Gen3 at its home pose: a joint without limits stands at pi, where its reading flips.

Limits and lengths: Kinovarobotics/ros2_kortex, kortex_description/arms/gen3/7dof.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from motion_checks import LaggingArm, WindowChecks

from dysl_vla_ros.bundle.manifest import NormalisationSpec, ProprioceptionSpec
from dysl_vla_ros.config import from_flat
from dysl_vla_ros.core.run_state import InputStatus
from dysl_vla_ros.data_types import LayerLayout, Observation
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.engines.fake.engine import FakeEngine
from dysl_vla_ros.policy import Policy

pytestmark = pytest.mark.ros

NAMES = tuple(f'joint_{number}' for number in range(1, 8))
ENDLESS, ELBOW = '<limit effort="39" velocity="1.3963"/>', '0 -0.21038 -0.006375'
BOUNDED = '<limit lower="-{0}" upper="{0}" velocity="{1}"/>'.format
ROWS = [  # origin xyz, roll, kind, limit
    ('0 0 0.15643', 3.1416, 'continuous', ENDLESS),
    ('0 0.005375 -0.12838', 1.5708, 'revolute', BOUNDED(2.24, 1.3963)),
    (ELBOW, -1.5708, 'continuous', ENDLESS),
    ('0 0.006375 -0.21038', 1.5708, 'revolute', BOUNDED(2.57, 1.3963)),
    ('0 -0.20843 -0.006375', -1.5708, 'continuous', '<limit effort="9" velocity="1.2218"/>'),
    ('0 0.00017505 -0.10593', 1.5708, 'revolute', BOUNDED(2.09, 1.2218)),
    ('0 -0.10593 -0.00017505', -1.5708, 'continuous', '<limit effort="9" velocity="1.2218"/>'),
]  # fmt: skip
HOME = np.array([0.0, 0.2618, np.pi, -2.2689, 0.0, 0.9599, 1.5708])
MINUTE_S, TICK = 60.0, 1 / 30
STEP_RAD, STEP_M = 0.01, 0.004


def urdf():
    links = ''.join(f'<link name="l{i}"/>' for i in range(8))
    joints = ''.join(
        f'<joint name="{name}" type="{kind}"><parent link="l{i}"/><child link="l{i + 1}"/>'
        f'<origin xyz="{xyz}" rpy="{roll} 0 0"/><axis xyz="0 0 1"/>{limit}</joint>'
        for i, (name, (xyz, roll, kind, limit)) in enumerate(zip(NAMES, ROWS, strict=True))
    )
    return f'<robot name="gen3">{links}{joints}</robot>'


def contract(space):
    base = fake_manifest(6, (0, 3, 5))
    count = 6 if space.startswith('eef') else 7
    size = STEP_M if space.startswith('eef') else STEP_RAD
    moves = NormalisationSpec((-size,) * count, (size,) * count, (True,) * count)
    seen = NormalisationSpec((-4.0,) * 7, (4.0,) * 7, (True,) * 7)
    return replace(
        base, name='gen3', proprioception=ProprioceptionSpec(7, False, seen),
        action=replace(
            base.action, space=space, dim=count, gripper=False, normalisation=moves,
            displacement=moves, joint_names=NAMES, frame_id='l0', tip_link='l7',
        ),
        calibration=replace(base.calibration, weights=(1.0,) * count),
    )  # fmt: skip


def on_circle(angles):
    return (angles + np.pi) % (2 * np.pi) - np.pi


class Words:
    def encode(self, text):
        return SimpleNamespace(ids=[1] * len(text.split()))


class Rig:
    """A loop, an arm that lags, and a driver that reports angles in [-pi, pi) with noise."""

    def __init__(self, space, reference, act, seed=0):
        from dysl_vla_ros.ros.arm import build_loop

        self.now, self.act = 0.0, act
        manifest = contract(space)
        layout = LayerLayout(manifest.layers_total, manifest.static_layers)
        engine = FakeEngine(layout, 8, manifest.action.dim, actions=self.actions)
        config = from_flat({'action.delta_reference': reference, 'armed': True})
        self.loop, self.kinematics = build_loop(Policy(engine, manifest, Words()), config, urdf())
        self.arm = LaggingArm(HOME)
        self.noise = np.random.default_rng(seed)
        self.checks = WindowChecks(self.loop.limits, rest=0.5)
        self.begun = False
        self.third, self.readings, self.rejected, self.commanded = [], [], [], []

    def actions(self, inputs):
        return np.tile(self.act(self.now), (8, 1))

    def measured(self):
        return on_circle(self.arm.position + self.noise.normal(0.0, 2e-4, 7))

    def run(self, seconds):
        for tick in range(round(seconds / TICK)):
            self.now += TICK
            self.arm.advance(self.now)
            joints = self.measured()
            command = self.loop.tick(self.now, joints, InputStatus(True), self.now)
            if tick == 10:
                assert self.loop.start(self.now) == ''
            self.third.append(on_circle(self.arm.position - HOME)[2])
            self.readings.append(joints[2])
            if command is None:
                self.checks.restart()
            else:
                self.checks.check(command)
                if not self.begun:  # -pi and pi are one place: its drives take the nearer way
                    turns = np.round((command.positions - self.arm.position) / (2 * np.pi))
                    self.arm.position = self.arm.position + 2 * np.pi * turns
                self.begun = True
                self.arm.command(command)
                self.commanded.append(command.positions)
                self.third += on_circle(command.window_positions - HOME)[:, 2].tolist()
            if self.loop.wants_pass(self.now):
                image = np.zeros((96, 96, 3), np.uint8)
                observation = Observation(self.now, {'image': image}, joints, None, 'go')
                self.rejected += [
                    item.reason for item in self.loop.infer(observation, lambda: self.now)
                    if not item.accepted and not item.rerun
                ]  # fmt: skip
        return self


@pytest.mark.parametrize(
    'reference', ['commanded', pytest.param('measured', marks=pytest.mark.slow)]
)
def test_while_another_joint_moves_to_and_fro_the_one_at_pi_holds_still_for_a_minute(reference):
    def to_and_fro(now):
        return [np.sign(np.sin(now)) * (name == 'joint_1') for name in NAMES]

    rig = Rig('joint_delta', reference, to_and_fro).run(MINUTE_S)
    assert min(rig.readings) < -3.0 and max(rig.readings) > 3.0  # the reading did flip
    assert np.abs(rig.third).max() < 0.01
    assert rig.loop.state == 'running' and rig.rejected == []
    assert rig.loop.status().actions_played > 900


@pytest.mark.parametrize('reference', ['commanded', 'measured'])
def test_a_policy_of_the_tip_that_wants_nothing_leaves_every_joint_where_it_is(reference):
    rig = Rig('eef_delta', reference, lambda now: np.zeros(6)).run(15.0)
    assert min(rig.readings) < -3.0 and max(rig.readings) > 3.0
    assert np.abs(rig.third).max() < 0.01
    assert np.abs(on_circle(rig.arm.position - HOME)).max() < 0.01
    assert rig.loop.state == 'running' and rig.rejected == []


@pytest.mark.parametrize('reference', ['commanded', 'measured'])
def test_a_tip_that_goes_to_and_fro_comes_back_and_no_joint_turns_a_whole_turn(reference):
    def to_and_fro(now):
        return [0.0, 0.0, np.sign(np.sin(now)), 0.0, 0.0, 0.0]

    rig = Rig('eef_delta', reference, to_and_fro).run(15.0)
    assert rig.rejected == [] and rig.loop.state == 'running'
    assert np.abs(on_circle(rig.arm.position - HOME)).max() < 0.7
    assert np.ptp(rig.commanded, axis=0).max() < np.pi
