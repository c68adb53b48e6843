"""The prior p(z): an autoregressive network over the tiles of a band and the latents of a tile, in a fixed order.

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
"""Tiles (rows up, columns to the right) that a prior may see. A model takes the first ones; its file says how many."""

I64 = NDArray[np.int64]


class Prior(NamedTuple):
    """Weights of p(z); see FORMAT.md, "Prior".

    Attributes
    ----------
    neighbours : int64 array (K, 2)
        Rows up and columns to the right of the tiles that are seen.
    weight : int16 array (K (latents + 1), hidden)
        Weights of the neighbours: each has a row for each latent, and one that counts whether it exists.
    own : int16 array (latents, hidden)
        Weights of the tile's own latents. A unit uses only those before its own latent.
    begins : int64 array (latents + 1,)
        Hidden units ``begins[c]`` to ``begins[c + 1] - 1`` belong to latent c. Latent c and later ones see them.
    bias : int32 array (hidden,)
        Biases for one condition.
    shift : int32 array (hidden,)
    limit : int
    out : int16 array (2 latents, hidden)
    out_bias : int32 array (2 latents,)
    channels : int32 array (2 latents, latents)
        Direct weights from a tile's earlier latents to means and scales. A row uses only the latents before its own. In
        units of the sums these weights do not fit 16 bits: shipped ones reach 145,904. Their products with latents, of
        11 bits, still fit 32 bits, because the bound of the sums counts them.
    multiplier : int64 array (2 latents,)
    out_shift : int

    Notes
    -----
    A tile has too few latents for the matrix products of `codec.networks.products`. So sums run over rows of weights,
    which the compiler turns into vector instructions.
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
    """Fill the sums of the hidden units with what the neighbours add, and the biases."""
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
    """Fill the raw parameters (logit, mean, scale) of one latent given the latents of its tile before it.

    This also turns the sums of the latent's own hidden units into activations.
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
        Whether z is popped from the message, tile by tile and latent by latent. If not, intervals are filled.
    z : int64 array (tiles, latents)
        Filled if ``decode``, else read.
    across : int
        Number of tiles in a row.
    starts, freqs : uint32 arrays (tiles, latents)
        Filled unless ``decode``; then the message is left as it is.
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
