"""Lossy files, whole: every mode and size, the same samples everywhere, targets, previews, damage."""

import functools
import math
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import codec
from codec.commands import demo
from codec.encoder import masking, rounding
from codec.entropy.rate_distortion import FINE
from codec.errors import CodecError, CorruptDataError, UnsupportedError
from codec.format import container, headers
from codec.format.headers import Latents
from codec.frozen.shipped import LOSSLESS, LOSSY, NEAR_LOSSLESS, load_model
from codec.images import decoder, lossy_decoder, lossy_encoder, metrics
from codec.images.goals import DEFAULT_QUALITY

MODEL = load_model(LOSSY)


def photo(mode="RGB", width=150, height=200, seed=0):
    """Return the demo picture, repeated, with alpha from its own brightness."""
    rng = np.random.default_rng(seed)
    colours = np.tile(
        demo.draw(),
        (4, 3, 1),
    )[:height, :width].astype(float) + rng.normal(0, 1 + seed, (height, width, 1))
    image = Image.fromarray(np.clip(np.rint(colours), 0, 255).astype(np.uint8))
    if mode in ("LA", "RGBA"):
        image.putalpha(image.convert("L"))
    return image.convert(mode)


def colours(image):
    return np.asarray(image.convert("L" if image.mode in ("L", "LA") else "RGB"))


def psnr(a, b):
    error = (colours(a).astype(float) - colours(b)) ** 2
    return 10 * math.log10(255**2 / error.mean())


@functools.cache
def small(quality=40):
    """Return a small lossy file, in two bands."""
    data = codec.compress(photo(width=90, height=140), quality=quality)
    assert codec.info(data).fidelity == "lossy"
    return data


def resealed(data):
    """Return the file with its checksum made right again."""
    crc = zlib.crc32(data[9:], zlib.crc32(data[:5]))
    return data[:5] + struct.pack("<I", crc) + data[9:]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (8, 8), (17, 300), (130, 129)])
@pytest.mark.parametrize("mode", headers.CODED_MODES)
@pytest.mark.parametrize("quality", [1, 60, 100])
def test_any_image_comes_back_about_as_it_was(mode, size, quality):
    image = photo(mode, *size)
    decoded = codec.decompress(codec.compress(image, quality=quality))
    assert (decoded.mode, decoded.size) == (mode, size)
    if mode in ("LA", "RGBA"):
        assert decoded.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    assert np.abs(colours(image).astype(int) - colours(decoded)).mean() < (30, 6, 3)[(1, 60, 100).index(quality)]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_encoder_knows_what_a_decoder_returns(mode):
    image = photo(mode)
    samples = np.asarray(image).reshape(200, 150, -1)
    coded = lossy_encoder.encode(MODEL, samples, 50, None, effort=2)
    decoded = codec.decompress(codec.compress(image, quality=50))
    np.testing.assert_array_equal(np.asarray(decoded).reshape(samples.shape), coded.samples)


def test_threads_change_nothing():
    image = photo(height=400)
    data = {codec.compress(image, quality=50, threads=threads) for threads in (1, 2, 5)}
    assert len(data) == 1
    decoded = {codec.decompress(*data, threads=threads).tobytes() for threads in (1, 2, 5)}
    assert len(decoded) == 1


def test_size_and_likeness_grow_with_quality():
    image = photo()
    sizes, likeness = [], []
    for quality in range(1, 101, 11):
        data = codec.compress(image, quality=quality)
        sizes.append(len(data))
        likeness.append(psnr(image, codec.decompress(data)))
    assert sizes == sorted(set(sizes))
    assert likeness == sorted(likeness)


def test_every_effort_gains():
    """At the same quality a file is shorter by more than its error is worth."""
    image = photo(seed=1)
    samples = np.asarray(image)
    steps = MODEL.transforms.steps[49]
    alike = masking.structure(samples).repeat(8, 0).repeat(8, 1)[: len(samples), : samples.shape[1], None] / 256
    worth = masking.SQUARED + alike * np.mean(MODEL.transforms.shares[:40] / 256)
    costs = []
    for effort in (1, 2, 3):
        coded = lossy_encoder.encode(MODEL, samples, 50, None, effort=effort)
        error = (worth * (samples.astype(float) - coded.samples) ** 2).sum()
        # At high rates a bit costs what 6 / ln 2 squared steps save.
        costs.append(8 * len(coded.encoded.payload) + error * 6 / math.log(2) / np.mean(steps / 65536.0) ** 2)
    assert costs[2] < costs[1] < costs[0]


