"""The likelihood p(x|z) of pixels: a network from contexts to the raw parameters of a mixture for each channel.

A small network of integers runs at each pixel, or at each position of a tensor. Its biases depend on the tile's
latents, on the condition, and on the file's adaptation. The head of a place (`codec.frozen.layout`) also sees the
channels of the pixel that were coded before.
See FORMAT.md, "Waves and contexts" and "Likelihood".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.constants import COMPONENTS, MEAN_STEPS, SLOPE
from codec.frozen.layout import Layout
from codec.networks.products import I16, I32, activate, padded_columns, padded_rows, product

I64 = NDArray[np.int64]
Raster = NDArray[Any]
"""Type of rasters: samples and bits are uint8, tensors int16. Kernels are compiled for both."""


class Network(NamedTuple):
    """The likelihood's weights, as the pixel loop reads them.

    Attributes
    ----------
    offsets : int64 array (P, 2)
        Rows up and columns to the right of each context.
    reference : int64 array (4, 2)
        Index of a context and its weight in the reference. The shape is (0, 2) if no channel has a reference.
    layout : Layout
    w1, w2, w3, split : int16 arrays, from `codec.networks.products.pack`
        Weights of the three hidden layers, and of the layer that feeds the heads.
    shift1, shift2, shift3, shift_heads : int32 arrays (units,)
        Shifts from sums to activations.
    conditioning : int32 array (features, head)
        What each feature of the layout adds to the sums of a head.
    outputs : int16 array (places, ...)
        Output weights of each place's head, from `codec.networks.products.pack`.
    output_bias, multiplier : int64 arrays (places, outputs)
        For each channel 3 M outputs, then those of the coefficients. Places with fewer channels leave some unused.
    shift : int
        Shift of all outputs.
    limit : int
        Largest activation.
    mixtures : int
        M, the components of a mixture.
    tile : int
        Side of a tile in pixels.
    radius : int
        How far contexts reach, in rows or columns.
    """

    offsets: I64
    reference: I64
    layout: Layout
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
    """A band: its place in the image, and everything that its pixels are coded with.

    Attributes
    ----------
    image : uint8 or int16 array (H * W * channels,)
        The decoded values of the whole raster. A grey image has its channel three times.
    source : array like ``image``
        The values to be coded. For a decoded image it is the raster itself, whose samples lie in the same bins.
    width : int
        Columns of the raster.
    top, rows : int
        First row of the band, and number of its rows.
    places : int
        Number of coded places: all of the layout, or 1 for a grey image, whose first channel stands for all.
    max_error : int
        Largest error of a sample.
    known : int
        DECODE takes the values of this number of places from ``source`` and pops only the others. It is 0, except when
        a preview or a sample of the model is drawn.
    prices : int64 array (2, channels), or empty
        Prices of errors for `codec.entropy.rate_distortion.cheapest`, where values are chosen; see
        `codec.encoder.masking`.
    structure : int64 array (H * W,), or empty
        Factors of the second row of prices at each position, in 1/256, where values are chosen.
    biases : int32 array (tiles of the band, bias count)
        The likelihood's biases in each tile.
    features : int16 array (rows * width, F)
        Inputs of each pixel that the latents make; F may be 0.
    """

    image: Raster
    source: Raster
    width: int
    top: int
    rows: int
    places: int
    max_error: int
    known: int
    prices: I64
    structure: I64
    biases: I32
    features: I16


class Work(NamedTuple):
    """The buffers of one thread. ``ys`` (rows in the band) and ``xs`` are the coordinates of the pixels in work."""

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
    places: I64
    near: I64
    prepared: I64
    raw: I64
    shifts: I64


def make_work(network: Network, pixels: int) -> Work:
    """Return buffers for ``pixels`` pixels."""
    rows = padded_rows(pixels)
    width = padded_columns(len(network.shift2))
    head = network.conditioning.shape[1]
    places, outs = network.output_bias.shape
    channels = len(network.layout.order)

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
        i32(places * head),
        i32(outs),
        np.zeros((pixels, channels), dtype=np.int64),
        np.zeros(pixels, dtype=np.int64),
        np.zeros(pixels, dtype=np.int64),
        np.zeros(pixels, dtype=np.int64),
        np.zeros(len(network.offsets), dtype=np.int64),
        np.zeros(len(network.offsets), dtype=np.int64),
        np.zeros(len(network.offsets), dtype=np.int64),
        np.zeros(3 * COMPONENTS, dtype=np.int64),
        np.zeros((pixels, outs), dtype=np.int64),
        np.zeros((pixels, max(network.layout.sizes)), dtype=np.int64),
    )


@njit
def neighbour(y: int, x: int, k: int, j: int, width: int) -> int:
    """Return what `codec.frozen.contexts.neighbour` returns, for one pixel."""
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
def _gather(count: int, band: Band, network: Network, work: Work) -> None:
    """Fill the network's inputs (count, `Layout.inputs` + F) and the references (count, channels) of pixels."""
    image, width, layout, offsets = band.image, band.width, network.layout, network.offsets
    steps, places, near = work.steps, work.places, work.near
    inputs, ref, compress = work.inputs, work.ref, layout.compress
    contexts, channels, features = len(offsets), len(layout.order), band.features
    shown = 1 if layout.grey else channels
    zero = layout.high - layout.low  # entry of the table for the difference 0
    for p in range(contexts):
        steps[p] = channels * (offsets[p, 1] - offsets[p, 0] * width)
    for i in range(count):
        y, x = band.top + work.ys[i], work.xs[i]
        if y >= network.radius and x >= network.radius and x + network.radius < width:
            for p in range(contexts):
                places[p] = channels * (y * width + x) + steps[p]
        else:
            for p in range(contexts):
                places[p] = channels * neighbour(y, x, offsets[p, 0], offsets[p, 1], width)
        begin = shown * contexts + min(shown, layout.references)
        for f in range(features.shape[1]):
            inputs[i, begin + f] = features[work.ys[i] * width + x, f]
        for c in range(shown):
            for p in range(contexts):
                place = places[p]
                if place < 0:
                    near[p] = layout.missing
                elif layout.grey:
                    near[p] = (np.int64(image[place]) + 2 * np.int64(image[place + 1]) + image[place + 2] + 2) >> 2
                else:
                    near[p] = image[place + c]
            if c < layout.references:
                total = 2
                for r in range(len(network.reference)):
                    total += network.reference[r, 1] * near[network.reference[r, 0]]
                ref[i, c] = min(max(total >> 2, layout.low), layout.high)
                inputs[i, shown * contexts + c] = (ref[i, c] - layout.missing) >> layout.level_shift
            base = zero - ref[i, c]
            for p in range(contexts):
                inputs[i, shown * p + c] = compress[near[p] + base]
        for c in range(shown, channels):
            ref[i, c] = ref[i, 0]


