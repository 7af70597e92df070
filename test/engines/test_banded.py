"""A filter in blocks gives what its whole matrix gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dysl_vla_ros.engines.banded import Banded, apply


def stretch(new, old, seed):
    """Weights with a random stretch of numbers in each row; some rows have none."""
    random = np.random.default_rng(seed)
    weights = np.zeros((new, old))
    for row in weights:
        first, last = sorted(random.integers(0, old + 1, 2))
        row[first:last] = random.normal(size=last - first)
    return weights


@given(st.integers(1, 70), st.integers(1, 50), st.integers(1, 9), st.integers(0, 999))
def test_the_product_is_that_of_the_whole_matrix(new, old, columns, seed):
    weights = stretch(new, old, seed)
    values = np.random.default_rng(seed).integers(0, 256, (old, columns), dtype=np.uint8)
    found = Banded(weights) @ values
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, weights @ values, atol=0.01)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(1, 30))
def test_rows_and_columns_are_filtered_each_by_its_own(height, width, rows, columns):
    down, across = stretch(height, rows, 1), stretch(width, columns, 2)
    image = np.random.default_rng(3).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    found = apply(Banded(down), Banded(across), image)
    expected = np.einsum('hr,wc,rck->hwk', down, across, image)
    assert found.flags.c_contiguous and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.05, rtol=1e-4)


def test_a_side_without_a_filter_stays_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(apply(None, None, image), image)
    half = Banded(np.kron(np.eye(2), [[0.5, 0.5]]))
    np.testing.assert_array_equal(apply(half, None, image[:4]), image[:4:2] / 2 + image[1:4:2] / 2)
    np.testing.assert_array_equal(
        apply(None, half, image[:, :4]), (image[:, :4:2] / 2 + image[:, 1:4:2] / 2)
    )
