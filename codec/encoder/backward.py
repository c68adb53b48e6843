"""The way back through frozen networks: gradients of a layer's inputs, given those of its sums.

The result does not depend on the order of sums, so that every machine finds the same: each row of gradients is rounded
to integers before a matrix product, and `codec.networks.products` sums integers exactly. All else is elementwise.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.constants import SUM_LIMIT
from codec.frozen.likelihood import Band, Network
from codec.frozen.model import Model
from codec.networks.products import I16, I32, pack, padded_columns, padded_rows, product, unpack

PIECE = 256
"""Pixels, or positions of a tensor, that a thread works at once."""
GRADIENT_BITS = 12
"""Most bits of a rounded gradient. A layer whose sums could leave 32 bits has fewer."""
LEAST_EXPONENT = -100
"""Gradients below 2**-100 count as zero, because float32 cannot hold the inverse of much smaller units."""

F32 = NDArray[np.float32]


class Transposed(NamedTuple):
    """The weights of a layer for the way back.

    Attributes
    ----------
    weight : int16 array
        The transposed weights (outputs, inputs), from `codec.networks.products.pack`.
    bits : int
        Bits of the gradients that they multiply.
    """

    weight: I16
    bits: int


class Rounding(NamedTuple):
    """The buffers of `before`.

    Attributes
    ----------
    rounded : int16 array
        A layer's gradients of sums, rounded.
    units : float32 array (PIECE,)
        The value of 1 in each row of ``rounded``.
    sums : int32 array
        Gradients of the layer's inputs, in these units.
    """

    rounded: I16
    units: F32
    sums: I32


class Back(NamedTuple):
    """Transposed weights and the buffers of a thread, for going back through a likelihood.

    Attributes
    ----------
    outputs : Transposed
        The weights of the outputs of each place; here ``weight`` has an axis of places in front.
    split, w3, w2 : Transposed
        The weights of the layers before.
    scale1, scale2, scale3, scale_heads : float32 arrays (units,)
        Derivative of an activation by its sum.
    acts : int16 array (places, PIECE, head)
        Activations of the heads.
    raw : float32 array (places, PIECE, outputs)
        Gradients of the heads' results.
    heads, hidden : float32 arrays (PIECE, places * head), (PIECE, width)
        Gradients of activations, and later of their sums.
    rounding : Rounding
    """

    outputs: Transposed
    split: Transposed
    w3: Transposed
    w2: Transposed
    scale1: F32
    scale2: F32
    scale3: F32
    scale_heads: F32
    acts: I16
    raw: F32
    heads: F32
    hidden: F32
    rounding: Rounding


def transposed(packed: I16, inputs: int, outputs: int) -> Transposed:
    """Return a layer's packed weights (inputs, outputs), transposed, and with how many bits they may be multiplied."""
    weight = unpack(packed)[:inputs, :outputs]
    most = int(np.abs(weight.astype(np.int64)).sum(1).max(initial=1))
    return Transposed(pack(weight.T), min(GRADIENT_BITS, (SUM_LIMIT // most).bit_length() - 1))


def make_rounding(columns: int) -> Rounding:
    """Return buffers for layers with up to ``columns`` inputs and outputs."""
    shape = padded_rows(PIECE), padded_columns(columns)
    return Rounding(np.zeros(shape, dtype=np.int16), np.zeros(PIECE, dtype=np.float32), np.zeros(shape, dtype=np.int32))


def whole_tensor(model: Model, values: I16, condition: int) -> Band:
    """Return a tensor (h, w, C) without latents as one band, whose values are both coded and seen as contexts."""
    height, width, _ = values.shape
    biases = model.biases(None, condition, -(-height // model.tile) * -(-width // model.tile), None)
    flat, nothing = np.ascontiguousarray(values).reshape(-1), np.zeros(0, dtype=np.int64)
    features = np.zeros((height * width, 0), dtype=np.int16)
    places = len(model.layout.sizes)
    return Band(flat, flat, width, 0, height, places, 0, 0, nothing, nothing, biases, features)


def make_back(network: Network) -> Back:
    """Return what a thread needs to go back from the outputs of a likelihood to the sums of its first layer."""
    width, head, (places, outs) = len(network.shift2), network.conditioning.shape[1], network.output_bias.shape
    outputs = [transposed(packed, head, outs) for packed in network.outputs]

    def scale(shift: I32) -> F32:
        return np.ldexp(np.float32(1), -shift)

    return Back(
        Transposed(np.stack([each.weight for each in outputs]), min(each.bits for each in outputs)),
        transposed(network.split, width, places * head),
        transposed(network.w3, width, width),
        transposed(network.w2, width, width),
        scale(network.shift1),
        scale(network.shift2),
        scale(network.shift3),
        scale(network.shift_heads),
        np.zeros((places, PIECE, head), dtype=np.int16),
        np.zeros((places, PIECE, outs), dtype=np.float32),
        np.zeros((PIECE, places * head), dtype=np.float32),
        np.zeros((PIECE, width), dtype=np.float32),
        make_rounding(max(width, places * head, outs)),
    )


@njit
def unit_of(gradient: F32, bits: int) -> np.float32:
    """Return the power of two by which a row of gradients is rounded to integers of ``bits`` bits."""
    # The order of floats is that of their bits, for which compilers have vectors.
    words = gradient.view(np.int32)
    largest = np.int32(0)
    for u in range(len(words)):
        largest = max(largest, np.int32(words[u] & 0x7FFFFFFF))
    return np.float32(math.ldexp(1.0, max(int(largest >> 23) - 126 - bits, LEAST_EXPONENT)))


@njit
def before(count: int, gradient: F32, weight: I16, bits: int, rounding: Rounding, result: F32) -> None:
    """Fill ``result`` with the gradients of a layer's inputs, given the gradients of its sums.

    Each pixel's gradients are rounded to integers of ``bits`` bits first.
    """
    inputs, outputs = gradient.shape[1], result.shape[1]
    for i in range(count):
        row, rounded = gradient[i], rounding.rounded[i]
        rounding.units[i] = unit_of(row, bits)
        inverse = np.float32(1) / rounding.units[i]
        for u in range(inputs):
            rounded[u] = np.int16(np.floor(row[u] * inverse + np.float32(0.5)))
    product(count, rounding.rounded, weight, rounding.sums)
    for i in range(count):
        row, sums, unit = result[i], rounding.sums[i], rounding.units[i]
        for u in range(outputs):
            row[u] = np.float32(sums[u]) * unit


@njit
def through(count: int, gradient: F32, act: I16, scale: F32, limit: int) -> None:
    """Turn the gradients of activations into those of their sums, in place."""
    for i in range(count):
        row, active = gradient[i], act[i]
        for u in range(len(scale)):
            row[u] = row[u] * scale[u] if 0 < active[u] < limit else np.float32(0)
