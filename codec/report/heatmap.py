"""Where in an image its bits went: the bits of every pixel, and their picture.

The bits of a value are -log2 of the frequency with which it was coded, of 2**PRECISION; those of a pixel are
the sum over its samples. In a lossy file a position of the tensor stands for a patch, over whose pixels its
bits are spread evenly. Latents, alpha and headers code no sample: they have no place in the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from codec.constants import PRECISION
from codec.vlae.image import Image
from codec.vlae.pixels import intervals

COLOURS = ("#000004", "#1f0c48", "#550f6d", "#88226a", "#ba3655", "#e35933", "#f98e09", "#f9c932", "#fcffa4")
"""From no bits to the most, evenly spaced: matplotlib's "inferno", whose lightness grows evenly."""
TOP_QUANTILE = 0.995
"""Pixels with more bits than this quantile share the last colour: a few surprises would leave all others dark."""

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


def pixel_bits(image: Image, height: int, width: int) -> F32:
    """Return the bits of every pixel (height, width) of a decoded image; they sum to the coded bits of all values.

    Parameters
    ----------
    image : Image
        Decoded, with its latents: samples, or the tensor of a lossy file.
    height, width : int
        Pixels of the image itself.
    """
    bits = np.empty((image.height, image.width), dtype=np.float32)
    for index, z in enumerate(image.z):
        freqs = intervals(image, index, z).freqs
        rows = slice(index * image.rows, index * image.rows + len(freqs))
        bits[rows] = PRECISION * freqs.shape[2] - np.log2(freqs, dtype=np.float64).sum(-1)
    patch = image.model.kind.patch
    # The last patches may reach over the border.
    in_rows = np.minimum(patch, height - patch * np.arange(image.height))
    in_columns = np.minimum(patch, width - patch * np.arange(image.width))
    bits /= in_rows[:, None] * in_columns
    spread: F32 = bits.repeat(in_rows, 0).repeat(in_columns, 1)
    return spread


def shrink(bits: F32, size: tuple[int, int]) -> F32:
    """Return the means over the pixels that fall into each of a smaller picture of size (width, height)."""
    return np.asarray(PillowImage.fromarray(bits).resize(size, PillowImage.Resampling.BOX))


def scale_top(bits: F32) -> float:
    """Return the bits per pixel of the last colour: `TOP_QUANTILE` of the pixels, rounded up to two digits."""
    value = max(float(np.quantile(bits, TOP_QUANTILE)), 1e-6)
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.ceil(value / unit) * unit)


def colour(bits: F32, top: float) -> U8:
    """Return the colours (H, W, 3) of bits per pixel (H, W), from 0 to ``top``."""
    table = np.array([list(bytes.fromhex(name[1:])) for name in COLOURS])
    steps = np.linspace(0, len(COLOURS) - 1, 256)
    palette = np.stack([np.interp(steps, np.arange(len(COLOURS)), table[:, channel]) for channel in range(3)], 1)
    index = np.rint(np.clip(bits / top, 0, 1) * 255).astype(np.uint8)
    coloured: U8 = np.rint(palette).astype(np.uint8)[index]
    return coloured
