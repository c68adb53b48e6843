"""The price of errors at each place of an image: a lively texture hides errors that the eye sees in a smooth place.

    price of a squared error of y = its price in squared error * SQUARED + its price in structure * structure(place)

Structure counts less in finer channels of y, because MS-SSIM gives little weight to the finest scale. A model says how
much: `codec.networks.transform.Transforms.shares`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codec.entropy.rate_distortion import WORTH_UNIT
from codec.networks.transform import PATCH, U8, Transforms, patches

I64 = NDArray[np.int64]

PRICES = "0.0002", "0.6"
"""What a distortion of 1 is worth at the lowest and at the highest quality in training, in bits a pixel."""
TRAINED = 1400.0
"""The weight of 1 - MS-SSIM in the distortion of training, for which shares are measured."""
SQUARED, STRUCTURE = 2.4, 1800.0
"""The weights of squared error and of structure, found on validation images."""
SMOOTH = 58
"""Variance of samples below which a place is smooth. It is C2 of `codec.images.metrics`, rounded."""
STRIP_ROWS = 64
"""Rows of patches that are worked at once, so that memory does not grow with the height of the image."""


def prices(transforms: Transforms, level: int) -> I64:
    """Return what a squared error of one step is worth in each channel of y, int64 array (2, C), in 1/256 bit.

    The first row is for the error itself. The second one is for structure, and has to be multiplied by `structure`.

    Parameters
    ----------
    transforms : Transforms
    level : int
        Quality - 1.
    """
    own = transforms.prices[level].astype(np.int64)
    return np.stack([own * int(WORTH_UNIT * SQUARED), own * transforms.shares]) // WORTH_UNIT


def structure(samples: U8) -> I64:
    """Return what structure adds to the worth of an error in each 8 x 8 patch, int64 array (h, w), in 1/256.

    Parameters
    ----------
    samples : uint8 array (H, W, 3)

    Notes
    -----
    An error of variance v takes v / (2 var(x) + C2) of a window's structural similarity (Wang et al., *Image
    quality assessment*, 2004, equation 13, for small v). With the patch as the window,

        structure = STRUCTURE * mean over channels of 1 / (2 var(x) + C2)
    """
    rows = range(0, len(samples), PATCH * STRIP_ROWS)
    return np.concatenate([_structure(patches(samples[top : top + PATCH * STRIP_ROWS])) for top in rows])


def _structure(x: U8) -> I64:
    count = PATCH**2
    sums = np.einsum("hwcyx->hwc", x, dtype=np.int64)
    squares = np.einsum("hwcyx,hwcyx->hwc", x, x, dtype=np.int64)
    twice = 2 * (count * squares - sums**2) // count**2
    found: I64 = (int(WORTH_UNIT * STRUCTURE) // (twice + SMOOTH)).sum(-1) // 3
    return found
