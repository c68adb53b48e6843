"""Products of small integers equal integer arithmetic, whatever the shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from codec.constants import BIAS_LIMIT, SUM_LIMIT
from codec.networks import products

SHAPES = [(1, 1, 1), (5, 2, 3), (6, 7, 16), (7, 16, 17), (13, 93, 33), (50, 160, 160)]


@njit
def compiled_product(count, x, packed, out):
    products.product(count, x, packed, out)


@njit
def compiled_activate(sums, bias, shift, limit, out):
    products.activate(sums, bias, shift, limit, out)


def product(x, weight):
    """Return x W (rows, outputs) as compiled code computes it. Parts of the buffers that do not count hold garbage."""
    count, inputs = x.shape
    packed = products.pack(weight)
    rows = products.padded_rows(count)
    buffer = np.full((rows, 2 * packed.shape[1]), -12345, dtype=np.int16)
    buffer[:count, :inputs] = x
    out = np.full((rows, products.padded_columns(weight.shape[1]) + 3), 99, dtype=np.int32)
    compiled_product(count, buffer, packed, out)
    assert (out[:, products.padded_columns(weight.shape[1]) :] == 99).all()
    return out[:count, : weight.shape[1]]


@pytest.mark.parametrize(("count", "inputs", "outputs"), SHAPES)
def test_pack_is_undone(count, inputs, outputs):
    weight = np.random.default_rng(0).integers(-(2**15), 2**15, (inputs, outputs))
    full = products.unpack(products.pack(weight))
    np.testing.assert_array_equal(full[:inputs, :outputs], weight)
    assert full.shape == (inputs + inputs % 2, products.padded_columns(outputs))
    assert not full[inputs:].any()
    assert not full[:, outputs:].any()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 70), st.integers(1, 40), st.integers(0, 2**32))
def test_a_product_equals_integer_arithmetic(count, inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    x, weight = rng.integers(-2048, 2048, (count, inputs)), rng.integers(-1023, 1024, (inputs, outputs))
    np.testing.assert_array_equal(product(x, weight), x @ weight)


@pytest.mark.parametrize(("count", "inputs", "outputs"), SHAPES)
def test_sums_wrap_and_do_not_saturate(count, inputs, outputs):
    # Only with the largest magnitudes does the sum of a pair of products leave int32.
    x, weight = np.full((count, inputs), -(2**15)), np.full((inputs, outputs), -(2**15))
    np.testing.assert_array_equal(product(x, weight), (x @ weight).astype(np.int32))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 70), st.sampled_from([1, 1023, 32767]), st.integers(0, 2**32))
def test_activations_equal_integer_arithmetic(units, limit, seed):
    rng = np.random.default_rng(seed)
    room = SUM_LIMIT - BIAS_LIMIT
    sums, bias = rng.integers(-room, room + 1, units), rng.integers(-BIAS_LIMIT, BIAS_LIMIT + 1, units)
    shift = rng.integers(0, 32, units)
    out = np.full(units + 2, 7, dtype=np.int16)
    compiled_activate(sums.astype(np.int32), bias.astype(np.int32), shift.astype(np.int32), limit, out)
    np.testing.assert_array_equal(out[:units], np.clip((sums + bias) >> shift, 0, limit))
    assert (out[units:] == 7).all()
