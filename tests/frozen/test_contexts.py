"""Contexts are pixels of earlier waves only, and the compiled loop reads the right ones."""

import numpy as np
import pytest
from numba import njit
from support import tensor_model

from codec.constants import SLOPE
from codec.entropy import mixtures, rans
from codec.frozen import contexts, likelihood
from codec.frozen.contexts import neighbour, offsets, window
from codec.frozen.features import SpatialNetworks
from codec.frozen.shipped import WEIGHTS, load_model
from codec.frozen.weights import parse_model
from codec.vlae import wavefront
from codec.vlae.image import Image
from codec.vlae.pixels import band as band_of

SIZES = [(height, width) for height in range(1, 7) for width in range(1, 10)]
NUMBERS = [int(path.stem.rpartition("-")[2]) for path in sorted(WEIGHTS.glob("*.safetensors"))]
MODELS = {number: load_model(number) for number in NUMBERS} | {"tensor": parse_model(tensor_model.weights())}
RADII = [2, 4, 5]
WINDOWS = [(columns, rows) for columns in range(1, 10) for rows in range(1, 10)]


def test_a_model_ships():
    assert NUMBERS


def all_places(radius, height, width):
    """Return y, x, k, j of every pixel and context, as arrays (pixels, contexts)."""
    return places(offsets(radius), height, width)


def places(seen, height, width):
    """Return y, x, k, j of every pixel and context of ``seen`` (contexts, 2)."""
    y, x = (v.reshape(-1, 1) for v in np.mgrid[0:height, 0:width])
    k, j = seen.T[:, None, :]
    return np.broadcast_arrays(y, x, k, j)


@pytest.mark.parametrize("name", MODELS)
def test_contexts_of_models_are_legal(name):
    network = MODELS[name].network
    k, j = network.offsets.T
    assert (k >= 0).all()
    assert (j <= SLOPE * k - 1).all()
    assert max(k.max(), np.abs(j).max()) <= network.radius
    spatial = isinstance(MODELS[name].networks, SpatialNetworks)
    np.testing.assert_array_equal(network.offsets, window(7, 4) if spatial else offsets(network.radius))
    found = [(*network.offsets[place], weight) for place, weight in network.reference]
    assert found == (list(contexts.REFERENCE) if network.layout.references else [])
    assert sum(weight for *_, weight in found) in (0, 4)
    # Only a wave of its own rows: the tallest tile must reach all contexts above it in one band.
    assert network.radius <= network.tile


@pytest.mark.parametrize("radius", RADII)
def test_offsets_are_all_legal_places_within_the_radius(radius):
    square = {(k, j) for k in range(radius + 1) for j in range(-radius, radius + 1)}
    legal = {(k, j) for k, j in square if j <= SLOPE * k - 1 and k * k + j * j <= radius * (radius + 1)}
    found = [tuple(pair) for pair in offsets(radius).tolist()]
    assert len(found) == len(set(found))
    assert set(found) == legal
    assert found == sorted(found)


@pytest.mark.parametrize(("columns", "rows"), [*WINDOWS, (1, 0), (33, 16)])
def test_windows_are_all_legal_places_within_them(columns, rows):
    beside = columns // 2
    rectangle = {(k, j) for k in range(rows + 1) for j in range(-beside, beside + 1)}
    found = [tuple(pair) for pair in window(columns, rows).tolist()]
    assert len(found) == len(set(found))
    assert set(found) == {(k, j) for k, j in rectangle if j <= SLOPE * k - 1}
    assert found == sorted(found)
    assert window(columns, rows).shape == (len(found), 2)


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("size", SIZES)
def test_neighbours_belong_to_earlier_waves(size, radius):
    assert_earlier(size, offsets(radius))


@pytest.mark.parametrize("shape", WINDOWS, ids=str)
def test_neighbours_of_windows_belong_to_earlier_waves(shape):
    for size in SIZES:
        assert_earlier(size, window(*shape))


def assert_earlier(size, seen):
    height, width = size
    y, x, k, j = places(seen, height, width)
    at = neighbour(y, x, k, j, width)
    assert at.min() >= -1
    assert at.max() < height * width
    row, column = np.divmod(at, width)
    earlier = column + SLOPE * row < x + SLOPE * y
    assert (earlier | (at == -1)).all()
    # Only the very first pixel has none, and inside the image nothing is replaced.
    np.testing.assert_array_equal(at == -1, (y == 0) & (x == 0))
    inside = (y - k >= 0) & (x + j >= 0) & (x + j < width)
    np.testing.assert_array_equal(at[inside], ((y - k) * width + x + j)[inside])


def test_the_check_of_waves_sees_an_illegal_context():
    y, x, k, j = np.array([4]), np.array([4]), np.array([1]), np.array([SLOPE])
    row, column = np.divmod(neighbour(y, x, k, j, 9), 9)
    assert column + SLOPE * row >= x + SLOPE * y


