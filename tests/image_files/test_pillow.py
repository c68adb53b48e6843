"""Pillow in and out: coded exactly, stored exactly, or refused; metadata; files written whole."""

import os
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from codec.errors import CorruptDataError, ImageError
from codec.file_metadata import kept
from codec.format import bare_png, metadata, png
from codec.format.deflate import deflate
from codec.format.fields import varint
from codec.format.headers import CODED_MODES, MODES, WIDE_MODES
from codec.image_files import conversion, loading, writing
from codec.image_files.wide_image import WideImage
from codec.system import outputs

SIZES = [(1, 1), (1, 9), (9, 1), (5, 3), (40, 17)]


def noise(mode, size=(5, 3), seed=0):
    """Return an image of random samples."""
    rng = np.random.default_rng(seed)
    shape = (size[1], size[0])
    if mode == "1":
        return Image.fromarray(rng.integers(0, 2, shape, dtype=np.uint8) * 255).convert("1", dither=Image.Dither.NONE)
    channels = Image.new(mode, (1, 1)).getbands()
    array = rng.integers(0, 256, (*shape, len(channels)), dtype=np.uint8)
    if mode == "P":
        image = Image.new("P", size)
        image.frombytes(array.tobytes())
        image.putpalette(rng.bytes(768))
        return image
    return Image.fromarray(array[:, :, 0] if len(channels) == 1 else array)


def wide(mode, size=(5, 3), seed=0):
    """Return a wide image of random samples."""
    rng = np.random.default_rng(seed)
    if mode == "CMYK":
        return WideImage(rng.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8))
    return WideImage(rng.integers(0, 1 << 16, (size[1], size[0], WIDE_MODES.index(mode) + 1), dtype=np.uint16))


def file_of(image, kind="PNG", **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def assert_same(a, b):
    assert (a.mode, a.size) == (b.mode, b.size)
    assert a.tobytes() == b.tobytes()
    assert a.convert("RGBA").tobytes() == b.convert("RGBA").tobytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", CODED_MODES)
def test_to_pillow_inverts_from_pillow(mode, size):
    image = noise(mode, size)
    pixels = conversion.from_pillow(image)
    assert pixels.codable
    assert pixels.samples.shape == (size[1], size[0], 3 if "RGB" in mode else 1)
    assert_same(conversion.to_pillow(pixels), image)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_open_png_inverts_png_bytes(mode, size):
    image = noise(mode, size)
    assert_same(png.open_png(png.png_bytes(image), size, mode), image)


@pytest.mark.parametrize("colours", [1, 2, 3, 5, 17, 255])
def test_indices_beyond_a_short_palette_survive(colours):
    image = noise("P", (20, 20))
    image.putpalette(np.random.default_rng(1).bytes(3 * colours))
    assert png.open_png(png.png_bytes(image), image.size, "P").tobytes() == image.tobytes()


def test_palette_with_alpha_survives():
    image = noise("P", (20, 20))
    image.putpalette(np.random.default_rng(3).bytes(1024), "RGBA")
    back = png.open_png(png.png_bytes(image), image.size, "P")
    assert back.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()


@pytest.mark.parametrize(
    ("mode", "key"), [("L", 7), ("RGB", (1, 2, 3)), ("P", 3), ("P", bytes(range(256))), ("1", 255)]
)
def test_transparent_colours_are_stored_not_lost(mode, key):
    image = noise(mode, (20, 20))
    image.info["transparency"] = key
    assert not conversion.from_pillow(image).codable
    assert png.open_png(png.png_bytes(image), image.size, mode).info["transparency"] == key


def test_png_carries_no_metadata():
    image = noise("RGB")
    image.info.update(icc_profile=b"profile", exif=b"Exif\0\0", dpi=(72, 72))
    assert png.png_bytes(image) == png.png_bytes(noise("RGB"))


def test_colour_under_alpha_0_is_kept():
    array = np.full((4, 4, 4), 90, dtype=np.uint8)
    array[:, :, 3] = 0
    pixels = conversion.from_pillow(Image.fromarray(array))
    assert (pixels.samples == 90).all()
    assert np.asarray(conversion.to_pillow(pixels)).tolist() == array.tolist()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_constant_alpha_is_one_byte(value):
    alpha = np.full((300, 200), value, dtype=np.uint8)
    assert png.pack_alpha(alpha) == bytes([value])
    assert (png.unpack_alpha(bytes([value]), (200, 300)) == alpha).all()


def test_unpack_alpha_inverts_pack_alpha():
    alpha = np.asarray(noise("L", (31, 17)))
    assert (png.unpack_alpha(png.pack_alpha(alpha), (31, 17)) == alpha).all()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:1],
        lambda data: b"",
        lambda data: bytes([data[0] | 128]) + data[1:],
        lambda data: bytes([data[0] | 64]) + data[1:],
        lambda data: png.png_bytes(noise("RGB", (6, 3))),
        lambda data: png.png_bytes(noise("RGBA")),
        lambda data: data[:1] + deflate(b"short"),
        lambda data: data[:1] + deflate(b"\7" * 48),
        lambda data: b"\x5b\1abcdef\0\7" + deflate(b"\0\0\0\1\0\0" * 3),
    ],
)
def test_a_wrong_png_is_refused(damage):
    with pytest.raises(CorruptDataError):
        png.open_png(damage(png.png_bytes(noise("RGB"))), (5, 3), "RGB")


