"""The pixel loop: codes a band wave by wave, as one compiled function.

All pixels of a wave (`codec.contexts`) are independent given earlier waves, so a wave's network is
a few matrix products. Decoding and encoding run the same code: their probabilities cannot differ.
The functions release the GIL. A band may be decoded while the band above it still is, as long as it
stays `lag` waves behind; `codec.vlae` does that with one thread a lane of the message.
See FORMAT.md, "Waves and contexts" and "Likelihood".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.contexts import NO_PIXEL, SLOPE
from codec.distributions import Grid, Tables, cumulative, find, ideal_bits, prepare
from codec.rans import Message, drop, peek, push

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

ORDER = (1, 0, 2)
"""Channels in coding order: green, red, blue. Green predicts the others best."""

DECODE, ENCODE, MEASURE = 0, 1, 2
"""What is done with symbols: pop them; write their intervals; also sum their ideal code length."""

BATCH = 256
"""Pixels that are encoded at once, in any order: larger matrix products than a wave gives."""


class Network(NamedTuple):
    """The likelihood's weights for the loop; all float32 arrays hold integers or powers of two.

    Attributes
    ----------
    offsets : int64 array (P, 2), contexts
    reference : int64 array (4, 2), place among the contexts and weight
    compress : float32 array (511,)
    w1, w2, w3, split : float32 arrays (inputs, outputs)
    s1, s2, s3, s_head : float32 arrays, scales of the activations
    conditioning : float32 array (4, head); row 0 for the second channel, rows 1..3 for the third
    outputs : float32 array (3, head, 3 M + 2)
    output_bias, multiplier : int64 arrays (3, 3 M + 2)
    shift : int, of all outputs
    limit : float32, largest activation
    mixtures, tile, radius : int
    """

    offsets: I64
    reference: I64
    compress: F32
    w1: F32
    w2: F32
    w3: F32
    split: F32
    s1: F32
    s2: F32
    s3: F32
    s_head: F32
    conditioning: F32
    outputs: F32
    output_bias: I64
    multiplier: I64
    shift: int
    limit: np.float32
    mixtures: int
    tile: int
    radius: int


class Band(NamedTuple):
    """Where a band lies in its image, and what its pixels are coded with.

    Attributes
    ----------
    image : uint8 array (H * W * 3,)
        Decoded samples; a grey image has its channel three times.
    width : int
    top, rows : int
    channels : int, 3, or 1: only the first in coding order is coded
    max_error : int
    biases : float32 array (tiles of the band, bias count), integers
    """

    image: NDArray[np.uint8]
    width: int
    top: int
    rows: int
    channels: int
    max_error: int
    biases: F32


class Work(NamedTuple):
    """Buffers of one thread; ``ys`` (rows in the band) and ``xs`` say which pixels are worked."""

    inputs: F32
    h1: F32
    h2: F32
    heads: F32
    act: F32
    out: F32
    ref: I64
    tiles: I64
    ys: I64
    xs: I64
    prepared: I64
    raw: I64


def make_work(network: Network, pixels: int) -> Work:
    """Return buffers for ``pixels`` pixels at once."""
    width = network.w2.shape[1]
    head = network.conditioning.shape[1]
    outs = network.outputs.shape[2]

    def f32(n: int) -> F32:
        return np.zeros((pixels, n), dtype=np.float32)

    return Work(
        f32(network.w1.shape[0]),
        f32(width),
        f32(width),
        f32(3 * head),
        f32(head),
        f32(outs),
        np.zeros((pixels, 3), dtype=np.int64),
        np.zeros(pixels, dtype=np.int64),
        np.zeros(pixels, dtype=np.int64),
        np.zeros(pixels, dtype=np.int64),
        np.zeros(3 * network.mixtures, dtype=np.int64),
        np.zeros(outs, dtype=np.int64),
    )


def lag(rows: int) -> int:
    """Return how many waves a band must stay behind the band of ``rows`` rows above it.

    Its wave w needs that band up to wave w + 2 rows - 1: the pixel k rows up and 2 k - 1 to the right.
    """
    return SLOPE * rows


def wave_count(width: int, rows: int) -> int:
    """Return the waves of a band."""
    return width + SLOPE * (rows - 1)


@njit
def _wave_rows(wave: int, width: int, rows: int) -> tuple[int, int]:
    """Return the first row of a wave in its band, and how many it has."""
    first = max(0, (wave - width + SLOPE) // SLOPE)
    last = min(rows - 1, wave // SLOPE)
    return first, last - first + 1


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
def _gather(y: int, x: int, image: NDArray[np.uint8], width: int, network: Network, inputs: F32, ref: I64) -> None:
    """Fill the network's inputs (3 P + 3,) and the references (3,) of a pixel."""
    contexts = len(network.offsets)
    radius = network.radius
    rows = inputs[: 3 * contexts].reshape(contexts, 3)
    # Samples are kept in the inputs until the reference is known.
    if y >= radius and x >= radius and x + radius < width:
        for p in range(contexts):
            at = 3 * ((y - network.offsets[p, 0]) * width + x + network.offsets[p, 1])
            for c in range(3):
                rows[p, c] = image[at + c]
    else:
        for p in range(contexts):
            at = _neighbour(y, x, network.offsets[p, 0], network.offsets[p, 1], width)
            for c in range(3):
                rows[p, c] = NO_PIXEL if at < 0 else image[3 * at + c]
    for c in range(3):
        total = 2
        for r in range(len(network.reference)):
            total += network.reference[r, 1] * np.int64(rows[network.reference[r, 0], c])
        ref[c] = min(max(total >> 2, 0), 255)
    for p in range(contexts):
        for c in range(3):
            rows[p, c] = network.compress[np.int64(rows[p, c]) - ref[c] + 255]
    for c in range(3):
        inputs[3 * contexts + c] = np.float32((ref[c] - NO_PIXEL) >> 1)


