"""The latents z of a band: the codecs of the prior p(z) and of the posterior q(z|x), and the intervals of a given z.

Latents are int64 arrays (tiles, latents). Their values are grid points around zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codec.entropy.bits_back import Codec, Intervals, mixture, mixture_intervals, push_intervals
from codec.entropy.rans import Message, check_not_dry, empty_message, random_message, reserve
from codec.frozen.prior import code_latents
from codec.vlae.image import Image

I64 = NDArray[np.int64]
_NOTHING = np.zeros((1, 1), dtype=np.uint32)
"""Passed to the kernel in place of the intervals, which decoding does not write."""


def prior(image: Image) -> Codec[I64]:
    """Return the codec of a band's z under p(z), which is the same for each band."""

    def push(message: Message, z: I64) -> Message:
        intervals = prior_intervals(image, z)
        message = reserve(message, z.size)
        push_intervals(message, intervals.starts, intervals.freqs)
        return message

    def pop(message: Message) -> tuple[Message, I64]:
        z = np.zeros((image.tiles, image.model.latents), dtype=np.int64)
        _code(True, image, z, message, _NOTHING, _NOTHING)
        check_not_dry(message)
        return message, z

    return Codec(push, pop)


def prior_intervals(image: Image, z: I64) -> Intervals:
    """Return the intervals of z (tiles, latents) under p(z)."""
    starts = np.zeros(z.shape, dtype=np.uint32)
    freqs = np.zeros(z.shape, dtype=np.uint32)
    bits = _code(False, image, z, empty_message(1), starts, freqs)
    return Intervals(starts.reshape(-1), freqs.reshape(-1), bits)


def _code(
    decode: bool, image: Image, z: I64, message: Message, starts: NDArray[np.uint32], freqs: NDArray[np.uint32]
) -> float:
    model = image.model
    net = model.priors[image.condition]
    return code_latents(decode, z, image.across, net, model.grid, model.latent_tables, message, starts, freqs)


def posterior(image: Image, index: int) -> Codec[I64]:
    """Return the codec of a band's z under q(z|x). The band's pixels must be known."""
    model = image.model
    symbols = mixture(posterior_raw(image, index), model.grid, model.latent_tables)
    limit = model.grid.count // 2

    def push(message: Message, z: I64) -> Message:
        return symbols.push(message, z.reshape(-1) + limit)

    def pop(message: Message) -> tuple[Message, I64]:
        message, flat = symbols.pop(message)
        return message, flat.reshape(image.tiles, -1) - limit

    return Codec(push, pop)


def posterior_intervals(image: Image, index: int, z: I64) -> Intervals:
    """Return the intervals of a band's z (tiles, latents) under q(z|x)."""
    model = image.model
    symbols = z.reshape(-1) + model.grid.count // 2
    return mixture_intervals(symbols, posterior_raw(image, index), model.grid, model.latent_tables)


def posterior_raw(image: Image, index: int) -> I64:
    """Return the raw parameters of a band's q(z|x), int64 array (tiles * latents, 3)."""
    if index not in image.posteriors:
        image.posteriors[index] = image.model.networks.posterior(image.area(index), image.condition)
    return image.posteriors[index]


def mode(image: Image, index: int) -> I64:
    """Return the mode of a band's q(z|x), int64 array (tiles, latents): the grid points nearest to its means."""
    return ((posterior_raw(image, index)[:, 1] + 128) >> 8).reshape(image.tiles, -1)


def draw(image: Image, index: int, seed: int) -> I64:
    """Return a sample of a band's q(z|x), int64 array (tiles, latents). The same seed draws the same z."""
    _, z = posterior(image, index).pop(random_message(image.tiles * image.model.latents + 2, seed))
    return z
