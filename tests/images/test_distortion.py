"""The distortion that an encoder makes small: its value is that of the metrics, its gradient that of the value."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from codec.commands import demo
from codec.images.distortion import distortion
from codec.images.metrics import MS_SSIM_SIDE_PX, ms_ssim

SQUARED, STRUCTURE = 0.35, 1400.0


def pair(height, width, noise=8.0):
    """Return a cut of the demo picture, repeated to be large enough, and the same with noise."""
    picture = demo.draw()
    times = -(-height // picture.shape[0]), -(-width // picture.shape[1]), 1
    samples = np.tile(picture, times)[:height, :width]
    noisy = samples + np.random.default_rng(0).normal(0, noise, samples.shape)
    return np.clip(np.rint(noisy), 1, 254).astype(np.uint8), samples


def found(restored, samples, squared=SQUARED, structure=STRUCTURE, workers=1):
    with ThreadPoolExecutor(workers) as pool:
        return distortion(restored, samples, squared, structure, pool, workers)


@pytest.mark.parametrize("shape", [(161, 161), (192, 230), (333, 167)])
def test_the_value_is_that_of_the_metrics(shape):
    restored, samples = pair(*shape)
    error = ((restored.astype(float) - samples) ** 2).mean()
    expected = SQUARED * error + STRUCTURE * (1 - ms_ssim(restored, samples))
    assert found(restored, samples)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", [(192, 230), (165, 167), (160, 300), (11, 40), (21, 20)])
@pytest.mark.parametrize("structure", [0.0, STRUCTURE])
def test_the_gradient_holds_in_its_own_direction(shape, structure):
    restored, samples = pair(*shape)
    squared = 0.0 if structure else SQUARED
    _, gradient = found(restored, samples, squared, structure)
    assert gradient.shape == samples.shape
    rng = np.random.default_rng(1)
    for part in (np.ones(shape, bool), np.arange(shape[0])[:, None] < 3, np.arange(shape[1])[None] >= shape[1] - 3):
        change = (np.sign(gradient) * (part & (rng.random(shape) < 0.3))[:, :, None]).astype(np.int16)
        above, below = (
            found((restored + s * change).astype(np.uint8), samples, squared, structure)[0] for s in (1, -1)
        )
        assert (above - below) / 2 == pytest.approx((gradient * change).sum(), rel=0.03)


def test_what_is_restored_exactly_has_no_distortion():
    samples = pair(170, 180)[1]
    value, gradient = found(samples, samples)
    assert abs(value) < 1e-3
    assert np.abs(gradient).max() < 1e-3 * np.abs(found(*pair(170, 180))[1]).max()


def test_an_image_without_likeness_has_no_gradient_of_structure():
    samples = pair(170, 180, noise=40)[0]
    value, gradient = found(255 - samples, samples, 0.0, 1.0)
    assert value == 1
    assert (gradient == 0).all()


def test_images_that_are_too_small_have_squared_error_alone():
    restored, samples = pair(10, 300)
    value, gradient = found(restored, samples)
    error = restored.astype(float) - samples
    assert value == pytest.approx(SQUARED * (error**2).mean())
    np.testing.assert_allclose(gradient, 2 * SQUARED * error / error.size, rtol=1e-6)


def test_where_a_scale_ends_the_value_hardly_jumps():
    # One row less, and the coarsest scale is left out.
    larger, smaller = (found(*pair(MS_SSIM_SIDE_PX + more, 200), 0.0, 1.0)[0] for more in (1, 0))
    assert smaller == pytest.approx(larger, rel=0.5)


def test_threads_change_nothing():
    restored, samples = pair(200, 211)
    value, gradient = found(restored, samples)
    for workers in (2, 3):
        other, same = found(restored, samples, workers=workers)
        assert other == value
        np.testing.assert_array_equal(same, gradient)
