"""How good a decoded image is, and what a codec saves at equal quality."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pytorch_msssim import ms_ssim as library_ms_ssim
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq
from ssimulacra2 import compute_ssimulacra2

Curve = Sequence[tuple[float, float]]
"""Points of rate (bits per pixel) and quality (in dB, or in points of SSIMULACRA2), in any order."""

SSIMULACRA2_SIDE_PX = 224
"""Both sides must be longer than this. The metric halves an image five times and needs 8 pixels then. With fewer scales
its weights would meet other terms than those for which they were found."""


def ms_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return the multi-scale structural similarity, 0 to 1: the mean of the channels'.

    Parameters
    ----------
    a, b : uint8 arrays (H, W, C), H and W above `codec.images.metrics.MS_SSIM_SIDE_PX`

    Notes
    -----
    Z. Wang, E. Simoncelli and A. Bovik, *Multiscale structural similarity for image quality assessment*,
    Asilomar 2003, as computed by the library pytorch-msssim, which others publish; `codec.images.metrics` agrees with
    it.
    """
    # Double precision takes twenty times as long and changes the sixth decimal.
    tensors = [torch.from_numpy(x.astype(np.float32)).permute(2, 0, 1)[None] for x in (a, b)]
    with _one_thread():
        value = float(library_ms_ssim(*tensors, data_range=255))
    # Rounding may lead a little above 1.
    return min(value, 1.0)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread. An image is little work, and threads that wait for a busy core cost far more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ms_ssim_db(value: float) -> float:
    """Return -10 log10(1 - MS-SSIM), in which values near 1 differ visibly; inf for 1."""
    return -10 * math.log10(1 - value) if value < 1 else math.inf


def ssimulacra2(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Return the SSIMULACRA2 of a decoded image: 100 is the original; what is very bad is below 0.

    Parameters
    ----------
    original, decoded : uint8 arrays (H, W, 3)
        sRGB, H and W above `SSIMULACRA2_SIDE_PX`. They may not be exchanged: what an edge gained weighs otherwise than
        what it lost.

    Raises
    ------
    ValueError
        A side is too short.

    Notes
    -----
    J. Sneyers, *SSIMULACRA 2*, github.com/cloudinary/ssimulacra2, 2022: structure and edges are compared at six scales
    of a colour space made for eyes, and their weights were fitted to what people said of compressed photographs. About
    30 is low quality, 50 medium, 70 high; from 90 on no difference is seen. Computed by the package ssimulacra2.
    """
    if min(original.shape[:2]) <= SSIMULACRA2_SIDE_PX:
        height, width = original.shape[:2]
        raise ValueError(
            f"image: expected sides over {SSIMULACRA2_SIDE_PX} pixels for SSIMULACRA2, got {width}x{height}"
        )
    return float(compute_ssimulacra2(_file(original), _file(decoded)))


def _file(samples: NDArray[np.uint8]) -> BytesIO:
    """Return an image as an uncompressed file: the library takes files alone."""
    file = BytesIO()
    Image.fromarray(samples).save(file, "PPM")
    file.seek(0)
    return file


def bd_rate(reference: Curve, tested: Curve, low: float, high: float) -> float:
    """Return the BD-rate: by how many percent the tested codec's rate is above the reference's at equal quality.

    Parameters
    ----------
    reference, tested : sequences of (rate in bpp, quality)
        Each has at least two points, and quality rises with rate. Any scale of quality will do that both
        share. A stretched or moved scale gives the same result. A bent one weighs the qualities otherwise.
    low, high : float
        Rates in bpp between which the codecs are compared.

    Raises
    ------
    ValueError
        Fewer than two points, a point that is not finite, quality that does not rise with rate, an empty
        range of rates, or no quality that both curves reach within it.

    Notes
    -----
    G. Bjøntegaard, *Calculation of average PSNR differences between RD-curves*, VCEG-M33, 2001: the
    logarithm of the rate is a function of quality, the difference of two such functions is averaged by
    integration over the qualities that both curves reach, and its exponential is a ratio of rates.
    VCEG-M33 fits one polynomial of third order to four points. Here, as in JVET's common test conditions,
    the function is the piecewise cubic through all points that keeps them monotone (PCHIP; F. Fritsch and
    R. Carlson, *Monotone piecewise cubic interpolation*, 1980).

    The interval of qualities: on each curve, from the quality at ``low`` to that at ``high`` bpp, both read
    off the interpolated curve, or from its first or to its last point if it does not reach so far. The
    integral is over the intersection of the two. So both codecs' rates lie within ``low`` to ``high``
    everywhere, nothing is extrapolated, and points beyond the range only shape the curve up to its ends.
    """
    if not 0 < low < high:
        raise ValueError(f"rates: expected 0 < low < high, got {low} and {high}")
    curves = [_log_rate(points) for points in (reference, tested)]
    begin = max(_quality_at(curve, low) for curve in curves)
    end = min(_quality_at(curve, high) for curve in curves)
    if begin >= end:
        raise ValueError(f"curves: no quality that both reach between {low} and {high} bpp")
    areas = [float(curve.integrate(begin, end)) for curve in curves]
    return 100 * math.expm1((areas[1] - areas[0]) / (end - begin))


def _log_rate(points: Curve) -> PchipInterpolator:
    """Return the natural logarithm of rate as a function of quality."""
    # Two settings may lead to the same files.
    ordered = sorted(set(points))
    if len(ordered) < 2:
        raise ValueError(f"curve: expected at least 2 different points, got {len(ordered)}")
    rates, qualities = np.array(ordered, np.float64).T
    if not (np.isfinite(rates).all() and np.isfinite(qualities).all() and rates[0] > 0):
        raise ValueError("curve: expected finite qualities, and finite rates above 0")
    falls = np.flatnonzero(np.diff(qualities) <= 0)
    if len(falls):
        k = falls[0]
        raise ValueError(
            f"curve: expected quality to rise with rate, got {qualities[k]:.3f} at {rates[k]:.3f} bpp, "
            f"then {qualities[k + 1]:.3f} at {rates[k + 1]:.3f} bpp"
        )
    return PchipInterpolator(qualities, np.log(rates))


def _quality_at(curve: PchipInterpolator, rate: float) -> float:
    """Return the quality of a curve at a rate. Beyond the ends of the curve it is that of the end."""
    first, last = float(curve.x[0]), float(curve.x[-1])
    target = math.log(rate)
    if target <= curve(first):
        return first
    if target >= curve(last):
        return last
    return float(brentq(lambda quality: curve(quality) - target, first, last))
