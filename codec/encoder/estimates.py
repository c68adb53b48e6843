"""The choice of how latents are coded: with bits-back, in two parts, or not at all, whichever makes the file shortest.

Near-lossless coding rounds each sample around the mean that the likelihood predicts. So the coded samples depend on z,
and a decoder could not compute a posterior from them that chose z. Bits-back is not possible then; z is coded in two
parts or left out.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from codec.constants import PRECISION
from codec.encoder import search
from codec.encoder.rounding import workers_of
from codec.errors import RequestError
from codec.format.headers import Latents
from codec.frozen.likelihood import Raster
from codec.frozen.model import Model
from codec.system.threads import pool_of
from codec.vlae import adaptation
from codec.vlae.image import Image
from codec.vlae.latents import draw, mode, posterior_intervals, prior_intervals
from codec.vlae.pixels import intervals

ESTIMATE_EVERY = 47
"""An estimate of the code length looks at one batch of pixels in 47. The number is prime, so that at no width the
batches stand below each other. Tensors, and images of models for small images, are looked at whole."""

ESTIMATE_PIXELS = 1 << 12
"""Least number of pixels that are looked at to estimate the length of a lossless file."""

I64 = NDArray[np.int64]


def choose(
    image: Image, latents: Latents | None, steps: int, pool: Executor, workers: int
) -> tuple[Latents, I64 | None]:
    """Return the way of coding latents that makes the file shortest, and the adaptation, int64 (bias count,), or None.

    The lengths are estimated from some of the pixels. Bits-back pays for a sample of the posterior, but gets the bits
    back that chose it. Two parts pay for the mode of the posterior in full. Without latents nothing is paid for them,
    but the likelihood knows less.

    Parameters
    ----------
    image : Image
    latents : Latents or None
        The way that the caller wants; None chooses among all.
    steps : int
        Steps of the search for an adaptation; with 0 there is none.
    pool : Executor
        Takes ``workers`` pieces at once. Their number changes no result.
    workers : int

    Raises
    ------
    ValueError
        The caller wants latents, and the model has none.
    """
    model = image.model
    if latents is None and model.needs_latents and not image.dry:
        return Latents.BITS_BACK, None
    if not model.latents:
        if latents not in {None, Latents.NONE}:
            raise RequestError(f"latents: model {model.name} has none to be coded")
        latents = Latents.NONE
    allowed = list(Latents) if latents is None else [latents]
    if image.max_error:  # the decoder could not compute the posterior that chose z
        allowed = [how for how in allowed if how != Latents.BITS_BACK] or [Latents.TWO_PART]

    every = ESTIMATE_EVERY if model.adaptable else 1

    def cost(candidate: tuple[Latents, I64 | None]) -> float:
        how, moved = candidate
        tried = replace(image, moved=moved)
        bits = sum(pool.map(lambda index: _estimate(tried, index, how, every), range(image.bands)))
        return bits + 8 * len(adaptation.pack(moved, model.network))

    def adapted(latents: bool, steps: int) -> I64:
        return search.adapt(image, latents, steps, pool, workers)

    def shortest(candidates: list[tuple[Latents, I64 | None]]) -> tuple[Latents, I64 | None]:
        return candidates[0] if len(candidates) == 1 else min(candidates, key=cost)

    if not steps or not search.is_adaptable(image):
        return shortest([(how, None) for how in allowed])
    if len(allowed) > 1:
        off = cost((Latents.NONE, adapted(False, search.TRIAL_STEPS)))
        on = cost((Latents.TWO_PART, adapted(True, search.TRIAL_STEPS)))
        allowed = [how for how in allowed if (how != Latents.NONE) == (on < off)]
    moved = adapted(allowed[0] != Latents.NONE, steps)
    return shortest([(how, change) for how in allowed for change in (moved, None)])


def _estimate(image: Image, index: int, latents: Latents, every: int) -> float:
    """Return an estimate of a band's bits, made from one batch of pixels in ``every``."""
    z, bits = None, 0.0
    if latents == Latents.BITS_BACK and not image.is_dry(index):
        z = draw(image, index, seed=index)
        bits -= posterior_intervals(image, index, z).coded_bits
    elif latents != Latents.NONE:
        z = mode(image, index)
    if z is not None:
        bits += prior_intervals(image, z).coded_bits
    freqs = intervals(image, index, z, every=every).freqs
    seen = freqs[freqs > 0]
    return bits + freqs.size / seen.size * float(PRECISION * seen.size - np.log2(seen, dtype=np.float64).sum())


def estimate(
    model: Model, samples: Raster, latents: Latents = Latents.NONE, *, dry: bool = True, threads: int | None = None
) -> float:
    """Return an estimate of the bits of a lossless file's payload, without adaptation.

    The estimate looks at few pixels. Unless the image is small, it takes a fiftieth of the time of coding it.

    Parameters
    ----------
    model : Model
    samples : uint8 array (H, W, 3 or 1)
        Values that the model codes: samples, or bits.
    latents : Latents
    dry : bool
        Whether bits-back finds nothing to borrow for the last bands. In a chain it does.
    threads : int or None
        Largest number of threads; None allows one for each lane.
    """
    image = replace(Image.of(model, samples, 0), dry=dry)
    workers = workers_of(image, threads)
    every = min(max(image.height * image.width // ESTIMATE_PIXELS, 1), ESTIMATE_EVERY)
    with pool_of(workers) as pool:
        return sum(pool.map(lambda index: _estimate(image, index, latents, every), range(image.bands)))
