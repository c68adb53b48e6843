"""The coder of whole tensors: every shape and error, threads, locality of q, damaged payloads."""

import threading

import numpy as np
import pytest

from codec.container import Latents
from codec.errors import CorruptDataError
from codec.model import load_model
from codec.rans import flatten, random_message
from codec.vlae import Image, _raster, decode, encode, quantise

MODEL = load_model()
SIZES = [(1, 1), (1, 40), (40, 1), (3, 5), (17, 300), (130, 70)]
PATIENCE = 60
"""Seconds after which a decoder is taken to hang."""


def noise(rng, height, width, channels):
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)


def gradient(rng, height, width, channels):
    y, x = np.mgrid[0:height, 0:width]
    planes = [(2 * y + 3 * x + 40 * c) % 256 for c in range(channels)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def photograph(rng, height, width, channels):
    y, x = np.mgrid[0:height, 0:width]
    planes = [110 + 60 * np.sin(x / 9 + c) + 40 * np.cos(y / 13) + rng.normal(0, 3, y.shape) for c in range(channels)]
    return np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)


def decoded(encoded, samples, max_error, **changes):
    """Return what `decode` makes of an encoded image, with some of its parts changed."""
    parts = {
        "payload": encoded.payload,
        "band_table": encoded.band_table,
        "shape": samples.shape,
        "max_error": max_error,
        "latents": encoded.latents,
        "lanes": encoded.lanes,
        "band_height": encoded.band_height,
    }
    return decode(MODEL, **(parts | changes))


def assert_comes_back(samples, max_error, latents):
    encoded = encode(MODEL, samples, max_error, latents)
    result = decoded(encoded, samples, max_error)
    np.testing.assert_array_equal(result, encoded.decoded)
    assert (result.shape, result.dtype) == (samples.shape, np.uint8)
    assert np.abs(result.astype(int) - samples).max() <= max_error
    assert len(encoded.payload) == 8 * encoded.lanes + 4 * encoded.band_table[: encoded.lanes].sum()
    return encoded


@pytest.mark.parametrize("latents", Latents)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_lossless_is_exact(size, channels, latents):
    samples = photograph(np.random.default_rng(0), *size, channels)
    assert assert_comes_back(samples, 0, latents).latents == latents


@pytest.mark.parametrize("max_error", [0, 1, 5, 10])
@pytest.mark.parametrize("draw", [noise, gradient, photograph])
@pytest.mark.parametrize("channels", [1, 3])
def test_no_sample_is_further_off_than_max_error(draw, channels, max_error):
    samples = draw(np.random.default_rng(1), 70, 50, channels)
    assert_comes_back(samples, max_error, Latents.BITS_BACK)


@pytest.mark.parametrize("max_error", range(11))
def test_quantise_puts_samples_on_the_grid(max_error):
    samples = np.arange(256, dtype=np.uint8)
    result = quantise(samples, max_error)
    assert np.abs(result.astype(int) - samples).max() == max_error
    np.testing.assert_array_equal(quantise(result, max_error), result)
    assert len(np.unique(result)) == (255 + max_error) // (2 * max_error + 1) + 1


def test_saturated_images_come_back():
    for value in (0, 255):
        samples = np.full((9, 300, 3), value, dtype=np.uint8)
        assert_comes_back(samples, 0, Latents.TWO_PART)


def test_latents_are_chosen_where_none_are_given():
    samples = photograph(np.random.default_rng(2), 130, 70, 3)
    chosen = assert_comes_back(samples, 0, None)
    assert chosen.payload == encode(MODEL, samples, 0, chosen.latents).payload


