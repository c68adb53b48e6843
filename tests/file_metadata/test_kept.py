"""Metadata of every kind comes back, costs few bytes, is written where the output can hold it, and can be left out."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import codec
from codec.commands import cli
from codec.errors import RequestError
from codec.file_metadata import kept
from codec.file_metadata.file_parts import png_chunks
from codec.format import metadata
from codec.image_files import loading, writing

EXTENSION = b"http://ns.adobe.com/xmp/extension/\0" + b"G" * 32


def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8))


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def png(*chunks, after=()):
    buffer = BytesIO()
    picture().save(buffer, "PNG")
    data = buffer.getvalue()
    return data[:33] + b"".join(chunks) + data[33:-12] + b"".join(after) + data[-12:]


def jpeg(*segments, **options):
    buffer = BytesIO()
    picture().save(buffer, "JPEG", **options)
    data = buffer.getvalue()
    end = 4 + int.from_bytes(data[4:6], "big")
    return data[:end] + b"".join(segments) + data[end:]


def entries_of(data):
    """Return the metadata of a file's lossless file, which must be that of the decoded image compressed again."""
    file = codec.compress(data, lossless=True)
    again = codec.compress(codec.decompress(file), lossless=True)
    assert again == file
    return metadata.entries_of_info(codec.decompress(file).info)


PNG_CHUNKS = [
    (b"gAMA", struct.pack(">I", 45455)),
    (b"cHRM", struct.pack(">8I", *range(8))),
    (b"sRGB", b"\1"),
    (b"cICP", b"\x09\x10\0\1"),
    (b"pHYs", struct.pack(">IIB", 3000, 2835, 1)),
    (b"pHYs", struct.pack(">IIB", 2, 1, 0)),
    (b"tEXt", b"Author\0me"),
    (b"tEXt", b"Long\0" + b"text " * 900),
    (b"iTXt", b"Title\0\0\0de\0Titel\0caf\xc3\xa9"),
]


@pytest.mark.parametrize(("name", "body"), PNG_CHUNKS, ids=[name.decode() for name, _ in PNG_CHUNKS])
@pytest.mark.parametrize("mode", ["RGB", "RGB;16"])
def test_chunks_of_png_come_back_in_png(name, body, mode, tmp_path):
    data = png(chunk(name, body))
    if mode == "RGB;16":
        wide = loading.from_array(np.full((8, 12, 3), 1000, np.uint16))
        plain = writing.image_bytes(wide)
        data = plain[:33] + chunk(name, body) + plain[33:]
    (tmp_path / "a.vlae").write_bytes(codec.compress(data, lossless=True))
    assert cli.run(["decompress", str(tmp_path / "a.vlae"), "-q"]) == 0
    written = (tmp_path / "a.png").read_bytes()
    found = [each for each in png_chunks(written) if each[0] not in (b"IHDR", b"IDAT", b"IEND")]
    if len(body) > 1024:
        ((kind, stream),) = found
        assert kind == b"zTXt"
        assert body.split(b"\0") == [b"Long", zlib.decompress(stream[6:])]
    else:
        assert found == [(name, body)]
    assert codec.compress(written, lossless=True) == (tmp_path / "a.vlae").read_bytes()
    assert codec.info(tmp_path / "a.vlae").dropped == ()


def test_texts_behind_the_samples_are_kept_and_compressed_ones_expanded():
    stream = zlib.compress(b"hello")
    texts = chunk(b"zTXt", b"a\0\0" + stream), chunk(b"iTXt", b"b\0\1\0\0\0" + stream)
    entry = entries_of(png(after=texts))["texts"]
    assert metadata.unpack_texts(entry) == [(0, b"a\0hello"), (1, b"b\0\0\0hello")]


def test_metadata_costs_few_bytes():
    plain = len(codec.compress(png(), lossless=True))
    for (name, body), cost in {PNG_CHUNKS[0]: 7, PNG_CHUNKS[2]: 4, PNG_CHUNKS[3]: 7, PNG_CHUNKS[6]: 14}.items():
        assert len(codec.compress(png(chunk(name, body)), lossless=True)) - plain == cost, name