def test_where_errors_are_worth_more_more_of_y_is_kept():
    rng = np.random.default_rng(3)
    shape = (12, 16, len(MODEL.layout.order))
    nearest = np.rint(rng.laplace(0, 1, shape)).astype(np.int16)
    fine = (FINE * nearest + rng.integers(-FINE // 2 + 1, FINE // 2, shape)).astype(np.int16)
    structure = np.zeros(shape[:2], dtype=np.int64)
    structure[:, 8:] = 1 << 30
    chosen = rounding.optimise(MODEL, nearest, fine, 40, np.ones((2, shape[2]), dtype=np.int64), structure, threads=1)
    np.testing.assert_array_equal(chosen[:, 8:], nearest[:, 8:])
    assert np.abs(chosen[:, :8]).sum() < 0.5 * np.abs(nearest[:, :8]).sum()


def test_a_lossy_file_is_the_default():
    facts = codec.info(codec.compress(photo()))
    assert (facts.fidelity, facts.quality, facts.max_error) == ("lossy", DEFAULT_QUALITY, None)


@pytest.mark.parametrize("target", [700, 2000, 6000])
def test_a_target_size_is_met_at_the_best_quality(target):
    image = photo()
    data = codec.compress(image, target_size=target)
    assert len(data) <= target
    facts = codec.info(data)
    assert data == codec.compress(image, quality=facts.quality)
    assert len(codec.compress(image, quality=facts.quality + 1)) > target
    assert data == codec.compress(image, target_bpp=8 * target / (image.width * image.height))


@pytest.mark.parametrize("target", [32.0, 34.5, 39.0])
def test_a_target_psnr_is_met_by_the_lowest_quality(target):
    image = photo()
    data = codec.compress(image, min_psnr=target)
    assert psnr(image, codec.decompress(data)) >= target
    facts = codec.info(data)
    assert data == codec.compress(image, quality=facts.quality)
    assert psnr(image, codec.decompress(codec.compress(image, quality=facts.quality - 1))) < target


def test_beyond_the_best_quality_files_within_an_error_reach_a_psnr():
    image = photo()
    for target in (46.0, 49.5, 80.0):
        data = codec.compress(image, min_psnr=target)
        decoded = codec.decompress(data)
        assert codec.info(data).fidelity in ("lossy", "near-lossless", "lossless")
        assert decoded.tobytes() == image.tobytes() or psnr(image, decoded) >= target
    assert codec.info(data).fidelity == "lossless"


def test_a_target_that_no_file_meets_is_refused_with_the_nearest():
    image = photo()
    least = len(codec.compress(image, quality=1))
    with pytest.raises(ValueError, match=f"the shortest file has {least} bytes"):
        codec.compress(image, target_size=least * 3 // 4)  # lengths of the lowest qualities differ by words only
    with pytest.raises(ValueError, match=r"target_bpp: 0\.001 cannot be met"):
        codec.compress(image, target_bpp=0.001)
    bits = photo("1")
    with pytest.raises(ValueError, match="cannot be met"):
        codec.compress(bits, target_size=60)


def test_an_exact_file_is_taken_where_it_is_shorter():
    y, x = np.mgrid[0:200, 0:300]
    text = Image.fromarray(np.where((x // 3 + y // 5) % 7 == 0, 0, 255).astype(np.uint8).repeat(3).reshape(200, 300, 3))
    data = codec.compress(text, quality=80)
    assert codec.info(data).fidelity in ("stored", "lossless")
    assert codec.decompress(data).tobytes() == text.tobytes()
    coded = lossy_encoder.encode(MODEL, np.asarray(text), 80, None, effort=2)
    assert len(data) < len(coded.encoded.payload)


def test_the_coarse_channels_are_a_preview():
    image, data = photo(width=90, height=140), small(90)
    preview = codec.decompress(data, latents_only=True)
    assert preview.size == image.size
    assert preview.tobytes() != codec.decompress(data).tobytes()
    grey = Image.new("RGB", image.size, tuple(np.asarray(image).mean((0, 1)).astype(int)))
    assert psnr(image, grey) + 1 < psnr(image, preview) < psnr(image, codec.decompress(data))


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_an_image_is_reduced_without_the_transform(mode):
    data = codec.compress(photo(mode, width=90, height=140), quality=90, effort=1)
    small = decoder.opened(container.unpack(data)).reduced()
    expected = codec.decompress(data).reduce(8)
    assert (small.mode, small.size) == (mode, expected.size) == (mode, (12, 18))
    assert psnr(small, expected) > 35
    if mode == "RGBA":
        assert small.getchannel("A").tobytes() == expected.getchannel("A").tobytes()


def test_only_lossy_files_can_be_reduced():
    data = codec.compress(photo(width=20, height=20), lossless=True)
    with pytest.raises(ValueError, match="lossy"):
        decoder.opened(container.unpack(data)).reduced()


@pytest.mark.parametrize("options", [{"quality": 40}, {"lossless": True}, {"max_error": 2}])
def test_a_seed_draws_one_picture(options):
    latents = None if "quality" in options else Latents.TWO_PART
    data = codec.compress(photo(width=90, height=140), latents=latents, **options)
    drawn = [codec.decompress(data, latents_only=True, sample=seed).tobytes() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] != codec.decompress(data, latents_only=True).tobytes()


def test_what_has_no_latents_has_no_preview():
    for data in (codec.compress(photo("1")), codec.compress(photo(), lossless=True, latents=Latents.NONE)):
        with pytest.raises(UnsupportedError, match="latents"):
            codec.decompress(data, latents_only=True)
    with pytest.raises(ValueError, match="expected latents_only"):
        codec.decompress(small(), sample=1)


def test_every_truncation_is_refused():
    data = small()
    for length in range(len(data)):
        with pytest.raises(CorruptDataError):
            codec.decompress(data[:length])


def test_every_flipped_bit_is_refused():
    data = bytearray(small())
    rng = np.random.default_rng(0)
    for bit in [*range(8 * 20), *rng.integers(8 * 20, 8 * len(data), 200)]:
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptDataError, UnsupportedError)):
            codec.decompress(bytes(data))
        data[bit // 8] ^= 1 << bit % 8


def test_damage_behind_a_right_checksum_is_refused():
    data = small()
    rng = np.random.default_rng(1)
    for bit in [*range(8 * 9, 8 * 20), *rng.integers(8 * 20, 8 * len(data), 100)]:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CodecError):
            codec.decompress(resealed(bytes(damaged)))


def test_a_file_that_asks_for_too_many_values_is_refused():
    file = container.unpack(small())
    data = container.pack(replace(file, header=replace(file.header, width=200_000)))
    with pytest.raises(CorruptDataError, match="more values than the payload"):
        codec.decompress(data)


@pytest.mark.parametrize("number", [LOSSLESS, NEAR_LOSSLESS])
def test_a_model_of_samples_codes_no_lossy_file(number):
    other = load_model(number)
    file = container.unpack(small())
    coding = replace(file.coding, model=number, weights_hash=other.hash[: headers.HASH_BYTES])
    with pytest.raises(CorruptDataError, match=r"codes (tensor|samples), got loss(y|less) mode RGB"):
        codec.decompress(container.pack(replace(file, coding=coding)))


def test_the_ledger_of_a_lossy_file():
    image = photo(width=300, height=400)
    report = codec.measure(image, quality=60)
    ledger, elbo = report.ledger, report.ledger.promises.elbo
    assert report.info.fidelity == "lossy"
    assert math.fsum(ledger.rows.values()) == pytest.approx(8 * report.info.file_bytes, abs=0.01)
    assert abs(ledger.message_bits - elbo.bits) < max(0.005 * elbo.bits, 8 * 64)
    assert elbo.stderr_bits == 0
    assert not report.exact
    decoded = codec.decompress(codec.compress(image, quality=60))
    assert report.psnr == pytest.approx(psnr(image, decoded))
    assert report.ms_ssim == pytest.approx(metrics.ms_ssim(np.asarray(image), np.asarray(decoded)))


def test_a_short_file_has_22_bytes_beside_its_values():
    report = codec.measure(photo(width=300, height=200), quality=20)
    rows = report.ledger.rows
    assert report.info.lanes == 1
    assert rows["header_bits"] + rows["lane_table_bits"] + rows["checksum_bits"] == 8 * 17 + 31
    assert 0 <= rows["rans_bits"] <= 9  # below the first symbol, and to fill a byte
    assert report.ledger.file_bits - report.ledger.promises.elbo.bits < 8 * 22.5


def test_grey_is_the_mean_of_three_equal_channels():
    grey = photo("L")
    samples = np.asarray(grey)[:, :, None]
    coded = lossy_encoder.encode(MODEL, samples, 60, None, effort=1)
    full = lossy_decoder.decoded(MODEL, coded.encoded.samples, 60, (*samples.shape[:2], 3)).astype(int)
    np.testing.assert_array_equal(coded.samples[..., 0], (full.sum(-1) + 1) // 3)


def test_part_bits_sum_to_the_file():
    data = small()
    assert sum(container.part_bits(container.unpack(data)).values()) == 8 * len(data)