@pytest.mark.parametrize("latents", Latents)
def test_latents_of_the_bands(latents):
    samples = photograph(np.random.default_rng(2), 130, 70, 3)
    encoded = encode(MODEL, samples, 0, latents)
    assert len(encoded.band_table) == len(encoded.z) == -(-130 // MODEL.tile)
    for z in encoded.z:
        if latents == Latents.NONE:
            assert z is None
        else:
            assert z.shape == (-(-70 // MODEL.tile), MODEL.latents)


def test_bits_back_returns_bits():
    samples = photograph(np.random.default_rng(2), 5 * MODEL.tile, 70, 1)
    sizes = {latents: len(encode(MODEL, samples, 0, latents).payload) for latents in Latents}
    assert sizes[Latents.BITS_BACK] < sizes[Latents.TWO_PART]


@pytest.mark.parametrize("latents", Latents)
def test_threads_change_no_byte(latents):
    samples = photograph(np.random.default_rng(3), 200, 70, 3)
    one, two = (encode(MODEL, samples, 1, latents, threads=threads) for threads in (1, 2))
    assert one.lanes == 2
    assert one.payload == two.payload
    np.testing.assert_array_equal(one.band_table, two.band_table)
    for threads in (1, 2, 5, None):
        np.testing.assert_array_equal(decoded(one, samples, 1, threads=threads), one.decoded)


def test_a_repeated_encoding_is_the_same():
    samples = noise(np.random.default_rng(4), 20, 90, 3)
    assert encode(MODEL, samples, 0, None).payload == encode(MODEL, samples, 0, None).payload


def test_progress_counts_bands():
    samples = photograph(np.random.default_rng(3), 130, 30, 1)
    calls = []
    encoded = encode(MODEL, samples, 0, Latents.NONE, progress=lambda *call: calls.append(call))
    decoded(encoded, samples, 0, progress=lambda *call: calls.append(call))
    bands = len(encoded.band_table)
    assert sorted(calls) == sorted(2 * [(i + 1, bands) for i in range(bands)])


# ---- Locality of the posterior ----------------------------------------------------------------


def posteriors(samples):
    """Return the raw posterior parameters, by band and tile: (bands, across, latents, 3)."""
    image = Image(MODEL, _raster(samples), samples.shape[2], 0)
    return np.stack([image.posterior_raw(i).reshape(image.across, MODEL.latents, 3) for i in range(image.bands)])


@pytest.mark.parametrize("shape", [(3 * MODEL.tile, 2 * MODEL.tile, 3), (2 * MODEL.tile + 5, MODEL.tile + 9, 1)])
def test_a_posterior_sees_its_own_tile_only(shape):
    rng = np.random.default_rng(5)
    samples = photograph(rng, *shape)
    before = posteriors(samples)
    bands, across = before.shape[:2]
    for band in range(bands):
        for tile in range(across):
            changed = samples.copy()
            area = np.s_[band * MODEL.tile : (band + 1) * MODEL.tile, tile * MODEL.tile : (tile + 1) * MODEL.tile]
            changed[area] = noise(rng, *changed[area].shape)
            same = np.ones((bands, across), dtype=bool)
            same[band, tile] = False
            after = posteriors(changed)
            np.testing.assert_array_equal((after == before).all((2, 3)), same)


def test_pixels_below_a_band_change_nothing_of_it():
    rng = np.random.default_rng(6)
    samples = photograph(rng, 3 * MODEL.tile, 80, 3)
    changed = samples.copy()
    changed[MODEL.tile :] = noise(rng, *changed[MODEL.tile :].shape)
    images = [Image(MODEL, _raster(values), 3, 0) for values in (samples, changed)]
    np.testing.assert_array_equal(*(image.posterior_raw(0) for image in images))
    z = images[0].mode(0)
    one, other = (image.pixel_intervals(0, z) for image in images)
    np.testing.assert_array_equal(one.starts, other.starts)
    np.testing.assert_array_equal(one.freqs, other.freqs)
    one, other = (image.pixel_intervals(1, z) for image in images)
    assert (one.starts != other.starts).any()


def test_latents_change_what_pixels_cost():
    image = Image(MODEL, _raster(photograph(np.random.default_rng(6), 20, 30, 3)), 3, 0)
    z = np.full((1, MODEL.latents), 5)
    assert (image.pixel_intervals(0, z).freqs != image.pixel_intervals(0, None).freqs).any()


# ---- Damage -----------------------------------------------------------------------------------


def assert_refused(encoded, samples, **changes):
    """Check that decoding raises CorruptDataError, and that it ends."""
    outcome = []

    def work():
        try:
            outcome.append(decoded(encoded, samples, 0, **changes))
        except BaseException as error:  # any other kind is what this is about
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the decoder hangs"
    assert isinstance(outcome[0], CorruptDataError), outcome[0]


@pytest.fixture(scope="module", params=Latents, ids=lambda latents: latents.name)
def sound(request):
    """An encoded image of four bands in two lanes, and its samples."""
    samples = photograph(np.random.default_rng(7), 3 * MODEL.tile + 3, 23, 3)
    encoded = encode(MODEL, samples, 0, request.param)
    assert encoded.lanes == 2
    return encoded, samples


def test_the_sound_payload_is_accepted(sound):
    encoded, samples = sound
    np.testing.assert_array_equal(decoded(encoded, samples, 0), samples)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("cut", [1, 3, 4, 8, 400])
def test_a_cut_payload_is_refused(sound, cut, threads):
    encoded, samples = sound
    assert_refused(encoded, samples, payload=encoded.payload[:-cut], threads=threads)


@pytest.mark.parametrize("length", [0, 7, 8, 12])
def test_hardly_any_payload_is_refused(sound, length):
    encoded, samples = sound
    assert_refused(encoded, samples, payload=encoded.payload[:length])


@pytest.mark.parametrize("seed", range(6))
def test_a_changed_bit_is_refused(sound, seed):
    encoded, samples = sound
    payload = bytearray(encoded.payload)
    at = np.random.default_rng(seed).integers(len(payload))
    payload[at] ^= 1 << (seed % 8)
    assert_refused(encoded, samples, payload=bytes(payload), threads=1 + seed % 2)


def test_changed_words_at_both_ends_of_the_lanes_are_refused(sound):
    encoded, samples = sound
    second = 8 + 4 * int(encoded.band_table[0])
    for at in (0, 8, second - 4, second, second + 8, len(encoded.payload) - 4):
        payload = bytearray(encoded.payload)
        payload[at] ^= 1
        assert_refused(encoded, samples, payload=bytes(payload))


@pytest.mark.parametrize("band", range(4))
@pytest.mark.parametrize("words", [-1, 1])
def test_a_band_table_that_differs_is_refused(sound, band, words):
    encoded, samples = sound
    table = encoded.band_table.copy()
    table[band] += words
    assert_refused(encoded, samples, band_table=table)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_random_payloads_are_refused(sound, seed, threads):
    encoded, samples = sound
    lanes = [random_message(int(words), 2 * seed + i) for i, words in enumerate(encoded.band_table[:2])]
    assert_refused(encoded, samples, payload=b"".join(map(flatten, lanes)), threads=threads)


def test_other_sizes_are_refused(sound):
    encoded, samples = sound
    height, width, _ = samples.shape
    for shape in [(height, width + 1, 3), (height, width - 1, 3), (height - 1, width, 3), (height, width, 1)]:
        assert_refused(encoded, samples, shape=shape)


def test_another_band_height_is_refused(sound):
    encoded, samples = sound
    assert_refused(encoded, samples, band_height=2 * MODEL.tile)


def test_latents_of_another_kind_are_refused(sound):
    encoded, samples = sound
    for latents in set(Latents) - {encoded.latents}:
        assert_refused(encoded, samples, latents=latents)
