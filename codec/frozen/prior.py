"""The prior p(z): autoregressive over the tiles of a band and their channels, in one fixed order.

See FORMAT.md, "Prior".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.constants import COMPONENTS, MEAN_STEPS, PRIOR_SCALES
from codec.entropy.mixtures import Grid, Tables, ideal_bits, interval, pop, prepare
from codec.entropy.rans import Message
from codec.networks.products import I16, I32, activate

NEIGHBOURS = ((0, -1), (1, 0), (1, -1), (1, 1), (0, -2), (2, 0))
"""Tiles (rows up, columns to the right) that a prior may see: a model takes the first so many."""

I64 = NDArray[np.int64]


class Prior(NamedTuple):
    """Weights of p(z); see FORMAT.md, "Prior".

    Attributes
    ----------
    neighbours : int64 array (K, 2)
        Rows up and columns to the right of the tiles that are seen.
    weight : int16 array (K (latents + 1), hidden), rows: of each neighbour z, and whether it exists
    own : int16 array (latents, hidden)
        Of the tile's own channels; of a unit only those before its own channel are used.
    begins : int64 array (latents + 1,)
        Hidden units ``begins[c]`` up to the next one's belong to channel c, and are seen from it on.
    bias : int32 array (hidden,), of one condition
    shift : int32 array (hidden,)
    limit : int
    out : int16 array (2 latents, hidden)
    out_bias : int32 array (2 latents,)
    channels : int32 array (2 latents, latents)
        Only channels before the row's own are used. A latent moves a mean by its own size, so in units of the sums
        these weights leave 16 bits: shipped ones reach 145,904. Products with latents, of 11 bits, have 32 all the
        same, since the sum's bound counts them.
    multiplier : int64 array (2 latents,)
    out_shift : int

    Notes
    -----
    A tile has too few latents for the tiles of `codec.networks.products`: sums run over rows of weights, and the
    compiler makes vectors of them.
    """

    neighbours: I64
    weight: I16
    own: I16
    begins: I64
    bias: I32
    shift: I32
    limit: int
    out: I16
    out_bias: I32
    channels: I32
    multiplier: I64
    out_shift: int


@njit
def _add(value: int, weights: I16, sums: I32) -> None:
    """Add ``value`` times a row of weights to a row of sums."""
    narrow = np.int16(value)
    for i in range(len(sums)):
        sums[i] = np.int32(sums[i] + np.int32(narrow * weights[i]))


@njit
def _see_neighbours(t: int, z: I64, across: int, prior: Prior, sums: I32) -> None:
    """Fill the sums of the hidden units before the tile's own channels are added."""
    latents = z.shape[1]
    row, column = divmod(t, across)
    sums[:] = 0
    for k in range(len(prior.neighbours)):
        up, right = prior.neighbours[k, 0], prior.neighbours[k, 1]
        if row < up or not 0 <= column + right < across:
            continue
        near = z[t - up * across + right]
        at = k * (latents + 1)
        for c in range(latents):
            _add(near[c], prior.weight[at + c], sums)
        _add(1, prior.weight[at + latents], sums)


@njit
def _parameters(channel: int, own: I64, prior: Prior, sums: I32, active: I16, limit: int, raw: I64) -> None:
    """Fill the raw parameters (logit, mean, scale) of one channel given the channels before it.

    Its own hidden units turn from ``sums`` to activations here.
    """
    latents = len(own)
    middle = 1 << (prior.out_shift - 1)
    begin, end = prior.begins[channel], prior.begins[channel + 1]
    if begin < end:
        for c in range(channel):
            _add(own[c], prior.own[c, begin:end], sums[begin:end])
        activate(sums[begin:end], prior.bias[begin:end], prior.shift[begin:end], prior.limit, active[begin:end])
    for part in range(2):
        row = part * latents + channel
        weights, total = prior.out[row], prior.out_bias[row]
        for h in range(end):
            total = np.int32(total + np.int32(active[h] * weights[h]))
        for c in range(channel):
            total = np.int32(total + np.int32(own[c] * prior.channels[row, c]))
        raw[1 + part] = (total * prior.multiplier[row] + middle) >> prior.out_shift
    raw[0] = 0
    raw[1] = min(max(raw[1], -limit * MEAN_STEPS), limit * MEAN_STEPS)
    raw[2] = min(max(raw[2], PRIOR_SCALES[0]), PRIOR_SCALES[1])


@kernel
def code_latents(
    decode: bool,
    z: I64,
    across: int,
    prior: Prior,
    grid: Grid,
    table: Tables,
    message: Message,
    starts: NDArray[np.uint32],
    freqs: NDArray[np.uint32],
) -> float:
    """Pop latents z (tiles, latents), or fill their intervals and return their ideal bits.

    Parameters
    ----------
    decode : bool
        Whether z is popped from the message and filled, tile by tile and channel by channel.
    across : int
        Tiles in a row of them.
    starts, freqs : uint32 arrays (tiles, latents)
        Filled if not ``decode``; the message is left as it is.
    """
    tiles, latents = z.shape
    limit = (grid.count - 1) // 2
    sums = np.zeros(len(prior.bias), dtype=np.int32)
    active = np.zeros(len(prior.bias), dtype=np.int16)
    raw = np.zeros(3, dtype=np.int64)
    prepared = np.zeros(3 * COMPONENTS, dtype=np.int64)
    bits = 0.0
    for t in range(tiles):
        _see_neighbours(t, z, across, prior, sums)
        for c in range(latents):
            _parameters(c, z[t], prior, sums, active, limit, raw)
            prepare(raw, 1, 0, prepared, table)
            if decode:
                z[t, c] = pop(message, grid, prepared, table) - limit
            else:
                symbol = z[t, c] + limit
                starts[t, c], freqs[t, c] = interval(symbol, grid, prepared, table)
                bits += ideal_bits(symbol, grid, 1, raw, 0, table.normal)
    return bits
