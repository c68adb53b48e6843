"""Quantisation of y equals rational arithmetic, and comes back within half a step."""

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.networks import quantisation

STEPS = st.lists(st.integers(1 << 14, 1 << 24), min_size=1, max_size=5).map(lambda steps: np.array(steps, np.int32))
"""Steps from 1/4 to 256 samples."""


@settings(deadline=None, max_examples=100)
@given(STEPS, st.integers(1, 32767), st.integers(0, 128), st.integers(0, 2**32))
def test_quantisation_equals_rational_arithmetic(steps, limit, rounding, seed):
    rng = np.random.default_rng(seed)
    y = (rng.choice([-1, 1], (3, 4, len(steps))) * 2 ** rng.uniform(0, 20, (3, 4, len(steps)))).astype(np.int32)
    y[0, 0], y[0, 1], y[0, 2] = 1 << 20, -(1 << 20), 0
    q = quantisation.quantise(y, steps, limit, rounding)
    values = quantisation.dequantise(q, steps)
    assert (q.dtype, values.dtype) == (np.int16, np.int16)
    for at in np.ndindex(y.shape):
        step = Fraction(int(steps[at[-1]]), 1 << 16)
        size = min(int(Fraction(abs(int(y[at])), 256) / step + Fraction(rounding, 256)), limit)
        assert q[at] == np.sign(y[at]) * size
        nearest = int(16 * size * step + Fraction(1, 2))
        assert values[at] == np.sign(y[at]) * min(nearest, 32767)


@settings(deadline=None, max_examples=50)
@given(st.integers(1 << 14, 1 << 24))
def test_dequantised_y_is_within_half_a_step(step):
    steps = np.array([step], dtype=np.int32)
    y = np.linspace(-(1 << 19) + 8, (1 << 19) - 8, 4001).astype(np.int32).reshape(-1, 1, 1)
    q = quantisation.quantise(y, steps, 32767)
    values = quantisation.dequantise(q, steps)
    clipped = np.abs(q.astype(np.int64)) * step >= 32767 << 12
    error = np.abs(y / 256 - values / 16)
    assert (error[~clipped] <= step / (1 << 17) + 1 / 32).all()
    assert (np.diff(q.ravel()) >= 0).all()
    assert (np.diff(values.ravel()) >= 0).all()
    np.testing.assert_array_equal(quantisation.quantise(-y, steps, 32767), -q)
    np.testing.assert_array_equal(quantisation.dequantise(-q, steps), -values)


def test_less_rounding_widens_zero():
    steps = np.array([1 << 16], dtype=np.int32)
    y = np.arange(-600, 601, dtype=np.int32).reshape(-1, 1, 1)
    assert [(quantisation.quantise(y, steps, 9, r) == 0).sum() for r in (128, 64, 0)] == [255, 383, 511]


def test_every_symbol_is_dequantised():
    # Also what no encoder writes: the least int16 and the largest step.
    steps = np.array([1, 4096, (1 << 31) - 1], dtype=np.int32)
    q = np.array([-32768, -32767, -1, 0, 1, 32767], dtype=np.int16)[:, None, None].repeat(3, 2)
    values = quantisation.dequantise(q, steps)[:, 0]
    assert values[:, 0].tolist() == [-8, -8, 0, 0, 0, 8]
    assert values[:, 1].tolist() == [-32767, -32767, -1, 0, 1, 32767]
    assert values[:, 2].tolist() == [-32767, -32767, -32767, 0, 32767, 32767]
