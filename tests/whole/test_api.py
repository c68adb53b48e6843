"""Images to bytes and back, whole: every mode and size, every damage, every mistake of a caller."""

import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import codec
from codec.encoder import encoding
from codec.errors import CodecError, CorruptDataError, ImageError, ModelError, UnsupportedError
from codec.format import container, headers, metadata
from codec.format.headers import Latents
from codec.frozen.shipped import load_model
from codec.images import choice, decoder
from codec.vlae import adaptation

SIZES = [(1, 1), (1, 9), (9, 1), (3, 5), (17, 300), (300, 17)]


def picture(mode, size=(40, 30), seed=0):
    """Return an image that is smooth with a little noise, like a photograph, alpha included."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    bands = Image.new(mode, (1, 1)).getbands()
    planes = [
        90 + 50 * np.sin(x / 9 + i) + 40 * np.cos(y / 7 - i) + rng.normal(0, 2, x.shape) for i in range(len(bands))
    ]
    array = np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)
    if mode == "1":
        return Image.fromarray(array[:, :, 0]).convert("1")
    if mode == "P":
        return Image.fromarray(array[:, :, 0]).convert("P")
    return Image.fromarray(array[:, :, 0] if len(bands) == 1 else array)


def assert_same(a, b):
    assert (a.mode, a.size) == (b.mode, b.size)
    assert a.tobytes() == b.tobytes()
    assert a.convert("RGBA").tobytes() == b.convert("RGBA").tobytes()


def resealed(data):
    """Return the file with its checksum made right again."""
    crc = zlib.crc32(data[9:], zlib.crc32(data[:5]))
    return data[:5] + struct.pack("<I", crc) + data[9:]


@pytest.fixture(scope="module")
def photo():
    """A small coded file, and its image."""
    image = picture("RGB")
    data = codec.compress(image, lossless=True)
    assert codec.info(data).fidelity == "lossless"
    return data, image


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", headers.MODES)
def test_lossless_is_exact(mode, size):
    image = picture(mode, size)
    data = codec.compress(image, lossless=True)
    assert_same(codec.decompress(data), image)
    facts = codec.info(data)
    assert (facts.mode, facts.width, facts.height, facts.file_bytes) == (mode, *size, len(data))
    assert sum(facts.part_bits.values()) == 8 * len(data)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", headers.CODED_MODES)
@pytest.mark.parametrize("max_error", [1, 3, 10])
def test_no_sample_is_off_by_more_than_max_error(mode, size, max_error):
    image = picture(mode, size)
    decoded = codec.decompress(codec.compress(image, max_error=max_error))
    difference = np.abs(np.asarray(decoded).astype(int) - np.asarray(image))
    assert difference.max() <= max_error
    if mode in ("LA", "RGBA"):
        assert (difference[..., -1] == 0).all()


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3))), st.integers(0, 10))
def test_any_samples_come_back(array, max_error):
    decoded = np.asarray(codec.decompress(codec.compress(Image.fromarray(array), max_error=max_error)))
    assert np.abs(decoded.astype(int) - array).max() <= max_error


@pytest.mark.parametrize("latents", Latents)
def test_the_way_of_coding_latents_can_be_chosen(latents):
    image = picture("RGB", (150, 140))
    data = codec.compress(image, lossless=True, latents=latents)
    assert codec.info(data).latents == latents.name.lower().replace("_", "-")
    assert_same(codec.decompress(data), image)


@pytest.mark.parametrize("latents", Latents)
def test_near_lossless_files_have_no_bits_back(latents):
    image = picture("RGB", (50, 140))
    facts = codec.info(codec.compress(image, max_error=2, latents=latents))
    assert facts.fidelity == "near-lossless"
    assert facts.latents == ("none" if latents == Latents.NONE else "two-part")


def adapted_file(monkeypatch):
    """Return a small file with an adaptation, and its image; such an image would not pay for one."""
    u = np.random.default_rng(0).integers(-3, 4, len(load_model().adaptation_units))
    monkeypatch.setattr(encoding, "choose", lambda *_: (Latents.TWO_PART, u))
    monkeypatch.setattr(choice, "QUICK_FACTOR", 0)
    image = picture("RGB")
    return codec.compress(image, lossless=True), image


def test_the_bits_of_an_adaptation_are_told(monkeypatch, photo):
    data, image = adapted_file(monkeypatch)
    chunk = container.unpack(data).adaptation
    assert codec.info(data).part_bits["adaptation_bits"] == 8 * len(chunk) > 0
    assert sum(codec.info(data).part_bits.values()) == 8 * len(data)
    assert codec.info(photo[0]).part_bits["adaptation_bits"] == 0
    assert_same(codec.decompress(data), image)


def test_damage_in_an_adaptation_is_corrupt_behind_a_right_checksum(monkeypatch):
    data, _ = adapted_file(monkeypatch)
    file = container.unpack(data)
    begin = data.index(file.adaptation)
    # Behind the header, the description, in which the length of the chunk has 2 bytes, and the coding header.
    assert begin == 9 + (1 + 3 + 1 + 2) + 3
    for bit in np.random.default_rng(6).integers(8 * begin, 8 * (begin + len(file.adaptation)), 60).tolist():
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptDataError, match=r"^(message|adaptation): "):
            codec.decompress(resealed(bytes(damaged)))
    for chunk in (
        file.adaptation[4:],
        file.adaptation + bytes(1),
        bytes(4) + file.adaptation,
        b"\xff" * 3,
        bytes(8),
    ):
        with pytest.raises(CorruptDataError, match=r"^(message|adaptation): "):
            codec.decompress(container.pack(replace(file, adaptation=chunk)))


def test_an_adaptation_belongs_to_its_image(monkeypatch):
    # Another one, or none, is found at the latest by the checksum of the samples.
    data, _ = adapted_file(monkeypatch)
    file = container.unpack(data)
    other = adaptation.pack(-adaptation.unpack(file.adaptation, load_model().network), load_model().network)
    for chunk in (b"", other):
        with pytest.raises(CorruptDataError):
            codec.decompress(container.pack(replace(file, adaptation=chunk)))


def test_max_error_0_is_lossless(photo):
    data, image = photo
    assert codec.compress(image, max_error=0) == data


def test_the_same_image_gives_the_same_bytes(photo):
    data, image = photo
    assert codec.compress(image, lossless=True, threads=1) == data
    assert codec.compress(image, lossless=True, threads=2) == data
    assert_same(codec.decompress(data, threads=1), image)


def test_what_png_says_shorter_is_stored():
    # A repeated tile of noise: PNG finds the repetition, a local model cannot.
    tile = np.random.default_rng(1).integers(0, 256, (16, 16), dtype=np.uint8)
    image = Image.fromarray(np.tile(tile, (11, 11)))
    for max_error in (0, 1):
        data = codec.compress(image, max_error=max_error)
        assert codec.info(data).fidelity == "stored"
        assert_same(codec.decompress(data), image)


def test_a_transparent_colour_is_kept():
    image = picture("RGB")
    image.info["transparency"] = (1, 2, 3)
    decoded = codec.decompress(codec.compress(image, lossless=True))
    assert_same(decoded, image)
    assert decoded.info["transparency"] == (1, 2, 3)


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_metadata_is_kept_and_readable_without_decoding(mode):
    exif = Image.Exif()
    exif[0x0112] = 6
    entries = {"icc_profile": b"a profile", "exif": exif.tobytes(), "xmp": b"<x/>"}
    image = picture(mode)
    image.info.update(entries)
    data = codec.compress(image, lossless=True)
    assert metadata.unpack(container.unpack(data).metadata) == entries
    assert codec.info(data).metadata_bytes == {key: len(value) for key, value in entries.items()}
    decoded = codec.decompress(data)
    assert {key: decoded.info[key] for key in entries} == entries
    assert decoded.getexif()[0x0112] == 6
    assert_same(decoded, image)


def test_progress_ends_with_all_bands():
    calls = []
    image = picture("RGB", (20, 200))
    data = codec.compress(image, lossless=True, latents=Latents.NONE, progress=lambda *call: calls.append(call))
    assert calls
    assert calls[-1][0] == calls[-1][1]
    calls.clear()
    codec.decompress(data, progress=lambda *call: calls.append(call))
    assert calls[-1] == (-(-200 // load_model().tile),) * 2


def test_every_truncation_is_refused(photo):
    data, _ = photo
    for length in range(len(data)):
        with pytest.raises(CorruptDataError):
            codec.decompress(data[:length])


def test_every_flipped_bit_of_the_headers_is_refused(photo):
    data, _ = photo
    for bit in range(8 * 20):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptDataError, UnsupportedError)):
            codec.decompress(bytes(damaged))


def test_flipped_bits_behind_a_right_checksum_are_codec_errors(photo):
    data, _ = photo
    rng = np.random.default_rng(5)
    for bit in rng.integers(8 * 9, 8 * len(data), 200):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << int(bit) % 8
        with pytest.raises(CodecError):
            codec.decompress(resealed(bytes(damaged)))


@pytest.mark.parametrize("extra", [b"\0", b"\0\0\0\0"])
def test_trailing_bytes_are_refused(photo, extra):
    for data in (photo[0] + extra, resealed(photo[0] + extra)):
        with pytest.raises(CorruptDataError):
            codec.decompress(data)


def test_wrong_samples_are_refused(photo):
    # The checksum lies at the bottom of the message, in the lowest bits of its first word.
    file = container.unpack(photo[0])
    for bit in range(8):
        payload = bytes([file.payload[0] ^ 1 << bit]) + file.payload[1:]
        with pytest.raises(CorruptDataError, match=r"^(samples: expected checksum|message: )"):
            codec.decompress(container.pack(replace(file, payload=payload)))
    opened = decoder.opened(file)
    other = replace(opened, file=replace(file, header=replace(file.header, samples_crc=5)))
    assert_same(opened.image(), photo[1])
    with pytest.raises(CorruptDataError, match="samples: expected checksum 0x00000005, got 0x"):
        other.image()


def test_other_weights_are_refused(photo):
    file = container.unpack(photo[0])
    changed = bytes([file.coding.weights_hash[0], file.coding.weights_hash[1] ^ 1])
    with pytest.raises(ModelError, match="expected weights"):
        codec.decompress(container.pack(replace(file, coding=replace(file.coding, weights_hash=changed))))


def test_an_unknown_model_is_refused(photo):
    file = container.unpack(photo[0])
    for number in (0xFFFF, 1 << 34):
        with pytest.raises((ModelError, UnsupportedError)):
            codec.decompress(container.pack(replace(file, coding=replace(file.coding, model=number))))


@pytest.mark.parametrize(("name", "value"), [("width", 1 << 35), ("height", 1 << 35), ("width", 1_000_000)])
def test_absurd_sizes_are_refused(photo, name, value):
    file = container.unpack(photo[0])
    data = container.pack(replace(file, header=replace(file.header, **{name: value})))
    with pytest.raises((CorruptDataError, UnsupportedError)):
        codec.decompress(data)


@pytest.mark.parametrize("options", [{"lossless": True, "max_error": 0}, {"quality": 3, "target_bpp": 1}])
def test_two_fidelities_are_too_many(options):
    with pytest.raises(ValueError, match="expected one of lossless, max_error, quality, target_bpp"):
        codec.compress(picture("L"), **options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_error": 11}, ValueError),
        ({"max_error": -1}, ValueError),
        ({"max_error": 1.5}, TypeError),
        ({"max_error": True}, TypeError),
        ({"quality": 0}, ValueError),
        ({"quality": "60"}, TypeError),
        ({"latents": "bits-back"}, TypeError),
        ({"effort": 4}, ValueError),
        ({"lossless": True, "threads": 0}, ValueError),
    ],
)
def test_mistakes_of_a_caller(options, error):
    with pytest.raises(error, match="expected"):
        codec.compress(picture("L"), **options)


def test_pixel_limit(photo):
    data, image = photo
    with pytest.raises(ImageError, match="over the limit of 1199"):
        codec.compress(image, lossless=True, max_pixels=1199)
    with pytest.raises(UnsupportedError, match="over the limit of 1199"):
        codec.decompress(data, max_pixels=1199)


def test_an_unsupported_mode_is_refused():
    with pytest.raises(ImageError, match="got LAB"):
        codec.compress(Image.new("LAB", (2, 2)), lossless=True)


def test_files_are_accepted_as_images(tmp_path, photo):
    data, image = photo
    image.save(tmp_path / "a.png")
    assert codec.compress(tmp_path / "a.png", lossless=True) == data
    assert codec.compress((tmp_path / "a.png").read_bytes(), lossless=True) == data


def test_info_needs_neither_compiler_nor_torch():
    code = "import sys, codec; codec.info; print(sorted({'numba', 'torch', 'models'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "[]\n"


def test_exported_names_exist():
    for name in codec.__all__:
        assert getattr(codec, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = codec.nothing


class Text:
    """Reads text."""

    def read(self):
        return "text"


def test_files_are_accepted_in_any_form(tmp_path, photo):
    data, image = photo
    path = tmp_path / "a.vlae"
    path.write_bytes(data)
    sources = [str(path), path, data, bytearray(data), memoryview(data), BytesIO(data)]
    for source in sources:
        assert codec.info(source) == codec.info(data)
        if isinstance(source, BytesIO):
            source.seek(0)
        assert_same(codec.decompress(source), image)
    image.save(tmp_path / "a.png")
    png = (tmp_path / "a.png").read_bytes()
    images = [image, str(tmp_path / "a.png"), tmp_path / "a.png", png, bytearray(png), memoryview(png), BytesIO(png)]
    for source in images:
        assert codec.compress(source, lossless=True) == data
    with (tmp_path / "a.png").open("rb") as file:
        assert codec.compress(file, lossless=True) == data
    named = {f"{i}": source for i, source in enumerate([*images[:-1], BytesIO(png)])}
    codec.create_archive(tmp_path / "a.vlar", named, lossless=True, block=np.int64(3), processes=1)
    with codec.Archive(tmp_path / "a.vlar") as archive:
        assert {decoded.tobytes() for decoded in archive.values()} == {image.tobytes()}


@pytest.mark.parametrize("source", [None, 5, 1.5, ["a"], np.zeros((4, 4, 3), np.uint8), Text()])
def test_other_types_are_refused_in_one_line(tmp_path, source):
    for function in (codec.compress, codec.decompress, codec.info):
        with pytest.raises(
            TypeError, match=r"^(image|data): expected .*a path, bytes or a binary file|binary file, got"
        ):
            function(source)
    with pytest.raises(TypeError, match=r"^image 'x': expected"):
        codec.create_archive(tmp_path / "a.vlar", {"x": source})
    assert not (tmp_path / "a.vlar").exists()


def test_what_is_closed_is_refused_in_one_line(tmp_path, photo):
    data, image = photo
    file = BytesIO(data)
    file.close()
    for function in (codec.compress, codec.decompress, codec.info):
        with pytest.raises(ValueError, match=r"^(image|data): the file is closed"):
            function(file)
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        pass
    loaded = image.copy()
    loaded.close()
    for closed in (opened, loaded):
        with pytest.raises(codec.RequestError, match=r"^image: is closed, expected an image that is open"):
            codec.compress(closed, lossless=True)
    path = tmp_path / "a.vlae"
    path.write_bytes(bytes([255]) + data)
    with path.open(encoding="utf-8") as text, pytest.raises(TypeError, match=r"^data: expected a binary file, got one"):
        codec.decompress(text)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int32])
def test_numbers_of_numpy_are_options(kind, photo):
    data, image = photo
    assert codec.compress(image, max_error=kind(0), effort=kind(2), threads=kind(1), max_pixels=np.int64(1200)) == data
    assert codec.compress(image, quality=kind(40)) == codec.compress(image, quality=40)
    assert codec.compress(image, min_psnr=np.float32(30)) == codec.compress(image, min_psnr=30)
    assert codec.compress(image, target_bpp=np.float64(2)) == codec.compress(image, target_bpp=2.0)
    assert codec.compress(image, target_size=kind(120)) == codec.compress(image, target_size=120)
    assert_same(codec.decompress(data, threads=kind(1), max_pixels=np.int64(1200)), image)


@pytest.mark.parametrize("name", ["quality", "max_error", "effort", "threads", "max_pixels", "target_size"])
@pytest.mark.parametrize("value", [np.bool_(True), np.float64(2.0), "2", 2.5, True])
def test_what_is_no_whole_number_is_refused(name, value):
    with pytest.raises(TypeError, match=f"^{name}: expected an int, got {type(value).__name__}"):
        codec.compress(picture("L"), **{name: value})