@njit
def _activate(x: F32, bias: F32, scale: F32, limit: np.float32) -> None:
    """Add biases to a row, rescale, round down and clip it, in place.

    Callers slice the rows first: an index with an offset could be negative for all the compiler
    knows, and the loop would not be vectorised.
    """
    zero = np.float32(0)
    for i in range(len(x)):
        x[i] = min(max(np.floor((x[i] + bias[i]) * scale[i]), zero), limit)


@njit
def _hidden(x: F32, weight: F32, out: F32, tiles: I64, at: int, scale: F32, band: Band, limit: np.float32) -> None:
    np.dot(x, weight, out)
    units = len(scale)
    for i in range(len(out)):
        _activate(out[i], band.biases[tiles[i], at : at + units], scale, limit)


@njit
def _head(place: int, heads: F32, act: F32, work: Work, band: Band, network: Network) -> None:
    """Fill the activations (count, head) of one channel's head, which sees the channels before."""
    image, ref = band.image, work.ref
    head = act.shape[1]
    scale = network.s_head[place * head : (place + 1) * head]
    begin = 3 * network.w2.shape[1] + place * head
    first_row, second_row, third_row = network.conditioning[1], network.conditioning[2], network.conditioning[3]
    for i in range(len(act)):
        row = act[i]
        row[:] = heads[i, place * head : (place + 1) * head]
        if place > 0:
            at = 3 * ((band.top + work.ys[i]) * band.width + work.xs[i])
            green = np.int64(image[at + ORDER[0]]) - ref[i, ORDER[0]]
            g = network.compress[green + 255]
            if place == 1:
                only_row = network.conditioning[0]
                for u in range(head):
                    row[u] += g * only_row[u]
            else:
                red = np.int64(image[at + ORDER[1]]) - ref[i, ORDER[1]]
                r = network.compress[red + 255]
                b = network.compress[min(max(red - green, -255), 255) + 255]
                for u in range(head):
                    row[u] += g * first_row[u] + r * second_row[u] + b * third_row[u]
        _activate(row, band.biases[work.tiles[i], begin : begin + head], scale, network.limit)


