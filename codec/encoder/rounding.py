"""What an encoder rounds: samples within an error, and tensors to what costs least."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from codec.format.headers import Latents
from codec.frozen.likelihood import Raster
from codec.frozen.model import Model
from codec.vlae.image import Image
from codec.vlae.latents import mode
from codec.vlae.pipeline import Progress
from codec.vlae.pixels import all_in_waves
from codec.vlae.wavefront import CHOOSE, ROUND

I64 = NDArray[np.int64]


def workers_of(image: Image, threads: int | None) -> int:
    """Return how many lanes are worked at once with so many threads, or by default."""
    return image.lanes if threads is None else max(1, min(threads, image.lanes))


def round_samples(image: Image, latents: Latents, workers: int, progress: Progress | None) -> None:
    """Turn the raster into what near-lossless coding leaves of the source."""
    off = latents == Latents.NONE
    all_in_waves(ROUND, image, lambda index: None if off else mode(image, index), workers, progress)


def rounded(model: Model, samples: Raster, max_error: int) -> Raster:
    """Return what a file of samples (H, W, C) within ``max_error`` holds, if it has no latents and no adaptation.

    Returns
    -------
    Raster (H, W, 3); a grey image has its channel three times.
    """
    image = Image.of(model, samples, max_error)
    round_samples(image, Latents.NONE, 1, None)
    return image.raster


def optimise(
    model: Model,
    tensor: Raster,
    fine: Raster,
    condition: int,
    prices: I64,
    worth: I64,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Raster:
    """Return the tensor (H, W, C) near ``fine`` that costs least, see `codec.entropy.rate_distortion`.

    Parameters
    ----------
    tensor : int16 array (H, W, C)
        The nearest one, from which latents are taken.
    fine : int16 array (H, W, C)
        In 1/16.
    condition : int
    prices : int64 array (C,)
        1/256 bits that a squared error of one is worth.
    worth : int64 array (H, W)
        Of errors at each position, see `codec.encoder.masking.worth`.
    """
    nearest = Image.of(model, tensor, condition)
    image = replace(
        nearest, raster=nearest.raster.copy(), source=fine, prices=prices, worth=worth.reshape(-1), z=[], posteriors={}
    )
    all_in_waves(CHOOSE, image, lambda index: mode(nearest, index), workers_of(image, threads), progress)
    return image.raster
