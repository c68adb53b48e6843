"""Rate-distortion optimised quantisation: it takes the integer near a value that costs least.

    cost = bits of the number + price * (value - number)**2

The bits are those that the coder would write, given all earlier choices. So numbers are chosen in coding order. A
choice also makes later numbers cheaper or dearer; that is left out.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from codec.constants import PRECISION
from codec.entropy.mixtures import Grid, IntArray, Tables, interval, symbol_of

FINE = 16
"""Values are in 1/16 of a step."""
PRICE_UNIT = 256
"""Prices, and costs, are in 1/256 bit."""
WORTH_UNIT = 256
"""The factors of errors by position are in 1/256, see `codec.encoder.masking`."""

_MANTISSA = 256
_LOG2 = np.rint(PRICE_UNIT * np.log2(1 + np.arange(_MANTISSA) / _MANTISSA)).astype(np.int64)


@njit
def frequency_bits(freq: int) -> int:
    """Return the bits, in 1/256 bit, of a symbol whose probability is ``freq / 2**24``."""
    exponent = PRECISION
    scaled = freq * _MANTISSA
    while scaled >= 2 * _MANTISSA:
        scaled >>= 1
        exponent -= 1
    return exponent * PRICE_UNIT - _LOG2[scaled - _MANTISSA]  # type: ignore[no-any-return]


@njit
def is_zero(value: int) -> bool:
    """Return whether zero is the nearest integer to a value in 1/16. Then no other is considered."""
    return 2 * abs(int(value)) <= FINE


@njit
def cheapest(value: int, price: int, grid: Grid, prepared: IntArray, table: Tables) -> int:
    """Return the symbol of the integer that costs least: the nearest one, the next one towards zero, or zero.

    Parameters
    ----------
    value : int
        The wanted value, in 1/16.
    price : int
        What a squared error of one is worth, in 1/256 bit.
    grid, prepared, table
        The distribution of the integer, see `codec.entropy.mixtures`.
    """
    magnitude = abs(int(value))
    sign = -1 if value < 0 else 1
    nearest = min((magnitude + FINE // 2) // FINE, grid.count // 2)
    best, least = 0, 1 << 60
    for number in (nearest, nearest - 1, 0):
        if number < 0 or (number == 0 and nearest > 2):
            continue
        symbol = symbol_of(sign * number, grid)
        _, freq = interval(symbol, grid, prepared, table)
        error = magnitude - FINE * number
        cost = frequency_bits(freq) + price * error * error // (FINE * FINE)
        if cost < least:
            best, least = symbol, cost
    return best
