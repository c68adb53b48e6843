"""Adaptation: biases of the likelihood moved for one image, found by its encoder and sent in its file.

It is a global latent u of the image, a whole number for each bias, coded in two parts: u is what
`codec.encoder.search` finds, and its prior is a logistic whose scale is sent for each layer.
See FORMAT.md, "Adaptation".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from codec.constants import ADAPTATION_LIMIT, ADAPTATION_SCALE
from codec.entropy.bits_back import Codec, bits_back, certain, mixture, mixture_intervals, uniform
from codec.entropy.mixtures import number_grid
from codec.entropy.rans import Message, empty_message, flatten, is_empty, unflatten
from codec.errors import CorruptDataError
from codec.frozen.likelihood import Network

GRID = number_grid(-ADAPTATION_LIMIT, ADAPTATION_LIMIT)
SCALE_BITS = 8
"""Bits of the number that codes the scale of a layer's prior; `ADAPTATION_SCALE` is added to it."""

I64 = NDArray[np.int64]


def layers(network: Network) -> list[slice]:
    """Return a slice of the bias vector for each layer: the three hidden layers, then the heads."""
    width, head = len(network.shift2), network.conditioning.shape[1]
    ends = [0, width, 2 * width, 3 * width, 3 * width + 3 * head]
    return [slice(a, b) for a, b in pairwise(ends)]


def _raw(scales: Sequence[int] | I64, network: Network) -> I64:
    """Return the raw parameters (bias count, 3) of p(u). ``scales`` are the codes of the layers' scales, 0 to 255."""
    parts = layers(network)
    raw = np.zeros((parts[-1].stop, 3), dtype=np.int64)
    for part, scale in zip(parts, scales, strict=True):
        raw[part, 2] = int(scale) + ADAPTATION_SCALE
    return raw


def bias_codec(network: Network) -> Codec[I64]:
    """Return the codec of u, int64 array (bias count,). It codes the scales of the prior first, then u."""
    parts = layers(network)

    def likelihood(scales: I64) -> Codec[I64]:
        coded = mixture(_raw(scales, network), GRID)

        def push(message: Message, u: I64) -> Message:
            return coded.push(message, u + ADAPTATION_LIMIT)

        def pop(message: Message) -> tuple[Message, I64]:
            message, shifted = coded.pop(message)
            return message, shifted - ADAPTATION_LIMIT

        return Codec(push, pop)

    def posterior(u: I64) -> Codec[I64]:
        return certain(lambda: np.array([_best_scale(u[part]) for part in parts]))

    return bits_back(uniform(len(parts), SCALE_BITS), likelihood, posterior)


def _best_scale(u: I64) -> int:
    """Return the scale, as a number of `SCALE_BITS` bits, under which u is shortest; every eighth is tried."""
    costs = []
    for byte in range(0, 1 << SCALE_BITS, 8):
        raw = np.tile(np.array([0, 0, byte + ADAPTATION_SCALE]), (len(u), 1))
        costs.append(mixture_intervals(u + ADAPTATION_LIMIT, raw, GRID).coded_bits)
    return 8 * int(np.argmin(costs))


def ideal_bits(u: I64 | None, network: Network) -> float:
    """Return -log2 p(u) in bits, a float64 that includes the scales; 0 if u is None."""
    if u is None:
        return 0.0
    scales = [_best_scale(u[part]) for part in layers(network)]
    raw = _raw(scales, network)
    return SCALE_BITS * len(scales) + mixture_intervals(u + ADAPTATION_LIMIT, raw, GRID).ideal_bits


def pack(u: I64 | None, network: Network) -> bytes:
    """Return the file's chunk for u, int64 array (bias count,); empty if u is None. The inverse of `unpack`."""
    if u is None:
        return b""
    return flatten(bias_codec(network).push(empty_message(), u))


def unpack(chunk: bytes, network: Network) -> I64 | None:
    """Return u, int64 array (bias count,), or None if the chunk is empty. The inverse of `pack`.

    Raises
    ------
    CorruptDataError
        The chunk is cut, or longer than u.
    """
    if not chunk:
        return None
    message, u = bias_codec(network).pop(unflatten(chunk))
    if not is_empty(message):
        raise CorruptDataError("adaptation: holds more than its biases")
    return np.asarray(u)