def test_every_truncation_of_a_png_is_refused():
    data = png.png_bytes(noise("L"))
    for length in range(len(data)):
        with pytest.raises(CorruptDataError):
            png.open_png(data[:length], (5, 3), "L")


@given(
    st.dictionaries(
        st.sampled_from(["icc_profile", "exif", "xmp", "xmp_extended", "photoshop"]), st.binary(max_size=99)
    )
)
def test_metadata_round_trip(entries):
    data = metadata.pack(entries)
    assert metadata.unpack(data) == entries
    assert metadata.pack(metadata.unpack(data)) == data


@given(st.binary(max_size=60))
def test_metadata_of_noise_leads_to_no_other_error(data):
    try:
        metadata.unpack(data)
    except CorruptDataError:
        return
    assert data == b"" or data[0] % 128 in metadata.TAGS.values()


def entry(tag, body):
    return bytes([tag]) + varint(len(body)) + body


def deflated(tag, data):
    return entry(tag + 128, deflate(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (entry(0, b"x"), "expected a tag of 1 to 14, got 0"),
        (entry(15, b"x"), "got 15"),
        (entry(2, b"x") * 2, "expected a tag of 3 to 14, got 2"),
        (entry(4, "é".encode()), "dropped: expected printable ASCII"),
        (deflated(4, b"line\nline"), "dropped: expected printable ASCII"),
        (deflated(4, b"x" * (metadata.NAMES_LIMIT_BYTES + 1)), "expands to more than 1024 bytes"),
        (entry(4, b"x" * (metadata.NAMES_LIMIT_BYTES + 1)), "expected at most 1024 bytes"),
        (entry(129, b"no deflate"), "icc_profile"),
        (entry(129, deflate(b"x")[:-1]), "does not end"),
        (entry(129, deflate(b"x") + b"\0"), "does not end"),
        (entry(1, b"profile")[:-1], "expected at least 9 bytes, got 8"),
        (b"\1", "expected at least 2 bytes, got 1"),
        (deflated(1, bytes(metadata.LIMIT_BYTES + 1)), "expands to more"),
        (entry(7, b"\5text"), "comments"),
        (entry(8, b"\2\3a\0b"), "texts: expected the body"),
        (entry(8, b"\0\2ab"), "texts: expected the body"),
        (entry(8, b"\1\3a\0b"), "texts: expected the body"),
        (entry(9, b"\4\1\1"), "resolution: expected a unit"),
        (entry(9, b"\1\1\1\1"), "resolution: expected a unit"),
        (entry(10, b"abc"), "gAMA: expected 4 bytes, got 3"),
        (entry(11, b"abc"), "cHRM: expected 32 bytes, got 3"),
        (entry(12, b""), "sRGB: expected 1 bytes, got 0"),
        (entry(13, b"abc"), "cICP: expected 4 bytes, got 3"),
        (entry(14, b"\5\5"), "duration: expected one number"),
    ],
)
def test_wrong_metadata_is_refused(data, message):
    with pytest.raises(CorruptDataError, match=message):
        metadata.unpack(data)


def test_metadata_over_the_limit_is_refused():
    image = noise("RGB")
    image.info["icc_profile"] = bytes(metadata.LIMIT_BYTES + 1)
    with pytest.raises(ImageError, match="icc_profile: expected at most"):
        conversion.from_pillow(image)


def with_metadata(mode="RGB"):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    image = noise(mode, (6, 4))
    image.info.update(icc_profile=b"a colour profile", exif=exif.tobytes(), xmp=b"<x:xmpmeta/>")
    return image


def test_orientation_is_metadata_and_pixels_are_not_rotated():
    image = with_metadata()
    back = conversion.to_pillow(conversion.from_pillow(image))
    assert back.getexif()[0x0112] == 6
    assert_same(back, image)
    assert back.info == image.info


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_saved_files_keep_metadata(tmp_path, suffix):
    image = conversion.to_pillow(conversion.from_pillow(with_metadata()))
    writing.save_image(image, tmp_path / f"a{suffix}")
    back = loading.load_image(tmp_path / f"a{suffix}")
    found = kept.collect(back)
    assert found["icc_profile"] == b"a colour profile"
    assert found["xmp"] == b"<x:xmpmeta/>"
    assert back.getexif()[0x010F] == "maker"
    if suffix != ".tiff":  # Pillow turns TIFF by itself, and then removes the orientation
        assert back.getexif()[0x0112] == 6
        assert_same(back, image)


