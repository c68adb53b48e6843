"""The gradient of a tensor's bits: it is that of the coder's bits, in each way that a value changes them."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import plain_model, tensor_model
from support.tensor_model import CHANNELS, GROUPS, LIMIT

from codec.constants import COMPONENTS
from codec.encoder import bits_gradient as module
from codec.encoder.bits_gradient import bits_gradient
from codec.encoder.mixture_gradient import make_mixtures, mixture_gradient, power_of_two
from codec.entropy.mixtures import ideal_bits as exact_bits
from codec.entropy.mixtures import ideal_bits_gradient, load_tables, number_grid, prepare, symbol_of
from codec.entropy.rate_distortion import FINE
from codec.frozen import likelihood
from codec.frozen.likelihood import make_work
from codec.frozen.weights import parse_model
from codec.vlae.image import Image
from codec.vlae.pixels import band as band_of
from codec.vlae.pixels import intervals

SCALE = 130


def wide_weights():
    """Return the weights of a model whose scales are about 16 steps, so that bits are smooth over a step or two."""
    tensors = plain_model.random_tensors(1)
    bias = tensors["likelihood.outputs.bias"].reshape(GROUPS, CHANNELS // GROUPS, 3, -1)
    bias[:, :, 2] += (SCALE - 50) * 2000
    return plain_model.weights(tensors=tensors)


MODEL = parse_model(wide_weights())
CONDITION = 3
REFERENCES = MODEL.layout.references


def found(values, model=MODEL, workers=1):
    with ThreadPoolExecutor(workers) as pool:
        return sum(bits_gradient(model, values, CONDITION, pool, workers))


def ideal_bits(tensor, model=MODEL):
    image = Image.of(model, tensor, CONDITION)
    return sum(intervals(image, index, None, ideal=True).ideal_bits for index in range(image.bands))


def whole(tensor):
    return (FINE * tensor).astype(np.int16)


def smooth(height, width, seed=0):
    """Return a tensor whose values are so far from the limits that they can be moved."""
    return np.clip(tensor_model.draw(height, width, seed), 2 - LIMIT, LIMIT - 2).astype(np.int16)


@pytest.mark.parametrize(
    "chosen",
    [slice(0, REFERENCES), slice(REFERENCES, CHANNELS), *np.split(np.arange(CHANNELS), GROUPS)],
    ids=["with references", "without", *(f"group {group}" for group in range(GROUPS))],
)
@pytest.mark.parametrize(("shape", "count"), [((9, 31), 1), ((2, 3), 20), ((1, 9), 20), ((9, 1), 20)])
def test_it_holds_in_its_own_direction(chosen, shape, count):
    # Activations are rounded, and the gradient looks through that: it holds for sums over many values.
    promised = difference = 0.0
    for seed in range(count):
        tensor = smooth(*shape, seed)
        gradient = found(whole(tensor))
        change = np.zeros_like(tensor)
        change[..., chosen] = np.sign(gradient[..., chosen])
        promised += float((gradient * change).sum())
        difference += (ideal_bits(tensor + change) - ideal_bits(tensor - change)) / 2
    # Around 0, compressed values change by a fifth less over a step than their derivative says.
    assert difference == pytest.approx(promised, rel=0.2)


def test_integers_are_seen_as_the_coder_sees_them():
    tensor = tensor_model.draw(7, 11)
    places = np.arange(7 * 11)
    seen = []
    for values, layout, gather in (
        (tensor, MODEL.layout, lambda *args: likelihood._gather(*args)),
        (whole(tensor), module._finer(MODEL.layout), lambda *args: module._gather(*args, np.zeros((77, 9), np.int64))),
    ):
        network = MODEL.network._replace(layout=layout)
        work = make_work(network, len(places))
        work.ys[:], work.xs[:] = np.divmod(places, 11)
        band = band_of(Image.of(MODEL, tensor, CONDITION), 0, None)._replace(rows=7, image=values.reshape(-1))
        gather(len(places), band, network, work)
        seen.append((work.inputs, work.ref))
    (inputs, ref), (fine_inputs, fine_ref) = seen
    np.testing.assert_array_equal(inputs, fine_inputs)
    np.testing.assert_array_equal(FINE * ref, fine_ref)


def test_the_derivative_of_compressed_values_is_that_of_the_table():
    table = MODEL.layout.compress.astype(float)
    zero = MODEL.layout.high - MODEL.layout.low
    slopes = [float(module._slope(FINE * d)) for d in range(1, zero)]
    np.testing.assert_allclose(slopes, (table[zero + 2 :] - table[zero:-2]) / 2, rtol=0.05, atol=0.51)


def test_threads_change_nothing():
    values = np.random.default_rng(2).integers(-FINE * LIMIT // 4, FINE * LIMIT // 4, (40, 37, CHANNELS), np.int16)
    expected = found(values)
    assert np.isfinite(expected).all()
    assert (expected != 0).mean() > 0.99
    for workers in (2, 3):
        np.testing.assert_array_equal(found(values, workers=workers), expected)


def test_strips_join():
    # Sums are made in another order then, so that results differ by rounding.
    values = whole(smooth(40, 37))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STRIP", 40 * 37)
        expected = found(values)
    np.testing.assert_allclose(found(values), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2)])
def test_small_tensors(shape):
    assert np.isfinite(found(whole(tensor_model.draw(*shape)))).all()


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((3, 3, CHANNELS), np.int32),
        np.zeros((3, 3, CHANNELS + 1), np.int16),
        np.full((3, 3, CHANNELS), FINE * LIMIT + 1, np.int16),
        np.full((3, 3, CHANNELS), -FINE * LIMIT - 1, np.int16),
    ],
)
def test_other_values_are_refused(values):
    with pytest.raises(ValueError, match="values: expected int16"):
        found(values)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, COMPONENTS), st.integers(0, 2**32))
def test_mixtures_have_the_derivatives_of_the_coder(mixtures, seed):
    rng = np.random.default_rng(seed)
    grid = number_grid(-LIMIT, LIMIT)
    values, m = rng.integers(-6, 7, 50), mixtures
    raw = np.concatenate(
        [rng.integers(-100, 100, (m, 50)), rng.integers(-1500, 1500, (m, 50)), rng.integers(-150, 240, (m, 50))]
    )
    expected, likely = np.zeros((50, 3 * m), dtype=np.float32), np.zeros(50, dtype=bool)
    for i, value in enumerate(values):
        prepared, own = np.zeros(3 * COMPONENTS, dtype=np.int64), np.ascontiguousarray(raw[:, i])
        prepare(own, m, 0, prepared, load_tables())
        ideal_bits_gradient(symbol_of(value, grid), grid, m, own, prepared, load_tables(), expected[i])
        likely[i] = exact_bits(symbol_of(value, grid), grid, m, own, 0, False) < 12  # else the tables are coarse
    mixed = make_mixtures(m, 64)
    mixed.values[:50] = values
    mixed.logits[:, :50], mixed.means[:, :50], mixed.scales[:, :50] = raw.reshape(3, m, 50)
    mixture_gradient(50, m, mixed)
    result = np.concatenate([mixed.logits, mixed.means, mixed.scales])[:, :50].T
    np.testing.assert_allclose(result[likely], expected[likely], rtol=0.05, atol=3e-4)


def test_powers_of_two():
    x = np.linspace(-126, 127, 10001, dtype=np.float32)
    powers = np.array([power_of_two(each) for each in x], dtype=np.float64)
    np.testing.assert_allclose(powers, 2.0 ** x.astype(np.float64), rtol=2.0**-21)