@njit
def compiled_neighbours(y, x, k, j, width):
    at = np.zeros(y.size, dtype=np.int64)
    for i in range(y.size):
        at[i] = likelihood.neighbour(y[i], x[i], k[i], j[i], width)
    return at


@pytest.mark.parametrize("seen", [*map(offsets, RADII), window(9, 9), window(33, 16)], ids=len)
def test_compiled_neighbours_are_the_same(seen):
    for height, width in SIZES:
        y, x, k, j = (np.ascontiguousarray(v).reshape(-1) for v in places(seen, height, width))
        expected = neighbour(y, x, k, j, width)
        np.testing.assert_array_equal(compiled_neighbours(y, x, k, j, width), expected)


def gathered(image, network):
    """Return inputs (H W, channels P + references) and references (H W, channels), by whole arrays."""
    height, width, channels = image.shape
    coded = network.layout
    y, x = (v.reshape(-1, 1) for v in np.mgrid[0:height, 0:width])
    k, j = network.offsets.T
    at = neighbour(y, x, k, j, width)
    flat = image.reshape(-1, channels).astype(np.int64)
    samples = np.where((at < 0)[..., None], coded.missing, flat[at])
    total = sum(
        weight * samples[:, np.flatnonzero((k == up) & (j == right))[0]] for up, right, weight in contexts.REFERENCE
    )
    ref = np.clip((total + 2) // 4, coded.low, coded.high)
    ref[:, coded.references :] = 0
    differences = coded.compress[samples - ref[:, None] + coded.high - coded.low]
    levels = (ref[:, : coded.references] - coded.missing) // (1 << coded.level_shift)
    return np.concatenate([differences.reshape(len(ref), -1), levels], axis=1), ref


def compiled_inputs(model, image):
    """Return inputs and references of an image of one batch, as the compiled loop finds them."""
    pixels = image.shape[0] * image.shape[1]
    assert pixels <= wavefront.BATCH
    band = band_of(Image.of(model, image, 0), 0, None)
    work = likelihood.make_work(model.network, wavefront.BATCH)
    starts, freqs = (np.zeros(image.shape, dtype=np.uint32) for _ in range(2))
    unused, table = rans.empty_message(1), mixtures.load_tables()
    wavefront.code_band(wavefront.ENCODE, (0, 1, 1), band, model.network, table, unused, starts, freqs, work)
    count = image.shape[2] * len(model.network.offsets) + model.layout.references
    return work.inputs[:pixels, :count], work.ref[:pixels]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 3), (6, 9), (13, 17)])
def test_compiled_gather_is_the_same(name, size):
    model = MODELS[name]
    coded = model.layout
    shape = (*size, len(coded.order))
    image = np.random.default_rng(0).integers(coded.low, coded.high + 1, shape, dtype=model.kind.dtype)
    half = size[0] // 2
    image[:half] = np.where(image[:half] < coded.missing, coded.low, coded.high)  # references that must be clipped
    inputs, ref = compiled_inputs(model, image)
    expected_inputs, expected_ref = gathered(image, model.network)
    np.testing.assert_array_equal(ref, expected_ref)
    np.testing.assert_array_equal(inputs, expected_inputs)


@pytest.mark.parametrize("size", [*SIZES, (64, 5), (3, 70)])
def test_every_pixel_is_in_one_wave(size):
    rows, width = size
    seen = []
    for wave in range(wavefront.wave_count(width, rows)):
        first, count = wavefront._wave_rows(wave, width, rows)
        seen += [(y, wave - SLOPE * y) for y in range(first, first + count)]
    assert sorted(seen) == [(y, x) for y in range(rows) for x in range(width)]


@pytest.mark.parametrize("radius", RADII)
def test_a_band_lags_behind_all_it_reads(radius):
    rows, width = 8, 40
    y, x, k, j = all_places(radius, 2 * rows, width)
    row, column = np.divmod(neighbour(y, x, k, j, width), width)
    above = (y >= rows) & (row < rows)
    wave = x + SLOPE * (y - rows)  # of the lower band
    read = column + SLOPE * row  # of the upper band
    assert (read < wave + wavefront.lag(rows))[above].all()


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("seen", [window(9, 9), window(3, 16), offsets(5)], ids=len)
def test_low_bands_lag_behind_all_that_contexts_reach_over(rows, seen):
    bands, width = 6, 12
    y, x, k, j = places(seen, bands * rows, width)
    row, column = np.divmod(neighbour(y, x, k, j, width), width)
    wave = x + SLOPE * (y % rows)  # of the pixel's band
    read = column + SLOPE * (row % rows)  # of the band that is read
    above = y // rows - row // rows
    # In each band further up, ``lag`` more waves are done.
    assert (read < wave + above * wavefront.lag(rows))[(row >= 0) & (above > 0)].all()
    assert above.max() > 1