def test_parts_of_a_jpeg_are_kept():
    resources = b"8BIM\x04\x04\0\0\0\0\0\x06\x1c\x02\x05\0\1x"
    parts = [(9, b"second"), (0, b"the first")]
    found = entries_of(
        jpeg(
            segment(0xFE, b"one"),
            segment(0xFE, b"two\xff"),
            segment(0xED, b"Photoshop 3.0\0" + resources),
            *(segment(0xE1, EXTENSION + struct.pack(">II", 15, at) + part) for at, part in parts),
            dpi=(300, 200),
        )
    )
    assert metadata.unpack_comments(found["comments"]) == [b"one", b"two\xff"]
    assert found["photoshop"] == resources
    assert found["xmp_extended"] == b"the firstsecond"
    assert metadata.unpack_resolution(found["resolution"]) == (kept.INCH, 300, 200)


def test_what_an_output_cannot_hold_is_named(tmp_path, capfd):
    data = jpeg(
        segment(0xFE, b"hello"),
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x06\x1c\x02\x05\0\1x"),
        segment(0xE1, EXTENSION + bytes(8) + b"more"),
        dpi=(300, 300),
    )
    (tmp_path / "a.vlae").write_bytes(codec.compress(data, lossless=True))
    for suffix, names in {
        "png": "extended XMP, IPTC",
        "tif": "extended XMP, comment",
        "bmp": "extended XMP, IPTC, comment",
        "webp": "extended XMP, IPTC, comment, resolution",
    }.items():
        assert cli.run(["decompress", str(tmp_path / "a.vlae"), "-o", str(tmp_path / f"a.{suffix}")]) == 0
        assert f"not written: {names}\n" in capfd.readouterr().err
    for suffix in ("png", "tif", "bmp"):
        with Image.open(tmp_path / f"a.{suffix}") as back:
            assert back.info["dpi"] == pytest.approx((300, 300), abs=0.02)
    with Image.open(tmp_path / "a.png") as back:
        assert back.text == {"Comment": "hello"}
    with Image.open(tmp_path / "a.tif") as back:
        assert back.tag_v2[34377][0].startswith(b"8BIM")


def test_orientation_that_an_output_cannot_hold_is_named(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture()
    image.info["exif"] = exif.tobytes()
    assert writing.left_out(image, "a.bmp") == ("EXIF", "orientation: the image is not upright")
    assert writing.left_out(image, "a.png") == ()


def full():
    exif = Image.Exif()
    exif[0x010F] = "maker"
    return jpeg(segment(0xFE, b"hello"), exif=exif, icc_profile=b"a profile", xmp=b"<x/>", dpi=(300, 300))


@pytest.mark.parametrize(
    ("keep", "keys"),
    [
        (None, {"icc_profile", "exif", "xmp", "comments", "resolution"}),
        ((), set()),
        (("icc",), {"icc_profile"}),
        (("exif", "comments", "text"), {"exif", "comments"}),
    ],
)
def test_a_caller_chooses_what_is_kept(keep, keys):
    for source in (full(), Image.open(BytesIO(full())), loading.load_image(full())):
        data = codec.compress(source, lossless=True, keep=keep)
        assert set(codec.info(data).metadata_bytes) == keys
        assert codec.decompress(data).tobytes() == Image.open(BytesIO(full())).tobytes()


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(RequestError, match="keep: expected some of icc, exif"):
        codec.compress(picture(), keep=["iccp"])


def test_names_of_dropped_metadata_go_with_the_rest():
    data = png(chunk(b"tIME", bytes(7)))
    assert codec.info(codec.compress(data, lossless=True)).dropped == ("time",)
    assert codec.info(codec.compress(data, lossless=True, keep=())).dropped == ()


def test_stripping_keeps_a_transparent_colour_and_16_bits():
    image = picture()
    image.info["transparency"] = (1, 2, 3)
    assert codec.decompress(codec.compress(image, lossless=True, keep=())).info["transparency"] == (1, 2, 3)
    samples = np.full((4, 4, 3), 1000, np.uint16)
    assert np.array_equal(codec.decompress(codec.compress(samples, lossless=True, keep=())), samples)


def test_the_command_strips_and_keeps(tmp_path, capfd):
    source = tmp_path / "a.jpg"
    source.write_bytes(full())
    for options, keys in ((["--strip"], set()), (["--keep", "icc, xmp"], {"icc_profile", "xmp"})):
        assert cli.run(["compress", str(source), "--lossless", "--force", *options]) == 0
        assert set(codec.info(tmp_path / "a.vlae").metadata_bytes) == keys
    assert cli.run(["compress", str(source), "--strip", "--keep", "icc"]) == 2
    assert cli.run(["compress", str(source), "--force", "--keep", "colours"]) == 2
    assert "keep: expected some of" in capfd.readouterr().err
