"""Samples where alpha hides them: a lossy file may hold any, so an encoder takes those that cost least."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]


def filled(samples: U8, visible: NDArray[np.bool_]) -> U8:
    """Return samples (H, W, C) that are what they were where visible (H, W), and smooth elsewhere.

    Hidden samples are means of the visible ones in the smallest square of 2, 4, 8, ... pixels a side that has some.
    So a visible edge goes on beyond alpha, and a transform meets no step there.
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
