"""Adaptation: biases of the likelihood moved for one image, found by its encoder and sent in its file.

It is a global latent u of the image, a whole number for each bias, coded in two parts: u is what a
few steps of gradient descent find on some thousand pixels, and its prior is a logistic whose scale
is sent for each layer. See FORMAT.md, "Adaptation".

The search never leaves exact arithmetic, though no decoder depends on it: gradients are rounded to
integers before each matrix product, and float64 holds every sum of those. So a file is the same
whatever machine writes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec import tables
from codec.coders import Codec, mixture, mixture_intervals, two_part, uniform
from codec.compiled import kernel
from codec.contexts import ORDER
from codec.distributions import (
    COMPONENTS,
    SUM_BITS,
    UNIT,
    Grid,
    Tables,
    latent_grid,
    logistic,
    mean,
    prepare,
    sample_grid,
    sample_symbol,
)
from codec.errors import CorruptDataError
from codec.exact import product
from codec.rans import Message, empty_message, flatten, is_empty, unflatten
from codec.wavefront import Band, Network, Work, make_work, run_body, run_head

STEPS = 192
TRIAL_STEPS = 32
"""As many tell whether latents pay in an adapted image."""
PIXELS = 512
"""Pixels that a step looks at: more and noisier steps gain more in the same time."""
PIECE = 256
"""Pixels worked at once."""
LEAST_PIXELS = 1 << 15
"""Smaller images cannot win back what the biases cost."""
RATE = 0.6
"""Largest step of a bias, in its unit; it falls linearly to zero."""
MOMENTUM, SQUARES = 0.8, 0.95
"""Decay of the means of gradients and of their squares (Adam; Kingma and Ba 2015)."""

LIMIT = 127
GRID = latent_grid(LIMIT)
SCALE_BITS = 8
SCALE_FIRST = -96
"""Scale of a layer's prior, in 1/32 octave: a byte, and what is added to it."""
LEAST = 2.0**-24
"""Least probability of a symbol."""
LN2 = math.log(2)
GRADIENT_BITS = 29
"""Of a rounded gradient; with weights of 10 bits and some hundred of them, sums stay below 2**53."""
GOLDEN = (math.sqrt(5) - 1) / 2
"""Pixels are taken so far apart, as a share of all: any run of them is spread over the image."""

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def layers(network: Network) -> list[slice]:
    """Return the biases of each hidden layer and of the heads."""
    width, head = network.w2.shape[1], network.conditioning.shape[1]
    ends = [0, width, 2 * width, 3 * width, 3 * width + 3 * head]
    return [slice(a, b) for a, b in pairwise(ends)]


def _raw(scales: Sequence[int] | I64, network: Network) -> I64:
    """Return the raw parameters (bias count, 3) of p(u) for the scales of the layers, bytes."""
    parts = layers(network)
    raw = np.zeros((parts[-1].stop, 3), dtype=np.int64)
    for part, scale in zip(parts, scales, strict=True):
        raw[part, 2] = int(scale) + SCALE_FIRST
    return raw


def bias_codec(network: Network) -> Codec:
    """Return the codec of u (bias count,), with the scales of its prior as first part."""
    parts = layers(network)

    def likelihood(scales: I64) -> Codec:
        coded = mixture(_raw(scales, network), GRID)

        def push(message: Message, u: I64) -> Message:
            return coded.push(message, u + LIMIT)

        def pop(message: Message) -> tuple[Message, I64]:
            message, shifted = coded.pop(message)
            return message, shifted - LIMIT

        return Codec(push, pop)

    def choose(u: I64) -> I64:
        return np.array([_best_scale(u[part]) for part in parts])

    return two_part(uniform(len(parts), SCALE_BITS), likelihood, choose)


def _best_scale(u: I64) -> int:
    """Return the byte of the scale under which u is shortest."""
    costs = []
    for byte in range(0, 1 << SCALE_BITS, 8):
        raw = np.tile(np.array([0, 0, byte + SCALE_FIRST]), (len(u), 1))
        costs.append(mixture_intervals(u + LIMIT, raw, GRID).coded_bits)
    return 8 * int(np.argmin(costs))


def ideal_bits(u: I64 | None, network: Network) -> float:
    """Return -log2 p(u), the scales included, in float64; 0 for None."""
    if u is None:
        return 0.0
    scales = [_best_scale(u[part]) for part in layers(network)]
    raw = _raw(scales, network)
    return SCALE_BITS * len(scales) + mixture_intervals(u + LIMIT, raw, GRID).ideal_bits


