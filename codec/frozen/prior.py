"""The prior p(z): autoregressive over the tiles of a band and their channels, in one fixed order.

See FORMAT.md, "Prior".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.entropy.mixtures import COMPONENTS, Grid, Tables, ideal_bits, interval, pop, prepare
from codec.entropy.rans import Message

NEIGHBOURS = ((0, -1), (1, 0), (1, -1), (1, 1), (0, -2), (2, 0))
"""Tiles (rows up, columns to the right) that a prior may see: a model takes the first so many."""

I64 = NDArray[np.int64]


class Prior(NamedTuple):
    """Weights of p(z), int64; see FORMAT.md, "Prior".

    Attributes
    ----------
    neighbours : (K, 2)
        Rows up and columns to the right of the tiles that are seen.
    weight : (K (latents + 1), hidden), rows: of each neighbour z, and whether it exists
    own : (latents, hidden)
        Of the tile's own channels; of a unit only those before its own channel are used.
    begins : (latents + 1,)
        Hidden units ``begins[c]`` up to the next one's belong to channel c, and are seen from it on.
    bias : (hidden,), of one condition
    shift : (hidden,)
    limit : int
    out : (2 latents, hidden)
    out_bias : (2 latents,)
    channels : (2 latents, latents); only channels before the row's own are used
    multiplier : (2 latents,)
    out_shift : int
    """

    neighbours: I64
    weight: I64
    own: I64
    begins: I64
    bias: I64
    shift: I64
    limit: int
    out: I64
    out_bias: I64
    channels: I64
    multiplier: I64
    out_shift: int


@njit
def _see_neighbours(t: int, z: I64, across: int, prior: Prior, hidden: I64) -> None:
    """Fill the sums of the hidden units before the tile's own channels are added."""
    latents = z.shape[1]
    row, column = divmod(t, across)
    hidden[:] = prior.bias
    for k in range(len(prior.neighbours)):
        up, right = prior.neighbours[k, 0], prior.neighbours[k, 1]
        if row < up or not 0 <= column + right < across:
            continue
        near = z[t - up * across + right]
        at = k * (latents + 1)
        for h in range(len(hidden)):
            total = prior.weight[at + latents, h]
            for c in range(latents):
                total += near[c] * prior.weight[at + c, h]
            hidden[h] += total


@njit
def _parameters(channel: int, own: I64, prior: Prior, hidden: I64, limit: int, raw: I64) -> None:
    """Fill the raw parameters (logit, mean, scale) of one channel given the channels before it.

    Its own hidden units turn from sums to activations here.
    """
    latents = len(own)
    middle = 1 << (prior.out_shift - 1)
    for h in range(prior.begins[channel], prior.begins[channel + 1]):
        for c in range(channel):
            hidden[h] += own[c] * prior.own[c, h]
        hidden[h] = min(max(hidden[h] >> prior.shift[h], 0), prior.limit)
    for part in range(2):
        row = part * latents + channel
        total = prior.out_bias[row]
        for h in range(prior.begins[channel + 1]):
            total += hidden[h] * prior.out[row, h]
        for c in range(channel):
            total += own[c] * prior.channels[row, c]
        raw[1 + part] = (total * prior.multiplier[row] + middle) >> prior.out_shift
    raw[0] = 0
    raw[1] = min(max(raw[1], -limit * 256), limit * 256)
    raw[2] = min(max(raw[2], -32), 160)


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
    hidden = np.zeros(len(prior.bias), dtype=np.int64)
    raw = np.zeros(3, dtype=np.int64)
    prepared = np.zeros(3 * COMPONENTS, dtype=np.int64)
    bits = 0.0
    for t in range(tiles):
        _see_neighbours(t, z, across, prior, hidden)
        for c in range(latents):
            _parameters(c, z[t], prior, hidden, limit, raw)
            prepare(raw, 1, 0, prepared, table)
            if decode:
                z[t, c] = pop(message, grid, prepared, table) - limit
            else:
                symbol = z[t, c] + limit
                starts[t, c], freqs[t, c] = interval(symbol, grid, prepared, table)
                bits += ideal_bits(symbol, grid, 1, raw, 0, table.normal)
    return bits
