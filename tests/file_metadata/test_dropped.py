"""Metadata: kept to the byte, written so that it can be read again, or named; nothing is made up."""

import json
import struct
import zlib
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin, features
from support.make_golden import draw_digit

import codec
from codec.commands import cli
from codec.errors import ImageError
from codec.file_metadata import file_parts, png_metadata
from codec.format import metadata
from codec.image_files import conversion, loading, writing

XMP = b"<?xpacket begin='\xef\xbb\xbf'?><x:xmpmeta xmlns:x='adobe:ns:meta/'>caf\xc3\xa9</x:xmpmeta><?xpacket end='w'?>"
ORIENTED = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8))


def file_of(kind, **options):
    buffer = BytesIO()
    picture().save(buffer, kind, **options)
    return buffer.getvalue()


def exif(resolution=False):
    found = Image.Exif()
    found[0x0112] = 6
    found[0x010F] = "maker"
    if resolution:
        found[282], found[283], found[296] = 300.0, 300.0, 2
    found.get_ifd(0x8769)[36867] = "2026:01:01 00:00:00"
    found.get_ifd(0x8769)[37500] = b"a maker's note"
    found.get_ifd(0x8825)[1] = "N"
    found.get_ifd(0x8825)[2] = (52.0, 30.0, 1.5)
    return found.tobytes()


def named(data):
    """Return the names of a file's dropped metadata, after checking that all ways to get them agree."""
    names = loading.load_image(data).info.get("dropped", ())
    with Image.open(BytesIO(data)) as image:
        assert metadata.info_of(conversion.from_pillow(image).metadata).get("dropped", ()) == names
    with Image.open(BytesIO(data)) as image:
        file = codec.compress(image, lossless=True)
    assert codec.info(file).dropped == codec.info(codec.compress(data, lossless=True)).dropped == names
    assert codec.decompress(file).info.get("dropped", ()) == names
    assert codec.info(codec.compress(codec.decompress(file), lossless=True)).dropped == names
    return names


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(*chunks, after=b""):
    """Return a PNG with chunks before its samples."""
    data = file_of("PNG")
    return data[:33] + b"".join(chunks) + data[33:] + after


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg(*segments, after=b"", **options):
    """Return a JPEG with segments behind its first."""
    data = file_of("JPEG", **options)
    end = 4 + int.from_bytes(data[4:6], "big")
    return data[:end] + b"".join(segments) + data[end:] + after


