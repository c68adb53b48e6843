"""Files of several frames: all go into an archive, with names and durations; a photograph is taken alone."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageSequence, features

import codec
from codec.commands import cli
from codec.errors import ImageError
from codec.image_files import frame_files
from codec.image_files.frames import Frame

FRAMES = 3


def drawn(seed, size=(20, 14)):
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8) // 64 * 64
    )


def animation(kind, **options):
    buffer = BytesIO()
    more = [drawn(seed) for seed in range(1, FRAMES)]
    drawn(0).save(buffer, kind, save_all=True, append_images=more, **options)
    return buffer.getvalue()


def shown(image):
    return image.convert("RGBA").tobytes()


TIMED = {"duration": [100, 250, 40]}


@pytest.mark.parametrize(
    ("kind", "options"),
    [("GIF", TIMED), ("PNG", TIMED), ("WEBP", {"lossless": True, **TIMED}), ("TIFF", {}), ("MPO", {})],
)
@pytest.mark.parametrize("block", [None, 1, 2])
def test_frames_come_back_with_names_and_durations(kind, options, block, tmp_path):
    data = animation(kind, **options)
    images = {"before.png": drawn(7), f"a.{kind}": data, "z.png": drawn(8)}
    codec.create_archive(tmp_path / "a.vlar", images, lossless=True, block=block, processes=1)
    with codec.Archive(tmp_path / "a.vlar") as archive, Image.open(BytesIO(data)) as image:
        names = [f"a.{kind}/{number:04}" for number in range(1, FRAMES + 1)]
        assert list(archive) == ["before.png", *names, "z.png"]
        expected = [(shown(frame), frame.info.get("duration")) for frame in ImageSequence.Iterator(image)]
        assert [shown(archive[name]) for name in names] == [samples for samples, _ in expected]
        durations = [archive[name].info.get("duration") for name in names]
        assert durations == (TIMED["duration"] if options else [None] * FRAMES)
        assert dict(archive.metadata())[names[1]].get("duration") == durations[1]
        paths = archive.extract(tmp_path / "out", processes=1)
        assert (tmp_path / "out" / f"a.{kind}" / "0002.png") in paths


def test_frames_of_16_bits_come_back(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    pages = np.random.default_rng(0).integers(0, 65536, (2, 9, 8, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb")
    codec.create_archive(tmp_path / "a.vlar", {"a.tif": tmp_path / "a.tif"}, lossless=True, processes=1)
    with codec.Archive(tmp_path / "a.vlar") as archive:
        assert np.array_equal(np.stack(list(archive.values())), pages)


def test_lossy_frames_and_additions(tmp_path):
    path = tmp_path / "a.vlar"
    codec.create_archive(path, {"a.gif": animation("GIF")}, processes=1)
    codec.add_to_archive(path, {"b.gif": animation("GIF", **TIMED)}, lossless=True, processes=1)
    with pytest.raises(ValueError, match=r"name 'b\.gif/0001': is in the archive"):
        codec.add_to_archive(path, {"b.gif": animation("GIF")}, processes=1)
    with pytest.raises(ValueError, match="would be that of a frame and of a file"):
        codec.create_archive(tmp_path / "b.vlar", {"b.gif/0001": drawn(1), "b.gif": animation("GIF")}, processes=1)
    with codec.Archive(path) as archive:
        assert len(archive) == 2 * FRAMES


def test_the_commands_take_frames_and_list_durations(tmp_path, capfd):
    (tmp_path / "a.gif").write_bytes(animation("GIF", **TIMED))
    archive = str(tmp_path / "a.vlar")
    assert cli.run(["archive", "create", archive, str(tmp_path / "a.gif"), "--lossless", "--processes", "1"]) == 0
    capfd.readouterr()
    assert cli.run(["archive", "list", archive, "--json"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(line["name"], line["duration_ms"]) for line in lines] == [
        (f"a.gif/{number:04}", duration) for number, duration in enumerate(TIMED["duration"], 1)
    ]
    assert cli.run(["compress", str(tmp_path / "a.gif")]) == 4
    assert "expected 1 frame, got 3, which vlae archive create takes\n" in capfd.readouterr().err


def test_metadata_of_a_file_stands_in_its_first_frame(tmp_path):
    data = animation("PNG", icc_profile=b"a profile", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", **TIMED)
    codec.create_archive(tmp_path / "a.vlar", {"a": data}, lossless=True, processes=1)
    with codec.Archive(tmp_path / "a.vlar") as archive:
        keys = [set(info) - {"duration"} for _, info in archive.metadata()]
        assert keys == [{"icc_profile", "exif"}, {"icc_profile"}, {"icc_profile"}]


def test_a_photograph_with_further_pictures_is_taken_alone(tmp_path, capfd):
    data = animation("MPO")
    (tmp_path / "a.jpg").write_bytes(data)
    assert cli.run(["compress", str(tmp_path / "a.jpg"), "--lossless"]) == 0
    assert f"vlae: {tmp_path / 'a.jpg'}: not kept: further pictures of the file" in capfd.readouterr().err
    with Image.open(BytesIO(data)) as image:
        assert codec.decompress(tmp_path / "a.vlae").tobytes() == image.tobytes()


def test_an_image_opened_by_pillow_with_several_frames_is_refused():
    with pytest.raises(ImageError, match="expected 1 frame, got 3"):
        codec.compress(Image.open(BytesIO(animation("GIF"))))


@pytest.mark.skipif(not features.check("avif"), reason="no AVIF")
def test_frames_of_avif_come_back():
    data = animation("AVIF", quality=100)
    assert len(list(frame_files.load_frames(frame_files.frames_of(data)))) == FRAMES


def test_a_damaged_frame_is_named():
    data = animation("GIF")
    with pytest.raises(ImageError, match=r"frame [23]: cannot be read"):
        list(frame_files.load_frames([Frame(data[: len(data) // 2], 2)]))
