"""Images of 16 bits and of inks: exact, never much longer than their PNG, converted in lossy files, damage refused."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms
from support import make_golden as golden

import codec
from codec.commands import cli
from codec.errors import CorruptDataError, ImageError, RequestError
from codec.format import container
from codec.format.bare_png import bare
from codec.format.deflate import deflate
from codec.format.fields import varint
from codec.format.headers import WIDE_MODES
from codec.format.wide_png import open_wide_png, wide_png_bytes
from codec.image_files import loading, writing
from codec.image_files.wide_image import WideImage

DEEP = {"I;16": 1, "LA;16": 2, "RGB;16": 3, "RGBA;16": 4}


def drawn(channels, size=(9, 7), bits=16, seed=0):
    return np.random.default_rng(seed).integers(0, 1 << bits, (size[1], size[0], channels)).astype(np.uint16)


def photo(channels, size=(48, 40)):
    return golden.draw_deep({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels], *size, 5)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "made",
    [
        lambda c: drawn(c),
        lambda c: drawn(c, (1, 1)),
        lambda c: photo(c).reshape(40, 48, c),
        lambda c: drawn(c, bits=4),
        lambda c: drawn(c, bits=10) << 6,
        lambda c: (drawn(c, bits=12).astype(np.int64) * 65535 // 4095).astype(np.uint16),
        lambda c: np.repeat(drawn(1), c, axis=2),
        lambda c: np.full((30, 30, c), 4711, np.uint16),
        lambda c: drawn(c, bits=8) * 257,
    ],
    ids=["noise", "pixel", "photo", "dark", "shifted", "scaled", "grey", "flat", "8 bits"],
)
def test_arrays_come_back_and_are_not_much_longer_than_png(channels, made):
    samples = made(channels)
    data = codec.compress(samples, lossless=True)
    found = codec.decompress(data)
    assert np.array_equal(np.asarray(found).reshape(samples.shape), samples)
    assert isinstance(found, Image.Image) == (channels == 1)
    facts = codec.info(data)
    assert (facts.mode, facts.channels) == (list(DEEP)[channels - 1], channels)
    assert len(data) <= len(wide_png_bytes(samples))
    assert codec.compress(found, lossless=True) == data


def test_photographs_are_far_shorter_than_png():
    samples = photo(3, (160, 128))
    assert len(codec.compress(samples, lossless=True)) < 0.85 * len(wide_png_bytes(samples))
    levels = (np.arange(256) ** 2).astype(np.uint16)[samples >> 8]
    assert len(codec.compress(levels, lossless=True)) < 0.5 * len(wide_png_bytes(levels))


def test_an_array_without_channels_is_grey():
    assert codec.decompress(codec.compress(drawn(1)[:, :, 0], lossless=True)).mode == "I;16"


@pytest.mark.parametrize(
    "array", [drawn(5), np.zeros((0, 3), np.uint16), np.zeros(3, np.uint16), np.zeros((1, 2, 2, 3), np.uint16)]
)
def test_other_arrays_are_refused(array):
    with pytest.raises(ImageError, match="expected a uint16 array"):
        codec.compress(array)


@pytest.mark.parametrize("size", [(2, 3), (31, 17), (160, 90)])
def test_inks_come_back(size):
    image = golden.draw("CMYK", *size, 3)
    for options in ({"lossless": True}, {"max_error": 3}):
        data = codec.compress(image, **options)
        back = codec.decompress(data)
        assert (back.mode, back.tobytes()) == ("CMYK", image.tobytes())
        assert codec.info(data).mode == "CMYK"


def test_inks_of_jpegs_come_back():
    buffer = BytesIO()
    golden.draw("CMYK", 40, 30, 3).save(buffer, "JPEG")
    expected = Image.open(buffer)
    back = codec.decompress(codec.compress(buffer.getvalue(), lossless=True))
    assert (back.mode, back.tobytes()) == ("CMYK", expected.tobytes())


def test_lossy_files_have_8_bits_and_colours():
    for samples, mode in ((photo(1), "L"), (photo(2), "LA"), (photo(3), "RGB"), (photo(4), "RGBA")):
        found = codec.decompress(codec.compress(samples, quality=90))
        assert found.mode == mode
        assert np.abs(np.asarray(found).astype(int) - samples.squeeze() / 257).mean() < 4
    assert codec.decompress(codec.compress(golden.draw("CMYK", 40, 30, 3))).mode == "RGB"


def test_inks_are_converted_by_their_profile():
    image = golden.draw("CMYK", 16, 12, 3)
    grey = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    image.info["icc_profile"] = b"no profile"
    with pytest.raises(ImageError, match="cannot be converted by its ICC profile"):
        codec.compress(image)
    image.info["icc_profile"] = grey.tobytes()
    with pytest.raises(ImageError, match="cannot be converted by its ICC profile"):
        codec.compress(image)
    assert codec.decompress(codec.compress(image, lossless=True)).info["icc_profile"] == grey.tobytes()


@pytest.mark.parametrize("mode", WIDE_MODES)
def test_the_commands_write_them_and_say_what_changed(mode, tmp_path, capfd):
    samples = np.asarray(golden.draw("CMYK", 20, 16, 3)) if mode == "CMYK" else photo(DEEP[mode])
    samples = samples.reshape(*samples.shape[:2], -1)
    source = tmp_path / "a.tif"
    writing.save_image(WideImage(samples), source)
    packed = tmp_path / "a.vlae"
    assert cli.run(["compress", str(source), "--lossless"]) == 0
    assert cli.run(["info", str(packed)]) == 0
    assert f"mode            {mode}\n" in capfd.readouterr().out
    suffix = "tif" if mode == "CMYK" else "png"
    packed = packed.rename(tmp_path / "b.vlae")
    assert cli.run(["decompress", str(packed)]) == 0
    assert np.array_equal(loading.wide_of(loading.load_image(tmp_path / f"b.{suffix}")).samples, samples)
    assert cli.run(["decompress", str(packed), "-o", str(tmp_path / "b.bmp")]) == 2
    assert f".{suffix} does\n" in capfd.readouterr().err
    assert cli.run(["compress", str(source), "--force"]) == 0
    what = "its inks became RGB" if mode == "CMYK" else f"its mode {mode} of 16 bits a sample became"
    assert what in capfd.readouterr().err
    assert cli.run(["measure", str(source), "--lossless", "--json"]) == 0
    assert '"exact": true' in capfd.readouterr().out


def test_archives_take_them(tmp_path):
    images = {"a": drawn(3), "b": golden.draw("CMYK", 9, 8, 1), "c": golden.draw("RGB", 40, 30, 2), "d": drawn(1)}
    codec.create_archive(tmp_path / "a.vlar", images, lossless=True, processes=1)
    with codec.Archive(tmp_path / "a.vlar") as archive:
        for name, image in archive.items():
            assert np.array_equal(np.asarray(image).squeeze(), np.asarray(images[name]).squeeze())
        paths = archive.extract(tmp_path / "out", processes=1)
        assert [path.name for path in paths] == ["a.png", "b.tif", "c.png", "d.png"]
        archive.verify(processes=1)
    assert np.array_equal(loading.load_image(tmp_path / "out" / "a.png").samples, images["a"])


def test_a_model_for_certain_images_codes_no_other_parts():
    with pytest.raises(ImageError, match="model mnist-static"):
        codec.compress(drawn(3), lossless=True, model="mnist-static")


def file_of(image=None):
    return container.unpack(codec.compress(photo(4) >> 4 << 4 if image is None else image, lossless=True))


def chunks(payload, count):
    found, at = [], 0
    for _ in range(count):
        length = payload[at] % 128 + 128 * (payload[at + 1] if payload[at] > 127 else 0)
        at += 1 + (payload[at] > 127)
        found.append(payload[at : at + length])
        at += length
    return [*found, payload[at:]]


def joined(parts):
    return b"".join([*(varint(len(part)) + part for part in parts[:-1]), parts[-1]])


def test_damaged_parts_are_refused():
    file = file_of()
    parts = chunks(file.payload, 4)
    assert joined(parts) == file.payload
    other = container.pack_body(container.unpack(codec.compress(golden.draw("RGB", 48, 40, 1), lossless=True)))
    smaller = container.pack_body(container.unpack(codec.compress(golden.draw("RGBA", 40, 40, 1), lossless=True)))
    lossy = container.pack_body(container.unpack(codec.compress(golden.draw("RGBA", 48, 40, 1), quality=50)))
    for place, wrong, message in [
        (0, other, "exact part of mode RGBA"),
        (0, smaller, "exact part of mode RGBA"),
        (0, lossy, "exact part of mode RGBA"),
        (0, parts[0][:9], ""),
        (1, b"no deflate", "levels"),
        (1, deflate(b""), "levels: expected numbers"),
        (1, deflate(varint(65536)), "levels: expected numbers"),
        (1, deflate(b"\0" * 9), "expected bytes for 0 bits"),
        (1, deflate(b"\0" * 300), ""),
        (2, b"", "expected bytes for"),
        (2, parts[2] + b"\0", "low planes: expected"),
        (4, parts[4][:-1], ""),
    ]:
        damaged = replace(file, payload=joined([*parts[:place], wrong, *parts[place + 1 :]]))
        with pytest.raises(CorruptDataError, match=message or None):
            codec.decompress(container.pack(damaged))
    for payload in (b"", file.payload[:-1], b"\x80" * 9, b"\0"):
        with pytest.raises(CorruptDataError):
            codec.decompress(container.pack(replace(file, payload=payload or b"\0")))
    with pytest.raises(CorruptDataError, match="checksum"):
        codec.decompress(container.pack(replace(file, header=replace(file.header, samples_crc=1))))


def test_every_truncation_of_a_payload_is_refused():
    for image in (drawn(2, (3, 2)), golden.draw("CMYK", 3, 2, 1)):
        file = file_of(image)
        for length in range(1, len(file.payload)):
            with pytest.raises(CorruptDataError):
                codec.decompress(container.pack(replace(file, payload=file.payload[:length])))


@pytest.mark.parametrize("mode", WIDE_MODES)
def test_open_wide_png_inverts_wide_png_bytes(mode):
    samples = drawn(DEEP.get(mode, 4))
    samples = samples.astype(np.uint8) if mode == "CMYK" else samples
    data = bare(wide_png_bytes(samples))
    assert np.array_equal(open_wide_png(data, (9, 7), mode), samples)
    for wrong in (data[:-1], data[:60], data[:1] + data[9:], data + b"\0", b""):
        with pytest.raises(CorruptDataError):
            open_wide_png(wrong, (9, 7), mode)
    with pytest.raises(CorruptDataError):
        open_wide_png(data, (9, 7), "LA;16" if mode == "I;16" else "I;16")


def test_two_goals_are_refused_before_any_work():
    with pytest.raises(RequestError):
        codec.compress(drawn(3), lossless=True, quality=3)
