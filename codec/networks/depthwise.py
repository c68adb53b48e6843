"""Layers of the transforms: depthwise residual blocks on streams of integers, and maps between two resolutions.

A plane holds the channels of h x w positions, row by row, without a border. Where a convolution would read beyond the
image, it reads the nearest row and column. Inputs and weights are int16, and sums stay in int32: the bound of
`codec.networks.convolutions` holds for each layer. So results do not depend on the order of sums, on threads or on
machines. Shifts round down; biases include the half that makes it rounding to nearest.
See FORMAT.md, "Transforms".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.constants import OUTPUT_SHIFT
from codec.networks.products import COLUMNS, I16, I32, ROWS, activate, product, shift_right

POSITIONS = 16 * ROWS
"""Positions that one matrix product works. Their inputs and sums stay in a core's second-level cache."""
STEP = 2
"""Factor between the two resolutions of a transform."""
SQUARE = STEP**2
"""Fine positions of a coarse one."""
SAME, COARSER, FINER = 0, 1, 2
"""How a dense layer takes and gives positions. SAME maps each position. COARSER maps each square of `STEP` x `STEP`
positions to one, FINER maps one to such a square; the channels of a square follow its rows and columns."""

I64 = NDArray[np.int64]
NOT_KEPT = np.zeros((0, 0), dtype=np.bool_)
"""Passed as ``active`` to `run_block` by those that do not go back."""


class Dense(NamedTuple):
    """A dense layer whose results are int16.

    Attributes
    ----------
    weight : int16 array, from `codec.networks.products.pack`
    biases : int32 array (levels, outputs)
    shift : int32 array (outputs,)
    """

    weight: I16
    biases: I32
    shift: I32


class Block(NamedTuple):
    """A residual block: a depthwise convolution, a hidden layer, and a layer that adds to the stream.

    Attributes
    ----------
    depthwise : int16 array (9, channels)
        The weights of the neighbours of each channel, row by row.
    depthwise_bias, depthwise_shift : int32 arrays (channels,)
    hidden, residual : Dense
    """

    depthwise: I16
    depthwise_bias: I32
    depthwise_shift: I32
    hidden: Dense
    residual: Dense


class Last(NamedTuple):
    """The last layer of a transform: the sum of its linear map and of its network's output.

    Attributes
    ----------
    linear, weight : int16 arrays, from `codec.networks.products.pack`
    linear_multiplier, bias, multiplier : int64 arrays (outputs,)
        Where the output works at the finer resolution, the linear map has `SQUARE` times its outputs.
    """

    linear: I16
    linear_multiplier: I64
    weight: I16
    bias: I64
    multiplier: I64


@njit
def _gather(begin: int, count: int, across: int, x: I16, how: int, rows: I16) -> None:
    """Fill ``rows`` with the inputs of ``count`` positions from ``begin`` on. ``x`` is a plane."""
    if how == COARSER:
        channels = x.shape[1] // (STEP * across)
        run = STEP * channels
        for i in range(count):
            y, column = divmod(begin + i, across)
            for r in range(STEP):
                rows[i, r * run : (r + 1) * run] = x[STEP * y + r, column * run : (column + 1) * run]
    else:
        channels = x.shape[1] // across
        for i in range(count):
            y, column = divmod(begin + i, across)
            rows[i, :channels] = x[y, column * channels : (column + 1) * channels]


@njit
def _clipped(sums: I32, bias: I32, shift: I32, limit: int, out: I16) -> None:
    """Fill ``out`` with clip((sums + bias) >> shift, -limit, limit)."""
    low, high = np.int32(-limit), np.int32(limit)
    for o in range(len(out)):
        out[o] = np.int16(min(max(shift_right(np.int32(sums[o] + bias[o]), shift[o]), low), high))


