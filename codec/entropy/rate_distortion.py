"""Rate-distortion optimised quantisation: of the whole numbers near a value, the one that costs least.

    bits of the number + price * (value - number)**2

The bits are those that the coder would write after all that was chosen before, so numbers are chosen in
coding order. That a choice also makes what follows it cheaper or dearer is left out.
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
"""What an error is worth at a position is in 1/256, see `codec.encoder.masking`."""

_MANTISSA = 256
_LOG2 = np.rint(PRICE_UNIT * np.log2(1 + np.arange(_MANTISSA) / _MANTISSA)).astype(np.int64)


@njit
def frequency_bits(freq: int) -> int:
    """Return the bits of a symbol with this frequency of 2**24, in 1/256 bit."""
    exponent = PRECISION
    scaled = freq * _MANTISSA
    while scaled >= 2 * _MANTISSA:
        scaled >>= 1
        exponent -= 1
    return exponent * PRICE_UNIT - _LOG2[scaled - _MANTISSA]  # type: ignore[no-any-return]


@njit
def is_zero(value: int) -> bool:
    """Return whether zero is the nearest number to a value, and so the only one that is considered."""
    return 2 * abs(int(value)) <= FINE


@njit
def cheapest(value: int, price: int, grid: Grid, prepared: IntArray, table: Tables) -> int:
    """Return the symbol of the number that costs least: the nearest one, the next one towards zero, or zero.

    Parameters
    ----------
    value : int
        In 1/16.
    price : int
        1/256 bits that a squared error of one is worth.
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
