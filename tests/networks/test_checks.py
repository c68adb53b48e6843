"""Bounds of sums are the largest that a layer can reach, and conditions lie between levels."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.constants import EXACT
from codec.errors import ModelError
from codec.networks import checks


def test_bound_is_the_largest_sum_of_an_output():
    weight = np.array([[100, 1], [-60, 1]])
    most = EXACT - 160 * 1000
    checks.check_bound("a", weight, 1000, most)
    with pytest.raises(ModelError, match=f"layer a: sums may reach {EXACT + 1}"):
        checks.check_bound("a", weight, 1000, most + 1)
    # Limits of each input, and of each output.
    checks.check_bound("a", weight, np.array([1000.0, 0]), np.array([EXACT - 100_000, EXACT - 1000.0]))
    with pytest.raises(ModelError, match="layer a"):
        checks.check_bound("a", weight, np.array([1000.0, 0]), np.array([0, EXACT - 999.0]))


@settings(deadline=None)
@given(st.integers(1, 100), st.data())
def test_rows_between_levels_equal_rational_arithmetic(conditions, data):
    levels = data.draw(st.integers(1, conditions))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    rows = rng.integers(-(1 << 31), 1 << 31, (levels, 3)).astype(np.int32)
    found = checks.between_levels(rows, conditions)
    assert (found.dtype, found.shape) == (np.int64, (conditions, 3))
    for condition in range(conditions):
        place = Fraction(condition * (levels - 1), max(conditions - 1, 1))
        below = int(place)
        above = min(below + 1, levels - 1)
        for unit in range(3):
            low, high = int(rows[below, unit]), int(rows[above, unit])
            assert found[condition, unit] == math.floor(low + (place - below) * (high - low))


def test_as_many_levels_as_conditions_stay_as_they_are():
    rows = np.random.default_rng(0).integers(-(1 << 31), 1 << 31, (100, 4)).astype(np.int32)
    np.testing.assert_array_equal(checks.between_levels(rows, 100), rows)
    np.testing.assert_array_equal(checks.between_levels(rows[:1], 1), rows[:1])
