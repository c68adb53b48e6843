"""The likelihood p(x|z) of a band's pixels. Decoding works them wave by wave, encoding in batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from codec.constants import PRECISION
from codec.entropy.bits_back import Codec, Intervals
from codec.entropy.mixtures import load_tables
from codec.entropy.rans import Message, check_not_dry, empty_message, reserve
from codec.frozen.likelihood import Band, make_work
from codec.networks.products import I16, I32
from codec.vlae import pipeline
from codec.vlae.image import Image
from codec.vlae.pipeline import CHUNK, Progress, Ready
from codec.vlae.wavefront import BATCH, DECODE, ENCODE, MEASURE, code_band, lag, push_band, wave_count

I64 = NDArray[np.int64]
_NOTHING = np.zeros((1, 1, 1), dtype=np.uint32)
"""Passed to the kernel in place of the intervals, which decoding does not write."""


def at_once(waves: int) -> None:
    """Return at once: the `Ready` of a band that has nothing to wait for."""


def likelihood(image: Image, index: int, ready: Ready = at_once) -> Callable[[I64 | None], Codec[int]]:
    """Return the function that maps a band's latents z, or None, to the codec of its pixels under p(x|z).

    The codec's value is the band's index. A push reads the pixels from the image's source. A pop writes them into the
    image's raster, where the bands below see them as context. ``ready`` is called before each chunk of waves is popped.
    """

    def codec(z: I64 | None) -> Codec[int]:
        image.z[index] = z

        def push(message: Message, _: int) -> Message:
            found = intervals(image, index, z)
            # A push can take 1/128 more than its bits, because the head is divided by a frequency and rounded down.
            message = reserve(message, int(found.coded_bits * (1 + 1 / 64) / PRECISION) + 4)
            push_band(message, found.starts, found.freqs)
            return message

        def pop(message: Message) -> tuple[Message, int]:
            in_waves(DECODE, image, index, z, message, ready)
            return message, index

        return Codec(push, pop)

    return codec


def intervals(image: Image, index: int, z: I64 | None, *, every: int = 1, ideal: bool = False) -> Intervals:
    """Return the intervals (rows, W, C) of a band's pixels.

    Parameters
    ----------
    image : Image
    index : int
        Number of the band from the top.
    z : int64 array (tiles, latents) or None
    every : int
        One batch of pixels in ``every`` is worked. The intervals of the others are 0.
    ideal : bool
        Whether the ideal bits are summed, too.
    """
    rows = band(image, index, z)
    starts = np.zeros((rows.rows, image.width, image.channels), dtype=np.uint32)
    freqs = np.zeros_like(starts)
    batches = (0, -(-rows.rows * image.width // BATCH), every)
    net = image.model.network
    mode, unused = MEASURE if ideal else ENCODE, empty_message(1)
    bits = code_band(mode, batches, rows, net, load_tables(), unused, starts, freqs, make_work(net, BATCH))
    return Intervals(starts, freqs, bits)


def in_waves(mode: int, image: Image, index: int, z: I64 | None, message: Message, ready: Ready) -> None:
    """Fill a band's rows of the raster in one of the modes DECODE, ROUND and CHOOSE of `codec.vlae.wavefront`.

    ``ready`` is called before each chunk of waves, with the number of waves up to its end.
    """
    rows, net = band(image, index, z), image.model.network
    work = make_work(net, image.rows)
    count = wave_count(rows.width, rows.rows)
    for begin in range(0, count, CHUNK):
        end = min(begin + CHUNK, count)
        ready(end)
        code_band(mode, (begin, end, 1), rows, net, load_tables(), message, _NOTHING, _NOTHING, work)
        check_not_dry(message)


def all_in_waves(
    mode: int,
    image: Image,
    latents: Callable[[int], I64 | None],
    workers: int,
    progress: Progress | None,
    message: Message | None = None,
) -> None:
    """Fill the raster of an image, band by band, by `in_waves`.

    Parameters
    ----------
    mode : int
        DECODE, ROUND or CHOOSE of `codec.vlae.wavefront`.
    image : Image
    latents : callable
        Called with a band's index; returns its z, int64 array (tiles, latents), or None.
    workers : int
        Number of bands that are worked at the same time. With a ``message`` it is always one.
    progress : callable or None
        Called with the bands done and the bands in all.
    message : Message or None
        DECODE pops the values from it.
    """

    def work(index: int, ready: Ready) -> None:
        in_waves(mode, image, index, latents(index), empty_message(1) if message is None else message, ready)

    pipeline.run(image.wave_counts, lag(image.rows), work, workers if message is None else 1, progress)


def band(image: Image, index: int, z: I64 | None) -> Band:
    """Return a band with the biases and features that its latents z and the image's adaptation make."""
    top = index * image.rows
    rows = min(image.rows, image.height - top)
    model = image.model
    biases = model.biases(z, image.condition, image.tiles, image.moved)
    features = model.networks.features(z, model.band, image.across)[:rows, : image.width]
    flat = features.reshape(features.shape[0] * features.shape[1], features.shape[2])
    return strip(image, top, rows, biases, flat)


def strip(image: Image, top: int, rows: int, biases: I32, features: I16) -> Band:
    """Return ``rows`` rows of an image from ``top`` on as a band with given biases and features."""
    flat = image.raster.reshape(-1), image.source.reshape(-1)
    places = len(image.model.layout.sizes) if image.channels == image.raster.shape[2] else 1
    prices = image.prices, image.structure
    return Band(*flat, image.width, top, rows, places, image.max_error, image.known, *prices, biases, features)
