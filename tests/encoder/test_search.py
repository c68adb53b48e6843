"""The search for an adaptation: its gradient is right, it looks at pixels of the whole image, and it shortens files."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.commands import demo
from codec.constants import ADAPTATION_LIMIT, ADAPTATION_STEP, COMPONENTS
from codec.encoder import search
from codec.encoder.backward import GRADIENT_BITS, PIECE, before, make_back, unit_of
from codec.encoder.estimates import ESTIMATE_EVERY
from codec.encoder.search import adapt
from codec.entropy.mixtures import ideal_bits as exact_bits
from codec.entropy.mixtures import ideal_bits_gradient, load_tables, prepare, sample_grid
from codec.frozen.likelihood import make_work
from codec.frozen.shipped import load_model
from codec.networks import products
from codec.vlae.adaptation import layers
from codec.vlae.image import Image
from codec.vlae.latents import mode
from codec.vlae.pixels import band as band_of
from codec.vlae.pixels import intervals

MODEL = load_model()
NETWORK = MODEL.network
LAYERS = layers(NETWORK)
COUNT = len(MODEL.adaptation_units)


def image_of(samples, max_error=0):
    return Image.of(MODEL, samples, max_error)


def small_photo(channels):
    """Return samples of one band and tile: a cut of the demo picture, all channels or green."""
    cut = demo.draw()[:64, :64]
    return np.ascontiguousarray(cut if channels == 3 else cut[..., 1:2])


def gradient_of(image, z):
    """Return the gradient of the ideal bits of band 0 by a unit of adaptation, (bias count,)."""
    network = image.model.network
    band, work, back = band_of(image, 0, z), make_work(network, PIECE), make_back(network)
    sums = np.zeros(COUNT)
    for begin in range(0, band.rows * band.width, PIECE):
        places = np.arange(begin, begin + PIECE)
        work.ys[:], work.xs[:] = np.divmod(places, band.width)
        search._piece_gradient(len(places), band, network, load_tables(), work, back, sums)
    return ADAPTATION_STEP * sums


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "rgb"])
def searched(request):
    """Return the gradient, and the ideal bits of the image as a function of u."""
    image = image_of(small_photo(request.param))
    z = mode(image, 0)

    def bits(u):
        return intervals(replace(image, moved=u), 0, z, ideal=True).ideal_bits

    return gradient_of(image, z), bits


@pytest.mark.parametrize("layer", range(4))
def test_the_gradient_is_that_of_the_ideal_bits(searched, layer):
    # Activations are rounded, and the gradient looks through that: it holds for sums over many pixels.
    gradient, bits = searched
    part = LAYERS[layer]
    chosen = part.start + np.argsort(-np.abs(gradient[part]))[:8]
    differences = []
    for i in chosen:
        u = np.zeros(COUNT, dtype=np.int64)
        u[i] = 2
        differences.append((bits(u) - bits(-u)) / 4)
    assert np.corrcoef(differences, gradient[chosen])[0, 1] > 0.9
    assert gradient[chosen] @ differences == pytest.approx(gradient[chosen] @ gradient[chosen], rel=0.25)


@pytest.mark.parametrize("layer", [*range(4), None])
def test_the_gradient_holds_in_its_own_direction(searched, layer):
    gradient, bits = searched
    part = slice(0, COUNT) if layer is None else LAYERS[layer]
    u = np.zeros(COUNT, dtype=np.int64)
    u[part] = np.sign(gradient[part])
    difference = (bits(u) - bits(-u)) / 2
    assert difference == pytest.approx(gradient @ u, rel=0.25)


def head_of(place):
    """Return the slice of the biases of a place's head."""
    head = NETWORK.conditioning.shape[1]
    begin = LAYERS[3].start + place * head
    return slice(begin, begin + head)


@pytest.mark.parametrize("searched", [3], indirect=True, ids=["rgb"])
@pytest.mark.parametrize("place", range(3))
def test_the_gradient_of_each_head(searched, place):
    gradient, bits = searched
    part = head_of(place)
    u = np.zeros(COUNT, dtype=np.int64)
    u[part] = np.sign(gradient[part])
    assert (bits(u) - bits(-u)) / 2 == pytest.approx(gradient @ u, rel=0.04)


@pytest.mark.parametrize("place", [1, 2])
def test_the_gradient_of_the_coefficients(place):
    # The mixtures of this network are always the same, except that channels coded before move them.
    outputs = np.stack([products.unpack(packed) for packed in NETWORK.outputs])
    outputs[..., : 3 * NETWORK.mixtures] = 0
    outputs = np.stack([products.pack(weight) for weight in outputs])
    model = replace(MODEL, network=NETWORK._replace(outputs=outputs))
    image = replace(image_of(small_photo(3)), model=model)
    gradient = gradient_of(image, None)
    assert (gradient[head_of(0)] == 0).all()
    u = np.zeros(COUNT, dtype=np.int64)
    u[head_of(place)] = np.sign(gradient[head_of(place)])
    bits = [intervals(replace(image, moved=moved), 0, None, ideal=True).ideal_bits for moved in (u, -u)]
    assert (bits[0] - bits[1]) / 2 == pytest.approx(gradient @ u, rel=0.1)
    assert gradient @ u > 1


