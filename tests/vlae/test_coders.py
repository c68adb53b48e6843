"""The coder of whole tensors: every shape and error, adaptation, threads, locality of q, damaged payloads."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from codec.commands import demo
from codec.encoder import encoding, estimates, search
from codec.encoder.rounding import rounded
from codec.encoder.search import adapt
from codec.entropy.bits_back import Codec
from codec.entropy.rans import DryMessageError, flatten, random_message
from codec.entropy.stack import Stack
from codec.errors import CorruptDataError, ModelError
from codec.format.container import Container
from codec.format.headers import CodingHeader, Fidelity, Header, Latents
from codec.frozen.shipped import load_model
from codec.vlae import coders, latents
from codec.vlae.decoding import decode
from codec.vlae.image import LANE_BYTES, Image
from codec.vlae.latents import mode, posterior_raw
from codec.vlae.pixels import intervals

MODEL = load_model()
CRC = 0x1234567
"""The checksum that is coded with all samples."""
encode = partial(encoding.encode, checksum=lambda _: CRC)
SIZES = [(1, 1), (1, 40), (40, 1), (3, 5), (17, 300), (130, 70)]
PATIENCE = 60
"""Seconds after which a decoder counts as hanging."""


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


def decoded(encoded, samples, max_error, *, threads=None, progress=None, **changes):
    """Return the result of `decode` for an encoded image, with some parts of its file changed."""
    height, width, channels = changes.pop("shape", samples.shape)
    expected = changes.pop("samples_crc", CRC)
    parts = {
        name: changes.pop(name, getattr(encoded, name))
        for name in ("latents", "lanes", "lane_table", "adaptation", "payload")
    }
    assert not changes
    fidelity = Fidelity.NEAR_LOSSLESS if max_error else Fidelity.LOSSLESS
    coding = CodingHeader(parts.pop("latents"), parts.pop("lanes"), MODEL.number, MODEL.hash[:2])
    header = Header(fidelity, "RGB" if channels == 3 else "L", max_error, width, height)
    file = Container(header=header, coding=coding, metadata=b"", alpha=b"", **parts)
    image, samples_crc = decode(MODEL, file, threads=threads, progress=progress)
    if samples_crc != expected:
        raise CorruptDataError("another checksum")
    return image


def assert_comes_back(samples, max_error, latents):
    encoded = encode(MODEL, samples, max_error, latents)
    result = decoded(encoded, samples, max_error).samples
    np.testing.assert_array_equal(result, encoded.samples)
    assert (result.shape, result.dtype) == (samples.shape, np.uint8)
    assert np.abs(result.astype(int) - samples).max() <= max_error
    assert len(encoded.payload) == sum(encoded.lane_table)
    return encoded


def image_of(samples, max_error=0):
    """Return samples as an `Image` that is to be encoded."""
    return Image.of(MODEL, samples, max_error)


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
    assert_comes_back(samples, max_error, Latents.TWO_PART)


@pytest.mark.parametrize("latents", [Latents.NONE, Latents.TWO_PART])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [*SIZES, (70, 2)], ids=str)
def test_near_lossless_comes_back_in_every_size(size, channels, latents):
    samples = photograph(np.random.default_rng(0), *size, channels)
    assert assert_comes_back(samples, 4, latents).latents == latents


def test_near_lossless_rounds_around_what_the_model_predicts():
    samples = np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    encoded = assert_comes_back(samples, 3, Latents.NONE)
    # A fixed grid would leave 37 values; here every value occurs, and every error is as frequent.
    assert len(np.unique(encoded.samples)) > 230
    errors = np.bincount((encoded.samples.astype(int) - samples + 3).reshape(-1))
    np.testing.assert_allclose(errors / samples.size, np.full(7, 1 / 7), atol=0.03)


def test_a_larger_error_is_shorter():
    samples = photograph(np.random.default_rng(4), 70, 60, 3)
    sizes = [len(encode(MODEL, samples, d, Latents.NONE).payload) for d in range(11)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 11


@pytest.mark.parametrize("max_error", [1, 10])
def test_near_lossless_cannot_use_bits_back(max_error):
    samples = photograph(np.random.default_rng(4), 150, 60, 1)
    asked, given = (encode(MODEL, samples, max_error, mode) for mode in (Latents.BITS_BACK, Latents.TWO_PART))
    assert asked.latents == Latents.TWO_PART
    assert asked.payload == given.payload
    assert encode(MODEL, samples, max_error, None).latents != Latents.BITS_BACK


@pytest.mark.parametrize("max_error", range(1, 11))
@pytest.mark.parametrize("channels", [1, 3])
def test_rounded_samples_are_those_of_a_plain_file(channels, max_error):
    samples = photograph(np.random.default_rng(1), 70, 31, channels)
    result = rounded(MODEL, samples, max_error)
    assert np.abs(result.astype(int) - samples).max() == max_error
    plain = encode(MODEL, samples, max_error, Latents.NONE).samples
    np.testing.assert_array_equal(result, np.broadcast_to(plain, result.shape))
    # A crop is not contiguous.
    np.testing.assert_array_equal(
        rounded(MODEL, samples[:, 3:9], max_error), rounded(MODEL, samples[:, 3:9].copy(), max_error)
    )


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
    image = decoded(encode(MODEL, samples, 0, latents), samples, 0)
    assert image.bands == len(image.z) == -(-130 // MODEL.tile)
    for index, z in enumerate(image.z):
        if latents == Latents.NONE:
            assert z is None
        else:
            assert z.shape == (-(-70 // MODEL.tile), MODEL.latents)
            borrowed = latents == Latents.BITS_BACK and not image.is_dry(index)
            assert (z == mode(image_of(samples), index)).all() != borrowed


def test_bits_back_returns_bits():
    samples = photograph(np.random.default_rng(2), 5 * MODEL.tile, 70, 1)
    sizes = {latents: len(encode(MODEL, samples, 0, latents).payload) for latents in Latents}
    assert sizes[Latents.BITS_BACK] < sizes[Latents.TWO_PART]


def test_latents_are_sent_where_there_are_too_few_bits_to_borrow(monkeypatch):
    samples = photograph(np.random.default_rng(2), 130, 70, 3)
    expected = encoding.encode(MODEL, samples, 0, Latents.TWO_PART).payload
    pops = []

    def exhausted(message):
        pops.append(1)
        raise DryMessageError("message: exhausted")

    posterior = Codec(lambda message, z: message, exhausted)
    monkeypatch.setattr(coders, "posterior", lambda *_: posterior)
    others = [Stack(), Stack()]
    for onto, tries in (((), 1), (others[:1], 1), (others, 2)):
        pops.clear()
        encoded = encoding.encode(MODEL, samples, 0, Latents.BITS_BACK, onto=onto, threads=1)
        assert (encoded.latents, encoded.dry, encoded.payload) == (Latents.TWO_PART, True, expected)
        assert len(pops) >= tries
        np.testing.assert_array_equal(decoded(encoded, samples, 0, samples_crc=0).samples, samples)


@pytest.mark.parametrize("latents", [Latents.NONE, Latents.TWO_PART])
@pytest.mark.parametrize("size", [(5, 5), (28, 28), (60, 50), (150, 200)])
def test_estimates_are_near_what_is_paid_for_images_of_any_size(size, latents):
    samples = photograph(np.random.default_rng(8), *size, 3)
    image = Image.of(MODEL, samples, 0)
    estimate = sum(estimates._estimate(image, index, latents, estimates.ESTIMATE_EVERY) for index in range(image.bands))
    paid = 8 * len(encode(MODEL, samples, 0, latents).payload) - 31 * image.lanes
    assert abs(estimate - paid) < 0.1 * paid + 64


@pytest.mark.parametrize("size", [(20, 300), (300, 70)])
def test_what_an_image_may_borrow_is_lifted_from_a_chain(monkeypatch, size):
    samples = photograph(np.random.default_rng(10), *size, 3)
    onto = tuple(Stack().lay(random_message(3000, seed=lane)) for lane in range(2))
    # The widest posterior takes most from the message.
    monkeypatch.setattr(latents, "posterior_raw", lambda *args: posterior_raw(*args) + np.array([0, 0, 128]))
    one = encoding.encode(MODEL, samples, 0, Latents.BITS_BACK, onto=onto)
    lift = Stack.lift
    monkeypatch.setattr(Stack, "lift", lambda stack, _: lift(stack, stack.size))
    all_of_it = encoding.encode(MODEL, samples, 0, Latents.BITS_BACK, onto=onto)
    assert not one.dry
    assert one.payload == all_of_it.payload


def test_bits_that_come_back_are_preferred_to_bits_that_are_sent():
    samples = photograph(np.random.default_rng(9), 28, 28, 3)
    onto = (Stack().lay(random_message(1000, seed=0)),)
    sizes = {latents: encoding.encode(MODEL, samples, 0, latents, onto=onto).lane_table[0] for latents in Latents}
    assert sizes[Latents.BITS_BACK] < sizes[Latents.TWO_PART]
    assert encoding.encode(MODEL, samples, 0, None, onto=onto).lane_table[0] <= min(sizes.values()) + 2


@pytest.mark.parametrize("latents", Latents)
@pytest.mark.parametrize("max_error", [0, 1])
def test_threads_change_no_byte(latents, max_error):
    samples = photograph(np.random.default_rng(3), 200, 70, 3)
    one, two = (encode(MODEL, samples, max_error, latents, threads=threads) for threads in (1, 2))
    assert one.lanes == 2
    assert (one.lane_table, one.payload) == (two.lane_table, two.payload)
    np.testing.assert_array_equal(one.samples, two.samples)
    for threads in (1, 2, 5, None):
        np.testing.assert_array_equal(decoded(one, samples, max_error, threads=threads).samples, one.samples)


def test_a_repeated_encoding_is_the_same():
    samples = noise(np.random.default_rng(4), 20, 90, 3)
    assert encode(MODEL, samples, 0, None).payload == encode(MODEL, samples, 0, None).payload


def test_progress_counts_bands():
    samples = photograph(np.random.default_rng(3), 130, 30, 1)
    calls = []
    encoded = encode(MODEL, samples, 0, Latents.NONE, progress=lambda *call: calls.append(call))
    decoded(encoded, samples, 0, progress=lambda *call: calls.append(call))
    bands = -(-130 // MODEL.tile)
    assert sorted(calls) == sorted(2 * [(i + 1, bands) for i in range(bands)])
    # Near-lossless each band is rounded first.
    calls.clear()
    encode(MODEL, samples, 2, Latents.NONE, progress=lambda *call: calls.append(call))
    assert sorted(calls) == [(i + 1, 2 * bands) for i in range(2 * bands)]


# ---- Adaptation -------------------------------------------------------------------------------


def adapted_to(monkeypatch, u):
    """Let the encoder adapt images of every size to u (bias count,)."""
    chosen = estimates.choose

    def choose(image, latents, steps, pool, workers):
        return chosen(image, latents, steps, pool, workers)[0], u

    monkeypatch.setattr(encoding, "choose", choose)


def some_u(seed):
    """Return u (bias count,) with zeros, usual numbers and the largest."""
    rng = np.random.default_rng(seed)
    count = len(MODEL.adaptation_units)
    return np.where(rng.random(count) < 0.02, rng.choice([-127, 127], count), rng.integers(-2, 3, count))


@pytest.mark.parametrize("latents", Latents)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("max_error", [0, 2])
def test_an_adapted_image_comes_back(monkeypatch, channels, latents, max_error):
    samples = photograph(np.random.default_rng(8), 140, 40, channels)
    plain = encode(MODEL, samples, max_error, latents)
    u = some_u(channels)
    adapted_to(monkeypatch, u)
    encoded = assert_comes_back(samples, max_error, latents)
    image = decoded(encoded, samples, max_error)
    np.testing.assert_array_equal(image.moved, u)
    assert (plain.adaptation, decoded(plain, samples, max_error).moved) == (b"", None)
    assert encoded.payload != plain.payload


def test_an_adaptation_reaches_every_tile_of_every_band():
    image = image_of(photograph(np.random.default_rng(8), 130, 140, 3))
    for z in (None, np.arange(3 * MODEL.latents).reshape(3, -1) % 9 - 4):
        before = [intervals(image, index, z).freqs for index in range(image.bands)]
        adapted = replace(image, moved=some_u(0))
        for index in range(image.bands):
            tiles = (before[index] != intervals(adapted, index, z).freqs)[:, : 2 * MODEL.tile]
            rows = tiles.shape[0]
            changed = tiles.reshape(rows, 2, MODEL.tile, 3).mean((0, 2, 3))
            assert (changed > 0.9).all()


def test_an_adaptation_adds_whole_activations_before_the_clip():
    u = some_u(1)
    net = MODEL.network
    shifts = np.concatenate([net.shift1, net.shift2, net.shift3, net.shift_heads]).astype(int)
    for z in (np.arange(MODEL.latents)[None] % 9 - 4, None):
        plain = MODEL.biases(z, 2, 1, None).astype(int)
        for scale in (1, 10**9):
            expected = np.clip(plain + (4 * scale * u << shifts), -(1 << 30), 1 << 30)
            np.testing.assert_array_equal(MODEL.biases(z, 2, 1, scale * u), expected)


@pytest.fixture(scope="module")
def adapted():
    """An image of three bands, and its lossless and near-lossless code, which the encoder adapts by itself."""
    samples = np.tile(
        demo.draw(),
        (2, 2, 1),
    )[:150, :220]
    assert samples.shape[0] * samples.shape[1] >= search.LEAST_PIXELS
    with pytest.MonkeyPatch.context() as patch:  # a shorter search does as well here
        patch.setattr(search, "TRIAL_STEPS", 8)
        yield samples, {d: encode(MODEL, samples, d, None, steps=32, threads=1) for d in (0, 2)}


@pytest.mark.parametrize("max_error", [0, 2])
def test_adaptation_makes_a_photograph_shorter(adapted, monkeypatch, max_error):
    samples, encoded = adapted
    with_it = encoded[max_error]
    assert with_it.adaptation
    monkeypatch.setattr(search, "LEAST_PIXELS", 1 << 40)
    without = encode(MODEL, samples, max_error, with_it.latents)
    assert without.adaptation == b""
    assert len(with_it.adaptation) + len(with_it.payload) < 0.995 * len(without.payload)


@pytest.mark.parametrize("max_error", [0, 2])
def test_threads_change_no_byte_of_an_adapted_image(adapted, max_error):
    samples, encoded = adapted
    one, two = encoded[max_error], encode(MODEL, samples, max_error, None, steps=32, threads=2)
    assert one.adaptation
    assert (one.latents, one.adaptation, one.payload) == (two.latents, two.adaptation, two.payload)
    for threads in (1, 2):
        result = decoded(one, samples, max_error, threads=threads).samples
        np.testing.assert_array_equal(result, one.samples)
        assert np.abs(result.astype(int) - samples).max() <= max_error


def test_workers_change_no_step_of_the_search():
    image = image_of(photograph(np.random.default_rng(9), 70, 50, 3))
    found = []
    for workers in (1, 2, 3):
        with ThreadPoolExecutor(workers) as pool:
            found.append(adapt(image, True, 3, pool, workers))
    assert np.abs(found[0]).max() > 0
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_an_adaptation_that_does_not_pay_is_left_out(monkeypatch):
    samples = photograph(np.random.default_rng(8), 40, 50, 3)
    plain = encode(MODEL, samples, 0, Latents.NONE)
    calls = []

    def adapted(image, *_):
        calls.append(image)
        return some_u(2)

    monkeypatch.setattr(search, "LEAST_PIXELS", 0)
    monkeypatch.setattr(search, "adapt", adapted)
    again = encode(MODEL, samples, 0, Latents.NONE)
    assert calls
    assert (again.adaptation, again.payload) == (b"", plain.payload)


@pytest.mark.parametrize("damage", ["cut", "longer", "word", "head", "emptied"])
def test_a_damaged_adaptation_is_refused(monkeypatch, damage):
    samples = photograph(np.random.default_rng(8), 70, 40, 3)
    adapted_to(monkeypatch, some_u(3))
    encoded = encode(MODEL, samples, 0, Latents.TWO_PART)
    chunk = bytearray(encoded.adaptation)
    if damage == "word":
        chunk[20] ^= 4
    elif damage == "head":
        chunk[0] ^= 1
    changed = {"cut": chunk[:-4], "longer": chunk + bytes(4), "emptied": b""}.get(damage, chunk)
    assert_refused(encoded, samples, adaptation=bytes(changed))


# ---- Locality of the posterior ----------------------------------------------------------------


def posteriors(samples):
    """Return the raw posterior parameters, by band and tile: (bands, across, latents, 3)."""
    image = image_of(samples)
    return np.stack([posterior_raw(image, i).reshape(image.across, MODEL.latents, 3) for i in range(image.bands)])


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
    images = [image_of(values) for values in (samples, changed)]
    np.testing.assert_array_equal(*(posterior_raw(image, 0) for image in images))
    z = mode(images[0], 0)
    one, other = (intervals(image, 0, z) for image in images)
    np.testing.assert_array_equal(one.starts, other.starts)
    np.testing.assert_array_equal(one.freqs, other.freqs)
    one, other = (intervals(image, 1, z) for image in images)
    assert (one.starts != other.starts).any()


def test_latents_change_what_pixels_cost():
    image = image_of(photograph(np.random.default_rng(6), 20, 30, 3))
    z = np.full((1, MODEL.latents), 5)
    assert (intervals(image, 0, z).freqs != intervals(image, 0, None).freqs).any()


# ---- Damage -----------------------------------------------------------------------------------


def assert_refused(encoded, samples, **changes):
    """Check that decoding raises CorruptDataError, and that it ends."""
    outcome = []

    def work():
        try:
            outcome.append(decoded(encoded, samples, 0, **changes))
        except BaseException as error:  # the test is about errors of other kinds
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
    np.testing.assert_array_equal(decoded(encoded, samples, 0).samples, samples)


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
    second = encoded.lane_table[0]
    for at in (0, 4, second - 4, second - 1, second, second + 4, len(encoded.payload) - 1):
        payload = bytearray(encoded.payload)
        payload[at] ^= 1
        assert_refused(encoded, samples, payload=bytes(payload))


@pytest.mark.parametrize("change", [(-1, 0), (1, 0), (0, -1), (-1, 1), (1, -1)])
def test_a_lane_table_that_differs_is_refused(sound, change):
    encoded, samples = sound
    table = tuple(words + more for words, more in zip(encoded.lane_table, change, strict=True))
    assert_refused(encoded, samples, lane_table=table)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_random_payloads_are_refused(sound, seed, threads):
    encoded, samples = sound
    lanes = [random_message(words, 2 * seed + i) for i, words in enumerate(encoded.lane_table)]
    assert_refused(encoded, samples, payload=b"".join(map(flatten, lanes)), threads=threads)


def test_other_sizes_are_refused(sound):
    encoded, samples = sound
    height, width, _ = samples.shape
    for shape in [(height, width + 1, 3), (height, width - 1, 3), (height - 1, width, 3), (height, width, 1)]:
        assert_refused(encoded, samples, shape=shape)
    for bands in (3, 5):
        assert_refused(encoded, samples, shape=(bands * MODEL.tile, width, 3))


def test_more_lanes_than_bands_are_refused(sound):
    encoded, samples = sound
    assert_refused(encoded, samples, lanes=5, lane_table=(*encoded.lane_table, 4, 4, 4))


def test_more_lanes_than_bands_are_refused_before_anything_is_popped():
    samples = photograph(np.random.default_rng(7), MODEL.tile, 23, 3)
    encoded = encode(MODEL, samples, 0, Latents.NONE)
    with pytest.raises(CorruptDataError, match="lanes: expected at most one for each of 1 bands, got 2"):
        decoded(encoded, samples, 0, lanes=2, lane_table=(*encoded.lane_table, 4))


@pytest.mark.parametrize("latents", Latents)
def test_a_short_file_has_one_lane(latents):
    samples = photograph(np.random.default_rng(7), 2 * MODEL.tile + 3, 20, 3)
    for width, lanes in ((1, 1), (20, 2)):
        part = samples[:, :width]
        encoded = assert_comes_back(part, 0, latents)
        in_two = encoding.encode(MODEL, part, 0, latents)  # not a file of its own
        assert (encoded.lanes, in_two.lanes) == (lanes, 2)
        assert (sum(in_two.lane_table) < 2 * LANE_BYTES) == (lanes == 1)


def test_latents_of_another_kind_are_refused(sound):
    encoded, samples = sound
    for other in set(Latents) - {encoded.latents}:
        assert_refused(encoded, samples, latents=other)


def test_an_error_that_the_model_does_not_serve_is_refused():
    samples = np.zeros((3, 3, 3), dtype=np.uint8)
    Image.of(MODEL, samples, MODEL.conditions - 1)
    with pytest.raises(ModelError, match="serves conditions up to"):
        Image.of(MODEL, samples, MODEL.conditions)
