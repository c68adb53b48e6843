"""The gradient of a tensor's bits by the tensor, through the frozen likelihood.

A value of the tensor changes bits in four ways, and all are in the gradient:

- its own bits, which its distribution gives it;
- the bits of later positions, which have it as context;
- those of later positions, whose references are made of it;
- the bits of later channels of its own position, which see it.

Values may lie between integers: they are in 1/16 (`codec.entropy.rate_distortion.FINE`), as searches have them that
round only at the end. The bits of such a value are those of the bin of one step around it, and contexts show it as it
is. For integers, bits are those of the coder, except that bins at the ends of the grid end there. The gradient looks
through the rounding of activations, of references and of compressed values.
See `codec.encoder.backward` for why each machine finds the same.

Memory: three or four float32 arrays as large as the tensor; with 128 channels, 24 to 32 bytes for a pixel. Each thread
has buffers besides, of a size that depends on the model alone.
"""

from __future__ import annotations

import math
from concurrent.futures import Executor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.constants import MEAN_STEPS
from codec.encoder.backward import (
    F32,
    PIECE,
    Back,
    Rounding,
    Transposed,
    before,
    make_back,
    make_rounding,
    through,
    transposed,
    whole_tensor,
)
from codec.encoder.mixture_gradient import Mixtures, make_mixtures, mixture_gradient
from codec.entropy.rate_distortion import FINE
from codec.entropy.tables import COMPRESS_UNIT, compress
from codec.frozen.layout import TENSOR_KNEE, Layout
from codec.frozen.likelihood import Band, Network, Work, make_work, neighbour, run_head, run_layers
from codec.frozen.model import Model
from codec.networks.products import I16, pack

WEIGHT_BITS = 15
"""Bits of weights in products, besides the sign. Those from a position's own values may have more: they are rounded."""
STRIP = 2 * PIECE
"""About the number of positions in a strip, which one thread works."""
SLOPE = COMPRESS_UNIT / math.log(2)
"""The compressed difference d has the derivative SLOPE / (TENSOR_KNEE + abs(d))."""

I64 = NDArray[np.int64]


class First(NamedTuple):
    """What a thread needs besides `Back`, to go back to the values that the network sees.

    Attributes
    ----------
    w1, conditioning : Transposed
        The weights of the first layer, and those from the values of a position to the sums of all heads.
    conditioning_unit : float32
        The value of 1 in the latter.
    inputs : float32 array (PIECE, inputs)
        Gradients of the network's inputs.
    known : float32 array (PIECE, C)
        Gradients of a position's own compressed values, by the bits of its later channels.
    own : float32 array (PIECE, C)
        Derivatives of the bits of the values themselves.
    references : float32 array (PIECE, C)
        Gradients of the references.
    places : int64 array (PIECE, P)
        Where each context is read, see `codec.frozen.contexts.neighbour`.
    units : float32 array (places, outputs)
        Derivatives of the heads' results by their sums.
    mixtures : Mixtures
    rounding : Rounding
    """

    w1: Transposed
    conditioning: Transposed
    conditioning_unit: np.float32
    inputs: F32
    known: F32
    own: F32
    references: F32
    places: I64
    units: F32
    mixtures: Mixtures
    rounding: Rounding


def _finer(layout: Layout) -> Layout:
    """Return the layout of a tensor whose values are in 1/16."""
    low, high = FINE * layout.low, FINE * layout.high
    return layout._replace(low=low, high=high, compress=compress(high - low, FINE * TENSOR_KNEE).astype(np.int16))