IPTC = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x06\x1c\x02\x05\0\1x"
OTHER_RESOURCE = b"Photoshop 3.0\x008BIM\x04\x0d\0\0\0\0\0\x04\0\0\0\x1e"


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (png(), ()),
        (png(chunk(b"tEXt", b"Author\0me")), ()),
        (png(*(chunk(b"tEXt", key + b"\0a\nb") for key in (b"dropped", b"exif", b"icc_profile"))), ()),
        (png(chunk(b"zTXt", b"Author\0\0" + zlib.compress(b"me"))), ()),
        (png(chunk(b"zTXt", b"Author\0\0damaged")), ("text",)),
        (png(chunk(b"iTXt", b"Author\0\0\0\0\0me")), ()),
        (png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)), ()),
        (png(chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))), ()),
        (png(chunk(b"gAMA", struct.pack(">I", 45455))), ()),
        (png(chunk(b"cHRM", struct.pack(">8I", *range(8)))), ()),
        (png(chunk(b"sRGB", b"\0")), ()),
        (png(chunk(b"sRGB", b"\0\0")), ("sRGB",)),
        (png(chunk(b"cICP", b"\x09\x10\0\1")), ()),
        (
            png(chunk(b"tIME", bytes(7)), chunk(b"bKGD", bytes(6)), chunk(b"sBIT", b"\5\5\5")),
            ("background", "chunk sBIT", "time"),
        ),
        (png(after=b"more"), ("trailing data",)),
        (png(chunk(b"caBX", b"claims")), ("chunk caBX",)),
        (jpeg(), ()),
        (jpeg(exif=exif(), icc_profile=b"a profile", xmp=XMP), ()),
        (jpeg(progressive=True, quality=100, restart_marker_blocks=1), ()),
        (jpeg(comment=b"hello"), ()),
        (jpeg(dpi=(300, 300)), ()),
        (jpeg(dpi=(300, 300), exif=exif(resolution=True)), ()),
        (jpeg(segment(0xED, IPTC)), ()),
        (jpeg(segment(0xED, OTHER_RESOURCE)), ()),
        (jpeg(segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40) + b"<x/>")), ()),
        (jpeg(segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(39) + b"\7<x/>")), ("extended XMP",)),
        (jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>") * 2), ("further XMP",)),
        (jpeg(segment(0xEB, b"JP\0\0claims")), ("segment APP11",)),
        (jpeg(segment(0xE2, b"ICC_PROFILE\0\1\2half")), ("ICC profile",)),
        (jpeg(segment(0xE0, b"JFXX\0\x10")), ("thumbnail",)),
        (jpeg(after=b"a film"), ("trailing data",)),
        (jpeg(after=bytes(64)), ()),
        (file_of("GIF"), ()),
        (file_of("GIF", comment=b"hello"), ()),
        (file_of("GIF")[:-1] + b"\x21\xff\x0bXMP DataXMP<x/>\0\0;", ("XMP",)),
        (file_of("BMP"), ()),
        (file_of("PCX"), ()),
        (file_of("TIFF", dpi=(300, 300), description="a picture"), ()),
        (file_of("WEBP", lossless=True, exif=exif(), xmp=XMP, icc_profile=b"a profile"), ()),
        (file_of("ICO", sizes=[(8, 8)]), ()),
        (file_of("ICO", sizes=[(8, 8), (4, 4)]), ("other sizes",)),
        (b"P6 # by hand\n1 1\n255\nabc", ("comment",)),
        (b"qoif" + struct.pack(">IIBB", 1, 1, 3, 1) + b"\xfeabc" + bytes(7) + b"\1", ("linear light",)),
    ],
)
def test_what_is_not_kept_is_named(data, names):
    assert named(data) == names


def test_a_webp_with_a_chunk_of_its_own_and_a_tail_is_named():
    data = file_of("WEBP", lossless=True, exif=exif()) + b"CLMS" + struct.pack("<I", 4) + b"abcd"
    data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    assert named(data) == ("chunk CLMS",)
    assert named(data + b"a tail") == ("chunk CLMS", "trailing data")


def test_layers_and_resources_of_a_psd_are_named():
    resource = b"8BIM" + struct.pack(">HHI", 1028, 0, 2) + b"ab" + b"8BIM" + struct.pack(">HHI", 1005, 0, 2) + b"ab"
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 8, 12, 8, 3) + bytes(4)
    record = struct.pack(">4iHHIHIHI", 0, 0, 1, 1, 3, 0, 3, 1, 3, 2, 3) + b"8BIMnorm" + bytes(4) + bytes(4)
    layers = struct.pack(">h", 1) + record + (b"\0\0a" * 3).ljust(10, b"\0")
    sections = (
        struct.pack(">I", len(resource))
        + resource
        + struct.pack(">II", len(layers) + 8, len(layers))
        + layers
        + bytes(4)
    )
    samples = bytes(2) + picture().tobytes()
    assert set(named(head + sections + samples)) == {"IPTC", "resolution", "layers"}
    assert named(head + bytes(8) + samples) == ()


@pytest.mark.skipif(not features.check("jpg_2000"), reason="no JPEG 2000")
def test_boxes_of_jpeg2000_are_named():
    data = file_of("JPEG2000", comment=b"hello") + struct.pack(">I4s", 12, b"xml ") + b"<a/>"
    assert set(named(data)) == {"comment", "box xml"}


@pytest.mark.parametrize("quality", [1, 50, 100])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}])
def test_the_end_of_a_jpeg_is_found(quality, options):
    rng = np.random.default_rng(quality)
    buffer = BytesIO()
    Image.fromarray(rng.integers(0, 256, (200, 150, 3), dtype=np.uint8)).save(
        buffer, "JPEG", quality=quality, **options
    )
    for tail in (b"", b"tail", b"\xff\xd8\xff\xd9"):
        *_, (marker, body) = file_parts.jpeg_segments(buffer.getvalue() + tail)
        assert (marker, body) == (0xD9, tail)


