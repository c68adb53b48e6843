"""The search for an image's adaptation: gradient descent through the frozen network.

A few steps of Adam on some thousand pixels move the biases of the likelihood. No decoder depends on the search.
Still its result does not depend on the order of sums, so that every machine writes the same file: gradients are
rounded to integers before each matrix product, and `codec.networks.products` sums integers exactly.
Only images are adapted, so that here each place of the layout codes one channel.
"""

from __future__ import annotations

import math
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.constants import ADAPTATION_LIMIT
from codec.entropy.mixtures import (
    Tables,
    ideal_bits_gradient,
    load_tables,
    mean,
    number_grid,
    prepare,
    sample_grid,
    symbol_of,
)
from codec.frozen.contexts import ORDER
from codec.frozen.likelihood import Band, Network, Work, make_work, run_body, run_head
from codec.networks import products
from codec.networks.products import I16, I32, padded_columns, padded_rows, product
from codec.vlae.image import Image
from codec.vlae.latents import mode
from codec.vlae.pixels import strip

STEPS = 160
TRIAL_STEPS = 16
"""Steps of a short search, which tells whether latents pay in an adapted image."""
PIXELS = 512
"""Pixels that a step looks at. They are few: in the same time, many noisy steps gain more than few exact ones."""
PIECE = 256
"""Pixels that a thread works at once."""
LEAST_PIXELS = 1 << 15
"""Images with fewer pixels are not adapted: they cannot win back what the biases cost."""
RATE = 0.6
"""Size of the first step of a bias, in units of u. The size falls linearly to zero."""
MOMENTUM, SQUARES = 0.8, 0.95
"""Decay of the means of gradients and of their squares (Adam; Kingma and Ba 2015)."""
GRADIENT_BITS = 12
"""Bits of a rounded gradient. Sums of some hundred products with weights of 10 bits then stay below 2**31."""
LEAST_EXPONENT = -100
"""Gradients below 2**-100 count as zero, because float32 cannot hold the inverse of much smaller units."""
GOLDEN = (math.sqrt(5) - 1) / 2
"""Distance between pixels that are taken one after the other, as a share of all pixels. With the golden ratio, any run
of them is spread evenly over the image."""

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class Back(NamedTuple):
    """Transposed weights and the buffers of a thread, for going back through the network.

    Attributes
    ----------
    outputs : int16 array (3, ...)
        Packed and transposed weights of the three heads' outputs.
    split, w3, w2 : int16 arrays
        Packed and transposed weights of the layers before.
    scale1, scale2, scale3, scale_heads : float32 arrays (units,)
        Derivative of an activation by its sum.
    acts : int16 array (3, PIECE, head)
        Activations of the heads.
    raw : float32 array (3, PIECE, 3 M + 2)
        Gradients of the heads' results.
    heads, hidden : float32 arrays (PIECE, 3 head), (PIECE, width)
        Gradients of activations, and later of their sums.
    rounded : int16 array
        A layer's gradients of sums, rounded.
    units : float32 array (PIECE,)
        The value of 1 in each row of ``rounded``.
    sums : int32 array
        Gradients of the layer's inputs, in these units.
    """

    outputs: I16
    split: I16
    w3: I16
    w2: I16
    scale1: F32
    scale2: F32
    scale3: F32
    scale_heads: F32
    acts: I16
    raw: F32
    heads: F32
    hidden: F32
    rounded: I16
    units: F32
    sums: I32


def _back(network: Network) -> Back:
    width, head, outs = len(network.shift2), network.conditioning.shape[1], network.output_bias.shape[1]
    rows, most = padded_rows(PIECE), padded_columns(max(width, 3 * head))

    def transposed(packed: I16, inputs: int, outputs: int) -> I16:
        return products.pack(products.unpack(packed)[:inputs, :outputs].T)

    def scale(shift: I32) -> F32:
        return np.ldexp(np.float32(1), -shift)

    return Back(
        np.stack([transposed(packed, head, outs) for packed in network.outputs]),
        transposed(network.split, width, 3 * head),
        transposed(network.w3, width, width),
        transposed(network.w2, width, width),
        scale(network.shift1),
        scale(network.shift2),
        scale(network.shift3),
        scale(network.shift_heads),
        np.zeros((3, PIECE, head), dtype=np.int16),
        np.zeros((3, PIECE, outs), dtype=np.float32),
        np.zeros((PIECE, 3 * head), dtype=np.float32),
        np.zeros((PIECE, width), dtype=np.float32),
        np.zeros((rows, most), dtype=np.int16),
        np.zeros(PIECE, dtype=np.float32),
        np.zeros((rows, most), dtype=np.int32),
    )


@njit
def _unit(gradient: F32) -> np.float32:
    """Return the power of two by which a row of gradients is rounded to `GRADIENT_BITS` bits."""
    # The order of floats is that of their bits, for which compilers have vectors.
    bits = gradient.view(np.int32)
    largest = np.int32(0)
    for u in range(len(bits)):
        largest = max(largest, np.int32(bits[u] & 0x7FFFFFFF))
    return np.float32(math.ldexp(1.0, max(int(largest >> 23) - 126 - GRADIENT_BITS, LEAST_EXPONENT)))


