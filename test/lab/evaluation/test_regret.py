"""A gate that predicts the error of leaving, on states of which the truth is made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.exits import Exits
from dysl_vla_ros.lab.evaluation.regret import Outcome, RegretGate, compare, halves, verdict

ROOT = Path(__file__).resolve().parents[3]
EXITS = (2, 3, 4, 5)


def states(count, seed=0, telling=True):
    """Easy ones agree from exit 2 on; hard ones only come near at exit 5.

    Where ``telling`` is false, neighbouring exits of hard ones agree in their error too.
    """
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        dense = random.normal(size=(8, 7))
        hard, drift = number % 2, random.normal(size=(8, 7))
        early = {}
        for place, layer in enumerate(EXITS):
            wrong = (0.5 if telling else 0.4) * hard * (1 - place / 3 if telling else layer < 5)
            noise = 0.01 * random.normal(size=(8, 7))
            early[layer] = dense + wrong * drift + noise
        found.append(Exits(dense, early))
    return found


def pairs(count):
    """Episodes of two states each."""
    return [number // 2 for number in range(count)]


def test_where_disagreement_tells_the_gate_leaves_early_only_where_it_may():
    gate = RegretGate(states(200), EXITS, 6)
    left = [gate.leave(one, 0.1) for one in states(40, seed=1)]
    assert {layer for layer, _ in left[::2]} == {3}, 'easy: the first that can be compared'
    assert {layer for layer, _ in left[1::2]} == {5}
    assert left[1][1] == 4, 'every exit on the way was tried, and is charged'


def test_a_gate_is_charged_for_every_exit_that_it_tries():
    found = {one.name: one for one in compare(states(200), pairs(200), EXITS, 6, (0.0, 100.0))}
    assert found['fixed 3'].layers == found['fixed 3'].layers_free == 4.0
    assert found['gate 100'].layers == 3 + 2 and found['gate 100'].layers_free == 4.0
    assert found['gate 0'].layers == 5 + 4 and found['gate 0'].error_mean < 0.02


def test_where_two_exits_agree_and_both_are_wrong_no_gate_is_ahead():
    found = compare(states(400, telling=False), pairs(400), EXITS, 6, (0.02, 0.1, 0.3))
    assert 'no gate is ahead' in verdict(found)


def outcome(name, layers, error, free=None):
    return Outcome(name, layers, layers if free is None else free, error, error, 0.0)


def test_the_verdict_says_whether_looking_pays_or_only_would_if_it_were_free():
    fixed = outcome('fixed 8', 9.0, 0.1)
    assert 'gate 0.1 before fixed 8' in verdict([fixed, outcome('gate 0.1', 7.0, 0.1)])
    text = verdict([fixed, outcome('gate 0.1', 10.0, 0.1, free=7.0)])
    assert text.startswith('no gate is ahead') and 'were it free, gate 0.1' in text
    assert 'not even' in verdict([fixed, outcome('gate 0.1', 7.0, 0.2)])


def test_a_gate_is_ahead_of_no_exit_where_a_shallower_exit_is_better_than_the_gate():
    exits = [outcome('fixed 5', 6.0, 0.05), outcome('fixed 8', 9.0, 0.2)]
    assert 'not even' in verdict([*exits, outcome('gate 0.1', 7.0, 0.1)])
    assert 'not even' in verdict([*exits, outcome('gate 0.1', 10.0, 0.1, free=7.0)])
    assert 'gate 0.1 before fixed 8' in verdict([*exits, outcome('gate 0.1', 5.5, 0.1)])


def test_committed_gates_have_the_verdict_of_their_rows():
    for path in sorted((ROOT / 'doc/evidence').glob('gate_*.json')):
        report = json.loads(path.read_text())
        assert report['verdict'] == verdict([Outcome(**one) for one in report['gate']]), path.name


def test_too_few_states_or_exits_are_refused():
    with pytest.raises(ConfigError, match='at least 20'):
        RegretGate(states(5), EXITS, 6)
    with pytest.raises(ConfigError, match='two exits'):
        RegretGate(states(40), (3,), 6)


def test_no_episode_is_both_fitted_to_and_judged():
    assert halves([0] * 140 + [1] * 20 + [2] * 140) in (140, 160), 'not 150, within an episode'
    assert halves([0, 1, 1, 1, 1]) == 1
    with pytest.raises(ConfigError, match='states of two episodes or more'):
        compare(states(100), [0] * 100, EXITS, 6, (0.1,))


def test_exits_that_do_not_rise_are_refused_since_a_pass_cannot_go_back():
    with pytest.raises(ConfigError, match='rising ones'):
        RegretGate(states(40), (4, 3, 2), 6)
