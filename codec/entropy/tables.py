"""The integer tables of the format. Each entry is the correctly rounded value of its formula.

They are computed with `decimal`, whose exponential and logarithm are correctly rounded on every machine. With binary
floating point, the last bit would depend on the C library. See FORMAT.md, "Tables".
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]

SHAPE_BITS = 30
"""In the tables of distribution functions 2**30 stands for one. With weights of 15 bits, sums are at most 2**45."""
SHAPE_STEP_BITS = 5
"""The tables have 2**5 entries for each unit. Linear interpolation of the logistic function is then wrong by less than
2**-16 of the value."""
SHAPE_RANGE = 20
"""The tables cover -20..20. Beyond, the value is 0 or 2**30; the logistic function differs from it by 2 units of
2**-30."""

WEIGHT_BITS = 16
WEIGHT_STEPS = 64
"""Logits of a mixture are in 1/64 of an octave."""
WEIGHT_COUNT = 1024
"""Entries of the table of weights. The last one, almost 16 octaves below the largest, serves all lower logits."""

SCALE_STEPS = 32
"""Scales are in 1/32 of an octave. A scale that is wrong by 1 % costs less than 10**-4 bits."""
SCALE_MIN, SCALE_MAX = -128, 224
"""Smallest and largest scale: from 2**-4 to 2**7 grid units."""
INVERSE_BITS = 20
"""Inverse scales are in 2**-20. At the widest scale 13 bits are left."""

COMPRESS_UNIT = 64
"""A difference d of contexts enters the network as 64 log2(1 + |d| / knee), linear near zero and logarithmic beyond."""

_EXACT = Context(prec=50)
_LN2 = _EXACT.ln(Decimal(2))
_PI = Decimal("3.14159265358979323846264338327950288419716939937511")
NORMAL_END = 8
"""From here on the normal's distribution function rounds to one."""


def _round(values: list[Decimal]) -> IntArray:
    table = np.array([int(v.to_integral_value(ROUND_HALF_EVEN)) for v in values], dtype=np.int64)
    table.flags.writeable = False
    return table


def _exp2(exponent: Decimal) -> Decimal:
    return _EXACT.exp(_EXACT.multiply(exponent, _LN2))


@lru_cache(maxsize=1)
def logistic() -> IntArray:
    """Return the logistic function: round(2**30 / (1 + exp(-(i - 640) / 32))) for i = 0..1280, int64 array."""
    half = SHAPE_RANGE << SHAPE_STEP_BITS
    one = Decimal(1 << SHAPE_BITS)
    step = Decimal(1 << SHAPE_STEP_BITS)
    return _round([_EXACT.divide(one, 1 + _EXACT.exp((half - i) / step)) for i in range(2 * half + 1)])


@lru_cache(maxsize=1)
def normal() -> IntArray:
    """Return the standard normal's distribution function Phi: round(2**30 Phi((i - 640) / 32)), i = 0..1280, int64."""
    one = Decimal(1 << SHAPE_BITS)
    step = Decimal(1 << SHAPE_STEP_BITS)
    above = [_EXACT.multiply(one, _normal(i / step)) for i in range((SHAPE_RANGE << SHAPE_STEP_BITS) + 1)]
    return _round([*(one - value for value in above[:0:-1]), *above])


def _normal(x: Decimal) -> Decimal:
    """Return Phi(x), the distribution function of the standard normal, for x >= 0.

    Notes
    -----
    Phi(x) = 1/2 + phi(x) (x + x**3 / 3 + x**5 / (3 5) + ...). All terms are positive, so that nothing cancels.
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
    """Return round(2**(16 - i / 64)) for i = 0..1023, int64 array: the weight of a logit i steps below the largest."""
    return _round([_exp2(WEIGHT_BITS - Decimal(i) / WEIGHT_STEPS) for i in range(WEIGHT_COUNT)])


@lru_cache(maxsize=1)
def inverse_scales() -> IntArray:
    """Return round(2**(20 - s / 32)) for s = -128..224, int64 array: the inverses of the scales 2**(s / 32)."""
    return _round([_exp2(INVERSE_BITS - Decimal(s) / SCALE_STEPS) for s in range(SCALE_MIN, SCALE_MAX + 1)])


@lru_cache(maxsize=8)
def compress(largest: int = 255, knee: int = 8) -> IntArray:
    """Return sign(d) round(64 log2(1 + |d| / knee)) for d = -largest..largest, int64 array (2 largest + 1,).

    The defaults are those of samples.
    """
    positive = _round([COMPRESS_UNIT * _EXACT.ln(1 + Decimal(d) / knee) / _LN2 for d in range(largest + 1)])
    table = np.concatenate([-positive[:0:-1], positive])
    table.flags.writeable = False
    return table
