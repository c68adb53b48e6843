"""Data sets of archives: images by number, in one process, in threads and in other processes."""

import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import codec

ARCHIVE = Path(__file__).parents[1] / "golden" / "archive.vlar"


@pytest.fixture(scope="module")
def images():
    with codec.Archive(ARCHIVE) as archive:
        return {name: image.convert("RGBA").tobytes() for name, image in archive.items()}


def pixels(image):
    return image.convert("RGBA").tobytes()


def padded(image):
    """Return an array of the same shape for each image."""
    out = np.zeros((300, 300, 4), dtype=np.uint8)
    out[: image.height, : image.width] = np.asarray(image.convert("RGBA"))
    return out


def test_it_is_a_sequence_in_the_order_of_the_archive(images):
    found = codec.ArchiveDataset(ARCHIVE, pixels)
    assert found.names == tuple(images)
    assert len(found) == len(images)
    assert list(found) == list(images.values())
    assert [found[-1], found[np.int64(0)]] == [list(images.values())[-1], next(iter(images.values()))]


def test_without_a_transform_items_are_images(images):
    assert pixels(codec.ArchiveDataset(ARCHIVE)[1]) == list(images.values())[1]


@pytest.mark.parametrize("index", [100, -100])
def test_an_index_out_of_range(index):
    with pytest.raises(IndexError):
        codec.ArchiveDataset(ARCHIVE)[index]


@pytest.mark.parametrize("index", ["name", 1.0, slice(2)])
def test_an_index_that_is_no_whole_number(index):
    with pytest.raises(TypeError):
        codec.ArchiveDataset(ARCHIVE)[index]


def test_what_is_no_archive_is_refused_at_once(tmp_path):
    (tmp_path / "a.vlar").write_bytes(b"no archive")
    with pytest.raises(codec.CorruptDataError):
        codec.ArchiveDataset(tmp_path / "a.vlar")


def test_it_can_be_pickled_after_use(images, tmp_path, monkeypatch):
    monkeypatch.chdir(ARCHIVE.parent)
    used = codec.ArchiveDataset(ARCHIVE.name, pixels)
    assert used[2] == list(images.values())[2]
    monkeypatch.chdir(tmp_path)
    assert list(pickle.loads(pickle.dumps(used))) == list(images.values())  # noqa: S301


def test_threads_do_not_disturb_each_other(images):
    found = codec.ArchiveDataset(ARCHIVE, pixels)
    order = [*range(len(found))] * 3
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(found.__getitem__, order)) == [list(images.values())[i] for i in order]


@pytest.mark.slow
def test_processes_that_are_spawned(images):
    found = codec.ArchiveDataset(ARCHIVE, pixels)
    assert found[0] == next(iter(images.values()))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(found.__getitem__, range(len(found)), 1) == list(images.values())
        pool.close()
        pool.join()


@pytest.mark.train
@pytest.mark.parametrize("context", ["spawn", "fork"])
def test_workers_of_torch(images, context):
    data = pytest.importorskip("torch.utils.data")
    found = codec.ArchiveDataset(ARCHIVE, padded)
    loader = data.DataLoader(found, batch_size=1, num_workers=2, multiprocessing_context=context)
    with codec.Archive(ARCHIVE) as archive:
        expected = [padded(image) for image in archive.values()]
    assert [batch[0].numpy().tobytes() for batch in loader] == [array.tobytes() for array in expected]
