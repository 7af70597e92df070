"""The controller must behave as ros2_controllers' joint_trajectory_controller does."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.errors import ConfigError, InputError
from dysl_vla_ros.sim.trajectory_controller import TrajectoryController

_ZERO = np.zeros(2)
_REST = (_ZERO, _ZERO)


def _controller(desired: bool = True) -> TrajectoryController:
    controller = TrajectoryController(('a', 'b'), interpolate_from_desired_state=desired)
    controller.reset(0.0, _ZERO)
    return controller


def _line(speed: float, seconds: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A trajectory of constant speed that brakes in its last tenth."""
    times = np.array((0.1, seconds, seconds + 0.1))
    positions = speed * np.array((0.1, seconds, seconds + 0.05))[:, None] * np.ones(2)
    velocities = np.array((speed, speed, 0.0))[:, None] * np.ones(2)
    return times, positions, velocities


def test_stamp_zero_starts_now() -> None:
    controller = _controller()
    controller.accept(*_line(1.0), now=5.0, measured=_REST)
    assert controller.sample(5.0)[0] == pytest.approx(_ZERO)
    assert controller.sample(5.5)[0] == pytest.approx(np.full(2, 0.5))
    assert controller.sample(5.5)[1] == pytest.approx(np.ones(2))


def test_points_before_now_are_skipped_when_the_stamp_lies_in_the_past() -> None:
    controller = _controller()
    controller.accept(*_line(1.0), now=5.0, measured=_REST, stamp=4.5)
    assert controller.sample(5.0)[0] == pytest.approx(np.full(2, 0.5))


def test_a_stamp_in_the_future_moves_towards_its_first_point_at_once() -> None:
    controller = _controller()
    controller.accept(*_line(1.0), now=5.0, measured=_REST, stamp=5.4)
    assert controller.sample(5.0)[0] == pytest.approx(_ZERO)
    assert controller.sample(5.5)[0] == pytest.approx(np.full(2, 0.1))
    assert 0.0 < abs(controller.sample(5.25)[0][0]) < 0.1


def test_a_new_trajectory_replaces_the_old_one_without_a_jump() -> None:
    controller = _controller()
    controller.accept(*_line(1.0), now=0.0, measured=_REST)
    before = controller.sample(0.5)
    controller.accept(*_line(-1.0), now=0.5, measured=_REST)
    after = controller.sample(0.5)
    assert after[0] == pytest.approx(before[0])
    assert after[1] == pytest.approx(before[1])
    assert controller.sample(1.0)[0] == pytest.approx(np.full(2, -0.5))


def test_the_start_option_chooses_the_measured_state() -> None:
    measured = (np.full(2, -0.02), np.full(2, 0.3))
    controller = _controller(desired=False)
    controller.accept(*_line(1.0), now=0.0, measured=measured)
    assert controller.sample(0.0)[0] == pytest.approx(measured[0])
    assert controller.sample(0.0)[1] == pytest.approx(measured[1])
    other = _controller(desired=True)
    other.accept(*_line(1.0), now=0.0, measured=measured)
    assert other.sample(0.0)[0] == pytest.approx(_ZERO)


def test_it_holds_the_last_point_at_rest() -> None:
    controller = _controller()
    times, positions, velocities = _line(1.0)
    controller.accept(times, positions, velocities, now=0.0, measured=_REST)
    position, velocity = controller.sample(9.0)
    assert position == pytest.approx(positions[-1])
    assert velocity == pytest.approx(_ZERO)
    assert controller.finished(9.0)
    assert not controller.finished(0.5)


def test_velocity_is_the_derivative_of_position() -> None:
    controller = _controller()
    controller.accept(*_line(0.7), now=0.0, measured=_REST)
    for now in (0.03, 0.4, 1.04):
        slope = (controller.sample(now + 1e-6)[0] - controller.sample(now - 1e-6)[0]) / 2e-6
        assert controller.sample(now)[1] == pytest.approx(slope, abs=1e-5)


def test_joints_are_matched_by_name() -> None:
    controller = _controller()
    times, positions, velocities = _line(1.0)
    positions[:, 0] = 7.0
    controller.accept(times, positions, velocities, 0.0, _REST, joint_names=('b', 'a'))
    assert controller.sample(9.0)[0] == pytest.approx((1.05, 7.0))


def test_wrong_joint_names_are_rejected() -> None:
    with pytest.raises(InputError, match="'c'"):
        _controller().accept(*_line(1.0), now=0.0, measured=_REST, joint_names=('a', 'c'))


def test_times_that_do_not_increase_are_rejected() -> None:
    times, positions, velocities = _line(1.0)
    times[1] = times[0]
    with pytest.raises(InputError, match='increasing'):
        _controller().accept(times, positions, velocities, 0.0, _REST)


def test_a_trajectory_that_ends_in_motion_is_rejected_and_the_old_one_goes_on() -> None:
    controller = _controller()
    controller.accept(*_line(1.0), now=0.0, measured=_REST)
    times, positions, velocities = _line(-1.0)
    velocities[-1] = 0.1
    with pytest.raises(InputError, match='last point'):
        controller.accept(times, positions, velocities, 0.2, _REST)
    assert controller.sample(0.5)[0] == pytest.approx(np.full(2, 0.5))


def test_a_trajectory_that_ended_in_the_past_is_rejected() -> None:
    with pytest.raises(InputError, match='stamp'):
        _controller().accept(*_line(1.0), now=9.0, measured=_REST, stamp=2.0)


def test_numbers_that_are_not_finite_are_rejected() -> None:
    times, positions, velocities = _line(1.0)
    positions[0, 0] = np.nan
    with pytest.raises(InputError, match='positions'):
        _controller().accept(times, positions, velocities, 0.0, _REST)


def test_joint_names_must_not_repeat() -> None:
    with pytest.raises(ConfigError, match='joint_names'):
        TrajectoryController(('a', 'a'))
