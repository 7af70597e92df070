"""``~/home`` in the graph: the arm moves there, slowly, and the graph's stops stop it."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import wait_for

pytestmark = pytest.mark.ros

HOME = [0.3, -0.2, 0.1]


def homing(rig, **parameters):
    rig = rig(home__positions=HOME, home__velocity_scale=0.1, **parameters).up()
    rig.wait_state('ready')
    answer = rig.ask('home')
    assert answer.success, answer.message
    return rig.wait_state('homing')


def test_the_arm_goes_home_without_an_instruction_and_is_ready_there(rig):
    rig = homing(rig)
    wait_for(lambda: rig.session.state == 'ready', timeout=6.0, what='arrival')
    assert rig.session.reason == 'at home.positions'
    wait_for(lambda: np.abs(rig.robot.position - HOME).max() < 0.01, what='the arm at home')
    assert rig.policy.observations == []
    fastest = max(
        abs(speed) for _, message in rig.robot.trajectories for point in message.points
        for speed in point.velocities
    )  # fmt: skip
    assert fastest <= 0.3 + 1e-6


def test_an_estop_on_the_way_home_latches_and_the_arm_rests(rig):
    rig = homing(rig)
    wait_for(lambda: rig.robot.position[0] > 0.05, what='motion')
    rig.publish_bool('estop', True)
    rig.wait_state('e-stop')
    wait_for(rig.at_rest, what='rest')
    assert rig.robot.position[0] < 0.28
    assert 'reset it first' in rig.ask('home').message


def test_not_armed_it_shows_the_way_in_the_shadow_and_the_arm_stays(rig):
    rig = homing(rig, armed=False)
    wait_for(lambda: rig.session.state == 'ready', timeout=6.0, what='arrival')
    assert rig.robot.trajectories == [] and np.abs(rig.robot.position).max() < 1e-6


def test_a_home_outside_the_limits_is_said_before_anything_moves(rig):
    rig = rig(home__positions=[0.3, -2.5, 0.1]).up()
    rig.wait_reason('home.positions of elbow = -2.5', 'expected within its limits')
    assert not rig.ask('home').success
