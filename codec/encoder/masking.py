"""The price of errors at each place of an image: a lively texture hides errors that the eye sees in a smooth place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codec.entropy.rate_distortion import WORTH_UNIT
from codec.networks.transform import PATCH, U8, patches

SQUARED, STRUCTURE = 0.8, 1800.0
"""The weights of squared error and of structural similarity in `worth`, found on validation images."""
SMOOTH = 58
"""Variance of samples below which a place is smooth. It is C2 of `codec.images.metrics`, rounded."""
STRIP_ROWS = 64
"""Rows of patches that are worked at once, so that memory does not grow with the height of the image."""


def worth(samples: U8) -> NDArray[np.int64]:
    """Return what a squared error in each 8 x 8 patch is worth, int64 array (h, w), in 1/256.

    Parameters
    ----------
    samples : uint8 array (H, W, 3)

    Notes
    -----
    An error of variance v takes v / (2 var(x) + C2) of a window's structural similarity (Wang et al., *Image
    quality assessment*, 2004, equation 13, for small v). With the patch as the window,

        worth = SQUARED + STRUCTURE * mean over channels of 1 / (2 var(x) + C2)
    """
    return int(WORTH_UNIT * SQUARED) + structure_worth(samples)


def structure_worth(samples: U8) -> NDArray[np.int64]:
    """Return the part of `worth` that is structure's, int64 array (h, w), in 1/256."""
    rows = range(0, len(samples), PATCH * STRIP_ROWS)
    return np.concatenate([_structure_worth(patches(samples[top : top + PATCH * STRIP_ROWS])) for top in rows])


def _structure_worth(x: U8) -> NDArray[np.int64]:
    count = PATCH**2
    sums = np.einsum("hwcyx->hwc", x, dtype=np.int64)
    squares = np.einsum("hwcyx,hwcyx->hwc", x, x, dtype=np.int64)
    twice = 2 * (count * squares - sums**2) // count**2
    structure: NDArray[np.int64] = (int(WORTH_UNIT * STRUCTURE) // (twice + SMOOTH)).sum(-1) // 3
    return structure
