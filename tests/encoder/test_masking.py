"""Errors are worth most in smooth places."""

import numpy as np
import pytest

from codec.encoder import masking
from codec.encoder.masking import SMOOTH, SQUARED, STRUCTURE, worth
from codec.entropy.rate_distortion import WORTH_UNIT
from codec.images.metrics import DEVIATION_TERM


def expected(patch):
    """Return what an error is worth in a patch (8, 8, 3), in floating point."""
    variances = patch.astype(float).reshape(-1, 3).var(0)
    return WORTH_UNIT * (SQUARED + STRUCTURE * (1 / (2 * variances + DEVIATION_TERM)).mean())


def test_worth_is_that_of_structural_similarity():
    rng = np.random.default_rng(0)
    deviation = np.repeat(np.repeat(2.0 ** rng.integers(0, 7, (5, 4, 3)), 8, 0), 8, 1)
    samples = np.clip(128 + rng.normal(0, 1, deviation.shape) * deviation, 0, 255).astype(np.uint8)
    found = worth(samples)
    assert found.dtype == np.int64
    for (row, column), value in np.ndenumerate(found):
        patch = samples[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert value == pytest.approx(expected(patch), rel=0.03)
    assert abs(SMOOTH - DEVIATION_TERM) < 1


def test_smooth_places_are_worth_most():
    samples = np.zeros((8, 16, 3), dtype=np.uint8)
    samples[:, 8::2] = 255
    smooth, lively = worth(samples)[0]
    assert smooth > 10 * lively > 0


def test_the_edge_is_repeated_and_strips_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    samples = rng.integers(0, 256, (43, 21, 3), dtype=np.uint8)
    padded = np.pad(samples, ((0, 5), (0, 3), (0, 0)), mode="edge")
    whole = worth(samples)
    assert whole.shape == (6, 3)
    np.testing.assert_array_equal(whole, worth(padded))
    monkeypatch.setattr(masking, "STRIP_ROWS", 2)
    np.testing.assert_array_equal(whole, worth(samples))
