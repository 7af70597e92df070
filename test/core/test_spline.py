"""A cubic between two knots: its peaks are those a fine sampling finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dysl_vla_ros.core import spline

number = st.floats(-2.0, 2.0)


@given(number, number, number, number, st.floats(0.01, 1.0))
def test_the_peaks_are_those_of_a_fine_sampling(p0, v0, p1, v1, duration):
    ends = [np.array([value]) for value in (p0, v0, p1, v1)]
    a0, a1 = spline.end_accelerations(*ends, duration)
    peak = spline.peak_speed(ends[1], ends[3], a0, a1, duration)
    low, high = spline.extent(*ends, duration)
    left, right = (ends[0], ends[1]), (ends[2], ends[3])
    times = np.linspace(0, duration, 201)
    found = [spline.sample(left, right, duration, t) for t in times]
    positions = np.array([position[0] for position, _ in found])
    speeds = np.array([velocity[0] for _, velocity in found])
    assert np.abs(speeds).max() <= peak[0] + 1e-9
    assert np.abs(speeds).max() >= peak[0] - 0.02 * (1 + peak[0] + abs(a0[0]) + abs(a1[0]))
    assert positions.min() >= low[0] - 1e-9 and positions.max() <= high[0] + 1e-9
    measured = np.diff(speeds) / np.diff(times)
    assert np.abs(measured).max() <= max(abs(a0[0]), abs(a1[0])) + 1e-5


def test_it_passes_through_its_knots():
    left, right = (np.array([0.1]), np.array([1.0])), (np.array([0.3]), np.array([-0.5]))
    for elapsed, (position, velocity) in ((0.0, left), (0.4, right)):
        found = spline.sample(left, right, 0.4, elapsed)
        assert found[0] == pytest.approx(position) and found[1] == pytest.approx(velocity)


def test_constant_acceleration_has_no_other_peak():
    v0, v1 = np.array([0.0]), np.array([1.0])
    a0, a1 = spline.end_accelerations(np.array([0.0]), v0, np.array([0.05]), v1, 0.1)
    assert a0 == pytest.approx([10.0]) and a1 == pytest.approx([10.0])
    assert spline.peak_speed(v0, v1, a0, a1, 0.1) == pytest.approx([1.0])