def test_long_runs_of_a_byte_cost_no_time():
    data = jpeg()[:-2] + (b"\xff" * 1000 + b"\0") * 1000 + b"\xff\xff\xd9"
    *_, (marker, body) = file_parts.jpeg_segments(data)
    assert (marker, body) == (0xD9, b"")


@given(st.sampled_from([png(), jpeg(exif=exif()), file_of("WEBP"), file_of("ICO")]), st.data())
def test_damage_leads_to_no_other_error(data, draw):
    broken = bytearray(data[: draw.draw(st.integers(10, len(data)))])
    for at in draw.draw(st.lists(st.integers(0, len(broken) - 1), max_size=4)):
        broken[at] = draw.draw(st.integers(0, 255))
    with suppress(ImageError):
        loading.load_image(bytes(broken))


def test_names_are_bounded():
    names = tuple(f"chunk ab{i:02}" for i in range(100)) * 2
    entry = metadata.pack_names(names)
    assert len(entry) <= metadata.NAMES_LIMIT_BYTES
    assert metadata.unpack_names(entry)[:50] == names[:50]
    assert metadata.unpack_names(entry)[-1] == "..."
    assert metadata.unpack_names(metadata.pack_names(names[:3])) == names[:3]


def test_the_command_names_what_is_not_kept(tmp_path, capfd):
    (tmp_path / "a.png").write_bytes(png(chunk(b"tIME", bytes(7)), chunk(b"bKGD", bytes(6))))
    assert cli.run(["compress", str(tmp_path / "a.png"), "--lossless"]) == 0
    assert f"vlae: {tmp_path / 'a.png'}: not kept: background, time\n" in capfd.readouterr().err
    assert cli.run(["info", str(tmp_path / "a.vlae")]) == 0
    assert "dropped         background, time\n" in capfd.readouterr().out
    assert cli.run(["info", str(tmp_path / "a.vlae"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["dropped"] == ["background", "time"]
    assert cli.run(["compress", str(tmp_path / "a.png"), "--lossless", "--force", "-q"]) == 0
    assert capfd.readouterr().err == ""


def test_archives_name_what_is_not_kept(tmp_path, capfd):
    (tmp_path / "a.png").write_bytes(png(chunk(b"tIME", bytes(7)), chunk(b"bKGD", bytes(6))))
    (tmp_path / "b.png").write_bytes(png(chunk(b"bKGD", bytes(6))))
    (tmp_path / "c.png").write_bytes(png())
    archive = str(tmp_path / "a.vlar")
    files = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    assert cli.run(["archive", "create", archive, *files[:2], "--lossless"]) == 0
    assert f"vlae: {archive}: not kept: background (2 images), time (1 images)\n" in capfd.readouterr().err
    assert cli.run(["archive", "add", archive, files[2], "--lossless"]) == 0
    assert "not kept" not in capfd.readouterr().err
    found = codec.create_archive(tmp_path / "b.vlar", {"x": files[0], "y": files[2]}, lossless=True)
    assert found == {"x": ("background", "time")}
    with codec.Archive(tmp_path / "b.vlar") as images:
        assert images["x"].info["dropped"] == ("background", "time")


# EXIF


def test_orientation_of_xmp_makes_up_no_exif():
    for data in (png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + ORIENTED)), file_of("WEBP", xmp=ORIENTED)):
        image = codec.decompress(codec.compress(data, lossless=True))
        assert image.info["xmp"] == ORIENTED
        assert "exif" not in image.info


def test_exif_in_text_and_in_tags_is_kept():
    hexadecimal = exif()[6:].hex()
    profile = png(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(f"\nexif\n8\n{hexadecimal}\n".encode())))
    assert named(profile) == ()
    assert codec.decompress(codec.compress(profile, lossless=True)).info["exif"] == exif()[6:]
    for data in (profile, file_of("TIFF", exif=exif())):
        found = codec.decompress(codec.compress(data, lossless=True)).getexif()
        assert found[0x010F] == "maker"
        assert found.get_ifd(0x8769)[36867] == "2026:01:01 00:00:00"


