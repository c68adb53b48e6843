"""Thumbnails: their size, direction, mode and colours, and what they leave out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import codec
from codec.commands import demo
from codec.images import lossy_decoder

GOLDEN = Path(__file__).parents[1] / "golden"
PHOTO = Image.fromarray(demo.draw()[:96, :128])


def stored(image, **options):
    """Return a file that needs no model."""
    data = codec.compress(image, lossless=True, **options)
    assert codec.info(data).fidelity == "stored"
    return data


def test_an_eighth_of_a_lossy_file_is_enough(monkeypatch):
    data = codec.compress(PHOTO, quality=60, effort=1)
    full = codec.decompress(data)
    full.thumbnail((12, 12), Image.Resampling.LANCZOS)
    larger = codec.thumbnail(data, 17)
    monkeypatch.setattr(lossy_decoder, "synthesise", None)  # this takes the time
    for size, expected in ((16, (16, 12)), (12, (12, 9))):
        found = codec.thumbnail(data, size)
        assert (found.mode, found.size) == ("RGB", expected)
    assert abs(np.asarray(found).astype(int) - np.asarray(full)).mean() < 4
    assert larger.size == (17, 13)
    with pytest.raises(TypeError):
        codec.thumbnail(data, 17)


def test_sides_that_are_no_multiple_of_eight():
    image = PHOTO.crop((0, 0, 125, 17))
    data = codec.compress(image, quality=60, effort=1)
    found = codec.thumbnail(data, 15)
    assert found.size == (15, 2)
    image = image.resize((15, 2), Image.Resampling.BOX)
    assert abs(np.asarray(found).astype(int) - np.asarray(image)).mean() < 8


@pytest.mark.parametrize(("size", "expected"), [(256, (40, 2)), (40, (40, 2)), (10, (10, 1)), (1, (1, 1))])
def test_an_image_is_never_enlarged_and_no_side_vanishes(size, expected):
    assert codec.thumbnail(stored(Image.new("1", (40, 2), 1)), size).size == expected


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (Image.new("P", (9, 9)), "RGB"),
        (Image.new("1", (9, 9)), "RGB"),
        (np.full((9, 9, 4), 65535, np.uint16), "RGBA"),
        (np.full((9, 9), 65535, np.uint16), "RGB"),
        (Image.new("CMYK", (9, 9)), "RGB"),
        (Image.new("LA", (9, 9)), "RGBA"),
    ],
)
def test_modes(image, mode):
    found = codec.thumbnail(codec.compress(image, lossless=True), 5)
    assert (found.mode, found.size) == (mode, (5, 5))


def test_a_palette_is_shrunken_by_its_colours():
    image = Image.new("P", (8, 8))
    image.putpalette([200, 0, 0, 100, 0, 0])
    image.paste(1, (0, 0, 4, 8))
    assert codec.thumbnail(stored(image), 1).getpixel((0, 0))[0] == pytest.approx(150, abs=2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_thumbnails_stand_upright_and_have_the_profile_alone(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("RGB", (40, 20), "blue")
    image.paste("red", (0, 0, 20, 10))  # the corner says how the image is turned
    image.info |= {"exif": exif.tobytes(), "icc_profile": b"profile"}
    found = codec.thumbnail(codec.compress(image, lossless=True), 20)
    assert found.info == {"icc_profile": b"profile"}
    assert found.size == ((20, 10) if orientation <= 4 else (10, 20))
    right, bottom = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}[
        orientation
    ]
    red, _, blue = found.getpixel((right * (found.width - 1), bottom * (found.height - 1)))
    assert red > 200 > 50 > blue


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (1025, ValueError), (2.5, TypeError)])
def test_sizes_out_of_range(size, error):
    with pytest.raises(error, match="size: expected"):
        codec.thumbnail(GOLDEN / "lossy-rgb.vlae", size)


def test_damage_is_found():
    data = bytearray((GOLDEN / "lossy-rgb.vlae").read_bytes())
    data[-1] ^= 1
    with pytest.raises(codec.CorruptDataError):
        codec.thumbnail(data, 4)
