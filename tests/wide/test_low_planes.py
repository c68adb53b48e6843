"""The low bits of deep samples come back from any stream of their length, and cost little where they say little."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.errors import CorruptDataError
from codec.wide import low_planes

SHAPES = [(1, 1, 1), (1, 9, 3), (9, 1, 1), (4, 5, 3), (3, 2, 2)]


def drawn(shape, low_bits, seed=0):
    return np.random.default_rng(seed).integers(0, 1 << (8 + low_bits), shape).astype(np.uint16)


def high_of(values, low_bits):
    return (values >> low_bits).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("low_bits", range(1, 9))
def test_decode_inverts_encode(shape, low_bits):
    for values in (
        drawn(shape, low_bits),
        np.full(shape, (1 << (8 + low_bits)) - 1, np.uint16),
        np.zeros(shape, np.uint16),
    ):
        before = values.copy()
        chunk = low_planes.encode(values, low_bits)
        assert (low_planes.decode(high_of(values, low_bits), low_bits, chunk) == values).all()
        assert (values == before).all()


@given(high=st.binary(min_size=12, max_size=12), low_bits=st.integers(1, 8), chunk=st.binary(max_size=40))
def test_noise_is_refused_or_the_only_stream_of_its_samples(high, low_bits, chunk):
    planes = np.frombuffer(high, np.uint8).reshape(2, 2, 3)
    try:
        values = low_planes.decode(planes, low_bits, chunk)
    except CorruptDataError:
        return
    assert (high_of(values, low_bits) == planes).all()
    assert len(low_planes.encode(values, low_bits)) == len(chunk)


def test_other_lengths_are_refused():
    values = drawn((6, 7, 3), 5)
    chunk = low_planes.encode(values, 5)
    for wrong in (chunk[: len(chunk) // 2], chunk + b"\0", b""):
        with pytest.raises(CorruptDataError, match="low planes: expected"):
            low_planes.decode(high_of(values, 5), 5, wrong)


def test_noise_costs_hardly_more_than_its_bits_and_a_slope_less():
    noise = drawn((64, 64, 3), 8)
    assert len(low_planes.encode(noise, 8)) < 1.03 * noise.size
    y, x = np.mgrid[0:64, 0:64]
    slope = (300 * x + 170 * y)[:, :, None].astype(np.uint16)
    assert len(low_planes.encode(slope, 8)) < 0.8 * slope.size