@njit
def _hidden(
    count: int, x: I16, weight: I16, sums: I32, at: int, shift: I32, tiles: I64, band: Band, limit: int, out: I16
) -> None:
    """Fill ``out`` with the activations of a layer whose biases begin at ``at``."""
    product(count, x, weight, sums)
    for i in range(count):
        activate(sums[i], band.biases[tiles[i], at : at + len(shift)], shift, limit, out[i])


@njit
def run_body(count: int, band: Band, network: Network, work: Work) -> None:
    """Run the network up to the sums of the heads, for the first ``count`` pixels of ``work``."""
    _gather(count, band, network, work)
    run_layers(count, band, network, work)


@njit
def run_layers(count: int, band: Band, network: Network, work: Work) -> None:
    """Run the network from the ``inputs`` of the first ``count`` pixels of ``work`` up to the sums of the heads."""
    tiles, limit = work.tiles, network.limit
    units = len(network.shift2)
    across = (band.width + network.tile - 1) // network.tile
    for i in range(count):
        y, x = work.ys[i], work.xs[i]
        tiles[i] = y // network.tile * across + x // network.tile
    _hidden(count, work.inputs, network.w1, work.sums, 0, network.shift1, tiles, band, limit, work.h1)
    _hidden(count, work.h1, network.w2, work.sums, units, network.shift2, tiles, band, limit, work.h2)
    _hidden(count, work.h2, network.w3, work.sums, 2 * units, network.shift3, tiles, band, limit, work.h3)
    product(count, work.h3, network.split, work.heads)


@njit
def _see(place: int, count: int, band: Band, network: Network, work: Work) -> None:
    """Add the features of the channels coded before to the sums of a place's head."""
    layout, image, ref, heads = network.layout, band.image, work.ref, work.heads
    channels, head = len(layout.order), network.conditioning.shape[1]
    zero = layout.high - layout.low
    for f in range(layout.feature_begins[place], layout.feature_begins[place + 1]):
        c, other = layout.features[f, 0], layout.features[f, 1]
        weights = network.conditioning[f]
        for i in range(count):
            at = channels * ((band.top + work.ys[i]) * band.width + work.xs[i])
            value = np.int64(image[at + c]) - ref[i, c]
            if other >= 0:
                value = min(max(value - (np.int64(image[at + other]) - ref[i, other]), -zero), zero)
            said = np.int32(layout.compress[value + zero])
            row = heads[i, place * head : (place + 1) * head]
            for u in range(head):
                row[u] = np.int32(row[u] + np.int32(said * weights[u]))


@njit
def run_head(place: int, count: int, band: Band, network: Network, work: Work) -> None:
    """Fill the ``raw`` parameters of a place's channels, the ``shifts`` of their means, and the head's ``act``.

    The head sees the channels that were coded before.
    """
    layout, heads, act, out, raw, ref = network.layout, work.heads, work.act, work.out, work.raw, work.ref
    order, head = layout.order, network.conditioning.shape[1]
    shift_head = network.shift_heads[place * head : (place + 1) * head]
    begin = 3 * len(network.shift2) + place * head
    _see(place, count, band, network, work)
    for i in range(count):
        row = heads[i, place * head : (place + 1) * head]
        activate(row, band.biases[work.tiles[i], begin : begin + head], shift_head, network.limit, act[i])
    product(count, act, network.outputs[place], out)
    middle = 1 << (network.shift - 1)
    first, size = layout.begins[place], layout.begins[place + 1] - layout.begins[place]
    coefficients, mixed = layout.coefficients[place], 3 * network.mixtures * size
    used = mixed + coefficients
    bias, multiplier = network.output_bias[place, :used], network.multiplier[place, :used]
    for i in range(count):
        for q in range(used):
            raw[i, q] = ((np.int64(out[i, q]) + bias[q]) * multiplier[q] + middle) >> network.shift
        for q in range(size):
            work.shifts[i, q] = ref[i, order[first + q]] * MEAN_STEPS
        at = len(order) * ((band.top + work.ys[i]) * band.width + work.xs[i])
        for q in range(coefficients):
            moved = raw[i, mixed + q] * (np.int64(band.image[at + order[q]]) - ref[i, order[q]])
            for k in range(size):
                work.shifts[i, k] += moved
