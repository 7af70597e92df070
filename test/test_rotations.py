from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dysl_vla_ros.rotations import rotation_matrix, rotation_vector


@given(arrays(np.float64, 3, elements=st.floats(-1.8, 1.8)))
def test_a_rotation_vector_survives_the_matrix(vector):
    matrix = rotation_matrix(vector)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    if np.linalg.norm(vector) < np.pi - 1e-3:
        np.testing.assert_allclose(rotation_vector(matrix), vector, atol=1e-9)


def test_a_half_turn_keeps_its_angle_and_axis():
    vector = np.array([0.0, np.pi, 0.0])
    found = rotation_vector(rotation_matrix(vector))
    np.testing.assert_allclose(np.abs(found), vector, atol=1e-9)