@kernel
def run_dense(
    worker: int, workers: int, rows: tuple[int, int], across: int, x: I16, layer: Dense, limit: int, how: int, out: I16
) -> None:
    """Fill rows of a plane with the results of a dense layer, clipped to -limit..limit.

    Parameters
    ----------
    worker, workers : int
        Each worker fills its share of the positions.
    rows : (int, int)
        First row of positions, and the one after the last.
    across : int
        Positions in a row: of the results, or, if ``how`` is FINER, of the inputs.
    x, out : int16 arrays (h, w channels)
        Input and output planes.
    layer : Dense
        Its first row of biases is taken.
    limit : int
    how : SAME, COARSER or FINER
    """
    inputs = np.zeros((POSITIONS, 2 * layer.weight.shape[1]), dtype=np.int16)
    sums = np.empty((POSITIONS, layer.weight.shape[0] * COLUMNS), dtype=np.int32)
    bias, shift = layer.biases[0], layer.shift
    units = len(shift)
    run = units // STEP
    for begin in range(rows[0] * across + worker * POSITIONS, rows[1] * across, workers * POSITIONS):
        count = min(POSITIONS, rows[1] * across - begin)
        _gather(begin, count, across, x, how, inputs)
        product(count, inputs, layer.weight, sums)
        for i in range(count):
            y, column = divmod(begin + i, across)
            if how == FINER:
                for r in range(STEP):
                    part = slice(r * run, (r + 1) * run)
                    place = out[STEP * y + r, column * run : (column + 1) * run]
                    _clipped(sums[i, part], bias[part], shift[part], limit, place)
            else:
                _clipped(sums[i], bias, shift, limit, out[y, column * units : (column + 1) * units])


@njit
def _depthwise(begin: int, count: int, across: int, x: I16, block: Block, limit: int, out: I16) -> None:
    """Fill ``out`` with the depthwise convolution at ``count`` positions from ``begin`` on, clipped to the limit."""
    weight, bias, shift = block.depthwise, block.depthwise_bias, block.depthwise_shift
    channels = len(shift)
    low, high = np.int32(-limit), np.int32(limit)
    for i in range(count):
        y, column = divmod(begin + i, across)
        top, middle, bottom = x[max(y - 1, 0)], x[y], x[min(y + 1, len(x) - 1)]
        left, right = max(column - 1, 0) * channels, min(column + 1, across - 1) * channels
        here, place = column * channels, out[i]
        for c in range(channels):
            total = bias[c]
            total += np.int32(top[left + c]) * np.int32(weight[0, c])
            total += np.int32(top[here + c]) * np.int32(weight[1, c])
            total += np.int32(top[right + c]) * np.int32(weight[2, c])
            total += np.int32(middle[left + c]) * np.int32(weight[3, c])
            total += np.int32(middle[here + c]) * np.int32(weight[4, c])
            total += np.int32(middle[right + c]) * np.int32(weight[5, c])
            total += np.int32(bottom[left + c]) * np.int32(weight[6, c])
            total += np.int32(bottom[here + c]) * np.int32(weight[7, c])
            total += np.int32(bottom[right + c]) * np.int32(weight[8, c])
            place[c] = np.int16(min(max(shift_right(np.int32(total), shift[c]), low), high))


