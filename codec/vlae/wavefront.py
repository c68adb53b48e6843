"""The pixel loop: one compiled function codes a band wave by wave.

The pixels of a wave (`codec.frozen.contexts`), or the positions of a tensor, are independent given earlier waves.
So the network runs on a whole wave at once, as a few matrix products. Decoding and encoding run the same code, so their
probabilities cannot differ.

The functions release the GIL. A band may be decoded while the band above it is still being decoded, as long as it
stays `lag` waves behind. `codec.vlae.decoding` does that with one thread for each lane.
See FORMAT.md, "Waves and contexts".
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.constants import SLOPE
from codec.entropy.mixtures import (
    Tables,
    ideal_bits,
    interval,
    mean,
    number_grid,
    pop,
    prepare,
    sample_grid,
    symbol_of,
    value_of,
)
from codec.entropy.rans import Message, push
from codec.entropy.rate_distortion import WORTH_UNIT, cheapest, is_zero
from codec.frozen.likelihood import Band, Network, Work, run_body, run_head

DECODE, ROUND, CHOOSE, ENCODE, MEASURE = 0, 1, 2, 3, 4
"""What the loop does with the symbols. DECODE pops them. ROUND chooses the bins that hold the source's samples, for
near-lossless coding, where the bins depend on what was decoded before. CHOOSE takes the symbols near a source of finer
numbers that cost least in bits and error. ENCODE writes their intervals. MEASURE also sums their ideal bits."""

BATCH = 256
"""Pixels that are encoded at once. Their order is free, so a batch makes larger matrix products than a wave."""


def lag(rows: int) -> int:
    """Return how many waves a band must stay behind the band above it, which has ``rows`` rows.

    Wave w of the lower band needs the upper band up to wave w + 2 rows - 1. The reason is the context k rows up and
    2 k - 1 columns to the right.
    """
    return SLOPE * rows


def wave_count(width: int, rows: int) -> int:
    """Return the number of waves of a band."""
    return width + SLOPE * (rows - 1)


@njit
def _wave_rows(wave: int, width: int, rows: int) -> tuple[int, int]:
    """Return the first row of a wave in its band, and the number of its rows."""
    first = max(0, (wave - width + SLOPE) // SLOPE)
    last = min(rows - 1, wave // SLOPE)
    return first, last - first + 1


@njit
def _code_pixels(
    mode: int,
    count: int,
    band: Band,
    network: Network,
    table: Tables,
    message: Message,
    starts: NDArray[np.uint32],
    freqs: NDArray[np.uint32],
    work: Work,
) -> float:
    """Code the first ``count`` pixels of ``work.ys`` and ``xs``; return their ideal bits (MEASURE only)."""
    image, m, layout = band.image, network.mixtures, network.layout
    channels, prepared = len(layout.order), work.prepared
    grid = number_grid(layout.low, layout.high)
    bits = 0.0
    run_body(count, band, network, work)
    for place in range(band.places):
        run_head(place, count, band, network, work)
        first = layout.begins[place]
        for q in range(layout.begins[place + 1] - first):
            channel = layout.order[first + q]
            for i in range(count):
                y, x = work.ys[i], work.xs[i]
                at = channels * ((band.top + y) * band.width + x)
                raw, shift = work.raw[i, 3 * m * q :], work.shifts[i, q]
                if mode == CHOOSE:
                    image[at + channel] = 0
                    if is_zero(band.source[at + channel]):
                        continue
                prepare(raw, m, shift, prepared, table)
                if band.max_error > 0:
                    grid = sample_grid(mean(prepared), band.max_error)
                if mode == DECODE and place >= band.known:
                    symbol = pop(message, grid, prepared, table)
                elif mode == CHOOSE:
                    structure = band.structure[(band.top + y) * band.width + x]
                    price = band.prices[0, channel] + band.prices[1, channel] * structure // WORTH_UNIT
                    symbol = cheapest(band.source[at + channel], price, grid, prepared, table)
                else:
                    symbol = symbol_of(np.int64(band.source[at + channel]), grid)
                if mode <= CHOOSE:
                    value = value_of(symbol, grid, layout.low, layout.high)
                    if band.places == len(layout.begins) - 1:
                        image[at + channel] = value
                    else:
                        image[at : at + channels] = value
                else:
                    starts[y, x, first + q], freqs[y, x, first + q] = interval(symbol, grid, prepared, table)
                    if mode == MEASURE:
                        bits += ideal_bits(symbol, grid, m, raw, shift, table.normal)
    return bits


@kernel
def code_band(
    mode: int,
    pieces: tuple[int, int, int],
    band: Band,
    network: Network,
    table: Tables,
    message: Message,
    starts: NDArray[np.uint32],
    freqs: NDArray[np.uint32],
    work: Work,
) -> float:
    """Code some of the pixels of a band and return the sum of ideal bits (MEASURE only).

    Parameters
    ----------
    mode : DECODE, ROUND, CHOOSE, ENCODE or MEASURE
    pieces : begin, end and step of a range
        A range of waves for DECODE, ROUND and CHOOSE, with step 1. A range of batches of pixels for the others.
    message : Message
        DECODE pops symbols from it; the other modes leave it as it is.
    starts, freqs : uint32 arrays (rows, width, channels)
        ENCODE and MEASURE fill them with each symbol's interval, channels in coding order.

    Notes
    -----
    The loop ends when the message runs dry; the caller's `codec.entropy.rans.check_not_dry` then raises.
    """
    bits = 0.0
    for piece in range(pieces[0], pieces[1], pieces[2]):
        if mode <= CHOOSE:
            first, count = _wave_rows(piece, band.width, band.rows)
            for i in range(count):
                work.ys[i] = first + i
                work.xs[i] = piece - SLOPE * (first + i)
        else:
            count = min(BATCH, band.rows * band.width - piece * BATCH)
            for i in range(count):
                work.ys[i], work.xs[i] = divmod(piece * BATCH + i, band.width)
        bits += _code_pixels(mode, count, band, network, table, message, starts, freqs, work)
        if message.size[0] < 0:
            break
    return bits


@kernel
def push_band(message: Message, starts: NDArray[np.uint32], freqs: NDArray[np.uint32]) -> None:
    """Push a band's symbols in the reverse of the order in which `code_band` pops them."""
    rows, width, channels = starts.shape
    for wave in range(width + SLOPE * (rows - 1) - 1, -1, -1):
        first, count = _wave_rows(wave, width, rows)
        for channel in range(channels - 1, -1, -1):
            for y in range(first + count - 1, first - 1, -1):
                x = wave - SLOPE * y
                push(message, starts[y, x, channel], freqs[y, x, channel])
