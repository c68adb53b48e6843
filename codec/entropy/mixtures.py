"""Mixtures of logistics or normals on an integer grid, with a cumulative function in integers only.

One family serves pixels, tensors, latents and their prior and posterior. The parameters of a component are
integers: logit (1/64 octave), mean (1/256 of a grid unit), scale (1/32 octave). With the weights
w_i (sum 2**15) and the table T of the components' distribution function (one = 2**30)

    F(k)   = (sum_i w_i T((edge(k) - mean_i) / scale_i)) >> 15
    cum(k) = (F(k) (2**24 - n) >> 30) + k,   cum(0) = 0,  cum(n) = 2**24

for symbols k = 0..n-1. F does not decrease, so every frequency is at least 1.
See FORMAT.md, "Distributions".
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable
from numpy.typing import NDArray

from codec.constants import COMPONENTS, LARGEST_SAMPLE, MEAN_STEPS, POSTERIOR_SCALES, PRECISION, SUM_BITS
from codec.entropy import tables
from codec.entropy.rans import Message, drop, peek

_HALF = tables.SHAPE_RANGE << tables.SHAPE_STEP_BITS
_FRACTION = tables.INVERSE_BITS + 8 - tables.SHAPE_STEP_BITS
_FRACTION_MASK = (1 << _FRACTION) - 1
_RISE_BITS = 32
_RISE_MASK = (1 << _RISE_BITS) - 1
_LAST = 2 * _HALF + 1
_ONE = 1 << tables.SHAPE_BITS
_TOTAL = 1 << PRECISION
_LN2 = math.log(2)
_HALF_ROOT = math.sqrt(0.5)
UNIT = MEAN_STEPS << tables.INVERSE_BITS
"""The argument of `distribution_function` that stands for 1."""
LOGIT_BITS = 10
"""The table of logits has an entry for each of 2**10 equal parts of the total."""

IntArray = NDArray[np.int64]


class Tables(NamedTuple):
    """The tables that the kernels read; see `codec.entropy.tables`.

    Attributes
    ----------
    shape : int64 array (1282,)
        Distribution function of a component: 2**32 times the value at the lower end of each step, plus the rise to its
        upper end. The first entry is all that lies below the table, and the last one all above it.
    weights, inverse_scales : int64 arrays
    logits : float64 array (2**`LOGIT_BITS`,)
        Where a logistic of mean 0 and scale 1 reaches the middle of each part of the total. It has no part in the
        format: it only says where `find` looks first.
    normal : bool
        Whether the components are normals or logistics. Only true probabilities (`ideal_bits`) need to know.
    """

    shape: IntArray
    weights: IntArray
    inverse_scales: IntArray
    logits: NDArray[np.float64]
    normal: bool


class Grid(NamedTuple):
    """The bins of symbols 0..count-1. The edge below symbol k > 0 is ``k * step + first``, in 1/256 of a grid unit."""

    count: int  # type: ignore[assignment]  # hides a method of tuple that nobody needs
    step: int
    first: int


@lru_cache(maxsize=2)
def load_tables(*, normal: bool = False) -> Tables:
    """Return the tables for the kernels, for components that are normals or else logistics."""
    values = tables.normal() if normal else tables.logistic()
    shape = np.concatenate([[0], (values[:-1] << _RISE_BITS) + np.diff(values), [_ONE << _RISE_BITS]])
    shares = (np.arange(1 << LOGIT_BITS) + 0.5) / (1 << LOGIT_BITS)
    return Tables(shape, tables.weights(), tables.inverse_scales(), np.log(shares / (1 - shares)) * UNIT, normal)


def latent_parameters(results: NDArray[Any], grid: Grid) -> IntArray:
    """Return the raw parameters of q(z|x), int64 array (tiles * latents, 3).

    Parameters
    ----------
    results : array of integers (tiles, 2 latents)
        Means, then scales, as a posterior's network returns them. Both are clipped to what FORMAT.md, "Posterior",
        allows.
    grid : Grid
        The grid of latents.
    """
    means, scales = np.split(results, 2, axis=1)
    limit = MEAN_STEPS * (grid.count // 2)
    raw = np.zeros((*means.shape, 3), dtype=np.int64)
    raw[..., 1] = np.clip(means, -limit, limit)
    raw[..., 2] = np.clip(scales, *POSTERIOR_SCALES)
    return raw.reshape(-1, 3)


@register_jitable
def number_grid(low: int, high: int) -> Grid:
    """Return the grid of the integers low..high. Symbol 0 is the lowest."""
    return Grid(high - low + 1, MEAN_STEPS, low * MEAN_STEPS - MEAN_STEPS // 2)


@njit
def sample_grid(centre: int, max_error: int) -> Grid:
    """Return the grid of 8-bit samples coded within ``max_error`` d: bins of 2 d + 1 values, one around ``centre``."""
    step = 2 * max_error + 1
    centre = min(max(centre, 0), LARGEST_SAMPLE)
    first = centre - (centre + max_error) // step * step  # the middle of the first bin, -d..d
    count = (LARGEST_SAMPLE - first + max_error) // step + 1
    return Grid(count, step * MEAN_STEPS, (first - max_error) * MEAN_STEPS - MEAN_STEPS // 2)


@njit
def symbol_of(value: int, grid: Grid) -> int:
    """Return the symbol whose bin holds a value."""
    return (value * MEAN_STEPS - grid.first) // grid.step


@njit
def value_of(symbol: int, grid: Grid, low: int, high: int) -> int:
    """Return the value in the middle of a symbol's bin, clipped to low..high."""
    return min(max((symbol * grid.step + grid.first + grid.step // 2) // MEAN_STEPS, low), high)


@njit(inline="always")
def prepare(raw: IntArray, mixtures: int, shift: int, prepared: IntArray, table: Tables) -> None:
    """Fill ``prepared`` with the weights, means and inverse scales of raw parameters.

    Parameters
    ----------
    raw : int64 array
        ``mixtures`` logits, then ``mixtures`` means, then ``mixtures`` scales. More may follow.
    mixtures : int
        Number of components, 1 to `codec.constants.COMPONENTS`.
    shift : int
        Added to the means, in 1/256 of a grid unit.
    prepared : int64 array (3 * COMPONENTS,)
        Filled with weights that sum to 2**15, means, and inverse scales.
    """
    largest = 0
    for i in range(1, COMPONENTS):
        if i < mixtures and raw[i] > raw[largest]:
            largest = i
    total = 0
    for i in range(COMPONENTS):
        prepared[i] = prepared[COMPONENTS + i] = prepared[2 * COMPONENTS + i] = 0
        if i < mixtures:
            prepared[i] = table.weights[min(raw[largest] - raw[i], tables.WEIGHT_COUNT - 1)]
            prepared[COMPONENTS + i] = raw[mixtures + i] + shift
            scale = min(max(raw[2 * mixtures + i], tables.SCALE_MIN), tables.SCALE_MAX)
            prepared[2 * COMPONENTS + i] = table.inverse_scales[scale - tables.SCALE_MIN]
            total += prepared[i]
    rest = 1 << SUM_BITS
    for i in range(COMPONENTS):
        # This is the division of integers, but faster. It is exact: a quotient of integers below 2**31 and 2**18 that
        # is no integer is further from the next one than float64 rounds.
        prepared[i] = np.int64(np.float64(prepared[i] << SUM_BITS) / total)
        rest -= prepared[i]
    prepared[largest] += rest


@njit
def mean(prepared: IntArray) -> int:
    """Return the mean of a prepared mixture, rounded to grid units."""
    total = 0
    for i in range(COMPONENTS):
        total += prepared[i] * prepared[COMPONENTS + i]
    return (total + (1 << (SUM_BITS + 7))) >> (SUM_BITS + 8)


@njit(inline="always")
def distribution_function(u: int, table: Tables) -> int:
    """Return T(u), where 2**30 stands for one and u is in 1/(256 * 2**20). It interpolates between table entries."""
    # Without a branch, since where a component ends is hard to foresee.
    entry = table.shape[min(max((u >> _FRACTION) + _HALF + 1, 0), _LAST)]
    return (entry >> _RISE_BITS) + (((entry & _RISE_MASK) * (u & _FRACTION_MASK)) >> _FRACTION)  # type: ignore[no-any-return]


@njit(inline="always")
def cumulative(k: int, grid: Grid, prepared: IntArray, table: Tables) -> int:
    """Return cum(k), for k = 0..grid.count."""
    if k <= 0:
        return 0
    if k >= grid.count:
        return _TOTAL
    edge = k * grid.step + grid.first
    total = 0
    for i in range(COMPONENTS):
        total += prepared[i] * distribution_function(
            (edge - prepared[COMPONENTS + i]) * prepared[2 * COMPONENTS + i], table
        )
    f = total >> SUM_BITS
    return ((f * (_TOTAL - grid.count)) >> tables.SHAPE_BITS) + k


@njit(inline="always")
def find(target: int, grid: Grid, prepared: IntArray, table: Tables) -> tuple[int, int, int]:
    """Return (k, cum(k), cum(k + 1)) of the symbol with cum(k) <= target < cum(k + 1).

    The search starts where the component of the largest weight reaches the target. It goes on by steps of 1, 2, 4, ...
    until its range holds the symbol, and then halves the range. On average it computes 3.4 values of cum. The result
    does not depend on the start.
    """
    largest = 0
    for i in range(1, COMPONENTS):
        if prepared[i] > prepared[largest]:
            largest = i
    logit = table.logits[target >> (PRECISION - LOGIT_BITS)]
    middle = prepared[COMPONENTS + largest] + logit / prepared[2 * COMPONENTS + largest]
    k = min(max(int((middle - grid.first) / grid.step), 1), grid.count - 1)
    low, high = 0, grid.count
    at_low, at_high = 0, _TOTAL
    up = down = 1
    while True:
        value = cumulative(k, grid, prepared, table)  # at one place alone, since the compiler repeats it at each
        if value <= target:
            low, at_low = k, value
            k += up
            up *= 2
        else:
            high, at_high = k, value
            k -= down
            down *= 2
        if high - low == 1:
            return low, at_low, at_high
        if k <= low or k >= high:
            k = (low + high) >> 1


@njit
def interval(symbol: int, grid: Grid, prepared: IntArray, table: Tables) -> tuple[int, int]:
    """Return the start and the frequency of a symbol."""
    low = cumulative(symbol, grid, prepared, table)
    return low, cumulative(symbol + 1, grid, prepared, table) - low


@njit(inline="always")
def pop(message: Message, grid: Grid, prepared: IntArray, table: Tables) -> int:
    """Pop a symbol from a message and return it."""
    symbol, low, high = find(peek(message), grid, prepared, table)
    drop(message, low, high - low)
    return symbol  # type: ignore[no-any-return]


@njit
def _true(u: float, normal: bool) -> float:
    """Return the true value at u of the distribution function that a table approximates."""
    if normal:
        return 0.5 * math.erfc(-u * _HALF_ROOT)
    return 1.0 / (1.0 + math.exp(-u))


@njit
def ideal_bits(symbol: int, grid: Grid, mixtures: int, raw: IntArray, shift: int, normal: bool) -> float:
    """Return -log2 of a symbol's probability under the raw parameters, in float64.

    Notes
    -----
    The distribution functions are the true ones, not the tables, and probabilities are not rounded to frequencies. The
    floor of 2**-24 for each symbol is part of the model. Only the ledger uses this function: no coded bit depends on
    it.
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
            part = _true(high, normal)
        elif symbol == grid.count - 1:
            part = _true(-low, normal)
        elif low > 0:  # the upper tail is computed from its own end, so that nothing cancels
            part = _true(-low, normal) - _true(-high, normal)
        else:
            part = _true(high, normal) - _true(low, normal)
        mass += weight * part
    return -math.log2(mass / total * (1.0 - grid.count / _TOTAL) + 1.0 / _TOTAL)


@njit
def ideal_bits_gradient(
    symbol: int, grid: Grid, m: int, raw: IntArray, prepared: IntArray, table: Tables, gradient: NDArray[np.float32]
) -> None:
    """Fill ``gradient`` (3 m,) with the derivatives of `ideal_bits`, for logistics, by the raw parameters."""
    edge = symbol * grid.step + grid.first
    total = 0.0
    for i in range(m):
        weight = prepared[i] / (1 << SUM_BITS)
        inverse = prepared[2 * COMPONENTS + i]
        below = (edge - prepared[COMPONENTS + i]) * inverse
        above = below + grid.step * inverse
        low = distribution_function(below, table) / (1 << tables.SHAPE_BITS) if symbol > 0 else 0.0
        high = distribution_function(above, table) / (1 << tables.SHAPE_BITS) if symbol < grid.count - 1 else 1.0
        slope_low, slope_high = low * (1 - low), high * (1 - high)
        gradient[i] = weight * (high - low)
        gradient[m + i] = weight * (slope_high - slope_low) * inverse
        gradient[2 * m + i] = weight * (slope_high * above - slope_low * below)
        total += gradient[i]
    probability = max(total, 1.0 / _TOTAL)
    for i in range(m):
        gradient[i] = (total * prepared[i] / (1 << SUM_BITS) - gradient[i]) / (probability * tables.WEIGHT_STEPS)
        gradient[m + i] /= probability * UNIT * _LN2
        if tables.SCALE_MIN <= raw[2 * m + i] <= tables.SCALE_MAX:
            gradient[2 * m + i] /= probability * UNIT * tables.SCALE_STEPS
        else:
            gradient[2 * m + i] = 0.0