def _conditioning(network: Network) -> tuple[I64, float]:
    """Return the weights, int64 array (C, places * head), from a position's values to the sums of its heads.

    They are in the unit that is returned, a power of two.
    """
    layout, head = network.layout, network.conditioning.shape[1]
    weight = np.zeros((len(layout.order), len(layout.sizes) * head), dtype=np.int64)
    for place, (begin, end) in enumerate(pairwise(layout.feature_begins)):
        weight[layout.features[begin:end, 0], place * head : (place + 1) * head] = network.conditioning[begin:end]
    unit = 2.0 ** max(int(np.abs(weight).max()).bit_length() - WEIGHT_BITS, 0)
    limit = (1 << WEIGHT_BITS) - 1
    return np.clip(np.rint(weight / unit), -limit, limit).astype(np.int64), unit


def _first(network: Network) -> First:
    contexts, width, channels = len(network.offsets), len(network.shift1), len(network.layout.order)
    inputs = network.layout.inputs(contexts)
    conditioning, unit = _conditioning(network)

    def blank(columns: int) -> F32:
        return np.zeros((PIECE, columns), dtype=np.float32)

    return First(
        transposed(network.w1, inputs, width),
        transposed(pack(conditioning), channels, len(network.shift_heads)),
        np.float32(unit),
        blank(inputs),
        blank(channels),
        blank(channels),
        blank(channels),
        np.zeros((PIECE, contexts), dtype=np.int64),
        np.ldexp(network.multiplier, -network.shift).astype(np.float32),
        make_mixtures(network.mixtures, PIECE * max(network.layout.sizes)),
        make_rounding(max(inputs, width, len(network.shift_heads))),
    )