@pytest.mark.parametrize(("suffix", "mode"), [(s, m) for s, (_, modes) in writing.OUTPUTS.items() for m in modes])
def test_saved_files_are_exact(tmp_path, suffix, mode):
    image = noise(mode, (40, 17)) if mode in MODES else wide(mode, (40, 17))
    writing.save_image(image, tmp_path / f"a{suffix}")
    if mode in WIDE_MODES:
        assert (loading.wide_of(loading.load_image(tmp_path / f"a{suffix}")).samples == image.samples).all()
        return
    assert_same(loading.load_image(tmp_path / f"a{suffix}"), image)


@pytest.mark.parametrize("name", ["a.jpg", "a.gif", "a.vlae", "a"])
def test_other_outputs_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="expected a lossless format"):
        writing.save_image(noise("RGB"), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("suffix", "mode"), [(".bmp", "RGBA"), (".webp", "L"), (".ppm", "L"), (".pgm", "RGB")])
def test_outputs_that_would_change_the_image_are_refused(tmp_path, suffix, mode):
    with pytest.raises(ValueError, match="does not keep this image exactly"):
        writing.save_image(noise(mode), tmp_path / f"a{suffix}")


def test_an_image_that_the_format_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.webp"
    path.write_bytes(b"old")
    with pytest.raises(ImageError, match="cannot be written as WEBP"):
        writing.save_image(Image.new("RGB", (20_000, 1)), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch, failing):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (type(path), "replace")), fail)
    with pytest.raises(OSError, match="No space left"):
        outputs.write_file(path, b"new", force=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_file_replaces_a_links_target_and_no_device(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    outputs.write_file(tmp_path / "link", b"1")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"1"
    outputs.write_file(os.devnull, b"1")
    assert not os.path.isfile(os.devnull)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "PA", "La", "RGBa", "RGBX"])
def test_other_modes_are_refused(mode):
    with pytest.raises(ImageError, match=f"got {mode}$"):
        conversion.from_pillow(Image.new(mode, (2, 2)))


def test_floats_are_refused():
    with pytest.raises(ImageError, match="expected whole numbers, got samples of floating point"):
        conversion.from_pillow(Image.new("F", (2, 2)))


def png16(colour, channels):
    rows = (b"\0" + bytes(2 * channels * 2)) * 2
    body = struct.pack(">IIBBBBB", 2, 2, 16, colour, 0, 0, 0)
    return bare_png.SIGNATURE + chunk(b"IHDR", body) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        png16(0, 1),
        png16(2, 3),
        png16(4, 2),
        png16(6, 4),
        b"P6 1 1 65535\n" + bytes(6),
        b"P5 1 1 65535\n" + bytes(2),
        b"P3 1 1 1000\n0 0 1000\n",
    ],
    ids=["grey", "rgb", "la", "rgba", "ppm", "pgm", "plain"],
)
def test_more_than_8_bits_are_kept_or_refused_not_cut(data):
    assert loading.load_image(data).samples.dtype == np.uint16
    assert loading.wide_of(Image.open(BytesIO(data))).samples.dtype == np.uint16
    with pytest.raises(ImageError, match="expected"):
        conversion.from_pillow(Image.open(BytesIO(data)))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_animations_are_refused(kind):
    data = file_of(noise("RGB", seed=1), kind, save_all=True, append_images=[noise("RGB", seed=2)])
    with pytest.raises(ImageError, match="expected 1 frame, got 2, which vlae archive create takes"):
        loading.load_image(data)


@pytest.mark.parametrize("data", [b"", b"no image", bytes(1000), b"VLAE" + bytes(60)])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(ImageError, match="not an image"):
        loading.load_image(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF"])
def test_a_truncated_image_is_refused(kind):
    data = file_of(noise("L", (64, 64)), kind)
    with pytest.raises(ImageError):
        loading.load_image(data[: len(data) // 2])


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        loading.load_image(tmp_path / "none.png")


def test_pixel_limit_and_its_override():
    body = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = bare_png.SIGNATURE + chunk(b"IHDR", body) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="over the limit of 178956970"):
        loading.load_image(bomb)
    data = file_of(noise("RGB", (5, 3)))
    with pytest.raises(ImageError, match="over the limit of 14"):
        loading.load_image(data, 14)
    with pytest.raises(ImageError, match="over the limit of 7"):
        loading.load_image(data, 7)
    assert loading.load_image(data, 15).size == (5, 3)
    assert before == Image.MAX_IMAGE_PIXELS


def test_samples_crc_is_that_of_colour_then_alpha():
    samples = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    alpha = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    assert conversion.samples_crc(samples, None) == zlib.crc32(bytes(range(12))) % 2**31
    assert conversion.samples_crc(samples, alpha) == zlib.crc32(bytes(range(12)) + bytes([1, 2, 3, 4])) % 2**31
