"""Mixtures of logistics on an integer grid, with a cumulative function in integers only.

One family serves pixels, latents and their prior and posterior. The parameters of a component are
integers: logit (1/64 octave), mean (1/256 of a grid unit), scale (1/32 octave). With the weights
w_i (sum 2**15) and the table T of the logistic function (one = 2**30)

    F(k)   = (sum_i w_i T((edge(k) - mean_i) / scale_i)) >> 15
    cum(k) = (F(k) (2**24 - n) >> 30) + k,   cum(0) = 0,  cum(n) = 2**24

for symbols k = 0..n-1. F does not decrease, so every frequency is at least 1.
See FORMAT.md, "Distributions".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec import tables
from codec.rans import PRECISION

MEAN_STEPS = 256
"""Means and edges are in 1/256 of a grid unit."""
SUM_BITS = 15
"""The weights of a mixture sum to 2**15."""

_HALF = tables.LOGISTIC_RANGE << tables.LOGISTIC_STEP_BITS
_FRACTION = tables.INVERSE_BITS + 8 - tables.LOGISTIC_STEP_BITS
_FRACTION_MASK = (1 << _FRACTION) - 1
_ONE = 1 << tables.LOGISTIC_BITS
_TOTAL = 1 << PRECISION

IntArray = NDArray[np.int64]


class Tables(NamedTuple):
    """The tables that the kernels read; see `codec.tables`."""

    logistic: IntArray
    weights: IntArray
    inverse_scales: IntArray


class Grid(NamedTuple):
    """Symbols 0..count-1; the edge below symbol k > 0 is ``k * step + first``, in 1/256 unit."""

    count: int  # type: ignore[assignment]  # hides a method of tuple that nobody needs
    step: int
    first: int


def load_tables() -> Tables:
    """Return the tables for the kernels."""
    return Tables(tables.logistic(), tables.weights(), tables.inverse_scales())


def sample_grid(max_error: int) -> Grid:
    """Return the grid of 8-bit samples coded within ``max_error``: step 2 d + 1, symbol (x + d) // step."""
    step = 2 * max_error + 1
    return Grid((255 + max_error) // step + 1, step * MEAN_STEPS, -max_error * MEAN_STEPS - MEAN_STEPS // 2)


def latent_grid(limit: int) -> Grid:
    """Return the grid of latents -limit..limit; symbol 0 is -limit."""
    return Grid(2 * limit + 1, MEAN_STEPS, -limit * MEAN_STEPS - MEAN_STEPS // 2)


@njit
def prepare(raw: IntArray, mixtures: int, shift: int, prepared: IntArray, table: Tables) -> None:
    """Turn raw parameters into weights, means and inverse scales.

    Parameters
    ----------
    raw : int64 array
        ``mixtures`` logits, as many means, as many scales; more may follow.
    shift : int
        Added to the means, 1/256 unit.
    prepared : int64 array (3 * mixtures,)
        Filled with weights that sum to 2**15, means, inverse scales.
    """
    largest = 0
    for i in range(1, mixtures):
        if raw[i] > raw[largest]:
            largest = i
    total = 0
    for i in range(mixtures):
        below = raw[largest] - raw[i]
        weight = table.weights[min(below, tables.WEIGHT_COUNT - 1)]
        prepared[i] = weight
        total += weight
    rest = 1 << SUM_BITS
    for i in range(mixtures):
        weight = (prepared[i] << SUM_BITS) // total
        prepared[i] = weight
        rest -= weight
        prepared[mixtures + i] = raw[mixtures + i] + shift
        scale = min(max(raw[2 * mixtures + i], tables.SCALE_MIN), tables.SCALE_MAX)
        prepared[2 * mixtures + i] = table.inverse_scales[scale - tables.SCALE_MIN]
    prepared[largest] += rest


@njit
def cumulative(k: int, grid: Grid, mixtures: int, prepared: IntArray, table: Tables) -> int:
    """Return cum(k), for k = 0..grid.count."""
    if k <= 0:
        return 0
    if k >= grid.count:
        return _TOTAL
    edge = k * grid.step + grid.first
    total = 0
    for i in range(mixtures):
        u = (edge - prepared[mixtures + i]) * prepared[2 * mixtures + i]
        place = (u >> _FRACTION) + _HALF
        if place < 0:
            continue
        if place >= 2 * _HALF:
            total += prepared[i] << tables.LOGISTIC_BITS
            continue
        low = table.logistic[place]
        rise = table.logistic[place + 1] - low
        total += prepared[i] * (low + ((rise * (u & _FRACTION_MASK)) >> _FRACTION))
    f = total >> SUM_BITS
    return ((f * (_TOTAL - grid.count)) >> tables.LOGISTIC_BITS) + k


@njit
def find(target: int, grid: Grid, mixtures: int, prepared: IntArray, table: Tables) -> tuple[int, int, int]:
    """Return (k, cum(k), cum(k + 1)) of the symbol with cum(k) <= target < cum(k + 1).

    The search starts at the mean of the first component and widens until it holds the symbol, then
    halves: most symbols lie near.
    """
    guess = (prepared[mixtures] - grid.first) // grid.step
    guess = min(max(guess, 1), grid.count - 1)
    low, high = 0, grid.count
    at_low, at_high = 0, _TOTAL
    value = cumulative(guess, grid, mixtures, prepared, table)
    reach = 2
    if value <= target:
        low, at_low = guess, value
        while low + reach < high:
            value = cumulative(low + reach, grid, mixtures, prepared, table)
            if value > target:
                high, at_high = low + reach, value
            else:
                low, at_low = low + reach, value
                reach *= 2
    else:
        high, at_high = guess, value
        while high - reach > low:
            value = cumulative(high - reach, grid, mixtures, prepared, table)
            if value <= target:
                low, at_low = high - reach, value
            else:
                high, at_high = high - reach, value
                reach *= 2
    while high - low > 1:
        middle = (low + high) >> 1
        value = cumulative(middle, grid, mixtures, prepared, table)
        if value <= target:
            low, at_low = middle, value
        else:
            high, at_high = middle, value
    return low, at_low, at_high


@njit
def _logistic(u: float) -> float:
    return 1.0 / (1.0 + math.exp(-u))


@njit
def ideal_bits(symbol: int, grid: Grid, mixtures: int, raw: IntArray, shift: int) -> float:
    """Return -log2 of a symbol's probability under the raw parameters, in float64.

    Notes
    -----
    True logistics instead of tables, and no rounding to frequencies; the floor of 2**-24 a symbol
    is part of the model. Only the ledger uses this: it decides nothing that is coded.
    """
    largest = raw[0]
    for i in range(1, mixtures):
        largest = max(largest, raw[i])
    mass = 0.0
    total = 0.0
    for i in range(mixtures):
        weight = 2.0 ** ((raw[i] - largest) / tables.WEIGHT_STEPS)
        total += weight
        scale = min(max(raw[2 * mixtures + i], tables.SCALE_MIN), tables.SCALE_MAX)
        inverse = 2.0 ** (-scale / tables.SCALE_STEPS) / MEAN_STEPS
        mean = raw[mixtures + i] + shift
        edge = symbol * grid.step + grid.first
        low = (edge - mean) * inverse
        high = (edge + grid.step - mean) * inverse
        if symbol == 0:
            part = _logistic(high)
        elif symbol == grid.count - 1:
            part = _logistic(-low)
        elif low > 0:  # the tail is computed on its own side: no cancellation
            part = _logistic(-low) - _logistic(-high)
        else:
            part = _logistic(high) - _logistic(low)
        mass += weight * part
    return -math.log2(mass / total * (1.0 - grid.count / _TOTAL) + 1.0 / _TOTAL)
