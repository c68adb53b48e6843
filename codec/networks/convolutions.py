"""Layers of frozen networks: integers from plane to plane, so that all machines compute the same results.

A plane holds the channels of h x w positions within a border of zeros. Convolutions of 3 x 3 read the border where the
image ends. A dense layer is a convolution of 1 x 1. Inputs and weights are int16, and sums stay in int32, because

    sum |weight| * (largest |input|) + largest |bias|  <=  2**31 - 1        for every output

is checked when a model is loaded (`codec.networks.checks`). So results do not depend on the order of sums, on threads
or on machines. Shifts round down; biases include the half that makes it rounding to nearest.
See FORMAT.md, "Exact networks" and "Maps of features".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.networks.products import COLUMNS, I16, I32, ROWS, activate, product

POSITIONS = 16 * ROWS
"""Positions that one matrix product works. Their patches stay in a core's second-level cache."""

I64 = NDArray[np.int64]


class Layer(NamedTuple):
    """A convolution whose results are int16.

    Attributes
    ----------
    weight : int16 array, from `codec.networks.products.pack`
        The matrix (side * side * channels, outputs), whose inputs are in the order row, column, channel.
    biases : int32 array (levels, outputs)
    shift : int32 array (outputs,)
    side : int, 1 or 3
    stride : int
        Distance, in positions of the input plane, between the places of two neighbouring results.
    """

    weight: I16
    biases: I32
    shift: I32
    side: int
    stride: int = 1


class Output(NamedTuple):
    """A dense layer with results in fixed units: ((x W + b) m + 2**(shift - 1)) >> shift.

    Attributes
    ----------
    weight : int16 array, from `codec.networks.products.pack`
        W.
    bias, multiplier : int64 arrays (outputs,)
        b and m.
    shift : int
    """

    weight: I16
    bias: I64
    multiplier: I64
    shift: int


@njit
def _multiply(
    begin: int, count: int, across: int, x: I16, side: int, stride: int, weight: I16, patches: I16, sums: I32
) -> None:
    """Fill ``sums`` for ``count`` positions from ``begin`` on; ``x`` is a plane as `blank_plane` makes it."""
    channels = x.shape[1] // (stride * across + 2)
    run = side * channels
    before = side // 2
    for i in range(count):
        row, column = divmod(begin + i, across)
        start = (stride * column + 1 - before) * channels
        for r in range(side):
            patches[i, r * run : (r + 1) * run] = x[stride * row + 1 - before + r, start : start + run]
    product(count, patches, weight, sums)


@kernel
def run_layer(
    worker: int,
    workers: int,
    shape: tuple[int, int],
    x: I16,
    layer: Layer,
    level: int,
    limit: int,
    adds: bool,
    out: I16,
) -> None:
    """Fill a plane with the results of a hidden layer, or add the results of a residual layer to a plane.

    Parameters
    ----------
    worker, workers : int
        Each worker fills its share of the positions.
    shape : (h, w)
        Shape of the results.
    x, out : int16 arrays (at least h + 2, (w + 2) channels)
        Input and output planes as `blank_plane` makes them. ``out`` may not be ``x``. The height and width of ``x`` are
        h and w times the stride.
    layer : Layer
    level : int
        Row of the biases.
    limit : int
        Results are clipped to 0..limit, or to -limit..limit if the layer ``adds``.
    adds : bool
        Whether the results are added to those in ``out`` before they are clipped.
    """
    down, across = shape
    patches = np.empty((POSITIONS, 2 * layer.weight.shape[1]), dtype=np.int16)
    sums = np.empty((POSITIONS, layer.weight.shape[0] * COLUMNS), dtype=np.int32)
    bias, shift = layer.biases[level], layer.shift
    units = len(shift)
    for begin in range(worker * POSITIONS, down * across, workers * POSITIONS):
        count = min(POSITIONS, down * across - begin)
        _multiply(begin, count, across, x, layer.side, layer.stride, layer.weight, patches, sums)
        for i in range(count):
            row, column = divmod(begin + i, across)
            place = out[row + 1, (column + 1) * units : (column + 2) * units]
            if adds:
                for o in range(units):
                    added = (np.int64(sums[i, o]) + bias[o]) >> shift[o]
                    place[o] = min(max(place[o] + added, -limit), limit)
            else:
                activate(sums[i], bias, shift, limit, place)


@kernel
def run_output(x: I16, layer: Output, out: I64) -> None:
    """Fill ``out`` (N, outputs) with the results of an output layer for ``x`` (N, inputs)."""
    count, inputs = x.shape
    # Weights hold pairs of inputs. If the number of inputs is odd, the last pair is filled up with zeros.
    rows = np.zeros((POSITIONS, 2 * layer.weight.shape[1]), dtype=np.int16)
    sums = np.empty((POSITIONS, layer.weight.shape[0] * COLUMNS), dtype=np.int32)
    half = 1 << (layer.shift - 1)
    for begin in range(0, count, POSITIONS):
        some = min(POSITIONS, count - begin)
        rows[:some, :inputs] = x[begin : begin + some]
        product(some, rows, layer.weight, sums)
        for i in range(some):
            for o in range(out.shape[1]):
                out[begin + i, o] = ((sums[i, o] + layer.bias[o]) * layer.multiplier[o] + half) >> layer.shift


def dense(x: NDArray[Any], layer: Layer, level: int, limit: int) -> I16:
    """Return the results of a dense layer, int16 array (N, units) within 0..limit, for integers (N, inputs) of 16 bits.

    Parameters
    ----------
    level : int
        Row of the biases.
    """
    shape = (1, len(x))
    plane, inner = blank_plane(shape, x.shape[1])
    inner[0] = x
    out, results = blank_plane(shape, len(layer.shift))
    run_layer(0, 1, shape, plane, layer, level, limit, False, out)
    found: I16 = results[0]
    return found


def output(x: I16, layer: Output) -> I64:
    """Return the results of an output layer, int64 array (N, outputs), for ``x``, int16 array (N, inputs)."""
    out = np.empty((len(x), len(layer.bias)), dtype=np.int64)
    run_output(np.ascontiguousarray(x), layer, out)
    return out


def blank_plane(shape: tuple[int, int], channels: int) -> tuple[I16, I16]:
    """Return a plane of zeros (h + 2, (w + 2) channels), and a view (h, w, channels) of what is within its border."""
    down, across = shape[0] + 2, shape[1] + 2
    plane = np.zeros((down, across * channels), dtype=np.int16)
    return plane, plane.reshape(down, across, channels)[1:-1, 1:-1]
