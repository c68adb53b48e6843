"""The adaptation of the likelihood's biases: its chunk both ways, and damage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.constants import ADAPTATION_LIMIT
from codec.entropy import rans
from codec.entropy.bits_back import mixture, uniform
from codec.errors import CorruptDataError
from codec.frozen.shipped import load_model
from codec.vlae.adaptation import GRID, bias_codec, ideal_bits, layers, pack, unpack

MODEL = load_model()
NETWORK = MODEL.network
LAYERS = layers(NETWORK)
COUNT = len(MODEL.adaptation_units)


@st.composite
def adaptations(draw):
    """Return u (bias count,), in each layer narrow, wide or zero, and sometimes at the limit."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    u = np.zeros(COUNT, dtype=np.int64)
    for part in LAYERS:
        width = draw(st.sampled_from([0, 1, 3, 20, ADAPTATION_LIMIT]))
        u[part] = rng.integers(-width, width + 1, part.stop - part.start)
    far = draw(st.lists(st.integers(0, COUNT - 1), max_size=3))
    u[far] = draw(st.sampled_from([-ADAPTATION_LIMIT, ADAPTATION_LIMIT]))
    return u


def some_u():
    rng = np.random.default_rng(0)
    return np.rint(rng.normal(0, np.repeat([1, 2, 3, 4], [p.stop - p.start for p in LAYERS]))).astype(np.int64)


def test_the_layers_are_the_hidden_ones_and_the_heads():
    width, head = len(NETWORK.shift2), NETWORK.conditioning.shape[1]
    assert [part.stop - part.start for part in LAYERS] == [width, width, width, 3 * head]
    assert LAYERS[-1].stop == COUNT


@settings(deadline=None, max_examples=25)
@given(adaptations())
def test_unpack_undoes_pack(u):
    chunk = pack(u, NETWORK)
    np.testing.assert_array_equal(unpack(chunk, NETWORK), u)
    # The length is the ideal one, plus the head, of which a part of a bit may be unused, and the rest of a word.
    assert -1 < 8 * len(chunk) - 31 - ideal_bits(u, NETWORK) <= 64 + 0.01 * COUNT


def test_no_adaptation_is_an_empty_chunk():
    assert pack(None, NETWORK) == b""
    assert unpack(b"", NETWORK) is None
    assert ideal_bits(None, NETWORK) == 0


def test_numbers_cost_what_their_spread_needs():
    rng = np.random.default_rng(1)
    for spread in (0.3, 2, 15, 40):
        u = np.clip(np.rint(rng.logistic(0, spread, COUNT)), -ADAPTATION_LIMIT, ADAPTATION_LIMIT).astype(np.int64)
        frequencies = np.unique(u, return_counts=True)[1] / COUNT
        entropy = -(frequencies * np.log2(frequencies)).sum() * COUNT
        smooth = COUNT * (np.log2(spread) + 2 / np.log(2))
        assert 8 * len(pack(u, NETWORK)) < max(entropy, smooth) * 1.1 + 120
    assert len(pack(np.zeros(COUNT, dtype=np.int64), NETWORK)) < 40


def with_scales(scales, u):
    """Return the chunk of u with the given bytes as scales of its layers."""
    raw = np.zeros((COUNT, 3), dtype=np.int64)
    for part, scale in zip(LAYERS, scales, strict=True):
        raw[part, 2] = scale - 96
    message = mixture(raw, GRID).push(rans.empty_message(), u + ADAPTATION_LIMIT)
    return rans.flatten(uniform(4, 8).push(message, np.array(scales)))


@pytest.mark.parametrize("scales", [(0, 0, 0, 0), (255, 255, 255, 255), (7, 100, 201, 50)])
def test_every_scale_is_read(scales):
    # The encoder tries few of them; a decoder takes all.
    np.testing.assert_array_equal(unpack(with_scales(scales, some_u()), NETWORK), some_u())


def test_u_pops_after_its_scales_in_the_order_of_the_biases():
    message, scales = uniform(4, 8).pop(rans.unflatten(pack(some_u(), NETWORK)))
    assert set(scales % 8) == {0}
    assert (np.diff(scales) > 0).all()  # as the spread of `some_u` does
    raw = np.zeros((COUNT, 3), dtype=np.int64)
    raw[:, 2] = np.repeat(scales, [part.stop - part.start for part in LAYERS]) - 96
    message, symbols = mixture(raw, GRID).pop(message)
    np.testing.assert_array_equal(symbols - ADAPTATION_LIMIT, some_u())
    assert rans.is_empty(message)


def test_every_cut_is_refused():
    chunk = pack(some_u(), NETWORK)
    for length in range(1, len(chunk)):
        with pytest.raises(CorruptDataError):
            unpack(chunk[:length], NETWORK)


def test_every_longer_chunk_is_refused():
    chunk = pack(some_u(), NETWORK)
    for extra in (b"\0", bytes(2), bytes(4), b"word", bytes(8), chunk):
        with pytest.raises(CorruptDataError):
            unpack(chunk + extra, NETWORK)
    with pytest.raises(CorruptDataError, match="holds more than its biases"):
        unpack(bytes(4) + chunk, NETWORK)
    with pytest.raises(CorruptDataError, match="holds more than its biases"):
        unpack(rans.flatten(bias_codec(NETWORK).push(rans.random_message(0, 1), some_u())), NETWORK)


def test_flipped_bits_are_refused():
    chunk = pack(some_u(), NETWORK)
    bits = [*range(64), *np.random.default_rng(2).integers(64, 8 * len(chunk), 150).tolist()]
    for bit in bits:
        damaged = bytearray(chunk)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptDataError):
            unpack(bytes(damaged), NETWORK)


@settings(deadline=None, max_examples=60)
@given(st.binary(min_size=1, max_size=3000))
def test_noise_is_refused(chunk):
    with pytest.raises(CorruptDataError):
        unpack(chunk, NETWORK)