def test_exif_with_directories_is_written_to_tiff(tmp_path, capfd):
    image = codec.decompress(codec.compress(jpeg(exif=exif(), icc_profile=b"a profile", xmp=XMP), lossless=True))
    writing.save_image(image, tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as back:
        found, first = back.getexif(), Image.Exif()
        first.load(exif())
        assert {tag: found[tag] for tag in (0x0112, 0x010F)} == {0x0112: 6, 0x010F: "maker"}
        for tag in (0x8769, 0x8825):
            assert found.get_ifd(tag) == first.get_ifd(tag)
        assert back.info["icc_profile"] == b"a profile"
        assert back.info["xmp"] == XMP
        assert np.array_equal(np.asarray(back), np.asarray(image.rotate(-90, expand=True)))  # Pillow turns TIFF
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [(1, 1), (13, 1), (7, 300), (1500, 1200)])
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA"])
def test_tiff_is_exact_by_libtiff_too(mode, size, monkeypatch):
    shape = (size[1], size[0], len(Image.new(mode, (1, 1)).getbands()))
    samples = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    image = Image.fromarray(samples.squeeze(2) if shape[2] == 1 else samples).convert(mode)
    data = writing.image_bytes(image, "TIFF")
    for libtiff in (True, False):
        monkeypatch.setattr(TiffImagePlugin, "READ_LIBTIFF", libtiff)
        back = loading.load_image(data)
        assert back.mode == mode
        assert back.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()


def test_exif_that_tiff_cannot_have_is_named():
    image = picture()
    assert writing.left_out(image, "a.tif") == ()
    image.info["exif"] = exif()
    assert writing.left_out(image, "a.tif") == ()
    with_thumbnail = exif()[6:]
    end = 10 + 12 * int.from_bytes(with_thumbnail[8:10], "big")
    second = struct.pack(">HHHIHH", 1, 259, 3, 1, 6, 0) + bytes(4)
    image.info["exif"] = (
        with_thumbnail[:end] + struct.pack(">I", len(with_thumbnail)) + with_thumbnail[end + 4 :] + second
    )
    assert writing.left_out(image, "a.tif") == ("thumbnail of EXIF",)
    overlapping = (
        b"MM\0*\0\0\0\x08"
        + struct.pack(">H", 3)
        + b"".join(struct.pack(">HHII", tag, 7, 30, 10) for tag in (37500, 37501, 37502))
        + bytes(4)
    )
    for damaged in (b"Exif\0\0garbage", exif()[:30], exif()[:-1], overlapping, b"II*\0\xff\xff\xff\xff"):
        image.info["exif"] = damaged
        assert writing.left_out(image, "a.tif")[:1] == ("EXIF",)
        assert np.array_equal(np.asarray(loading.load_image(writing.image_bytes(image, "TIFF"))), np.asarray(image))