def pack(u: I64 | None, network: Network) -> bytes:
    """Return the chunk of u (bias count,), empty for None; the inverse of `unpack`."""
    if u is None:
        return b""
    return flatten(bias_codec(network).push(empty_message(), u))


def unpack(chunk: bytes, network: Network) -> I64 | None:
    """Return u (bias count,) of a chunk, or None.

    Raises
    ------
    CorruptDataError
        The chunk is not exactly a message of u.
    """
    if not chunk:
        return None
    message, u = bias_codec(network).pop(unflatten(chunk))
    if not is_empty(message):
        raise CorruptDataError("adaptation: holds more than its biases")
    return np.asarray(u)


class Back(NamedTuple):
    """Transposed weights, float64, and buffers of a piece for the way back.

    Attributes
    ----------
    outputs : (3, 3 M + 2, head)
    split : (3 head, width)
    w3, w2 : (width, width)
    acts : float32 array (3, PIECE, head), activations of the heads
    raw : (3, PIECE, 3 M + 2), gradients of the heads' results
    heads, hidden, following : gradients (PIECE, 3 head), (PIECE, width) twice
    """

    outputs: F64
    split: F64
    w3: F64
    w2: F64
    acts: F32
    raw: F64
    heads: F64
    hidden: F64
    following: F64


def _back(network: Network) -> Back:
    width, head, outs = network.w2.shape[1], network.conditioning.shape[1], network.outputs.shape[2]

    def transposed(weight: F32) -> F64:
        return np.ascontiguousarray(weight.swapaxes(-1, -2), dtype=np.float64)

    return Back(
        transposed(network.outputs),
        transposed(network.split),
        transposed(network.w3),
        transposed(network.w2),
        np.zeros((3, PIECE, head), dtype=np.float32),
        np.zeros((3, PIECE, outs)),
        np.zeros((PIECE, 3 * head)),
        np.zeros((PIECE, width)),
        np.zeros((PIECE, width)),
    )


@njit
def _raw_gradient(symbol: int, grid: Grid, m: int, raw: I64, prepared: I64, table: Tables, gradient: F64) -> None:
    """Fill the derivatives of -log2 P(symbol) by the raw logits, means and scales, (3 m,)."""
    edge = symbol * grid.step + grid.first
    total = 0.0
    for i in range(m):
        weight = prepared[i] / (1 << SUM_BITS)
        inverse = prepared[2 * COMPONENTS + i]
        below = (edge - prepared[COMPONENTS + i]) * inverse
        above = below + grid.step * inverse
        low = logistic(below, table) / (1 << tables.LOGISTIC_BITS) if symbol > 0 else 0.0
        high = logistic(above, table) / (1 << tables.LOGISTIC_BITS) if symbol < grid.count - 1 else 1.0
        slope_low, slope_high = low * (1 - low), high * (1 - high)
        gradient[i] = weight * (high - low)
        gradient[m + i] = weight * (slope_high - slope_low) * inverse
        gradient[2 * m + i] = weight * (slope_high * above - slope_low * below)
        total += gradient[i]
    probability = max(total, LEAST)
    for i in range(m):
        gradient[i] = (total * prepared[i] / (1 << SUM_BITS) - gradient[i]) / (probability * tables.WEIGHT_STEPS)
        gradient[m + i] /= probability * UNIT * LN2
        if tables.SCALE_MIN <= raw[2 * m + i] <= tables.SCALE_MAX:
            gradient[2 * m + i] /= probability * UNIT * tables.SCALE_STEPS
        else:
            gradient[2 * m + i] = 0.0


@njit
def _round(gradient: F64) -> float:
    """Scale to integers of `GRADIENT_BITS` bits, in place, and return what one of them stands for."""
    flat = gradient.reshape(-1)
    largest = 0.0
    for i in range(len(flat)):
        largest = max(largest, abs(flat[i]))
    if largest == 0.0:
        return 1.0
    unit = math.ldexp(1.0, math.frexp(largest)[1] - GRADIENT_BITS)
    inverse = 1.0 / unit
    for i in range(len(flat)):
        flat[i] = np.floor(flat[i] * inverse + 0.5)
    return unit


@njit
def _through(gradient: F64, act: F32, scale: F32, limit: np.float32, unit: float, biases: F64) -> float:
    """Go back through activations: add the gradient of the biases, and return the new unit."""
    for i in range(len(act)):
        for u in range(len(scale)):
            if not 0 < act[i, u] < limit:
                gradient[i, u] = 0.0
            biases[u] += gradient[i, u] * unit
            gradient[i, u] *= scale[u]
    return unit * _round(gradient)  # type: ignore[no-any-return]


