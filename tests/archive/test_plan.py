"""The blocks of archives: few large images, many small ones, in their order."""

import numpy as np
import pytest
from PIL import Image
from support.make_golden import draw_digit

import codec
from codec.archive.plan import BLOCK_PIXELS, LEAST_PIXELS, blocks_of
from codec.commands import demo
from codec.format.archive_index import BLOCK_IMAGES

PICTURE = Image.fromarray(demo.draw())


def sizes(*images, count=None):
    """Return the numbers of images of the blocks; the images are (width, height, number)."""
    named = [(f"{w}", Image.new("L", (w, h))) for w, h, number in images for _ in range(number)]
    blocks = blocks_of(named, count)
    assert [image for block in blocks for image in block] == named
    return [len(block) for block in blocks]


def test_large_images_are_few_and_small_ones_many():
    assert sizes((256, 128, 20)) == [BLOCK_IMAGES, BLOCK_IMAGES, 4]
    per_block = BLOCK_PIXELS // 32**2
    assert sizes((32, 32, per_block + 1)) == [per_block, 1]
    assert sizes((1, 1, BLOCK_PIXELS // LEAST_PIXELS + 1)) == [BLOCK_PIXELS // LEAST_PIXELS, 1]
    assert sizes((32, 32, 100), (256, 128, 8), (32, 32, 100)) == [208]
    assert sizes((32, 32, 100), (256, 128, 9), (32, 32, 100)) == [108, 101]


def test_a_number_of_images_is_kept():
    assert sizes((256, 128, 5), (9, 9, 20), count=10) == [10, 10, 5]


def test_what_is_no_image_counts_as_large(tmp_path):
    (tmp_path / "text").write_text("no image")
    for source in (b"no image", str(tmp_path / "text"), tmp_path / "missing"):
        assert [len(block) for block in blocks_of([("a", source)] * 9, None)] == [8, 1]


def test_files_are_as_large_as_their_images(tmp_path):
    path = tmp_path / "digit.png"
    draw_digit(28, 28, seed=1).save(path)
    for source in (path, str(path), path.read_bytes()):
        assert len(blocks_of([("a", source)] * 9, None)) == 1


@pytest.mark.parametrize("processes", [1, 2])
def test_a_mixed_folder_comes_back_in_its_order(tmp_path, processes):
    images = {}
    for number in range(30):
        images[f"digit {number}"] = draw_digit(28, 28, seed=number).convert("1L"[number % 2])
        images[f"crop {number}"] = PICTURE.crop((number, number, number + 24, number + 24))
    images["large"] = PICTURE.resize((256, 160))
    codec.create_archive(tmp_path / "a", images, lossless=True, processes=processes)
    with codec.Archive(tmp_path / "a") as archive:
        assert list(archive) == list(images)
        for name, image in reversed(images.items()):
            assert archive[name].mode == image.mode
            assert np.array_equal(np.asarray(archive[name]), np.asarray(image))
        assert len(list(archive.blocks())) == 1
        digits = [entry for name, entry in archive.entries.items() if "digit" in name and entry.coding]
        assert len(digits) > 24  # the simplest ones are shorter if they are stored
        assert len({entry.coding.model for entry in digits}) == 1
        assert sum(entry.dry for entry in digits) < 4  # the last ones, after which there is too little to borrow


def test_digits_are_as_short_as_in_one_chain_that_a_caller_makes(tmp_path):
    digits = {f"{number}": draw_digit(28, 28, seed=number) for number in range(40)}
    codec.create_archive(tmp_path / "own", digits, lossless=True, processes=1)
    codec.create_archive(tmp_path / "named", digits, lossless=True, model="mnist-dynamic", block=40, processes=1)
    assert (tmp_path / "own").read_bytes() == (tmp_path / "named").read_bytes()