@njit
def _gather(count: int, band: Band, network: Network, work: Work, places: I64) -> None:
    """Fill the network's inputs, the references, and the places of contexts, as `run_body` does from integers.

    Values and references are in 1/16. References are whole steps, as in the coder.
    """
    layout, offsets, width = network.layout, network.offsets, band.width
    contexts, channels, references = len(offsets), len(layout.order), layout.references
    zero = layout.high - layout.low
    for i in range(count):
        y, x = band.top + work.ys[i], work.xs[i]
        for p in range(contexts):
            places[i, p] = neighbour(y, x, offsets[p, 0], offsets[p, 1], width)
        for c in range(references):
            total = 2 * FINE
            for r in range(len(network.reference)):
                place = places[i, network.reference[r, 0]]
                if place >= 0:
                    total += network.reference[r, 1] * np.int64(band.image[channels * place + c])
            step = min(max(total // (4 * FINE), layout.low // FINE), layout.high // FINE)
            work.ref[i, c] = FINE * step
            work.inputs[i, channels * contexts + c] = step >> layout.level_shift
        for p in range(contexts):
            place, shown = places[i, p], work.inputs[i, channels * p : channels * (p + 1)]
            for c in range(channels):
                value = np.int64(band.image[channels * place + c]) if place >= 0 else 0
                shown[c] = layout.compress[value - work.ref[i, c] + zero]


@njit
def _slope(difference: int) -> np.float32:
    """Return the derivative of a compressed difference by the difference, which is in 1/16, for a whole step."""
    return np.float32(SLOPE * FINE) / np.float32(TENSOR_KNEE * FINE + abs(difference))


@njit
def _heads(count: int, band: Band, network: Network, work: Work, back: Back, first: First) -> None:
    """Run the heads, and fill the gradients of their results, of the values by their own bits, and of references."""
    layout, m, head = network.layout, network.mixtures, network.conditioning.shape[1]
    channels, mixtures = len(layout.order), first.mixtures
    for place in range(band.places):
        run_head(place, count, band, network, work)
        back.acts[place, :count] = work.act[:count, :head]
        begin, size = layout.begins[place], layout.begins[place + 1] - layout.begins[place]
        for i in range(count):
            at = channels * ((band.top + work.ys[i]) * band.width + work.xs[i]) + begin
            raw, j = work.raw[i], size * i
            for c in range(size):
                mixtures.values[j + c] = np.float32(np.int64(band.image[at + c]) - work.ref[i, begin + c]) / np.float32(
                    FINE
                )
                for k in range(m):
                    mixtures.logits[k, j + c] = raw[3 * m * c + k]
                    mixtures.means[k, j + c] = raw[3 * m * c + m + k]
                    mixtures.scales[k, j + c] = raw[3 * m * c + 2 * m + k]
        mixture_gradient(size * count, m, mixtures)
        for i in range(count):
            raw, j = back.raw[place, i], size * i
            for c in range(size):
                by_mean = np.float32(0)
                for k in range(m):
                    raw[3 * m * c + k] = mixtures.logits[k, j + c]
                    raw[3 * m * c + m + k] = mixtures.means[k, j + c]
                    raw[3 * m * c + 2 * m + k] = mixtures.scales[k, j + c]
                    by_mean += mixtures.means[k, j + c]
                by_mean *= np.float32(MEAN_STEPS)
                first.own[i, begin + c] = -by_mean
                first.references[i, begin + c] = by_mean
            for q in range(3 * m * size):
                raw[q] *= first.units[place, q]


@njit
def _scatter(count: int, band: Band, network: Network, work: Work, first: First, begin: int, seen: F32) -> None:
    """Add the gradients of inputs, of known values and of references to the values that they were made of."""
    layout, image = network.layout, band.image
    contexts, channels, references = len(network.offsets), len(layout.order), layout.references
    for i in range(count):
        here = (band.top + work.ys[i]) * band.width + work.xs[i]
        inputs, known, own = first.inputs[i], first.known[i], seen[here - begin]
        for c in range(references):
            ref = work.ref[i, c]
            by_own = known[c] * _slope(np.int64(image[channels * here + c]) - ref)
            own[c] += by_own
            by_ref = first.references[i, c] - by_own
            by_ref += inputs[channels * contexts + c] / np.float32(1 << layout.level_shift)
            for p in range(contexts):
                place = first.places[i, p]
                value = np.int64(image[channels * place + c]) if place >= 0 else 0
                by_context = inputs[channels * p + c] * _slope(value - ref)
                by_ref -= by_context
                if place >= 0:
                    seen[place - begin, c] += by_context
            if layout.low < ref < layout.high:
                for r in range(len(network.reference)):
                    place = first.places[i, network.reference[r, 0]]
                    if place >= 0:
                        seen[place - begin, c] += by_ref * np.float32(network.reference[r, 1] / 4)
        for c in range(references, channels):
            own[c] += known[c]
        for p in range(contexts):
            place = first.places[i, p]
            if place >= 0:
                row, near = seen[place - begin], inputs[channels * p : channels * (p + 1)]
                for c in range(references, channels):
                    row[c] += near[c]


@kernel
def _strip_gradient(
    rows: tuple[int, int],
    band: Band,
    network: Network,
    work: Work,
    back: Back,
    first: First,
    own: F32,
    seen: F32,
) -> None:
    """Fill the derivatives of the bits of a strip, whose first row and end are ``rows``.

    Parameters
    ----------
    own : float32 array (h w, C)
        Derivatives of the bits of the values themselves. Only the strip's are filled.
    seen : float32 array (positions, C)
        Derivatives by what the network sees, of the strip and of ``network.radius`` rows above it: by values, for
        channels that have a reference, and by compressed values for the others.
    """
    seen[:] = np.float32(0)
    width, head, limit = band.width, network.conditioning.shape[1], network.limit
    heads, hidden, rounding = back.heads, back.hidden, back.rounding
    end = rows[1] * width
    for piece in range(rows[0] * width, end, PIECE):
        count = min(PIECE, end - piece)
        for i in range(count):
            work.ys[i], work.xs[i] = divmod(piece + i, width)
        _gather(count, band, network, work, first.places)
        run_layers(count, band, network, work)
        _heads(count, band, network, work, back, first)
        for place in range(band.places):
            units = slice(place * head, (place + 1) * head)
            part = heads[:, units]
            before(count, back.raw[place], back.outputs.weight[place], back.outputs.bits, rounding, part)
            through(count, part, back.acts[place], back.scale_heads[units], limit)
        before(count, heads, first.conditioning.weight, first.conditioning.bits, first.rounding, first.known)
        first.known[:count] *= first.conditioning_unit
        before(count, heads, back.split.weight, back.split.bits, rounding, hidden)
        through(count, hidden, work.h3, back.scale3, limit)
        before(count, hidden, back.w3.weight, back.w3.bits, rounding, hidden)
        through(count, hidden, work.h2, back.scale2, limit)
        before(count, hidden, back.w2.weight, back.w2.bits, rounding, hidden)
        through(count, hidden, work.h1, back.scale1, limit)
        before(count, hidden, first.w1.weight, first.w1.bits, first.rounding, first.inputs)
        _scatter(count, band, network, work, first, (rows[0] - network.radius) * width, seen)
        own[piece : piece + count] = first.own[:count]


class BitsGradient(NamedTuple):
    """The gradient of a tensor's bits by its values, in bits for a whole step.

    Attributes
    ----------
    own : float32 array (h, w, C)
        Derivatives of the bits of each value itself.
    others : float32 array (h, w, C)
        Derivatives of the bits of the values that are coded later.
    """

    own: F32
    others: F32


def bits_gradient(model: Model, values: I16, condition: int, pool: Executor, workers: int) -> BitsGradient:
    """Return the gradient of a tensor's bits by the tensor.

    Parameters
    ----------
    model : Model
        A model of tensors. The bits are those without latents.
    values : int16 array (h, w, C)
        The tensor, in 1/16: within 16 times the limits of the model's layout, which fit 16 bits.
    condition : int
        Quality - 1.
    pool : Executor
        Takes ``workers`` pieces at once. Their number changes no result.
    workers : int

    Raises
    ------
    ValueError
        ``values`` are not as described.
    """
    network, layout = model.network, model.layout
    height, width, channels = values.shape
    low, high = FINE * layout.low, FINE * layout.high
    if values.dtype != np.int16 or channels != len(layout.order) or values.min() < low or values.max() > high:
        raise ValueError(
            f"values: expected int16 (h, w, {len(layout.order)}) of {low} to {high}, got {values.dtype} {values.shape}"
        )
    finer = network._replace(layout=_finer(layout))
    band = whole_tensor(model, values, condition)
    rows = max(-(-STRIP // width), network.radius)
    tops = range(0, height, rows)
    own = np.empty((height * width, channels), dtype=np.float32)
    # Contexts reach into the strip above. What each strip adds there is kept, so that sums have one order.
    seen = np.zeros((network.radius + height, width, channels), dtype=np.float32)
    above = np.zeros((len(tops), network.radius, width, channels), dtype=np.float32)

    def work_on(worker: int) -> None:
        buffers = make_work(network, PIECE), make_back(network), _first(network)
        local = np.zeros((network.radius + rows, width, channels), dtype=np.float32)
        for strip in range(worker, len(tops), workers):
            top, end = tops[strip], min(tops[strip] + rows, height)
            _strip_gradient((top, end), band, finer, *buffers, own, local.reshape(-1, channels))
            seen[network.radius + top : network.radius + end] = local[network.radius :][: end - top]
            above[strip] = local[: network.radius]

    list(pool.map(work_on, range(workers)))
    for top, added in zip(tops, above, strict=True):
        seen[top : top + network.radius] += added
    result = seen[network.radius :]
    # In place: each temporary array would be as large as the tensor.
    slopes = values[..., layout.references :].astype(np.float32)
    np.abs(slopes, out=slopes)
    slopes += np.float32(TENSOR_KNEE * FINE)
    np.divide(np.float32(SLOPE * FINE), slopes, out=slopes)
    result[..., layout.references :] *= slopes
    return BitsGradient(own.reshape(values.shape), result)