@kernel
def run_block(
    worker: int,
    workers: int,
    rows: tuple[int, int],
    across: int,
    x: I16,
    block: Block,
    level: int,
    limits: tuple[int, int],
    out: I16,
    active: NDArray[np.bool_],
) -> None:
    """Fill rows of a stream's plane with the stream after a residual block.

    Parameters
    ----------
    worker, workers : int
        Each worker fills its share of the positions.
    rows : (int, int)
        First row of positions, and the one after the last. Their neighbours are read from ``x``.
    across : int
        Positions in a row.
    x, out : int16 arrays (h, across channels)
        Planes of the stream before and after the block. ``out`` may not be ``x``.
    block : Block
    level : int
        Row of the hidden layer's biases.
    limits : (int, int)
        Largest magnitudes in the stream and in the hidden layer.
    active : bool array (positions of the plane, hidden units)
        Filled with whether each hidden unit is within its limits, for going back through the block. If it has no rows,
        it stays as it is.
    """
    hidden, residual = block.hidden, block.residual
    mixed = np.zeros((POSITIONS, 2 * hidden.weight.shape[1]), dtype=np.int16)
    acts = np.zeros((POSITIONS, 2 * residual.weight.shape[1]), dtype=np.int16)
    most = max(hidden.weight.shape[0], residual.weight.shape[0])
    sums = np.empty((POSITIONS, most * COLUMNS), dtype=np.int32)
    units, channels = hidden.biases[level], len(residual.shift)
    bias, shift = residual.biases[0], residual.shift
    low, high = np.int32(-limits[0]), np.int32(limits[0])
    for begin in range(rows[0] * across + worker * POSITIONS, rows[1] * across, workers * POSITIONS):
        count = min(POSITIONS, rows[1] * across - begin)
        _depthwise(begin, count, across, x, block, limits[0], mixed)
        product(count, mixed, hidden.weight, sums)
        for i in range(count):
            activate(sums[i], units, hidden.shift, limits[1], acts[i])
        if len(active):
            for i in range(count):
                seen, row = active[begin + i], acts[i]
                for u in range(len(seen)):
                    seen[u] = 0 < row[u] < limits[1]
        product(count, acts, residual.weight, sums)
        for i in range(count):
            y, column = divmod(begin + i, across)
            at = slice(column * channels, (column + 1) * channels)
            before, place = x[y, at], out[y, at]
            for o in range(channels):
                # A change beyond twice the limit has the same result. Without this clip the sum could leave 32 bits.
                change = min(max(shift_right(np.int32(sums[i, o] + bias[o]), shift[o]), 2 * low), 2 * high)
                place[o] = np.int16(min(max(np.int32(before[o] + change), low), high))


@kernel
def run_last(
    worker: int,
    workers: int,
    rows: tuple[int, int],
    across: int,
    x: I16,
    stream: I16,
    last: Last,
    how: int,
    limits: tuple[int, int, int],
    out: NDArray[Any],
) -> None:
    """Fill ``out`` (positions, results) with clip(result + centre, least, most), from the first row on.

    Parameters
    ----------
    worker, workers : int
        Each worker fills its share of the positions.
    rows : (int, int)
        First row of coarse positions, and the one after the last.
    across : int
        Coarse positions in a row.
    x : int16 array
        The plane that the linear map reads: a fine one if ``how`` is COARSER, else a coarse one.
    stream : int16 array
        The plane that the network's output reads: a coarse one if ``how`` is COARSER, else a fine one.
    last : Last
    how : COARSER or FINER
    limits : (centre, least, most)
    """
    parts = SQUARE if how == FINER else 1
    inputs = np.zeros((POSITIONS, 2 * last.linear.shape[1]), dtype=np.int16)
    rectified = np.zeros((parts * POSITIONS, 2 * last.weight.shape[1]), dtype=np.int16)
    linear = np.empty((POSITIONS, last.linear.shape[0] * COLUMNS), dtype=np.int32)
    sums = np.empty((parts * POSITIONS, last.weight.shape[0] * COLUMNS), dtype=np.int32)
    results, channels = len(last.bias), stream.shape[1] // (across if how == COARSER else STEP * across)
    half = 1 << (OUTPUT_SHIFT - 1)
    for begin in range(rows[0] * across + worker * POSITIONS, rows[1] * across, workers * POSITIONS):
        count = min(POSITIONS, rows[1] * across - begin)
        _gather(begin, count, across, x, how if how == COARSER else SAME, inputs)
        product(count, inputs, last.linear, linear)
        for i in range(count):
            y, column = divmod(begin + i, across)
            for part in range(parts):
                r, c = divmod(part, STEP)
                if how == FINER:
                    seen = stream[STEP * y + r, (STEP * column + c) * channels : (STEP * column + c + 1) * channels]
                else:
                    seen = stream[y, column * channels : (column + 1) * channels]
                row = rectified[parts * i + part]
                for o in range(channels):
                    row[o] = max(seen[o], np.int16(0))
        product(parts * count, rectified, last.weight, sums)
        for i in range(count):
            place = out[begin - rows[0] * across + i]
            for part in range(parts):
                for o in range(results):
                    at = part * results + o
                    total = linear[i, at] * last.linear_multiplier[at]
                    total += (sums[parts * i + part, o] + last.bias[o]) * last.multiplier[o]
                    result = ((total + half) >> OUTPUT_SHIFT) + limits[0]
                    place[at] = min(max(result, limits[1]), limits[2])
