"""The likelihood p(x|z) of pixels: contexts in, the raw parameters of a mixture for each channel out.

A small network of integers runs at every pixel; its biases are set by the tile's latents, the largest
error and the file's adaptation. Each channel's head sees the channels coded before.
See FORMAT.md, "Waves and contexts" and "Likelihood".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.contexts import NO_PIXEL, ORDER, SLOPE
from codec.distributions import COMPONENTS
from codec.products import I16, I32, activate, padded_columns, padded_rows, product

I64 = NDArray[np.int64]


class Network(NamedTuple):
    """The likelihood's weights for the loop.

    Attributes
    ----------
    offsets : int64 array (P, 2), contexts
    reference : int64 array (4, 2), place among the contexts and weight
    compress : int16 array (511,)
    w1, w2, w3, split : int16 arrays, from `codec.products.pack`
    shift1, shift2, shift3, shift_heads : int32 arrays (units,), of the activations
    conditioning : int32 array (4, head); row 0 for the second channel, rows 1..3 for the third
    outputs : int16 array (3, ...), `codec.products.pack` of each channel's
    output_bias, multiplier : int64 arrays (3, 3 M + 2)
    shift : int, of all outputs
    limit : int, largest activation
    mixtures, tile, radius : int
    """

    offsets: I64
    reference: I64
    compress: I16
    w1: I16
    w2: I16
    w3: I16
    split: I16
    shift1: I32
    shift2: I32
    shift3: I32
    shift_heads: I32
    conditioning: I32
    outputs: I16
    output_bias: I64
    multiplier: I64
    shift: int
    limit: int
    mixtures: int
    tile: int
    radius: int


class Band(NamedTuple):
    """Where a band lies in its image, and what its pixels are coded with.

    Attributes
    ----------
    image : uint8 array (H * W * 3,)
        Decoded samples; a grey image has its channel three times.
    source : uint8 array (H * W * 3,)
        What is coded. Of a decoded image the raster itself: its samples lie in the same bins.
    width : int
    top, rows : int
    channels : int, 3, or 1: only the first in coding order is coded
    max_error : int
    biases : int32 array (tiles of the band, bias count)
    """

    image: NDArray[np.uint8]
    source: NDArray[np.uint8]
    width: int
    top: int
    rows: int
    channels: int
    max_error: int
    biases: I32


class Work(NamedTuple):
    """Buffers of one thread; ``ys`` (rows in the band) and ``xs`` say which pixels are worked."""

    inputs: I16
    h1: I16
    h2: I16
    h3: I16
    act: I16
    sums: I32
    heads: I32
    out: I32
    ref: I64
    tiles: I64
    ys: I64
    xs: I64
    steps: I64
    prepared: I64
    raw: I64
    shifts: I64


def make_work(network: Network, pixels: int) -> Work:
    """Return buffers for ``pixels`` pixels at once."""
    rows = padded_rows(pixels)
    width = padded_columns(len(network.shift2))
    head = network.conditioning.shape[1]
    outs = network.output_bias.shape[1]

    def i16(columns: int) -> I16:
        return np.zeros((rows, columns), dtype=np.int16)

    def i32(columns: int) -> I32:
        return np.zeros((rows, padded_columns(columns)), dtype=np.int32)

    return Work(
        i16(2 * network.w1.shape[1]),
        i16(width),
        i16(width),
        i16(width),
        i16(padded_columns(head)),
        i32(width),
        i32(3 * head),
        i32(outs),
        np.zeros((pixels, 3), dtype=np.int64),
        np.zeros(pixels, dtype=np.int64),
        np.zeros(pixels, dtype=np.int64),
        np.zeros(pixels, dtype=np.int64),
        np.zeros(len(network.offsets), dtype=np.int64),
        np.zeros(3 * COMPONENTS, dtype=np.int64),
        np.zeros((pixels, outs), dtype=np.int64),
        np.zeros(pixels, dtype=np.int64),
    )


@njit
def _neighbour(y: int, x: int, k: int, j: int, width: int) -> int:
    """Return `codec.contexts.neighbour` of one pixel."""
    up = min(k, y)
    if up < k:
        j = min(j, SLOPE * up - 1)
    column = min(max(x + j, 0), width - 1)
    if up == 0:
        column = min(column, x - 1)
        if column < 0:
            return (y - 1) * width if y > 0 else -1
    return (y - up) * width + column


@njit
def _gather(
    count: int,
    top: int,
    ys: I64,
    xs: I64,
    image: NDArray[np.uint8],
    width: int,
    offsets: I64,
    reference: I64,
    compress: I16,
    radius: int,
    steps: I64,
    inputs: I16,
    ref: I64,
) -> None:
    """Fill the network's inputs (count, 3 P + 3) and the references (count, 3) of pixels."""
    contexts = len(offsets)
    for p in range(contexts):
        steps[p] = 3 * (offsets[p, 1] - offsets[p, 0] * width)
    for i in range(count):
        y, x = top + ys[i], xs[i]
        at = 3 * (y * width + x)
        inside = y >= radius and x >= radius and x + radius < width
        for c in range(3):
            total = 2
            for r in range(len(reference)):
                p = reference[r, 0]
                place = at + steps[p]
                if not inside:
                    place = 3 * _neighbour(y, x, offsets[p, 0], offsets[p, 1], width)
                total += reference[r, 1] * (np.int64(image[place + c]) if place >= 0 else NO_PIXEL)
            ref[i, c] = min(max(total >> 2, 0), 255)
            inputs[i, 3 * contexts + c] = (ref[i, c] - NO_PIXEL) >> 1
        first, second, third = 255 - ref[i, 0], 255 - ref[i, 1], 255 - ref[i, 2]
        for p in range(contexts):
            place = at + steps[p]
            if not inside:
                place = 3 * _neighbour(y, x, offsets[p, 0], offsets[p, 1], width)
            if place >= 0:
                inputs[i, 3 * p] = compress[image[place] + first]
                inputs[i, 3 * p + 1] = compress[image[place + 1] + second]
                inputs[i, 3 * p + 2] = compress[image[place + 2] + third]
            else:
                inputs[i, 3 * p] = compress[NO_PIXEL + first]
                inputs[i, 3 * p + 1] = compress[NO_PIXEL + second]
                inputs[i, 3 * p + 2] = compress[NO_PIXEL + third]