@njit
def _before(count: int, gradient: F32, weight: I16, back: Back, result: F32) -> None:
    """Fill ``result`` with the gradients of a layer's inputs, given the gradients of its sums.

    Each pixel's gradients are rounded to integers of `GRADIENT_BITS` bits first.
    """
    inputs, outputs = gradient.shape[1], result.shape[1]
    for i in range(count):
        row, rounded = gradient[i], back.rounded[i]
        back.units[i] = _unit(row)
        inverse = np.float32(1) / back.units[i]
        for u in range(inputs):
            rounded[u] = np.int16(np.floor(row[u] * inverse + np.float32(0.5)))
    product(count, back.rounded, weight, back.sums)
    for i in range(count):
        row, sums, unit = result[i], back.sums[i], back.units[i]
        for u in range(outputs):
            row[u] = np.float32(sums[u]) * unit


@njit
def _through(count: int, gradient: F32, act: I16, scale: F32, limit: int, biases: F64) -> None:
    """Turn the gradients of activations into those of their sums, in place, and add them to the biases' gradient."""
    for i in range(count):
        row, active = gradient[i], act[i]
        for u in range(len(scale)):
            value = row[u] if 0 < active[u] < limit else np.float32(0)
            biases[u] += value
            row[u] = value * scale[u]


@kernel
def _piece_gradient(count: int, band: Band, network: Network, table: Tables, work: Work, back: Back, sums: F64) -> None:
    """Add to ``sums`` (bias count,) the derivatives of the bits of ``count`` pixels by the biases."""
    m, width, head = network.mixtures, len(network.shift2), network.conditioning.shape[1]
    grid = number_grid(network.layout.low, network.layout.high)
    back.raw[:] = np.float32(0)
    run_body(count, band, network, work)
    for place in range(band.places):
        run_head(place, count, band, network, work)
        back.acts[place, :count] = work.act[:count, :head]
        for i in range(count):
            at = 3 * ((band.top + work.ys[i]) * band.width + work.xs[i])
            gradient = back.raw[place, i]
            prepare(work.raw[i], m, work.shifts[i, 0], work.prepared, table)
            if band.max_error > 0:
                grid = sample_grid(mean(work.prepared), band.max_error)
            symbol = symbol_of(np.int64(band.source[at + ORDER[place]]), grid)
            ideal_bits_gradient(symbol, grid, m, work.raw[i], work.prepared, table, gradient)
            by_shift = 0.0
            for k in range(m):
                by_shift += gradient[m + k]
            for q in range(place):
                difference = np.int64(band.image[at + ORDER[q]]) - work.ref[i, ORDER[q]]
                gradient[3 * m + q] = by_shift * difference
            for q in range(3 * m + place):
                gradient[q] *= network.multiplier[place, q] / (1 << network.shift)
    heads, hidden, limit = back.heads, back.hidden, network.limit
    heads[:] = np.float32(0)
    for place in range(band.places):
        units = slice(place * head, (place + 1) * head)
        _before(count, back.raw[place], back.outputs[place], back, heads[:, units])
        own = sums[3 * width :][units]
        _through(count, heads[:, units], back.acts[place], back.scale_heads[units], limit, own)
    _before(count, heads, back.split, back, hidden)
    _through(count, hidden, work.h3, back.scale3, limit, sums[2 * width : 3 * width])
    _before(count, hidden, back.w3, back, hidden)
    _through(count, hidden, work.h2, back.scale2, limit, sums[width : 2 * width])
    _before(count, hidden, back.w2, back, hidden)
    _through(count, hidden, work.h1, back.scale1, limit, sums[:width])


def _adapt(band: Band, network: Network, units: I64, table: Tables, steps: int, pool: Executor, workers: int) -> I64:
    """Return u (bias count,) that shortens a whole image.

    Parameters
    ----------
    band : Band
        The whole image as one band, with its biases before adaptation.
    units : int64 array (bias count,)
        By how much a unit of u moves each bias.
    pool : Executor
        Takes ``workers`` pieces at once. Their number changes no result.
    """
    works = [(make_work(network, PIECE), _back(network)) for _ in range(workers)]
    pixels = band.rows * band.width
    stride = round(pixels * GOLDEN)
    while math.gcd(stride, pixels) > 1:
        stride += 1
    delta, first, second = (np.zeros(len(units)) for _ in range(3))
    first_left = second_left = 1.0
    for step in range(steps):
        moved = band._replace(biases=band.biases + np.floor(delta * units + 0.5).astype(np.int32))
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
    return np.clip(np.rint(delta), -ADAPTATION_LIMIT, ADAPTATION_LIMIT).astype(np.int64)


def is_adaptable(image: Image) -> bool:
    """Return whether an adaptation could win back what it costs: the model allows it, and the image is large enough."""
    return image.model.adaptable and image.height * image.width >= LEAST_PIXELS


def adapt(image: Image, latents: bool, steps: int, pool: Executor, workers: int) -> I64:
    """Return an adaptation u, int64 array (bias count,), that shortens an image.

    Parameters
    ----------
    image : Image
    latents : bool
        Whether the image has latents. The search then takes the mode of their posterior.
    steps : int
        Number of steps.
    pool : Executor
        Takes ``workers`` pieces at once. Their number changes no result.
    workers : int
    """
    model = image.model
    modes = [mode(image, index) if latents else None for index in range(image.bands)]
    biases = [model.biases(z, image.condition, image.tiles, None) for z in modes]
    whole = strip(image, 0, image.height, np.concatenate(biases), np.zeros((1, 0), dtype=np.int16))
    return _adapt(whole, model.network, model.adaptation_units, load_tables(), steps, pool, workers)
