"""The distortion that lossy models are trained for, and its gradient by samples: squared error, and lost structure.

    distortion = squared * mean squared error + structure * (1 - MS-SSIM)

An encoder that searches follows the gradient, so each machine must find the same one. All steps are float32 and
elementwise, in one order. Sums of a row are float64, in the order of its columns; powers are computed with `decimal`.
`codec.images.metrics` has the same MS-SSIM in float64, for people.

Memory: besides the gradient, about 33 bytes for each pixel, because channels are compared one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from decimal import Context, Decimal
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.images.metrics import DEVIATION_TERM, MEAN_TERM, TAPS, WEIGHTS, WINDOW

STRIP_ROWS = 32
"""Rows that a thread works at once. They are few enough for a core's cache."""
REACH = WINDOW - 1
CENTRE = np.float32(128)
"""Subtracted from samples, so that less of their variances cancels."""

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

_POWER = Context(prec=30)
# The last bit of an exponential depends on the machine. It is lost when taps are rounded to float32.
_TAP0, _TAP1, _TAP2, _TAP3, _TAP4, _TAP5 = (np.float32(tap) for tap in TAPS[: WINDOW // 2 + 1])
_C1, _C2, _TWO = np.float32(MEAN_TERM), np.float32(DEVIATION_TERM), np.float32(2)


@njit
def _blur(plane: F32, top: int, column: F32, out: F32) -> None:
    """Fill a row with the weighted means under the windows whose first row is ``top``; ``column`` is a buffer."""
    r0, r1, r2, r3, r4, r5 = plane[top], plane[top + 1], plane[top + 2], plane[top + 3], plane[top + 4], plane[top + 5]
    r6, r7, r8, r9, r10 = plane[top + 6], plane[top + 7], plane[top + 8], plane[top + 9], plane[top + 10]
    for j in range(len(column)):
        outer = _TAP0 * (r0[j] + r10[j]) + _TAP1 * (r1[j] + r9[j]) + _TAP2 * (r2[j] + r8[j])
        column[j] = outer + _TAP3 * (r3[j] + r7[j]) + _TAP4 * (r4[j] + r6[j]) + _TAP5 * r5[j]
    c0, c1, c2, c3, c4, c5 = column, column[1:], column[2:], column[3:], column[4:], column[5:]
    c6, c7, c8, c9, c10 = column[6:], column[7:], column[8:], column[9:], column[10:]
    for j in range(len(out)):
        outer = _TAP0 * (c0[j] + c10[j]) + _TAP1 * (c1[j] + c9[j]) + _TAP2 * (c2[j] + c8[j])
        out[j] = outer + _TAP3 * (c3[j] + c7[j]) + _TAP4 * (c4[j] + c6[j]) + _TAP5 * c5[j]


@kernel
def _compare(begin: int, end: int, x: F32, y: F32, last: bool, fields: F32, sums: F64) -> None:
    """Compare two planes under the windows whose first rows are ``begin`` up to ``end``, without the latter.

    Parameters
    ----------
    x, y : float32 arrays (H, W)
        Samples: the original's and the restored ones.
    last : bool
        Whether the plane belongs to the coarsest scale, where luminance counts.
    fields : float32 array (3, H + REACH, W + REACH)
        The value of each window has derivatives by three means under it: of y, of x**2 + y**2, and of x y. They are
        filled in from place (REACH, REACH) on.
    sums : float64 array (H - REACH,)
        Filled with the sums of the values of each row of windows.
    """
    across, rows = x.shape[1], end - begin + REACH
    p, q = np.empty((rows, across), np.float32), np.empty((rows, across), np.float32)
    squares, products = np.empty_like(p), np.empty_like(p)
    for r in range(rows):
        for j in range(across):
            p[r, j] = x[begin + r, j] - CENTRE
            q[r, j] = y[begin + r, j] - CENTRE
            squares[r, j] = p[r, j] * p[r, j] + q[r, j] * q[r, j]
            products[r, j] = p[r, j] * q[r, j]
    column, means = np.empty(across, np.float32), np.empty((4, across - REACH), np.float32)
    values = np.empty(across - REACH, np.float32)
    mean_p, mean_q, mean_squares, mean_products = means[0], means[1], means[2], means[3]
    for r in range(end - begin):
        _blur(p, r, column, mean_p)
        _blur(q, r, column, mean_q)
        _blur(squares, r, column, mean_squares)
        _blur(products, r, column, mean_products)
        place = REACH + begin + r
        by_mean, by_squares, by_products = fields[0, place, REACH:], fields[1, place, REACH:], fields[2, place, REACH:]
        for j in range(across - REACH):
            a, b = mean_p[j], mean_q[j]
            inverse = np.divide(np.float32(1), mean_squares[j] - a * a - b * b + _C2)
            value = (_TWO * (mean_products[j] - a * b) + _C2) * inverse
            values[j] = value
            by_mean[j] = _TWO * (b * value - a) * inverse
            by_squares[j] = -value * inverse
            by_products[j] = _TWO * inverse
        if last:
            for j in range(across - REACH):
                a, b = mean_p[j] + CENTRE, mean_q[j] + CENTRE
                inverse = np.divide(np.float32(1), a * a + b * b + _C1)
                luminance = (_TWO * a * b + _C1) * inverse
                by_mean[j] = luminance * by_mean[j] + values[j] * _TWO * (a - luminance * b) * inverse
                by_squares[j] *= luminance
                by_products[j] *= luminance
                values[j] *= luminance
        total = 0.0
        for j in range(across - REACH):
            total += values[j]
        sums[begin + r] = total


@kernel
def _gather(begin: int, end: int, x: F32, y: F32, fields: F32, factor: float, out: F32) -> None:
    """Fill rows ``begin`` to ``end`` of ``out`` (H, W) with ``factor`` times the gradient by y of the windows' sum."""
    across, times = x.shape[1], np.float32(factor)
    column, blurred = np.empty(fields.shape[2], np.float32), np.empty((3, across), np.float32)
    by_mean, by_squares, by_products = blurred[0], blurred[1], blurred[2]
    for r in range(begin, end):
        _blur(fields[0], r, column, by_mean)
        _blur(fields[1], r, column, by_squares)
        _blur(fields[2], r, column, by_products)
        p, q, row = x[r], y[r], out[r]
        for j in range(across):
            by_error = _TWO * (q[j] - CENTRE) * by_squares[j] + (p[j] - CENTRE) * by_products[j]
            row[j] = times * (by_mean[j] + by_error)


@kernel
def _halve(plane: F32, halved: F32) -> None:
    """Fill ``halved`` (h, w) with the means of squares of 2 x 2. Before an odd side there is a row of zeros."""
    odd_rows, odd_columns = plane.shape[0] % 2, plane.shape[1] % 2
    for r in range(len(halved)):
        below, out = plane[2 * r + 1 - odd_rows], halved[r]
        above, times = plane[max(2 * r - odd_rows, 0)], np.float32(0 if 2 * r < odd_rows else 1)
        if odd_columns:
            out[0] = np.float32(0.25) * (times * above[0] + below[0])
        for j in range(odd_columns, len(out)):
            k = 2 * j - odd_columns
            out[j] = np.float32(0.25) * (times * (above[k] + above[k + 1]) + (below[k] + below[k + 1]))


@kernel
def _add_halved(gradient: F32, coarse: F32) -> None:
    """Add to a gradient what `_halve` hands back of the gradient by its result."""
    odd_rows, odd_columns = gradient.shape[0] % 2, gradient.shape[1] % 2
    for r in range(len(gradient)):
        row, part = gradient[r], coarse[(r + odd_rows) // 2]
        if odd_columns:
            row[0] += np.float32(0.25) * part[0]
        for j in range(odd_columns, len(part)):
            k = 2 * j - odd_columns
            row[k] += np.float32(0.25) * part[j]
            row[k + 1] += np.float32(0.25) * part[j]


class _Scale:
    """A channel of both images at one scale, and room for the comparison.

    Attributes
    ----------
    x, y, gradient : float32 arrays (H, W)
    fields : float32 array (3, H + REACH, W + REACH)
    sums : float64 array (H - REACH,)
    windows : int
    """

    def __init__(self, height: int, width: int) -> None:
        self.x, self.y, self.gradient = (np.empty((height, width), dtype=np.float32) for _ in range(3))
        self.fields = np.zeros((3, height + REACH, width + REACH), dtype=np.float32)
        self.sums = np.zeros(height - REACH)
        self.windows = (height - REACH) * (width - REACH)


def _scales(height: int, width: int) -> list[_Scale]:
    """Return the scales into which a window fits, at most those of MS-SSIM."""
    scales: list[_Scale] = []
    while len(scales) < len(WEIGHTS) and min(height, width) > REACH:
        scales.append(_Scale(height, width))
        height, width = (height + 1) // 2, (width + 1) // 2
    return scales


def _power(base: float, exponent: float) -> float:
    return float(_POWER.power(Decimal(base), Decimal(exponent))) if base > 0 else 0.0


def _channel(scales: list[_Scale], pool: Executor, workers: int) -> float:
    """Return the MS-SSIM of the planes of the finest scale, whose ``gradient`` is filled with that by ``y``."""
    whole = math.fsum(WEIGHTS) / math.fsum(WEIGHTS[: len(scales)])
    weights = [whole * weight for weight in WEIGHTS[: len(scales)]]
    for fine, coarse in pairwise(scales):
        _halve(fine.x, coarse.x)
        _halve(fine.y, coarse.y)

    def each(task: Callable[[int, int, int], None], less: int) -> None:
        """Call a task with the number of each scale and the rows of each strip, without the last ``less`` rows."""
        tasks = [
            (number, begin, min(begin + STRIP_ROWS, len(scale.x) - less))
            for number, scale in enumerate(scales)
            for begin in range(0, len(scale.x) - less, STRIP_ROWS)
        ]

        def work_on(worker: int) -> None:
            for item in tasks[worker::workers]:
                task(*item)

        list(pool.map(work_on, range(workers)))

    def compare(number: int, begin: int, end: int) -> None:
        scale = scales[number]
        _compare(begin, end, scale.x, scale.y, number == len(scales) - 1, scale.fields, scale.sums)

    each(compare, REACH)
    means = [math.fsum(scale.sums) / scale.windows for scale in scales]
    alike = math.prod(_power(mean, weight) for mean, weight in zip(means, weights, strict=True))
    if not alike:
        scales[0].gradient[:] = 0
        return 0.0

    def gather(number: int, begin: int, end: int) -> None:
        scale = scales[number]
        factor = weights[number] * alike / means[number] / scale.windows
        _gather(begin, end, scale.x, scale.y, scale.fields, factor, scale.gradient)

    each(gather, 0)
    for coarse, fine in pairwise(reversed(scales)):
        _add_halved(fine.gradient, coarse.gradient)
    return alike


def distortion(
    restored: U8, samples: U8, squared: float, structure: float, pool: Executor, workers: int
) -> tuple[float, F32]:
    """Return the distortion of an image, and its gradient by restored samples, float32 array (H, W, 3).

    Parameters
    ----------
    restored, samples : uint8 arrays (H, W, 3)
    squared, structure : float
        Weights of the mean squared error and of 1 - MS-SSIM.
    pool : Executor
        Takes ``workers`` pieces at once. Their number changes no result.
    workers : int

    Notes
    -----
    MS-SSIM is that of `codec.images.metrics.ms_ssim`. In an image that is too small for five scales, those that fit
    count, with their weights scaled to the same sum. If not even a window fits, there is only squared error.
    """
    height, width, channels = samples.shape
    error = np.subtract(restored, samples, dtype=np.int32)
    value = squared * int(np.square(error).sum(dtype=np.int64)) / error.size
    gradient: F32 = error.astype(np.float32)
    gradient *= np.float32(2 * squared / error.size)
    del error  # it is as large as the gradient
    scales = _scales(height, width)
    if scales:
        share = structure / channels
        for channel in range(channels):
            scales[0].x[:], scales[0].y[:] = samples[..., channel], restored[..., channel]
            value += share * (1 - _channel(scales, pool, workers))
            scales[0].gradient *= np.float32(share)
            gradient[..., channel] -= scales[0].gradient
    return value, gradient