@njit
def _hidden(
    count: int, x: I16, weight: I16, sums: I32, at: int, shift: I32, tiles: I64, band: Band, limit: int, out: I16
) -> None:
    """Fill the activations of a layer whose biases begin at ``at``."""
    product(count, x, weight, sums)
    for i in range(count):
        activate(sums[i], band.biases[tiles[i], at : at + len(shift)], shift, limit, out[i])


@njit
def run_body(count: int, band: Band, network: Network, work: Work) -> None:
    """Fill ``work`` up to the heads' sums for the first ``count`` pixels of its ``ys`` and ``xs``."""
    tiles, limit = work.tiles, network.limit
    units = len(network.shift2)
    across = (band.width + network.tile - 1) // network.tile
    for i in range(count):
        y, x = work.ys[i], work.xs[i]
        tiles[i] = y // network.tile * across + x // network.tile
    _gather(
        count,
        band.top,
        work.ys,
        work.xs,
        band.image,
        band.width,
        network.offsets,
        network.reference,
        network.compress,
        network.radius,
        work.steps,
        work.inputs,
        work.ref,
    )
    _hidden(count, work.inputs, network.w1, work.sums, 0, network.shift1, tiles, band, limit, work.h1)
    _hidden(count, work.h1, network.w2, work.sums, units, network.shift2, tiles, band, limit, work.h2)
    _hidden(count, work.h2, network.w3, work.sums, 2 * units, network.shift3, tiles, band, limit, work.h3)
    product(count, work.h3, network.split, work.heads)


@njit
def run_head(place: int, count: int, band: Band, network: Network, work: Work) -> None:
    """Fill ``act``, and ``raw`` parameters with the ``shifts`` of their means, of one channel.

    Its head sees the channels before.
    """
    heads, act, out, raw = work.heads, work.act, work.out, work.raw
    image, ref = band.image, work.ref
    head = network.conditioning.shape[1]
    shift_head = network.shift_heads[place * head : (place + 1) * head]
    begin = 3 * len(network.shift2) + place * head
    first_row, second_row, third_row = network.conditioning[1], network.conditioning[2], network.conditioning[3]
    for i in range(count):
        row = heads[i, place * head : (place + 1) * head]
        if place > 0:
            at = 3 * ((band.top + work.ys[i]) * band.width + work.xs[i])
            green = np.int64(image[at + ORDER[0]]) - ref[i, ORDER[0]]
            g = np.int32(network.compress[green + 255])
            if place == 1:
                only_row = network.conditioning[0]
                for u in range(head):
                    row[u] = np.int32(row[u] + np.int32(g * only_row[u]))
            else:
                red = np.int64(image[at + ORDER[1]]) - ref[i, ORDER[1]]
                r = np.int32(network.compress[red + 255])
                b = np.int32(network.compress[min(max(red - green, -255), 255) + 255])
                for u in range(head):
                    said = np.int32(np.int32(g * first_row[u]) + np.int32(r * second_row[u]))
                    row[u] = np.int32(row[u] + np.int32(said + np.int32(b * third_row[u])))
        activate(row, band.biases[work.tiles[i], begin : begin + head], shift_head, network.limit, act[i])
    product(count, act, network.outputs[place], out)
    m = network.mixtures
    middle = 1 << (network.shift - 1)
    used = 3 * m + place
    bias, multiplier = network.output_bias[place, :used], network.multiplier[place, :used]
    for i in range(count):
        for q in range(used):
            raw[i, q] = ((np.int64(out[i, q]) + bias[q]) * multiplier[q] + middle) >> network.shift
        at = 3 * ((band.top + work.ys[i]) * band.width + work.xs[i])
        shift = ref[i, ORDER[place]] << 8
        for q in range(place):
            shift += raw[i, 3 * m + q] * (np.int64(image[at + ORDER[q]]) - ref[i, ORDER[q]])
        work.shifts[i] = shift