@pytest.mark.parametrize("order", ["<", ">"])
def test_values_of_exif_come_back_byte_by_byte(order, tmp_path):
    """Pillow would write text as ASCII, and types by guess."""
    note = bytes(range(256))
    values = {0x8298: (2, "© Zoë\0".encode()), 0x9286: (7, b"UNICODE\0" + "é".encode("utf-16")), 0xC4A5: (7, note)}
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(values))
    at = 10 + 12 * len(values) + 4
    entries, bodies = b"", b""
    for tag, (kind, value) in values.items():
        entries += struct.pack(f"{order}HHII", tag, kind, len(value), at + len(bodies))
        bodies += value
    image = picture()
    image.info["exif"] = head + entries + bytes(4) + bodies
    writing.save_image(image, tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as back:
        for tag, (_, value) in values.items():
            assert value in (tmp_path / "a.tif").read_bytes()
            assert back.tag_v2[tag] == (value[:-1].decode("latin-1") if tag == 0x8298 else value)
    for source in (tmp_path / "a.tif", Image.open(tmp_path / "a.tif")):
        kept = codec.decompress(codec.compress(source, lossless=True)).info["exif"]
        assert all(value in kept for _, value in values.values())


def test_tiff_is_exact_by_another_reader():
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    found = tifffile.imread(BytesIO(writing.image_bytes(picture(), "TIFF")))
    assert np.array_equal(found, np.asarray(picture()))


# XMP


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_xmp_of_any_encoding_is_kept_and_written(tmp_path, encoding):
    packet = XMP.decode()[XMP.decode().index("<x:") :].encode(encoding)
    image = codec.decompress(codec.compress(jpeg(xmp=packet), lossless=True))
    assert image.info["xmp"] == packet
    assert writing.left_out(image, "a.png") == ()
    writing.save_image(image, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as back:
        assert back.info["xmp"].decode("utf-8").lstrip("\ufeff") == packet.decode(encoding).lstrip("\ufeff")


@pytest.mark.parametrize(
    "packet", [b"<x>caf\xe9</x>", b"\0\1\2\3", "<?xml version='1.0' encoding='UTF-16'?><x/>".encode("utf-16")]
)
def test_xmp_that_png_cannot_have_is_left_out_with_a_word(tmp_path, capfd, packet):
    (tmp_path / "a.vlae").write_bytes(codec.compress(jpeg(xmp=packet), lossless=True))
    assert cli.run(["decompress", str(tmp_path / "a.vlae"), "-o", str(tmp_path / "a.png")]) == 0
    assert f"vlae: {tmp_path / 'a.png'}: not written: XMP\n" in capfd.readouterr().err
    with Image.open(tmp_path / "a.png") as back:
        back.load()
        assert "xmp" not in back.info


# Outputs


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
@pytest.mark.parametrize("length", [png_metadata.PROFILE_LIMIT_BYTES - 1, png_metadata.PROFILE_LIMIT_BYTES, 1_200_000])
def test_a_long_profile_is_written_where_it_can_be_read(tmp_path, suffix, length):
    profile = np.random.default_rng(0).bytes(length)
    image = picture()
    image.info["icc_profile"] = profile
    writing.save_image(image, tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as back:
        back.load()
        kept = back.info.get("icc_profile") == profile
    assert writing.left_out(image, f"a{suffix}") == (() if kept else ("ICC profile",))
    assert kept == (suffix != ".png" or length <= PngImagePlugin.MAX_TEXT_CHUNK)


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".png"])
def test_metadata_that_an_output_does_not_take_is_named(tmp_path, capfd, suffix):
    (tmp_path / "a.vlae").write_bytes(codec.compress(jpeg(exif=exif(), icc_profile=b"p", xmp=XMP), lossless=True))
    target = tmp_path / f"a{suffix}"
    assert cli.run(["decompress", str(tmp_path / "a.vlae"), "-o", str(target)]) == 0
    err = capfd.readouterr().err
    assert (f"vlae: {target}: not written: ICC profile, EXIF, XMP, orientation: the image is not upright\n" in err) == (
        suffix != ".png"
    )
    assert err.count("\n") == (1 if suffix == ".png" else 2)
    assert cli.run(["decompress", str(tmp_path / "a.vlae"), "-o", str(target), "--force", "-q"]) == 0
    assert capfd.readouterr().err == ""


# Transparent colours


@pytest.mark.parametrize("key", [0, 255])
def test_a_bilevel_image_with_a_transparent_colour_is_stored_whole(key):
    image = draw_digit(28, 28, 1)
    image.info["transparency"] = key
    buffer = BytesIO()
    image.save(buffer, "PNG")
    for options in ({"model": "mnist-static"}, {}):
        data = codec.compress(buffer.getvalue(), lossless=True, **options)
        assert codec.info(data).fidelity == "stored"
        assert codec.decompress(data).convert("RGBA").tobytes() == Image.open(buffer).convert("RGBA").tobytes()
    del image.info["transparency"]
    assert codec.info(codec.compress(image, lossless=True, model="mnist-static")).fidelity == "lossless"


@pytest.mark.parametrize(("mode", "key"), [("L", 7), ("RGB", (1, 2, 3))])
def test_a_named_model_keeps_a_transparent_colour(mode, key):
    image = picture().convert(mode)
    image.info["transparency"] = key
    data = codec.compress(image, lossless=True, model="tiny")
    assert codec.decompress(data).info["transparency"] == key
