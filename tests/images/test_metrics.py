"""PSNR and MS-SSIM of known differences, and compared with the library whose results others publish."""

import math
import tracemalloc

import numpy as np
import pytest

from codec.images.metrics import MS_SSIM_SIDE_PX, ms_ssim, psnr


def picture(height, width, channels):
    """Return waves with a texture, the same with every version of numpy."""
    y, x, c = np.mgrid[:height, :width, :channels]
    waves = np.abs((5 * x + 3 * y * (c + 1)) % 254 - 127) + np.abs((x * y + 40 * c) % 62 - 31)
    return (waves + x * x * (y + 7) % 97).astype(np.uint8)


def coarse(image, step):
    return image // step * step + step // 2


LIBRARY = {
    (161, 161, 3): (0.999488115, 0.979835749, 0.885534286),
    (224, 163, 3): (0.999499857, 0.980042934, 0.887151480),
    (171, 250, 1): (0.999380708, 0.973355532, 0.863442600),
}
"""Values of pytorch-msssim 1.0.0 for pictures rounded to steps of 8, 40 and 128."""


def test_psnr_of_known_differences():
    a = np.full((2, 3, 3), 100, np.uint8)
    assert psnr(a, a + np.uint8(5)) == pytest.approx(20 * math.log10(255 / 5))
    assert psnr(a, a - np.uint8(5)) == psnr(a, a + np.uint8(5))
    # One of 18 samples differs: the mean is over all channels.
    b = a.copy()
    b[1, 2, 0] = 112
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 * 18 / 144))
    assert psnr(np.zeros_like(a), np.full_like(a, 255)) == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_identical_images(channels):
    a = picture(180, 170, channels)
    assert psnr(a, a) == math.inf
    assert ms_ssim(a, a.copy()) == 1


@pytest.mark.parametrize("size", LIBRARY)
def test_ms_ssim_as_noted(size):
    a = picture(*size)
    found = [ms_ssim(a, coarse(a, step)) for step in (8, 40, 128)]
    assert found == pytest.approx(LIBRARY[size], abs=1e-5)
    assert ms_ssim(coarse(a, 40), a) == pytest.approx(found[1], abs=1e-12)


def test_channels_are_averaged_and_contrast_of_the_wrong_sign_is_none():
    a, b = picture(170, 200, 3), coarse(picture(170, 200, 3), 40)
    channels = [ms_ssim(a[:, :, c : c + 1], b[:, :, c : c + 1]) for c in range(3)]
    assert ms_ssim(a, b) == pytest.approx(sum(channels) / 3, abs=1e-12)
    assert ms_ssim(a, 255 - a) == 0
    b = a.copy()
    b[:, :, 1] = 255 - a[:, :, 1]
    assert ms_ssim(a, b) == pytest.approx(2 / 3)


def other(size, seed):
    """Return a picture, and another of the same places: a little darker, with noise."""
    a = picture(*size)
    rng = np.random.default_rng(seed)
    return a, np.clip(0.8 * a + rng.normal(0, 4 ** (1 + seed % 3), a.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def library():
    """pytorch-msssim's function of arrays. One thread: more that wait for a busy core take far longer."""
    torch = pytest.importorskip("torch")
    function = pytest.importorskip("pytorch_msssim").ms_ssim

    def of_arrays(*pair):
        tensors = [torch.from_numpy(x.astype(np.float32)).permute(2, 0, 1)[None] for x in pair]
        return float(function(*tensors, data_range=255))

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield of_arrays
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "size", [(161, 161, 3), (162, 175, 3), (512, 768, 3), (333, 205, 3), (200, 511, 1), (192, 161, 4)]
)
def test_ms_ssim_as_the_library(size, library):
    for seed in range(3):
        pair = other(size, seed)
        assert ms_ssim(*pair) == pytest.approx(library(*pair), abs=1e-5)


def test_small_images_have_no_ms_ssim():
    assert MS_SSIM_SIDE_PX == 160
    for size in ((160, 400, 3), (400, 160, 3), (1, 1, 1)):
        assert ms_ssim(picture(*size), picture(*size)) is None


def test_strides_change_nothing():
    a, b = other((170, 180, 3), 1)
    for function in (psnr, ms_ssim):
        expected = function(a, b)
        assert function(np.asfortranarray(a), np.repeat(b, 2, 1)[:, ::2]) == expected


def test_memory_is_that_of_a_few_bytes_a_sample():
    # Means, products and quotients of whole planes in float64 would take 64 bytes a sample and more.
    a, b = other((1600, 200, 1), 0)
    tracemalloc.start()
    try:
        ms_ssim(a, b)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * a.size


def test_images_that_cannot_be_compared():
    a = np.zeros((200, 200, 3), np.uint8)
    for b in (a[:-1], a[..., :1], a[..., 0], a.astype(np.float32)):
        for pair in ((a, b), (b, a)):
            for function in (psnr, ms_ssim):
                with pytest.raises(ValueError, match="expected two uint8"):
                    function(*pair)
    with pytest.raises(ValueError, match="expected two uint8"):
        psnr(a[:0], a[:0])
