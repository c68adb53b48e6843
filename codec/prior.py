"""The prior p(z): autoregressive over the tiles of a band and their channels, in one fixed order.

See FORMAT.md, "Prior".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.distributions import COMPONENTS, Grid, Tables, ideal_bits, interval, pop, prepare
from codec.rans import Message

NEIGHBOURS = ((0, -1), (1, 0), (1, -1), (1, 1), (0, -2), (2, 0))
"""Tiles (rows up, columns to the right) that a prior may see: a model takes the first so many."""

I64 = NDArray[np.int64]


class Prior(NamedTuple):
    """Weights of p(z), int64; see FORMAT.md, "Prior".

    Attributes
    ----------
    weight : (latents + 1, hidden), rows: z of the tile to the left, and whether it exists
    bias : (hidden,), of one condition
    shift : (hidden,)
    limit : int
    out : (hidden, 2 latents)
    out_bias : (2 latents,)
    channels : (2 latents, latents); only channels before the row's own are used
    multiplier : (2 latents,)
    out_shift : int
    """

    weight: I64
    bias: I64
    shift: I64
    limit: int
    out: I64
    out_bias: I64
    channels: I64
    multiplier: I64
    out_shift: int


@njit
def _hidden(left: I64, present: int, prior: Prior, hidden: I64, base: I64) -> None:
    """Fill the outputs of a tile before its own channels are added."""
    latents = len(left)
    for h in range(len(hidden)):
        total = prior.bias[h] + present * prior.weight[latents, h]
        for c in range(latents):
            total += left[c] * prior.weight[c, h]
        hidden[h] = min(max(total >> prior.shift[h], 0), prior.limit)
    for o in range(len(base)):
        total = prior.out_bias[o]
        for h in range(len(hidden)):
            total += hidden[h] * prior.out[h, o]
        base[o] = total


@njit
def _parameters(channel: int, own: I64, prior: Prior, base: I64, limit: int, raw: I64) -> None:
    """Fill the raw parameters (logit, mean, scale) of one channel given the channels before it."""
    latents = len(own)
    middle = 1 << (prior.out_shift - 1)
    for part in range(2):
        row = part * latents + channel
        total = base[row]
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
        Tiles of a band.
    starts, freqs : uint32 arrays (tiles, latents)
        Filled if not ``decode``; the message is left as it is.
    """
    tiles, latents = z.shape
    limit = (grid.count - 1) // 2
    hidden = np.zeros(len(prior.bias), dtype=np.int64)
    base = np.zeros(2 * latents, dtype=np.int64)
    raw = np.zeros(3, dtype=np.int64)
    prepared = np.zeros(3 * COMPONENTS, dtype=np.int64)
    nothing = np.zeros(latents, dtype=np.int64)
    bits = 0.0
    for t in range(tiles):
        present = 1 if t % across else 0
        _hidden(z[t - 1] if present else nothing, present, prior, hidden, base)
        for c in range(latents):
            _parameters(c, z[t], prior, base, limit, raw)
            prepare(raw, 1, 0, prepared, table)
            if decode:
                z[t, c] = pop(message, grid, prepared, table) - limit
            else:
                symbol = z[t, c] + limit
                starts[t, c], freqs[t, c] = interval(symbol, grid, prepared, table)
                bits += ideal_bits(symbol, grid, 1, raw, 0)
    return bits
