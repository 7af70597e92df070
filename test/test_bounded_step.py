"""The bounded step is the best one: no feasible step near it is better, and it is feasible."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.bounded_step import bounded_step


def cost(jacobian, error, damping, step):
    left = jacobian @ step - error
    return left @ left + damping * step @ step


@pytest.mark.parametrize('seed', range(30))
def test_it_lies_within_the_bounds_and_nothing_near_it_is_better(seed):
    rng = np.random.default_rng(seed)
    rows, count = int(rng.integers(1, 7)), int(rng.integers(1, 9))
    jacobian, error = rng.normal(size=(rows, count)), rng.normal(size=rows)
    low, high = -rng.uniform(0, 0.5, count), rng.uniform(0, 0.5, count)
    low[rng.random(count) < 0.3] = 0.0  # at its limit
    step = bounded_step(jacobian, error, 1e-6, low, high)
    assert (step >= low).all() and (step <= high).all()
    best = cost(jacobian, error, 1e-6, step)
    for _ in range(300):
        other = np.clip(step + rng.normal(size=count) * rng.choice([1e-3, 0.1, 1.0]), low, high)
        assert cost(jacobian, error, 1e-6, other) >= best - 1e-12


def test_within_wide_bounds_it_is_the_damped_step():
    jacobian, error = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([0.1, 0.2])
    wide = np.full(2, 9.0)
    expected = np.linalg.solve(jacobian.T @ jacobian + 0.01 * np.eye(2), jacobian.T @ error)
    assert bounded_step(jacobian, error, 0.01, -wide, wide) == pytest.approx(expected)


def test_a_joint_that_may_not_move_leaves_the_motion_to_the_others():
    jacobian = np.array([[1.0, 1.0]])
    step = bounded_step(jacobian, np.array([0.3]), 1e-9, np.array([-1.0, -1]), np.array([0.0, 1]))
    assert step == pytest.approx([0.0, 0.3])


def test_a_joint_that_met_its_bound_is_let_go_when_the_others_need_it_back():
    """The first joint overshoots to its bound while the second has not yet met its own."""
    jacobian = np.array([[1.0, 0.9], [0.0, 0.5]])
    error = np.array([0.5, 2.0])
    low, high = np.array([-0.2, -1.0]), np.array([1.0, 0.6])
    step = bounded_step(jacobian, error, 1e-9, low, high)
    # With the second at 0.6 the first wants 0.5 - 0.54 = -0.04: inside its bounds again.
    assert step == pytest.approx([-0.04, 0.6])
