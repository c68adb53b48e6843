"""Errors are worth most in smooth places."""

import numpy as np
import pytest

from codec.encoder import masking
from codec.encoder.masking import SMOOTH, STRUCTURE, structure
from codec.entropy.rate_distortion import WORTH_UNIT
from codec.frozen.shipped import LOSSY, load_model
from codec.images.metrics import DEVIATION_TERM


def expected(patch):
    """Return what structure adds to an error's worth in a patch (8, 8, 3), in floating point."""
    variances = patch.astype(float).reshape(-1, 3).var(0)
    return WORTH_UNIT * STRUCTURE * (1 / (2 * variances + DEVIATION_TERM)).mean()


def test_structure_is_that_of_structural_similarity():
    rng = np.random.default_rng(0)
    deviation = np.repeat(np.repeat(2.0 ** rng.integers(0, 7, (5, 4, 3)), 8, 0), 8, 1)
    samples = np.clip(128 + rng.normal(0, 1, deviation.shape) * deviation, 0, 255).astype(np.uint8)
    found = structure(samples)
    assert found.dtype == np.int64
    for (row, column), value in np.ndenumerate(found):
        patch = samples[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert value == pytest.approx(expected(patch), rel=0.03, abs=3)
    assert abs(SMOOTH - DEVIATION_TERM) < 1


def test_smooth_places_are_worth_most():
    samples = np.zeros((8, 16, 3), dtype=np.uint8)
    samples[:, 8::2] = 255
    smooth, lively = structure(samples)[0]
    assert smooth > 10 * lively > 0


def test_the_edge_is_repeated_and_strips_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    samples = rng.integers(0, 256, (43, 21, 3), dtype=np.uint8)
    padded = np.pad(samples, ((0, 5), (0, 3), (0, 0)), mode="edge")
    whole = structure(samples)
    assert whole.shape == (6, 3)
    np.testing.assert_array_equal(whole, structure(padded))
    monkeypatch.setattr(masking, "STRIP_ROWS", 2)
    np.testing.assert_array_equal(whole, structure(samples))


def test_prices_of_structure_depend_on_the_channel():
    transforms = load_model(LOSSY).transforms
    squared, alike = masking.prices(transforms, 40)
    np.testing.assert_array_equal(squared, transforms.prices[40] * int(256 * masking.SQUARED) // 256)
    np.testing.assert_array_equal(alike, transforms.prices[40].astype(int) * transforms.shares // 256)
    # The coarsest channels count most.
    assert transforms.shares[3:12].mean() > 2 * transforms.shares[-40:].mean() > 0
