"""Samples that alpha hides: a lossy file may hold any values there, so the encoder takes some that cost little."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]


def filled(samples: U8, visible: NDArray[np.bool_]) -> U8:
    """Return samples, uint8 array (H, W, C), that are unchanged where visible (H, W) is true and smooth elsewhere.

    A hidden sample becomes the mean of the visible ones in a square of 2, 4, 8, ... pixels a side, the smallest that
    has any. So visible colours go on smoothly beyond the edge of alpha, and a transform meets no step there.
    """
    if visible.all():
        return samples
    height, width, channels = samples.shape
    if height == width == 1:
        return np.zeros_like(samples)
    more = (0, height % 2), (0, width % 2)
    shown = np.pad(visible, more)
    squares = shown.reshape(shown.shape[0] // 2, 2, shown.shape[1] // 2, 2)
    counts = squares.sum((1, 3), dtype=np.int32)[:, :, None]
    values = np.pad(samples * visible[:, :, None], (*more, (0, 0))).reshape(*squares.shape, channels)
    means = (values.sum((1, 3), dtype=np.int32) + counts // 2) // np.maximum(counts, 1)
    coarse = filled(means.astype(np.uint8), counts[:, :, 0] > 0)
    behind = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(visible[:, :, None], samples, behind)
