"""Which file meets a goal: exact ones where they are short, and never a worse one at a higher quality."""

import math

import numpy as np
import pytest
from PIL import Image

import codec
from benchmarks.drawn import DRAWINGS
from benchmarks.monotone import curve, steps
from codec.encoder import encoding, estimates
from codec.errors import CorruptDataError
from codec.format import png
from codec.frozen.shipped import load_model
from codec.image_files import conversion
from codec.images import choice
from codec.images.fidelities import Encoder
from codec.images.hidden import filled
from codec.images.metrics import psnr


def encoder_of(image):
    return Encoder(image, conversion.from_pillow(image), None, 1, None, None)


def noisy(width=96, height=64, seed=0, noise=4):
    """Return a small RGB image with texture everywhere, so that its exact files are long."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 120 + 60 * np.sin(x / 9) + 40 * np.cos(y / 7)
    colours = waves[..., None] + rng.normal(0, noise, (height, width, 3))
    return Image.fromarray(np.clip(np.rint(colours), 0, 255).astype(np.uint8))


def visible_psnr(image, decoded):
    (a, alpha), (b, _) = (conversion.planes(i) for i in (image, decoded))
    return psnr(a, b, alpha)


# Exact files


@pytest.mark.parametrize(("mode", "quality"), [("RGB", 1), ("RGB", 65), ("L", 100)])
def test_a_large_flat_picture_is_stored_at_once(mode, quality, monkeypatch):
    monkeypatch.setattr(Encoder, "lossy", lambda *_: pytest.fail("a lossy file was made"))
    frame = np.full((800, 1200, 3), 255, dtype=np.uint8)
    frame[40:760, 40:1160] = (20, 30, 50)
    frame[60:740, 60:1140] = 255
    for image in (Image.fromarray(frame), Image.new("RGB", (2000, 2000), (255, 0, 0))):
        data = codec.compress(image.convert(mode), quality=quality)
        assert len(data) < 1000
        assert codec.decompress(data).tobytes() == image.convert(mode).tobytes()


def test_a_goal_of_length_or_psnr_takes_it_too(monkeypatch):
    monkeypatch.setattr(Encoder, "lossy", lambda *_: pytest.fail("a lossy file was made"))
    image = Image.new("RGB", (800, 800), (0, 90, 20))
    for goal in ({"min_psnr": 40}, {"target_size": 5000}, {"target_bpp": 0.02}):
        assert codec.decompress(codec.compress(image, **goal)).tobytes() == image.tobytes()


def test_the_lossless_coder_is_tried_where_png_is_poor():
    """A glow has many colours and no repetition, yet the learned coder predicts it."""
    y, x = np.mgrid[:96, :96]
    grey = np.rint(200 * np.exp(-((y - 48.0) ** 2 + (x - 48.0) ** 2) / 900) + 20)
    image = Image.fromarray(grey[..., None].repeat(3, 2).astype(np.uint8))
    encoder = encoder_of(image)
    exact = encoder.exact(0).size
    assert exact < encoder.stored.size / 2
    assert choice._exact_within(encoder, exact).size == exact
    assert choice._exact_within(encoder, exact - 1) is None


def test_a_photograph_is_not_coded_losslessly_in_vain(monkeypatch):
    monkeypatch.setattr(Encoder, "exact", lambda *_: pytest.fail("an exact file was made"))
    monkeypatch.setattr(estimates, "estimate", lambda *_, **__: pytest.fail("its length was estimated"))
    monkeypatch.setattr(Encoder, "stored", property(lambda _: pytest.fail("an optimised PNG was made")))
    assert codec.info(codec.compress(noisy())).fidelity == "lossy"


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_estimate_is_about_the_length_of_a_lossless_file(mode):
    image = noisy(300, 200).convert(mode)
    samples = np.asarray(image).reshape(200, 300, -1)
    coded = encoding.encode(load_model(), samples, 0, codec.Latents.NONE)
    assert estimates.estimate(load_model(), samples) == pytest.approx(8 * len(coded.payload), rel=0.1)


# Higher qualities


@pytest.mark.parametrize("name", ["disc_rgba", "frame", "screenshot"])
def test_a_higher_quality_is_never_worse(name):
    points = curve(DRAWINGS[name](), range(10, 101, 10))
    assert min(gain for _, gain in steps(points)) >= 0


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWINGS)
def test_no_quality_is_worse_than_the_one_before(name):
    points = curve(DRAWINGS[name](), range(1, 101, 7))
    assert min(gain for _, gain in steps(points)) >= 0


class Made:
    """An encoder whose lossy files have known lengths and PSNR; exact ones are not short."""

    def __init__(self, likeness, sizes=None, exact=10**6):
        self.likeness, self.exact_size, self.seen = likeness, exact, []
        self.sizes = sizes or list(range(1000, 1000 + len(likeness)))
        self.image = Image.new("L", (100, 100))
        self.pixels = conversion.from_pillow(self.image)
        self.quick_png_bytes = 100
        self.lossless_bytes = self.exact_size

    def lossy(self, quality):
        self.seen.append(quality)
        return File(self.likeness[quality - 1], self.sizes[quality - 1])

    def exact(self, error):
        return File(math.inf if not error else 0, self.exact_size)

    @property
    def stored(self):
        return File(math.inf, 10**6)


def test_a_drawn_picture_is_not_coded_within_an_error(monkeypatch):
    """Such files would come and go while quality grows: their PSNR has little to do with the error."""
    monkeypatch.setattr(Encoder, "exact", lambda self, error: pytest.fail(f"within {error}") if error else self.stored)
    for quality in (30, 50, 70):
        codec.compress(DRAWINGS["disc"](), quality=quality)


def test_smooth_pictures_are_taken_for_drawn_ones():
    y, x = np.mgrid[:100, :100]
    share = np.clip(np.hypot(y - 50.0, x - 50.0) / 60, 0, 1)[..., None]
    radial = np.rint(np.asarray((255, 250, 220)) * (1 - share) + np.asarray((160, 30, 10)) * share)
    assert choice._is_drawn(encoder_of(Image.fromarray(radial.astype(np.uint8))))
    assert not choice._is_drawn(encoder_of(noisy()))


class File:
    def __init__(self, likeness, size):
        self.psnr, self.size = likeness, size


def test_a_dip_is_filled_by_a_lower_quality():
    likeness = [30, 31, 32, 31.5, 31.8, 32.1, 40, 39.9, 39.8, 41]
    made = Made(likeness)
    found = [choice._of_quality(made, made.lossy, quality).psnr for quality in range(1, 11)]
    assert found == list(np.maximum.accumulate(likeness))


def test_lower_qualities_are_looked_at_until_they_are_far_below():
    for lowest, expected in ((10, {50: 40, 80: 70}), (45, {50: 26, 80: 56})):  # in the second, errors are 1 or 2
        made = Made(np.linspace(lowest, lowest + 31, 101).tolist())
        for quality, least in expected.items():
            made.seen.clear()
            choice._of_quality(made, made.lossy, quality)
            assert min(made.seen) == least


def test_what_was_exact_stays_exact_where_lossy_files_get_shorter():
    made = Made([40, 40.1, 40.2], [1000, 1004, 1000], exact=1002)
    found = [choice._of_quality(made, made.lossy, quality).psnr for quality in (1, 2, 3)]
    assert found == [40, math.inf, math.inf]


# What alpha hides


def disc(hidden, size=96):
    y, x = np.mgrid[:size, :size]
    share = np.clip(size / 3 + 0.5 - np.hypot(y - size / 2, x - size / 2), 0, 1)
    texture = np.asarray(noisy(size, size)).astype(int)
    colours = np.where(share[..., None] > 0, texture, hidden)
    return Image.fromarray(np.concatenate([colours, np.rint(255 * share)[..., None]], 2).astype(np.uint8))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_hidden_colours_cost_nothing(mode):
    texture = np.random.default_rng(2).integers(0, 256, (96, 96, 3))
    one, other = disc((0, 0, 0)).convert(mode), disc(texture).convert(mode)
    assert codec.compress(one, quality=60) == codec.compress(other, quality=60)
    found = [codec.decompress(codec.compress(image, lossless=True)).tobytes() for image in (one, other)]
    assert found == [one.tobytes(), other.tobytes()]


def test_hidden_samples_are_filled_smoothly():
    rng = np.random.default_rng(3)
    samples = rng.integers(0, 256, (37, 50, 3), dtype=np.uint8)
    visible = rng.random((37, 50)) < 0.02
    done = filled(samples, visible)
    assert (done[visible] == samples[visible]).all()
    assert (done[~visible] != samples[~visible]).any()
    flat = np.where(visible[..., None], np.uint8(77), samples)
    assert (filled(flat, visible) == 77).all()
    assert not filled(samples, np.zeros_like(visible)).any()
    assert filled(samples, np.ones_like(visible)) is samples


def test_the_ledger_counts_what_is_visible():
    image = disc((255, 255, 255), 176)
    report = codec.measure(image, quality=50)
    decoded = codec.decompress(codec.compress(image, quality=50))
    assert report.psnr == pytest.approx(visible_psnr(image, decoded))
    hidden = np.asarray(image)[..., 3] == 0
    assert np.asarray(decoded)[hidden][:, :3].max() < 255
    assert report.ms_ssim > 0.9
    none = Image.fromarray(np.zeros((20, 20, 4), np.uint8))
    assert codec.measure(none, quality=50).psnr is None


def test_a_psnr_of_what_is_visible_is_reached():
    image = disc((0, 0, 0))
    for target in (32.0, 38.0):
        data = codec.compress(image, min_psnr=target)
        assert visible_psnr(image, codec.decompress(data)) >= target
        lower = codec.compress(image, quality=codec.info(data).quality - 1)
        assert visible_psnr(image, codec.decompress(lower)) < target


# Equal colours


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize(
    "options", [{"quality": 5}, {"quality": 65}, {"quality": 100}, {"max_error": 3}, {"lossless": True}]
)
def test_grey_stored_as_rgb_comes_back_grey(mode, options):
    grey = noisy().convert("L")
    image = grey.convert(mode)
    if mode == "RGBA":
        image.putalpha(grey)
    data = codec.compress(image, **options)
    decoded = codec.decompress(data)
    assert (decoded.mode, decoded.size) == (mode, image.size)
    planes = np.asarray(decoded)
    assert (planes[..., :1] == planes[..., :3]).all()
    facts = codec.info(data)
    assert (facts.mode, facts.channels) == (mode, len(mode))
    if options == {"lossless": True}:
        assert decoded.tobytes() == image.tobytes()
    if mode == "RGB":
        assert len(data) == len(codec.compress(grey, **options))


def test_one_pixel_of_colour_is_kept():
    image = noisy().convert("L").convert("RGB")
    image.putpixel((5, 5), (0, 0, 1))
    assert codec.decompress(codec.compress(image, lossless=True)).tobytes() == image.tobytes()


# Palettes and transparent colours


def with_palette():
    return noisy(120, 90).quantize(64)


def test_a_photograph_with_a_palette_gets_a_lossy_file():
    image = with_palette()
    data = codec.compress(image, quality=10)
    facts = codec.info(data)
    assert (facts.fidelity, facts.mode) == ("lossy", "RGB")
    assert data == codec.compress(image.convert("RGB"), quality=10)
    kept = codec.decompress(codec.compress(image, lossless=True))
    assert (kept.mode, kept.tobytes(), kept.getpalette()) == ("P", image.tobytes(), image.getpalette())
    assert codec.info(codec.compress(image, max_error=2)).mode == "P"
    assert codec.measure(image, quality=10).psnr < 40


@pytest.mark.parametrize(
    ("mode", "transparent", "expected"), [("L", 7, "LA"), ("RGB", (1, 2, 3), "RGBA"), ("P", 3, "RGBA")]
)
def test_a_transparent_colour_becomes_alpha(mode, transparent, expected):
    image = with_palette() if mode == "P" else noisy(120, 90).convert(mode)
    image.putpixel((4, 4), transparent)
    image.info |= {"transparency": transparent, "icc_profile": b"a profile"}
    decoded = codec.decompress(codec.compress(image, quality=20))
    assert decoded.mode == expected
    assert decoded.getchannel("A").tobytes() == image.convert("RGBA").getchannel("A").tobytes()
    assert decoded.getpixel((4, 4))[-1] == 0
    assert decoded.info["icc_profile"] == b"a profile"
    assert codec.decompress(codec.compress(image, lossless=True)).info["transparency"] == transparent


def test_an_icon_with_a_palette_is_exact():
    icon = Image.new("P", (48, 48), 1)
    icon.putpalette([255, 0, 0, 0, 120, 240, 9, 9, 9])
    icon.paste(2, (10, 10, 30, 40))
    decoded = codec.decompress(codec.compress(icon, quality=90))
    assert decoded.convert("RGB").tobytes() == icon.convert("RGB").tobytes()


def test_bits_stay_stored():
    data = codec.compress(noisy().convert("1"), quality=10)
    assert (codec.info(data).fidelity, codec.info(data).mode) == ("stored", "1")


@pytest.mark.parametrize(
    ("mode", "colours", "indexed"),
    [
        ("L", 4, True),
        ("L", 16, True),
        ("L", 17, False),
        ("RGB", 1, True),
        ("RGB", 3, True),
        ("RGB", 17, True),
        ("RGB", 256, True),
        ("RGB", 257, False),
        ("RGBA", 2, True),
        ("RGBA", 16, True),
        ("RGBA", 256, True),
        ("RGBA", 257, False),
    ],
)
def test_few_colours_are_stored_with_a_palette(mode, colours, indexed):
    rng = np.random.default_rng(colours)
    entries = rng.integers(0, 256, (colours, len(mode)), dtype=np.uint8)
    entries[:, 0] = np.arange(colours) % 256
    array = entries[rng.permutation(np.arange(120 * 90) % colours)].reshape(90, 120, -1)
    image = Image.fromarray(array[..., 0] if mode == "L" else array)
    data = png.png_bytes(image)
    assert (data[0] >> 3 & 7 == 3) == indexed  # the colour type
    opened = png.open_png(data, image.size, mode)
    assert (opened.mode, opened.tobytes(), opened.info.get("transparency")) == (mode, image.tobytes(), None)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_palette_with_alpha_is_refused_where_there_is_none(mode):
    image = Image.new("P", (9, 9))
    image.putpalette([1, 2, 3])
    image.info["transparency"] = 0
    with pytest.raises(CorruptDataError, match="expected no transparency"):
        png.open_png(png.png_bytes(image), (9, 9), mode)
