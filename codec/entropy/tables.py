"""The integer tables of the format, each the correctly rounded value of its formula.

They are computed with `decimal`, whose exponential and logarithm are correctly rounded on every
machine; binary floating point would leave the last bit to the C library. See FORMAT.md, "Tables".
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

SHAPE_BITS = 30
"""One in the tables of distribution functions; with weights of 15 bits a sum stays below 2**45."""
SHAPE_STEP_BITS = 5
"""32 entries a unit: linear interpolation of the logistic function is wrong by less than 2**-16 of the value."""
SHAPE_RANGE = 20
"""The tables cover -20..20; beyond, the value is 0 or 2**30 (of the logistic it differs by 2 units of 2**-30)."""

WEIGHT_BITS = 16
WEIGHT_STEPS = 64
"""Logits of a mixture are in 1/64 of an octave."""
WEIGHT_COUNT = 1024
"""Logits 16 octaves below the largest have weight 1 of 2**16, lower ones the same."""

SCALE_STEPS = 32
"""Scales of logistics are in 1/32 of an octave: a wrong scale of 1 % costs under 10**-4 bits."""
SCALE_MIN, SCALE_MAX = -128, 224
"""Scales from 2**-4 to 2**7 samples."""
INVERSE_BITS = 20
"""Inverse scales are in 2**-20: at the widest scale that still leaves 13 bits."""

COMPRESS_UNIT = 64
"""Context differences: 64 log2(1 + |d| / knee), linear near zero and logarithmic beyond."""

_EXACT = Context(prec=50)
_LN2 = _EXACT.ln(Decimal(2))
_PI = Decimal("3.14159265358979323846264338327950288419716939937511")
NORMAL_END = 8
"""Beyond, a normal's distribution function rounds to one."""


def _round(values: list[Decimal]) -> IntArray:
    table = np.array([int(v.to_integral_value(ROUND_HALF_EVEN)) for v in values], dtype=np.int64)
    table.flags.writeable = False
    return table


def _exp2(exponent: Decimal) -> Decimal:
    return _EXACT.exp(_EXACT.multiply(exponent, _LN2))


@lru_cache(maxsize=1)
def logistic() -> IntArray:
    """Return round(2**30 / (1 + exp(-(i - 640) / 32))) for i = 0..1280."""
    half = SHAPE_RANGE << SHAPE_STEP_BITS
    one = Decimal(1 << SHAPE_BITS)
    step = Decimal(1 << SHAPE_STEP_BITS)
    return _round([_EXACT.divide(one, 1 + _EXACT.exp((half - i) / step)) for i in range(2 * half + 1)])


@lru_cache(maxsize=1)
def normal() -> IntArray:
    """Return round(2**30 Phi((i - 640) / 32)) for i = 0..1280, Phi the distribution function of the standard normal."""
    one = Decimal(1 << SHAPE_BITS)
    step = Decimal(1 << SHAPE_STEP_BITS)
    above = [_EXACT.multiply(one, _normal(i / step)) for i in range((SHAPE_RANGE << SHAPE_STEP_BITS) + 1)]
    return _round([*(one - value for value in above[:0:-1]), *above])


def _normal(x: Decimal) -> Decimal:
    """Return Phi(x) of x >= 0.

    Notes
    -----
    1/2 + phi(x) (x + x**3 / 3 + x**5 / (3 5) + ...), whose terms are all positive: nothing cancels.
    """
    if x > NORMAL_END:
        return Decimal(1)
    total, term, odd = Decimal(0), x, 1
    while term > Decimal(10) ** -45:
        total = _EXACT.add(total, term)
        odd += 2
        term = _EXACT.divide(_EXACT.multiply(term, x * x), Decimal(odd))
    density = _EXACT.divide(_EXACT.exp(-x * x / 2), _EXACT.sqrt(2 * _PI))
    return _EXACT.add(Decimal("0.5"), _EXACT.multiply(density, total))


@lru_cache(maxsize=1)
def weights() -> IntArray:
    """Return round(2**(16 - i / 64)) for i = 0..1023: the weight of a logit i steps below the largest."""
    return _round([_exp2(WEIGHT_BITS - Decimal(i) / WEIGHT_STEPS) for i in range(WEIGHT_COUNT)])


@lru_cache(maxsize=1)
def inverse_scales() -> IntArray:
    """Return round(2**(20 - s / 32)) for s = -128..224: the inverse of scale 2**(s / 32)."""
    return _round([_exp2(INVERSE_BITS - Decimal(s) / SCALE_STEPS) for s in range(SCALE_MIN, SCALE_MAX + 1)])


@lru_cache(maxsize=8)
def compress(largest: int = 255, knee: int = 8) -> IntArray:
    """Return sign(d) round(64 log2(1 + |d| / knee)) for d = -largest..largest; as it stands, for samples."""
    positive = _round([COMPRESS_UNIT * _EXACT.ln(1 + Decimal(d) / knee) / _LN2 for d in range(largest + 1)])
    table = np.concatenate([-positive[:0:-1], positive])
    table.flags.writeable = False
    return table
