"""The derivatives of the bits of many values at once, by the raw parameters of their mixtures of logistics.

`codec.entropy.mixtures.ideal_bits_gradient` has them for one symbol, from the tables of the coder. Here all is float32
and elementwise, so that compilers have vectors for it. The exponential is a polynomial, because that of a library
differs from machine to machine.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.constants import MEAN_STEPS, PRECISION
from codec.entropy import tables

F32 = NDArray[np.float32]

_OCTAVES = np.float32(1 / math.log(2))
_POWERS = tuple(np.float32(math.log(2) ** n / math.factorial(n)) for n in range(7))
"""Coefficients of 2**x. Between -1/2 and 1/2 the series is wrong by less than 2**-22."""
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_EXPONENT, _EXPONENT_UNIT = np.float32(127), np.float32(1 << 23)
_FLOOR = np.float32(2.0**-PRECISION)
_FARTHEST = np.float32(60)
"""Arguments of the logistic function are clipped to this magnitude. There it is far below the floor."""
_LEAST_LOGIT = np.float32(-64)
_SCALE_MIN, _SCALE_MAX = np.float32(tables.SCALE_MIN), np.float32(tables.SCALE_MAX)
_PER_LOGIT, _PER_MEAN = np.float32(1 / tables.WEIGHT_STEPS), np.float32(1 / MEAN_STEPS)
_PER_SCALE = np.float32(1 / tables.SCALE_STEPS)


class Mixtures(NamedTuple):
    """Mixtures of M components for n values, and room for their derivatives.

    Attributes
    ----------
    values : float32 array (n,)
        Where the middle of each bin lies. It has the width of one.
    logits, means, scales : float32 arrays (M, n)
        Raw parameters, see `codec.entropy.mixtures`.
    weights, parts : float32 arrays (M, n)
    largest, total, mass : float32 arrays (n,)
        Buffers.
    """

    values: F32
    logits: F32
    means: F32
    scales: F32
    weights: F32
    parts: F32
    largest: F32
    total: F32
    mass: F32


def make_mixtures(components: int, values: int) -> Mixtures:
    """Return buffers for ``values`` values."""
    one, each = (values,), (components, values)
    return Mixtures(*(np.zeros(shape, dtype=np.float32) for shape in (one, *5 * [each], one, one, one)))


@njit
def power_of_two(x: np.float32) -> np.float32:
    """Return 2**x for x of -126 to 127, wrong by less than 2**-21 of it, the same on each machine."""
    whole = np.floor(x + _HALF)
    rest = x - whole
    series = _POWERS[6]
    series = series * rest + _POWERS[5]
    series = series * rest + _POWERS[4]
    series = series * rest + _POWERS[3]
    series = series * rest + _POWERS[2]
    series = series * rest + _POWERS[1]
    series = series * rest + _POWERS[0]
    power: np.float32 = np.int32((whole + _EXPONENT) * _EXPONENT_UNIT).view(np.float32)
    result: np.float32 = series * power
    return result


@njit
def mixture_gradient(count: int, m: int, x: Mixtures) -> None:
    """Replace the raw parameters of the first ``count`` mixtures by the derivatives of the bits by them.

    The bits are those of `codec.entropy.mixtures.ideal_bits`, except that bins at the ends of the grid end there.
    """
    values, largest, total, mass = x.values[:count], x.largest[:count], x.total[:count], x.mass[:count]
    largest[:] = x.logits[0, :count]
    for k in range(1, m):
        logits = x.logits[k, :count]
        for j in range(count):
            largest[j] = max(largest[j], logits[j])
    total[:] = _ZERO
    mass[:] = _ZERO
    for k in range(m):
        logits, means, scales = x.logits[k, :count], x.means[k, :count], x.scales[k, :count]
        weights, parts = x.weights[k, :count], x.parts[k, :count]
        for j in range(count):
            weight = power_of_two(max((logits[j] - largest[j]) * _PER_LOGIT, _LEAST_LOGIT))
            scale = min(max(scales[j], _SCALE_MIN), _SCALE_MAX)
            inverse = power_of_two(-scale * _PER_SCALE)
            below = (values[j] - _HALF - means[j] * _PER_MEAN) * inverse
            above = below + inverse
            # A bin above the mean is mirrored: where the logistic function is small, its differences do not cancel.
            mirrored = below + above > _ZERO
            low = min(max(-above if mirrored else below, -_FARTHEST), _FARTHEST)
            high = min(max(-below if mirrored else above, -_FARTHEST), _FARTHEST)
            power_low, power_high = power_of_two(low * _OCTAVES), power_of_two(high * _OCTAVES)
            share_low, share_high = np.divide(_ONE, _ONE + power_low), np.divide(_ONE, _ONE + power_high)
            at_low, at_high = power_low * share_low, power_high * share_high
            slope_low, slope_high = at_low * share_low, at_high * share_high
            rise = (slope_low - slope_high) * inverse
            weights[j] = weight
            parts[j] = at_high - at_low
            means[j] = weight * (-rise if mirrored else rise)
            scales[j] = weight * (slope_low * low - slope_high * high) if scale == scales[j] else _ZERO
            total[j] += weight
            mass[j] += weight * parts[j]
    for j in range(count):
        mass[j] = np.divide(mass[j], total[j])
        total[j] = np.divide(-_ONE, (max(mass[j], _ZERO) + _FLOOR) * total[j])
    for k in range(m):
        logits, means, scales = x.logits[k, :count], x.means[k, :count], x.scales[k, :count]
        weights, parts = x.weights[k, :count], x.parts[k, :count]
        for j in range(count):
            logits[j] = weights[j] * (parts[j] - mass[j]) * total[j] * _PER_LOGIT
            means[j] *= total[j] * _PER_MEAN * _OCTAVES
            scales[j] *= total[j] * _PER_SCALE
