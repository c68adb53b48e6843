"""Saving our files with Pillow: what comes back, which metadata is kept, and what is refused."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from support import registries

import codec
from codec.commands import demo
from codec.errors import CodecError

PICTURE = Image.fromarray(demo.draw()[:40, :60])
EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
METADATA = {"icc_profile": b"a profile", "exif": EXIF, "xmp": b"<x/>"}


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    registries.restored(monkeypatch)
    codec.register_opener()


def saved(image, **options):
    """Return the bytes of an image that Pillow saves losslessly, unless options say otherwise."""
    file = BytesIO()
    image.save(file, "VLAE", **(options or {"lossless": True}))
    return file.getvalue()


def kept(image, **options):
    """Return what the saved image's ``info`` has."""
    return Image.open(BytesIO(saved(image, lossless=True, **options))).info


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_lossless(mode, tmp_path):
    picture = PICTURE.convert(mode)
    picture.save(tmp_path / "a.VLAE", lossless=True)
    with Image.open(tmp_path / "a.VLAE") as back:
        assert back.mode == mode
        assert back.tobytes() == picture.tobytes()
        assert back.convert("RGBA").tobytes() == picture.convert("RGBA").tobytes()


@pytest.mark.parametrize(
    "options", [{}, {"quality": 20}, {"max_error": 3}, {"target_size": 900}, {"quality": 50, "effort": 1}]
)
def test_options_are_those_of_compress(options):
    file = BytesIO()
    PICTURE.save(file, "VLAE", **options)
    assert file.getvalue() == codec.compress(PICTURE, **options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"quality": 0}, ValueError),
        ({"quality": "high"}, TypeError),
        ({"quality": 50, "lossless": True}, ValueError),
        ({"effort": 4}, ValueError),
    ],
)
def test_wrong_options(options, error, tmp_path):
    with pytest.raises(error, match=next(iter(options)) + "|fidelity"):
        PICTURE.save(tmp_path / "a.vlae", **options)
    assert not (tmp_path / "a.vlae").exists()


@pytest.mark.parametrize("mode", ["F", "I", "YCbCr", "HSV", "LAB"])
def test_other_modes_are_refused(mode, tmp_path):
    with pytest.raises(OSError, match=f"^cannot write mode {mode} as VLAE$"):
        Image.new(mode, (4, 4)).save(tmp_path / "a.vlae")
    assert not (tmp_path / "a.vlae").exists()


@pytest.mark.parametrize("mode", ["I;16", "CMYK"])
def test_16_bits_and_inks_come_back(mode, tmp_path):
    shape = (4, 5, 4) if mode == "CMYK" else (4, 5)
    samples = np.random.default_rng(0).integers(0, 256 if mode == "CMYK" else 65536, shape)
    image = Image.fromarray(samples.astype(np.uint8 if mode == "CMYK" else np.uint16), mode if mode == "CMYK" else None)
    image.save(tmp_path / "a.vlae", lossless=True)
    with Image.open(tmp_path / "a.vlae") as back:
        assert (back.mode, back.tobytes()) == (mode, image.tobytes())
    image.save(tmp_path / "b.vlae")
    with Image.open(tmp_path / "b.vlae") as back:
        assert back.mode == ("RGB" if mode == "CMYK" else "L")


def test_an_image_without_pixels_is_refused():
    with pytest.raises(OSError, match="no pixels") as caught:
        saved(Image.new("RGB", (0, 4)))
    assert isinstance(caught.value.__cause__, CodecError)


def test_metadata_of_the_image_is_kept():
    picture = PICTURE.copy()
    picture.info |= METADATA
    assert kept(picture) == METADATA


def test_metadata_that_is_given_replaces_that_of_the_image():
    picture = PICTURE.copy()
    picture.info |= METADATA
    exif = Image.Exif()
    exif[274] = 3
    found = kept(picture, exif=exif, icc_profile=b"another", xmp="<y/>")
    assert found == {"exif": exif.tobytes(), "icc_profile": b"another", "xmp": b"<y/>"}
    assert picture.info == METADATA


@pytest.mark.parametrize("nothing", [None, b""])
def test_metadata_can_be_dropped(nothing):
    picture = PICTURE.copy()
    picture.info |= {**METADATA, "XML:com.adobe.xmp": "<x/>"}
    assert kept(picture, exif=nothing, xmp=nothing) == {"icc_profile": b"a profile"}
    assert not kept(picture, exif=nothing, xmp=nothing, icc_profile=nothing)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "VLAE"])
def test_metadata_of_another_file_is_kept(kind):
    exif = Image.Exif()
    exif[271] = "a maker"
    file = BytesIO()
    options = {"lossless": True} if kind == "VLAE" else {}
    PICTURE.save(file, kind, exif=exif, icc_profile=b"a profile", **options)
    with Image.open(file) as picture:
        data = saved(picture)
    with Image.open(BytesIO(data)) as back:
        assert back.getexif()[271] == "a maker"
        assert back.info["icc_profile"] == b"a profile"


def test_wrong_metadata_is_refused():
    with pytest.raises(OSError, match="exif: expected bytes, got int"):
        saved(PICTURE, lossless=True, exif=5)


def test_what_was_dropped_before_stays_named():
    picture = PICTURE.copy()
    picture.info["comment"] = "a comment"
    with Image.open(BytesIO(codec.compress(picture, lossless=True))) as first:
        assert kept(first) == {"dropped": ("comment",)}


def test_the_frame_that_is_shown_is_saved():
    frames = [Image.fromarray(np.full((4, 5), value, dtype=np.uint8)) for value in (10, 200)]
    file = BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    with Image.open(file) as film:
        film.seek(1)
        data = saved(film)
        shown = film.convert("RGB").tobytes()
    with Image.open(BytesIO(data)) as back:
        assert back.convert("RGB").tobytes() == shown


def test_a_file_can_replace_itself(tmp_path):
    path = tmp_path / "a.vlae"
    PICTURE.save(path, lossless=True)
    with Image.open(path) as image:
        image.save(path, lossless=True, xmp=b"<x/>")
    with Image.open(path) as image:
        assert image.info == {"xmp": b"<x/>"}
        assert image.tobytes() == PICTURE.tobytes()
