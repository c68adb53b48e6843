"""What neighbours of a tensor's values would cost: the bits of one more and of one less, each value by itself.

They are those of the coder, given all other values as they are. So an encoder that changes values one step knows
exactly what their own bits change by; `codec.encoder.bits_gradient` tells about the bits of later values.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.encoder.backward import PIECE, whole_tensor
from codec.entropy.mixtures import Tables, interval, load_tables, number_grid, prepare, symbol_of
from codec.entropy.rate_distortion import PRICE_UNIT, frequency_bits
from codec.frozen.likelihood import Band, Network, Work, make_work, run_body, run_head
from codec.frozen.model import Model
from codec.networks.products import I16, I32

I64 = NDArray[np.int64]


class Neighbours(NamedTuple):
    """The bits of a tensor, and what neighbours of its values would add.

    Attributes
    ----------
    bits : float
        Bits of the whole tensor.
    more, less : int32 arrays (h, w, C)
        What a value that is larger by one, or smaller by one, would add to the bits, in 1/256 bit. At the limits of
        the tensor's values it is 0.
    """

    bits: float
    more: I32
    less: I32


@kernel
def _piece(
    begin: int, count: int, band: Band, network: Network, table: Tables, work: Work, more: I32, less: I32
) -> int:
    """Fill the differences of ``count`` positions from ``begin`` on; return the bits of their values, in 1/256."""
    m, layout = network.mixtures, network.layout
    channels = len(layout.order)
    grid = number_grid(layout.low, layout.high)
    total = 0
    for i in range(count):
        work.ys[i], work.xs[i] = divmod(begin + i, band.width)
    run_body(count, band, network, work)
    for place in range(band.places):
        run_head(place, count, band, network, work)
        first = layout.begins[place]
        for q in range(layout.begins[place + 1] - first):
            channel = layout.order[first + q]
            for i in range(count):
                value = np.int64(band.image[channels * (begin + i) + channel])
                prepare(work.raw[i, 3 * m * q :], m, work.shifts[i, q], work.prepared, table)
                _, freq = interval(symbol_of(value, grid), grid, work.prepared, table)
                _, above = interval(symbol_of(min(value + 1, layout.high), grid), grid, work.prepared, table)
                _, below = interval(symbol_of(max(value - 1, layout.low), grid), grid, work.prepared, table)
                bits = frequency_bits(freq)
                more[i, channel] = frequency_bits(above) - bits
                less[i, channel] = frequency_bits(below) - bits
                total += bits
    return total


def neighbours(model: Model, tensor: I16, condition: int, pool: Executor, workers: int) -> Neighbours:
    """Return the bits of a tensor, and what neighbours of its values would add.

    Parameters
    ----------
    model : Model
        A model of tensors. The bits are those without latents.
    tensor : int16 array (h, w, C)
    condition : int
        Quality - 1.
    pool : Executor
        Takes ``workers`` pieces at once. Their number changes no result.
    workers : int
    """
    height, width, channels = tensor.shape
    network, band = model.network, whole_tensor(model, tensor, condition)
    more, less = (np.empty((height * width, channels), dtype=np.int32) for _ in range(2))

    def work_on(worker: int) -> int:
        work, total = make_work(network, PIECE), 0
        for begin in range(worker * PIECE, height * width, workers * PIECE):
            count = min(PIECE, height * width - begin)
            piece = slice(begin, begin + count)
            total += _piece(begin, count, band, network, load_tables(), work, more[piece], less[piece])
        return total

    total = sum(pool.map(work_on, range(workers)))
    return Neighbours(total / PRICE_UNIT, more.reshape(tensor.shape), less.reshape(tensor.shape))
