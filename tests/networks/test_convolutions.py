"""Layers equal integer arithmetic, whatever their shape and stride, up to the largest sums."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.constants import EXACT
from codec.networks import checks, convolutions
from codec.networks.convolutions import Layer, Output, blank_plane, run_layer
from codec.networks.products import pack


def layer_values(seed):
    """Return (x, weight, biases, shift) of a layer whose bound is nearly reached."""
    rng = np.random.default_rng(seed)
    n, inputs, outputs = (int(v) for v in rng.integers(1, 130, 3))
    weight = rng.integers(-127, 128, (inputs, outputs))
    weight[0] = 127
    biases = rng.integers(-(1 << 22), (1 << 22) + 1, (3, outputs))
    limit = min(int((EXACT - (1 << 22)) // np.abs(weight).sum(0).max()), 32767)
    x = rng.integers(-limit, limit + 1, (n, inputs))
    x[0] = limit
    checks.check_bound("test", weight, limit, float(1 << 22))
    return x, weight, biases, rng.integers(0, 32, outputs)


def layer_of(weight, biases, shift, side, stride=1):
    return Layer(pack(weight), biases.astype(np.int32), shift.astype(np.int32), side, stride)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2), st.sampled_from([1, 4095, 32767]))
def test_dense_equals_integer_arithmetic(seed, level, limit):
    x, weight, biases, shift = layer_values(seed)
    found = convolutions.dense(x, layer_of(weight, biases, shift, 1), level, limit)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, np.clip((x @ weight + biases[level]) >> shift, 0, limit))


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(30, 40))
def test_output_equals_integer_arithmetic(seed, shift):
    x, weight, biases, _ = layer_values(seed)
    multiplier = np.random.default_rng(seed).integers(-(1 << 38), (1 << 38) + 1, biases.shape[1])
    layer = Output(pack(weight), biases[0].astype(np.int64), multiplier, shift)
    sums, factors, half = (x @ weight + biases[0]).tolist(), multiplier.tolist(), 1 << (shift - 1)
    expected = [[(s * m + half) >> shift for s, m in zip(row, factors, strict=True)] for row in sums]
    found = convolutions.output(x.astype(np.int16), layer)
    assert found.dtype == np.int64
    assert found.tolist() == expected


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize(("down", "across", "channels"), [(1, 1, 1), (2, 3, 3), (4, 1, 5), (13, 17, 2)])
def test_a_convolution_equals_a_loop(down, across, channels, side, stride):
    rng = np.random.default_rng(side)
    x = rng.integers(-300, 301, (stride * down, stride * across, channels))
    weight = rng.integers(-100, 101, (side * side * channels, 7))
    biases, shift = rng.integers(-9000, 9001, (1, 7)), rng.integers(0, 6, 7)
    expected = np.zeros((down, across, 7), dtype=np.int64)
    for y, column in np.ndindex(down, across):
        seen = np.zeros((side, side, channels), dtype=np.int64)
        for i, j in np.ndindex(side, side):
            row, place = stride * y + i - side // 2, stride * column + j - side // 2
            if 0 <= row < len(x) and 0 <= place < x.shape[1]:
                seen[i, j] = x[row, place]
        expected[y, column] = np.clip((seen.reshape(-1) @ weight + biases[0]) >> shift, 0, 2047)
    plane, inner = blank_plane(x.shape[:2], channels)
    inner[...] = x
    out, found = blank_plane((down, across), 7)
    for worker in range(2):
        run_layer(worker, 2, (down, across), plane, layer_of(weight, biases, shift, side, stride), 0, 2047, False, out)
    np.testing.assert_array_equal(found, expected)
