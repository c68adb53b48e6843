"""Contexts: the decoded pixels that the likelihood of a pixel may read.

A pixel (y, x) belongs to wave ``x + SLOPE * y``. All pixels of a wave are coded together, so a
context k rows up and j columns to the right is legal if and only if ``j <= SLOPE * k - 1``:
it then belongs to an earlier wave. See FORMAT.md, "Waves and contexts".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codec.constants import SLOPE

IntArray = NDArray[np.int64]


ORDER = (1, 0, 2)
"""Channels in coding order: green, red, blue. Green predicts the others best."""


REFERENCE = ((0, -1, 2), (1, 0, 2), (1, 1, 1), (1, -1, -1))
"""(k, j, weight) of the reference of a sample: (2 W + 2 N + NE - NW) / 4, clipped to 0..255."""


def offsets(radius: int) -> IntArray:
    """Return the legal contexts within a radius, nearest rows first.

    Parameters
    ----------
    radius : int
        Contexts satisfy ``k**2 + j**2 <= radius * (radius + 1)``: a disc without its corners.

    Returns
    -------
    int64 array (P, 2)
        Rows up k >= 0 and columns to the right j of each context.
    """
    reach = radius * (radius + 1)
    pairs = [
        (k, j)
        for k in range(radius + 1)
        for j in range(-radius, min(radius, SLOPE * k - 1) + 1)
        if k * k + j * j <= reach
    ]
    return np.array(pairs, dtype=np.int64)


def window(columns: int, rows: int) -> IntArray:
    """Return the legal contexts of a rectangular window, nearest rows first.

    Parameters
    ----------
    columns : int
        Width of the window: it has ``columns // 2`` columns on either side of the pixel.
    rows : int
        Number of rows above the pixel's own row. In the own row only pixels to the left are contexts.

    Returns
    -------
    int64 array (P, 2)
        Rows up k >= 0 and columns to the right j of each context.

    Notes
    -----
    These are the windows A x B of Chen et al. (2017), less those contexts of near rows that belong to the same or a
    later wave.
    """
    reach = columns // 2
    pairs = [(k, j) for k in range(rows + 1) for j in range(-reach, min(reach, SLOPE * k - 1) + 1)]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def neighbour(y: IntArray, x: IntArray, k: IntArray, j: IntArray, width: int) -> IntArray:
    """Return the place in the raster at which the context (k, j) of the pixel (y, x) is read.

    If (y - k, x + j) lies in the image, it is that place. Otherwise another pixel stands in:

    - above the image: the image's first row, with j cut to what is legal there;
    - above the image, if the pixel is in the first row: the pixel to its left;
    - right of the image: the last column;
    - left of the image: the first column; in the pixel's own row, the pixel above.

    The very first pixel has no neighbour and gets -1.

    Parameters
    ----------
    y, x, k, j : int64 arrays that broadcast
    width : int
        Columns of the image.

    Returns
    -------
    int64 array
        ``row * width + column`` of an already coded pixel, or -1.

    Notes
    -----
    FORMAT.md, "Waves and contexts", has the rule. `codec.frozen.likelihood` compiles it for one pixel.
    """
    k_eff = np.minimum(k, y)
    j_eff = np.where(k_eff == k, j, np.minimum(j, SLOPE * k_eff - 1))
    row = y - k_eff
    column = np.clip(x + j_eff, 0, width - 1)
    # In its own row, a pixel can read only what is strictly to its left.
    own = k_eff == 0
    column = np.where(own, np.minimum(column, x - 1), column)
    above = own & (column < 0)
    row = np.where(above, y - 1, row)
    column = np.where(above, 0, column)
    return np.where(row < 0, -1, row * width + column)
