"""Outputs that are there: what is finished is known, and what is not ours is never taken for it."""

import os
from pathlib import Path

import pytest
from PIL import Image

import codec
from codec.batch.finished import STEPS_NS, Standing, standing
from codec.batch.plan import COMPRESS, DECOMPRESS, Task

TIME_NS = 1_700_000_001_123_456_789


def set_time(path, ns):
    os.utime(path, ns=(ns, ns))


@pytest.fixture
def pair(tmp_path):
    """Return an image and its file, which have the same time."""
    image, file = tmp_path / "a.png", tmp_path / "a.vlae"
    Image.new("1", (9, 5), 1).save(image)
    file.write_bytes(codec.compress(image, lossless=True))
    for path in (image, file):
        set_time(path, TIME_NS)
    return image, file


@pytest.mark.parametrize("way", [COMPRESS, DECOMPRESS])
def test_a_whole_output_is_finished(pair, way):
    source, target = pair if way is COMPRESS else reversed(pair)
    task = Task(source, target)
    assert standing(way, task) is Standing.FINISHED
    set_time(target, TIME_NS + 1)
    assert standing(way, task) is Standing.FINISHED
    target.unlink()
    assert standing(way, task) is Standing.MISSING
    target.mkdir()
    assert standing(way, task) is Standing.ALIEN


def test_a_file_that_is_older_than_its_image_is_outdated(pair):
    image, file = pair
    set_time(image, TIME_NS + 1)
    assert standing(COMPRESS, Task(image, file)) is Standing.OUTDATED


def test_an_image_that_is_older_than_its_file_may_be_an_original(pair):
    image, file = pair
    set_time(file, TIME_NS + 1)
    assert standing(DECOMPRESS, Task(file, image)) is Standing.ALIEN


@pytest.mark.parametrize("step", STEPS_NS)
def test_file_systems_may_cut_times(pair, step):
    image, file = pair
    set_time(file, TIME_NS - TIME_NS % step)
    assert standing(COMPRESS, Task(image, file)) is Standing.FINISHED
    set_time(file, TIME_NS - TIME_NS % step - 1)
    assert standing(COMPRESS, Task(image, file)) is Standing.OUTDATED


def test_each_cut_file_is_outdated_and_others_are_not_ours(pair):
    image, file = pair
    data = file.read_bytes()
    for content, expected in (
        *((data[:length], Standing.OUTDATED) for length in (0, 2, 4, 9, len(data) - 1)),
        (data + b"\0", Standing.OUTDATED),
        (data[:4] + b"\1" + data[5:], Standing.ALIEN),  # another version of the format
        (b"precious", Standing.ALIEN),
    ):
        file.write_bytes(content)
        assert standing(COMPRESS, Task(image, file)) is expected, content


def test_each_cut_png_and_each_of_another_size_is_not_ours(pair):
    image, file = pair
    data = image.read_bytes()
    Image.new("1", (9, 6)).save(image)
    for content in (data[:-1], data[:20], image.read_bytes(), b"precious"):
        image.write_bytes(content)
        assert standing(DECOMPRESS, Task(file, image)) is Standing.ALIEN, content
    image.write_bytes(b"")
    assert standing(DECOMPRESS, Task(file, image)) is Standing.OUTDATED


def test_a_missing_source_is_told(pair):
    image, file = pair
    image.unlink()
    with pytest.raises(FileNotFoundError):
        standing(COMPRESS, Task(Path(image), file))