@settings(deadline=None, max_examples=40)
@given(st.integers(1, COMPONENTS), st.integers(0, 10), st.integers(0, 2**32))
def test_the_gradient_of_raw_parameters(mixtures, max_error, seed):
    rng = np.random.default_rng(seed)
    logits, scales = rng.integers(-100, 100, mixtures), rng.integers(-60, 200, mixtures)
    means = 256 * 120 + rng.integers(-3000, 3000, mixtures)
    raw = np.concatenate([logits, means, scales])
    grid = sample_grid(120, max_error)
    prepared, gradient = np.zeros(3 * COMPONENTS, dtype=np.int64), np.zeros(3 * mixtures, dtype=np.float32)
    prepare(raw, mixtures, 0, prepared, load_tables())
    for symbol in {0, grid.count - 1, *rng.integers(100, 140, 4) // (2 * max_error + 1)}:
        bits = exact_bits(symbol, grid, mixtures, raw.astype(float), 0, False)
        if bits > 12:  # the tables are coarse there
            continue
        ideal_bits_gradient(symbol, grid, mixtures, raw, prepared, load_tables(), gradient)
        for i in range(3 * mixtures):
            step = np.zeros(3 * mixtures)
            step[i] = 0.5
            above, below = (exact_bits(symbol, grid, mixtures, raw + sign * step, 0, False) for sign in (1, -1))
            difference = above - below
            assert gradient[i] == pytest.approx(difference, rel=0.05, abs=2e-4)


def test_a_scale_out_of_range_has_no_gradient():
    grid, gradient, prepared = (
        sample_grid(0, 0),
        np.zeros(3, dtype=np.float32),
        np.zeros(3 * COMPONENTS, dtype=np.int64),
    )
    for scale, moves in ((-129, False), (-128, True), (100, True), (224, True), (225, False)):
        raw = np.array([0, 256 * 10 + 20, scale])
        prepare(raw, 1, 0, prepared, load_tables())
        ideal_bits_gradient(10, grid, 1, raw, prepared, load_tables(), gradient)
        assert (gradient[2] != 0) == moves


def test_biases_of_heads_that_are_not_used_stay():
    head = NETWORK.conditioning.shape[1]
    for channels in (1, 3):
        image = image_of(small_photo(channels))
        gradient = gradient_of(image, None)
        assert (gradient[LAYERS[3]][channels * head :] == 0).all()
        assert (gradient[LAYERS[3]][: channels * head] != 0).mean() > 0.5


@pytest.mark.parametrize("scale", [1e-20, 1.0, 3e7])
def test_gradients_go_back_through_a_layer(scale):
    rng = np.random.default_rng(3)
    width, pixels = len(NETWORK.shift2), 7
    weight = products.unpack(NETWORK.w2)[:width, :width].astype(float)
    gradient = (rng.normal(0, scale, (pixels, width)) * np.logspace(0, -6, pixels)[:, None]).astype(np.float32)
    gradient[3] = 0
    units = np.array([unit_of(row, GRADIENT_BITS) for row in gradient])
    result = np.zeros_like(gradient)
    back = make_back(NETWORK)
    before(pixels, gradient, *back.w2, back.rounding, result)
    # Every pixel's gradients have a unit of their own, a power of two.
    np.testing.assert_array_equal(np.frexp(units)[0], 0.5)
    largest = np.abs(back.rounding.rounded[:pixels, :width]).max(1)
    assert (np.delete(largest, 3) >= 1 << (GRADIENT_BITS - 1)).all()
    assert (largest <= 1 << GRADIENT_BITS).all()
    assert (result[3] == 0).all()
    rounding = units[:, None] / 2 * np.abs(weight).sum(1)
    assert (np.abs(result - gradient.astype(float) @ weight.T) <= rounding * (1 + 1e-5)).all()


def found(image, steps=4):
    with ThreadPoolExecutor(1) as pool:
        return adapt(image, False, steps, pool, 1)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_image_of_one_colour_can_be_searched(value):
    u = found(image_of(np.full((20, 30, 3), value, dtype=np.uint8)))
    assert np.abs(u).max() <= ADAPTATION_LIMIT


@pytest.mark.parametrize("max_error", [0, 4])
def test_the_search_shortens_what_it_looks_at(max_error):
    image = image_of(small_photo(3), max_error)
    before = intervals(image, 0, None, ideal=True).ideal_bits
    u = found(image, 48)
    assert np.abs(u).max() > 0
    assert intervals(replace(image, moved=u), 0, None, ideal=True).ideal_bits < 0.985 * before


@pytest.mark.parametrize(("height", "width"), [(128, 256), (512, 768), (480, 640), (300, 400)])
def test_the_search_looks_at_all_rows_and_columns(monkeypatch, height, width):
    # Pictures with a past as JPEG, or scaled up, differ from column to column.
    seen = np.zeros((height, width), dtype=bool)

    def record(count, band, network, table, work, *_):
        seen[work.ys[:count], work.xs[:count]] = True

    monkeypatch.setattr(search, "_piece_gradient", record)
    found(image_of(np.zeros((height, width, 3), dtype=np.uint8)), search.STEPS)
    assert seen.mean() > 0.5 * search.STEPS * search.PIXELS / seen.size or seen.all()
    for modulus in (2, 3, 4, 8):
        for phase in range(modulus):
            assert seen[phase::modulus].any()
            assert seen[:, phase::modulus].any()


@pytest.mark.parametrize("width", [512, 768, 1024])
def test_estimates_look_at_all_columns(width):
    image = image_of(np.zeros((64, width, 3), dtype=np.uint8))
    freqs = intervals(image, 0, None, every=ESTIMATE_EVERY).freqs
    assert (freqs > 0).any((0, 2)).all()
