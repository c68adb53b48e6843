"""Rounding: samples to the bins of near-lossless coding, and tensors to the integers that cost least."""

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
    """Return the number of lanes that are worked at the same time with ``threads`` threads; None allows all lanes."""
    return image.lanes if threads is None else max(1, min(threads, image.lanes))


def round_samples(image: Image, latents: Latents, workers: int, progress: Progress | None) -> None:
    """Fill the raster of an image with what near-lossless coding leaves of its source."""
    off = latents == Latents.NONE
    all_in_waves(ROUND, image, lambda index: None if off else mode(image, index), workers, progress)


def rounded(model: Model, samples: Raster, max_error: int) -> Raster:
    """Return the samples that a near-lossless file without latents and without adaptation would hold.

    Parameters
    ----------
    model : Model
        A model of samples.
    samples : uint8 array (H, W, 3 or 1)
    max_error : int
        Largest error of a sample, at least 1.

    Returns
    -------
    uint8 array (H, W, 3)
        A grey image has its channel three times.
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
    structure: I64,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Raster:
    """Return the tensor near ``fine`` that costs least in bits and error, int16 array (H, W, C).

    Parameters
    ----------
    model : Model
        A model of tensors.
    tensor : int16 array (H, W, C)
        ``fine`` rounded to the nearest integers. The latents are taken from it.
    fine : int16 array (H, W, C)
        The wanted values, in 1/16 of a step.
    condition : int
        Quality - 1.
    prices : int64 array (2, C)
        What a squared error of one step is worth in each channel, in 1/256 bit; see `codec.encoder.masking.prices`.
    structure : int64 array (H, W)
        A factor of the second row of prices at each position, in 1/256; see `codec.encoder.masking.structure`.
    threads : int or None
        Largest number of threads; None allows one for each lane.
    progress : callable or None
        Called with the bands done and the bands in all.

    Notes
    -----
    `codec.entropy.rate_distortion` has the cost that is made least.
    """
    nearest = Image.of(model, tensor, condition)
    image = replace(
        nearest,
        raster=nearest.raster.copy(),
        source=fine,
        prices=prices,
        structure=structure.reshape(-1),
        z=[],
        posteriors={},
    )
    all_in_waves(CHOOSE, image, lambda index: mode(nearest, index), workers_of(image, threads), progress)
    return image.raster