@kernel
def _piece_gradient(count: int, band: Band, network: Network, table: Tables, work: Work, back: Back, sums: F64) -> None:
    """Add to ``sums`` (bias count,) the gradient of the bits of ``count`` pixels by the activations' biases."""
    m, width, head = network.mixtures, network.w2.shape[1], network.conditioning.shape[1]
    grid = sample_grid(0, 0)
    back.raw[:] = 0.0
    run_body(count, band, network, work)
    for place in range(band.channels):
        run_head(place, count, band, network, work)
        back.acts[place, :count] = work.act[:count]
        for i in range(count):
            at = 3 * ((band.top + work.ys[i]) * band.width + work.xs[i])
            gradient = back.raw[place, i]
            prepare(work.raw[i], m, work.shifts[i], work.prepared, table)
            if band.max_error > 0:
                grid = sample_grid(mean(work.prepared), band.max_error)
            symbol = sample_symbol(np.int64(band.source[at + ORDER[place]]), grid)
            _raw_gradient(symbol, grid, m, work.raw[i], work.prepared, table, gradient)
            by_shift = 0.0
            for k in range(m):
                by_shift += gradient[m + k]
            for q in range(place):
                difference = np.int64(band.image[at + ORDER[q]]) - work.ref[i, ORDER[q]]
                gradient[3 * m + q] = by_shift * difference
            for q in range(3 * m + place):
                gradient[q] *= network.multiplier[place, q] / (1 << network.shift)
    unit = _round(back.raw)
    heads, hidden, following = back.heads[:count], back.hidden[:count], back.following[:count]
    for place in range(band.channels):
        heads[:, place * head : (place + 1) * head] = np.dot(back.raw[place, :count], back.outputs[place])
    for place in range(band.channels, 3):
        heads[:, place * head : (place + 1) * head] = 0.0
    # The activations of all heads stand side by side, as their sums do.
    acts = work.heads[:count]
    for place in range(band.channels):
        acts[:, place * head : (place + 1) * head] = back.acts[place, :count]
    unit = _through(heads, acts, network.s_head, network.limit, unit, sums[3 * width :])
    product(heads, back.split, hidden)
    unit = _through(hidden, work.h3[:count], network.s3, network.limit, unit, sums[2 * width : 3 * width])
    product(hidden, back.w3, following)
    unit = _through(following, work.h2[:count], network.s2, network.limit, unit, sums[width : 2 * width])
    product(following, back.w2, hidden)
    _through(hidden, work.h1[:count], network.s1, network.limit, unit, sums[:width])


def adapt(band: Band, network: Network, units: I64, table: Tables, steps: int, pool: Executor, workers: int) -> I64:
    """Return u (bias count,) that shortens a whole image.

    Parameters
    ----------
    band : Band
        The whole image as one band, its biases before adaptation, ``source`` what is coded.
    units : int64 array (bias count,)
        By how much a unit of u moves each bias.
    pool : Executor
        Takes ``workers`` pieces at once; their number changes nothing.
    """
    works = [(make_work(network, PIECE), _back(network)) for _ in range(workers)]
    pixels = band.rows * band.width
    stride = round(pixels * GOLDEN)
    while math.gcd(stride, pixels) > 1:
        stride += 1
    delta, first, second = (np.zeros(len(units)) for _ in range(3))
    first_left = second_left = 1.0
    for step in range(steps):
        moved = band._replace(biases=(band.biases + np.floor(delta * units + 0.5)).astype(np.float32))
        sums = np.zeros((PIXELS // PIECE, len(units)))

        def work_on(worker: int, step: int = step, moved: Band = moved, sums: F64 = sums) -> None:
            work, back = works[worker]
            for piece in range(worker, len(sums), workers):
                begin = step * PIXELS + piece * PIECE
                places = np.arange(begin, begin + PIECE) * stride % pixels
                work.ys[:], work.xs[:] = np.divmod(places, band.width)
                _piece_gradient(PIECE, moved, network, table, work, back, sums[piece])

        list(pool.map(work_on, range(workers)))
        gradient = sums.sum(0) / PIXELS
        first += (1 - MOMENTUM) * (gradient - first)
        second += (1 - SQUARES) * (gradient**2 - second)
        first_left, second_left = first_left * MOMENTUM, second_left * SQUARES
        rate = RATE * (1 - step / steps) * math.sqrt(1 - second_left) / (1 - first_left)
        delta -= rate * first / (np.sqrt(second) + 1e-12)
    return np.clip(np.rint(delta), -LIMIT, LIMIT).astype(np.int64)
