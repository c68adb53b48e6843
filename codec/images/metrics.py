"""How far two images are apart: PSNR and MS-SSIM, for people who choose a quality; no byte depends on them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Plane = NDArray[np.uint8] | NDArray[np.float64]

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, the finest first."""
WINDOW, SIGMA = 11, 1.5
_GAUSS = [math.exp(-((i - WINDOW // 2) ** 2) / (2 * SIGMA**2)) for i in range(WINDOW)]
TAPS = [tap / sum(_GAUSS) for tap in _GAUSS]
MEAN_TERM, DEVIATION_TERM = (0.01 * 255) ** 2, (0.03 * 255) ** 2
"""C1 and C2, which keep the quotients of dark and of smooth places stable."""

MS_SSIM_SIDE_PX = (WINDOW - 1) << (len(WEIGHTS) - 1)
"""Sides must be longer: the window has to fit at the coarsest scale."""
STRIP_ROWS = 32
"""Rows compared at once: so few stay in a core's cache, and take no memory that grows with height."""


def psnr(a: U8, b: U8, alpha: U8 | None = None) -> float:
    """Return 10 log10(255**2 / MSE) in dB, the MSE being over all samples; inf if there is no difference.

    Parameters
    ----------
    a, b : uint8 arrays (H, W, C)
    alpha : uint8 array (H, W), optional
        By which squared errors are weighted: what it hides does not count.
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
    """Return the multi-scale structural similarity, 0 to 1, the mean of the channels'; None for small images.

    Parameters
    ----------
    a, b : uint8 arrays (H, W, C)
        The smaller side is above `MS_SSIM_SIDE_PX`, else there is no value.

    Notes
    -----
    Z. Wang, E. Simoncelli and A. Bovik, *Multiscale structural similarity for image quality assessment*,
    Asilomar 2003, in the form that most results in the literature have, that of the library
    pytorch-msssim: windows lie within the image, a row or column of zeros stands before sides that are
    odd when they are halved, and a negative mean of a scale counts as 0.
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
    """Return means of 2 x 2."""
    even = np.pad(x, ((len(x) % 2, 0), (x.shape[1] % 2, 0)))
    rows: F64 = np.add(even[0::2], even[1::2], dtype=np.float64)
    halved: F64 = (rows[:, 0::2] + rows[:, 1::2]) / 4
    return halved


def _similarities(x: Plane, y: Plane) -> tuple[float, float]:
    """Return the means of SSIM and of its part without luminance, contrast and structure."""
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
    """Return the means of x under the window, where it lies within."""
    down, across = x.shape[0] - WINDOW + 1, x.shape[1] - WINDOW + 1
    x = _mean([x[i : i + down] for i in range(WINDOW)])
    return _mean([x[:, i : i + across] for i in range(WINDOW)])


def _mean(parts: list[F64]) -> F64:
    """Return the mean of as many arrays as the window has taps; it is symmetric."""
    middle = WINDOW // 2
    total = TAPS[middle] * parts[middle]
    for i in range(middle):
        total += TAPS[i] * (parts[i] + parts[-1 - i])
    return total
