"""PSNR and MS-SSIM of two images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Plane = NDArray[np.uint8] | NDArray[np.float64]

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales in MS-SSIM, the finest first."""
WINDOW, SIGMA = 11, 1.5
_GAUSS = [math.exp(-((i - WINDOW // 2) ** 2) / (2 * SIGMA**2)) for i in range(WINDOW)]
TAPS = [tap / sum(_GAUSS) for tap in _GAUSS]
MEAN_TERM, DEVIATION_TERM = (0.01 * 255) ** 2, (0.03 * 255) ** 2
"""C1 and C2 of SSIM, which keep the quotients stable in dark places and in smooth places."""

MS_SSIM_SIDE_PX = (WINDOW - 1) << (len(WEIGHTS) - 1)
"""Both sides must be longer than this, so that the window fits into the coarsest scale."""
STRIP_ROWS = 32
"""Rows that are compared at once. They are few enough for a core's cache, and memory does not grow with height."""


def psnr(a: U8, b: U8, alpha: U8 | None = None) -> float:
    """Return the PSNR, 10 log10(255**2 / MSE), in dB. The MSE is over all samples; without any error the PSNR is inf.

    Parameters
    ----------
    a, b : uint8 arrays (H, W, C)
    alpha : uint8 array (H, W), optional
        Weights of the squared errors. A sample that alpha hides does not count.
    """
    _check(a, b)
    # Strip by strip: little memory, and integers keep the sum exact.
    strips = [slice(begin, begin + STRIP_ROWS) for begin in range(0, len(a), STRIP_ROWS)]
    squares = (np.square(a[rows].astype(np.int64) - b[rows]) for rows in strips)
    if alpha is None:
        weight, total = a.size, sum(int(square.sum()) for square in squares)
    else:
        weight = a.shape[2] * int(alpha.sum(dtype=np.int64))
        total = sum(int((s * alpha[rows][:, :, None]).sum()) for s, rows in zip(squares, strips, strict=True))
    return 10 * math.log10(255**2 * weight / total) if total else math.inf


def ms_ssim(a: U8, b: U8) -> float | None:
    """Return the multi-scale structural similarity, 0 to 1, averaged over the channels; None for a small image.

    Parameters
    ----------
    a, b : uint8 arrays (H, W, C)
        If the smaller side is not above `MS_SSIM_SIDE_PX`, the result is None.

    Notes
    -----
    Z. Wang, E. Simoncelli and A. Bovik, *Multiscale structural similarity for image quality assessment*, Asilomar 2003.
    Details are those of the library pytorch-msssim, on which most results in the literature rest: windows lie within
    the image; before an odd side is halved, a row or column of zeros is put in front; and a negative mean of a scale
    counts as 0.
    """
    _check(a, b)
    if min(a.shape[:2]) <= MS_SSIM_SIDE_PX:
        return None
    channels = [_plane_ms_ssim(*(np.ascontiguousarray(x[:, :, c]) for x in (a, b))) for c in range(a.shape[2])]
    return float(np.mean(channels))


def _check(a: U8, b: U8) -> None:
    if a.dtype != np.uint8 or b.dtype != np.uint8 or a.ndim != 3 or a.shape != b.shape or not a.size:
        raise ValueError(
            f"images: expected two uint8 (H, W, C) of one shape, got {a.dtype} {a.shape}, {b.dtype} {b.shape}"
        )


def _plane_ms_ssim(x: Plane, y: Plane) -> float:
    result = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x, y = _halved(x), _halved(y)
        whole, contrast = _similarities(x, y)
        result *= max(whole if scale == len(WEIGHTS) - 1 else contrast, 0.0) ** weight
    return result


def _halved(x: Plane) -> F64:
    """Return the means of squares of 2 x 2."""
    even = np.pad(x, ((len(x) % 2, 0), (x.shape[1] % 2, 0)))
    rows: F64 = np.add(even[0::2], even[1::2], dtype=np.float64)
    halved: F64 = (rows[:, 0::2] + rows[:, 1::2]) / 4
    return halved


def _similarities(x: Plane, y: Plane) -> tuple[float, float]:
    """Return two means: that of SSIM, and that of SSIM without its luminance factor."""
    down, across = len(x) - WINDOW + 1, x.shape[1] - WINDOW + 1
    whole = contrast = 0.0
    for begin in range(0, down, STRIP_ROWS):
        p, q = (z[begin : begin + STRIP_ROWS + WINDOW - 1].astype(np.float64) for z in (x, y))
        mean_p, mean_q = _blurred(p), _blurred(q)
        squares, product = mean_p**2 + mean_q**2, mean_p * mean_q
        variances, covariance = _blurred(p**2 + q**2) - squares, _blurred(p * q) - product
        structure = (2 * covariance + DEVIATION_TERM) / (variances + DEVIATION_TERM)
        contrast += float(structure.sum())
        whole += float((structure * (2 * product + MEAN_TERM) / (squares + MEAN_TERM)).sum())
    return whole / (down * across), contrast / (down * across)


def _blurred(x: F64) -> F64:
    """Return the weighted means of x under the window, at all places where the window lies within x."""
    down, across = x.shape[0] - WINDOW + 1, x.shape[1] - WINDOW + 1
    x = _mean([x[i : i + down] for i in range(WINDOW)])
    return _mean([x[:, i : i + across] for i in range(WINDOW)])


def _mean(parts: list[F64]) -> F64:
    """Return the weighted mean of arrays, one for each tap of the window, which is symmetric."""
    middle = WINDOW // 2
    total = TAPS[middle] * parts[middle]
    for i in range(middle):
        total += TAPS[i] * (parts[i] + parts[-1 - i])
    return total