@njit
def _code_pixels(
    mode: int,
    count: int,
    band: Band,
    network: Network,
    grid: Grid,
    table: Tables,
    message: Message,
    starts: NDArray[np.uint32],
    freqs: NDArray[np.uint32],
    work: Work,
) -> float:
    """Code the first ``count`` pixels of ``work.ys`` and ``xs``; return their ideal bits (MEASURE only)."""
    width, image, m = band.width, band.image, network.mixtures
    inputs, h1, h2 = work.inputs[:count], work.h1[:count], work.h2[:count]
    heads, act, out = work.heads[:count], work.act[:count], work.out[:count]
    ref, tiles, prepared, raw = work.ref[:count], work.tiles[:count], work.prepared, work.raw
    units = h1.shape[1]
    across = (width + network.tile - 1) // network.tile
    step = 2 * band.max_error + 1
    middle = 1 << (network.shift - 1)
    bits = 0.0
    for i in range(count):
        y, x = work.ys[i], work.xs[i]
        tiles[i] = y // network.tile * across + x // network.tile
        _gather(band.top + y, x, image, width, network, inputs[i], ref[i])
    _hidden(inputs, network.w1, h1, tiles, 0, network.s1, band, network.limit)
    _hidden(h1, network.w2, h2, tiles, units, network.s2, band, network.limit)
    _hidden(h2, network.w3, h1, tiles, 2 * units, network.s3, band, network.limit)
    np.dot(h1, network.split, heads)
    for place in range(band.channels):
        channel = ORDER[place]
        _head(place, heads, act, work, band, network)
        np.dot(act, network.outputs[place], out)
        for i in range(count):
            y, x = work.ys[i], work.xs[i]
            at = 3 * ((band.top + y) * width + x)
            for q in range(3 * m + place):
                total = np.int64(out[i, q]) + network.output_bias[place, q]
                raw[q] = (total * network.multiplier[place, q] + middle) >> network.shift
            shift = ref[i, channel] << 8
            for q in range(place):
                shift += raw[3 * m + q] * (np.int64(image[at + ORDER[q]]) - ref[i, ORDER[q]])
            prepare(raw, m, shift, prepared, table)
            if mode == DECODE:
                symbol, low, high = find(peek(message), grid, m, prepared, table)
                drop(message, low, high - low)
                value = min(symbol * step, 255)
                if band.channels == 3:
                    image[at + channel] = value
                else:
                    image[at], image[at + 1], image[at + 2] = value, value, value
            else:
                symbol = (np.int64(image[at + channel]) + band.max_error) // step
                low = cumulative(symbol, grid, m, prepared, table)
                high = cumulative(symbol + 1, grid, m, prepared, table)
                starts[y, x, place] = low
                freqs[y, x, place] = high - low
                if mode == MEASURE:
                    bits += ideal_bits(symbol, grid, m, raw, shift)
    return bits


@kernel
def code_band(
    mode: int,
    pieces: tuple[int, int, int],
    band: Band,
    network: Network,
    grid: Grid,
    table: Tables,
    message: Message,
    starts: NDArray[np.uint32],
    freqs: NDArray[np.uint32],
    work: Work,
) -> float:
    """Code some of the pixels of a band and return the sum of ideal bits (MEASURE only).

    Parameters
    ----------
    mode : DECODE, ENCODE or MEASURE
    pieces : begin, end and step of a range
        Of waves when decoding, which must not leave one out; otherwise of batches of pixels.
    message : Message
        Symbols are popped from it; encoding leaves it as it is.
    starts, freqs : uint32 arrays (rows, width, channels)
        Filled with each symbol's interval when encoding.

    Notes
    -----
    A message found dry ends the loop; `codec.rans.check_not_dry` then raises.
    """
    bits = 0.0
    for piece in range(pieces[0], pieces[1], pieces[2]):
        if mode == DECODE:
            first, count = _wave_rows(piece, band.width, band.rows)
            for i in range(count):
                work.ys[i] = first + i
                work.xs[i] = piece - SLOPE * (first + i)
        else:
            count = min(BATCH, band.rows * band.width - piece * BATCH)
            for i in range(count):
                work.ys[i], work.xs[i] = divmod(piece * BATCH + i, band.width)
        bits += _code_pixels(mode, count, band, network, grid, table, message, starts, freqs, work)
        if message.size[0] < 0:
            break
    return bits


@kernel
def push_band(message: Message, starts: NDArray[np.uint32], freqs: NDArray[np.uint32]) -> None:
    """Push a band's symbols in the reverse of the order in which `code_band` pops them."""
    rows, width, channels = starts.shape
    for wave in range(width + SLOPE * (rows - 1) - 1, -1, -1):
        first, count = _wave_rows(wave, width, rows)
        for place in range(channels - 1, -1, -1):
            for y in range(first + count - 1, first - 1, -1):
                x = wave - SLOPE * y
                push(message, starts[y, x, place], freqs[y, x, place])
