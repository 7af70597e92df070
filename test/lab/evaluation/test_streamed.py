"""The executors that ours is compared with: chunk by chunk, and LeRobot's averaging."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_bundle

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.episodes import EpisodeSpec
from dysl_vla_ros.lab.evaluation.evaluate import evaluate
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.lab.evaluation.stepped_arm import SteppedArm
from dysl_vla_ros.lab.evaluation.streamed import blended
from dysl_vla_ros.lab.evaluation.tally import Tally
from dysl_vla_ros.sim.world import World

LATENCY = 0.2
CHUNK_S = 0.4


def rows(*values):
    return np.array(values, dtype=float)[:, None]


@pytest.fixture(scope='module')
def document(tmp_path_factory):
    bundle = tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')
    return evaluate(EvaluateOptions(
        bundle=str(bundle), modes=('full', 'blend', 'blocking'), episodes=1, families=('pick',),
        time_limit=4.0, latency=LATENCY,
    ))  # fmt: skip


def test_where_chunks_overlap_old_and_new_are_averaged_three_to_seven():
    left, answer = rows(10.0, 20.0), rows(0.0, 0.0, 0.0, 1.0)
    assert blended(left, 5, answer, 4)[:, 0].tolist() == pytest.approx([3.0, 6.0, 1.0])


def test_what_was_played_since_the_question_is_dropped():
    nothing = np.empty((0, 1))
    assert blended(nothing, 6, rows(1.0, 2.0, 3.0), 4)[:, 0].tolist() == [3.0]
    assert len(blended(nothing, 9, rows(1.0, 2.0, 3.0), 4)) == 0


def test_a_rejected_answer_leaves_the_old_actions():
    assert blended(rows(1.0, 2.0), 3, np.empty((0, 1)), 3)[:, 0].tolist() == [1.0, 2.0]


def test_blocking_plays_a_chunk_between_two_passes_and_waits_for_each(document):
    blocking = document['modes']['blocking']
    assert blocking['chunks'] == pytest.approx(4.0 / (LATENCY + CHUNK_S), abs=1)
    assert blocking['actions_median'] == pytest.approx(
        4.0 / 0.05 * CHUNK_S / (LATENCY + CHUNK_S), abs=8
    )


def test_blend_asks_while_it_plays(document):
    blend, blocking = document['modes']['blend'], document['modes']['blocking']
    assert blend['chunks'] > blocking['chunks']
    assert blend['actions_median'] > 1.2 * blocking['actions_median']


def test_what_an_arm_without_the_control_loop_did_is_measured_as_ours_is(document):
    blocking, pair = document['modes']['blocking'], document['paired']['blocking']
    assert blocking['hold_ratio'] == pytest.approx(LATENCY / (LATENCY + CHUNK_S), abs=0.1)
    assert 0 < blocking['backbone_ms']['p50'] < blocking['pass_ms']['p50']
    assert blocking['layers_run_mean'] == blocking['layers_total']
    assert pair['backbone_time_ratio'] > 0 and pair['reference_backbone_share'] > 0


def test_an_arm_at_rest_at_the_end_and_commands_beyond_its_limits_are_noted(fake):
    world, spec = World(), EpisodeSpec(0, 'pick')
    world.reset(0, 'pick', 'train')
    arm = SteppedArm(world, NodeConfig(), 0.05)
    step = np.full(6, 0.02)
    for _ in range(3):
        arm.play(arm.commanded + step, 1.0)
    moving = arm.result(spec, '', fake, 1, Tally())
    assert not moving.resting and moving.unsafe == 0 and moving.holds == 0
    arm.wait(2.0)
    still = arm.result(spec, '', fake, 1, Tally())
    assert still.resting and (still.holds, still.commands) == (40, 43)
    arm.play(arm.commanded + 1.0, 1.0)  # in a twentieth of a second
    assert arm.result(spec, '', fake, 1, Tally()).unsafe == 1


@pytest.fixture
def fake():
    return SimpleNamespace(manifest=fake_manifest())


def test_an_arm_that_is_sent_targets_moves_to_them_and_stays_where_none_follows():
    world = World()
    world.reset(0, 'pick', 'train')
    arm = SteppedArm(world, NodeConfig(), 0.05)
    goal = arm.commanded + 0.1
    for share in np.linspace(0.05, 1.0, 20):
        arm.play(goal + (share - 1.0) * 0.1, 1.0)
    assert arm.actions == 20 and len(arm.path) == 31
    arm.wait(1.0)
    # It brakes for half a period more than it was told: what it was last told is a speed.
    assert np.abs(world.joint_positions - goal).max() < 0.01
    assert arm.won is False


@pytest.mark.parametrize(('change', 'field'), [
    ({'latency': None}, 'latency'), ({'probe': 'blank_image'}, 'probe'),
])  # fmt: skip
def test_what_they_cannot_do_is_refused(change, field):
    with pytest.raises(ConfigError, match=field):
        EvaluateOptions(**{'modes': ('full', 'blend'), 'latency': 0.1, **change})
