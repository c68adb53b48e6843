"""What near-lossless coding leaves of an image, nearly, without running its network.

Each sample is rounded to the grid of step 2 d + 1 around a prediction from what was decoded before.
In a file the network predicts (`codec.wavefront`); here its reference does, which takes a hundredth
of the time. Training and the encoder's estimates see such images in place of the decoded ones.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.contexts import NO_PIXEL, ORDER
from codec.distributions import sample_grid, sample_symbol, symbol_sample

U8 = NDArray[np.uint8]


@njit
def _reference(out: U8, y: int, x: int, c: int) -> int:
    """Return the reference of a sample (FORMAT.md, "Likelihood"), simplified at the borders."""
    if y == 0:
        return np.int64(out[y, x - 1, c]) if x > 0 else NO_PIXEL  # type: ignore[return-value]
    n = np.int64(out[y - 1, x, c])
    west = np.int64(out[y, x - 1, c]) if x > 0 else n
    north_west = np.int64(out[y - 1, x - 1, c]) if x > 0 else n
    north_east = np.int64(out[y - 1, x + 1, c]) if x + 1 < out.shape[1] else n
    return min(max((2 * west + 2 * n + north_east - north_west + 2) >> 2, 0), 255)  # type: ignore[return-value]


@kernel
def _approximate(samples: U8, max_error: int, out: U8) -> None:
    channels = samples.shape[2]
    reference = np.zeros(3, dtype=np.int64)
    moved = np.zeros(3, dtype=np.int64)
    for y in range(samples.shape[0]):
        for x in range(samples.shape[1]):
            for c in range(channels):
                reference[c] = _reference(out, y, x, c)
            for place in range(channels):
                c = ORDER[place] if channels == 3 else 0
                centre = reference[c]
                # Red follows green, and blue both, by three quarters.
                if place == 1:
                    centre += 3 * moved[ORDER[0]] >> 2
                elif place == 2:
                    centre += 3 * (moved[ORDER[0]] + moved[ORDER[1]]) >> 3
                grid = sample_grid(centre, max_error)
                out[y, x, c] = symbol_sample(sample_symbol(np.int64(samples[y, x, c]), grid), grid)
                moved[c] = np.int64(out[y, x, c]) - reference[c]


def approximate(samples: U8, max_error: int) -> U8:
    """Return samples (H, W, C) as near-lossless coding would leave them, nearly.

    Parameters
    ----------
    samples : uint8 array (H, W, C), C = 1 or 3
    max_error : int
        No sample of the result is further than this from its own.
    """
    if max_error == 0:
        return samples
    out = np.empty_like(samples, order="C")
    _approximate(np.ascontiguousarray(samples), max_error, out)
    return out
