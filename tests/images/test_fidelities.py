"""The files of an image: what effort means where every sample counts."""

import numpy as np
import pytest
from PIL import Image

import codec
from codec.format import container
from codec.frozen.shipped import FAST, LOSSLESS, MAX, NEAR_LOSSLESS


def photo(width=208, height=160):
    """Return an image of smooth colours with noise, large enough for an adaptation to pay."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:height, 0:width]
    planes = [90 + 60 * np.sin(x / (17 + 3 * c)) + 40 * np.cos(y / 23) for c in range(3)]
    noisy = np.stack(planes, -1) + rng.normal(0, 6, (height, width, 1)) + rng.normal(0, 2, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def lossless():
    image = photo()
    return image, [codec.compress(image, lossless=True, effort=effort) for effort in (1, 2, 3)]


def test_lossless_files_of_every_effort_are_exact(lossless):
    image, files = lossless
    assert [codec.decompress(data).tobytes() == image.tobytes() for data in files] == [True] * 3


def test_the_least_effort_has_the_fast_model_and_no_adaptation(lossless):
    _, files = lossless
    found = [container.unpack(data) for data in files]
    assert [file.coding.model for file in found] == [FAST, LOSSLESS, MAX]
    assert [len(file.adaptation) > 0 for file in found] == [False, True, True]


def test_a_longer_search_finds_another_adaptation(lossless):
    _, (_, usual, long) = lossless
    assert container.unpack(usual).adaptation != container.unpack(long).adaptation


def test_near_lossless_files_of_the_least_effort_are_not_adapted():
    file = container.unpack(codec.compress(photo(), max_error=2, effort=1))
    assert (file.coding.model, file.adaptation) == (NEAR_LOSSLESS, b"")
