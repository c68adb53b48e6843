"""The search for an image's adaptation: gradient descent through the frozen network.

A few steps of Adam on some thousand pixels move the biases of the likelihood. No decoder depends on the search.
Still every machine finds the same, see `codec.encoder.backward`.
Only images are adapted, so that here each place of the layout codes one channel.
"""

from __future__ import annotations

import math
from concurrent.futures import Executor

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.constants import ADAPTATION_LIMIT
from codec.encoder.backward import F32, PIECE, Back, before, make_back, through
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
from codec.networks.products import I16
from codec.vlae.image import Image
from codec.vlae.latents import mode
from codec.vlae.pixels import strip

STEPS = 160
"""Steps of a search, if its caller says nothing else."""
TRIAL_STEPS = 16
"""Steps of a short search, which tells whether latents pay in an adapted image."""
PIXELS = 512
"""Pixels that a step looks at. They are few: in the same time, many noisy steps gain more than few exact ones."""
LEAST_PIXELS = 1 << 15
"""Images with fewer pixels are not adapted: they cannot win back what the biases cost."""
RATE = 0.6
"""Size of the first step of a bias, in units of u. The size falls linearly to zero."""
MOMENTUM, SQUARES = 0.8, 0.95
"""Decay of the means of gradients and of their squares (Adam; Kingma and Ba 2015)."""
GOLDEN = (math.sqrt(5) - 1) / 2
"""Distance between pixels that are taken one after the other, as a share of all pixels. With the golden ratio, any run
of them is spread evenly over the image."""

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@njit
def _add(count: int, gradient: F32, act: I16, limit: int, biases: F64) -> None:
    """Add to ``biases`` the derivatives by a layer's biases in units of activations, given those of activations."""
    for i in range(count):
        row, active = gradient[i], act[i]
        for u in range(gradient.shape[1]):
            biases[u] += row[u] if 0 < active[u] < limit else np.float32(0)


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
    heads, hidden, rounding, limit = back.heads, back.hidden, back.rounding, network.limit
    heads[:] = np.float32(0)
    for place in range(band.places):
        units = slice(place * head, (place + 1) * head)
        own, acts = heads[:, units], back.acts[place]
        before(count, back.raw[place], back.outputs.weight[place], back.outputs.bits, rounding, own)
        _add(count, own, acts, limit, sums[3 * width :][units])
        through(count, own, acts, back.scale_heads[units], limit)
    before(count, heads, back.split.weight, back.split.bits, rounding, hidden)
    _add(count, hidden, work.h3, limit, sums[2 * width : 3 * width])
    through(count, hidden, work.h3, back.scale3, limit)
    before(count, hidden, back.w3.weight, back.w3.bits, rounding, hidden)
    _add(count, hidden, work.h2, limit, sums[width : 2 * width])
    through(count, hidden, work.h2, back.scale2, limit)
    before(count, hidden, back.w2.weight, back.w2.bits, rounding, hidden)
    _add(count, hidden, work.h1, limit, sums[:width])


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
    works = [(make_work(network, PIECE), make_back(network)) for _ in range(workers)]
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
