"""The encoder of lossy files, which chooses the quantised y. `codec.images.lossy_decoder` has the outline."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.constants import VALUE_BITS, Y_BITS
from codec.encoder import encoding, masking, rounding
from codec.entropy.rate_distortion import FINE
from codec.entropy.stack import Stack
from codec.errors import ModelError
from codec.format.headers import Latents
from codec.frozen.likelihood import Raster
from codec.frozen.model import Model
from codec.images.goals import EFFORTS
from codec.images.lossy_decoder import decoded, transforms_of, workers_of
from codec.images.refinement import refine
from codec.networks.products import I32
from codec.networks.quantisation import dequantise, quantise
from codec.networks.transform import analyse, project, synthesise
from codec.system.threads import pool_of
from codec.vlae.pipeline import Progress

PASSES = (0, 3)
"""Number of passes that choose the cheapest integers near y, at each effort but the highest, which has a search of its
own (`codec.images.refinement`). The first pass takes y from analysis. Each further one refines it first."""
SEARCH_PASSES = 40
"""Passes that take about as long as the search of the highest effort, to tell its progress."""
REFINEMENT = 3
"""A refinement moves y by 3/4 of the way to where, to first order, synthesis would return the image."""

U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Lossy:
    """What `encode` returns: the code of y, and the samples (H, W, 3 or 1), uint8, that a decoder will return."""

    encoded: encoding.Encoded
    samples: U8


def encode(
    model: Model,
    samples: U8,
    quality: int,
    latents: Latents | None,
    *,
    effort: int,
    onto: Sequence[Stack] = (),
    checksum: encoding.Checksum | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Lossy:
    """Return the lossy code of an image. `codec.images.lossy_decoder.decoded` goes back from its tensor to samples.

    Parameters
    ----------
    model : Model
        A model of tensors, with transforms.
    samples : uint8 array (H, W, 3 or 1)
    quality : int
        1 to the conditions of the model.
    latents : Latents or None
        How latents are coded; None takes the shortest way.
    effort : int
        One of `codec.images.goals.EFFORTS`.
    onto : sequence of Stack
        The messages of the lanes that already hold the images to be decoded after this one.
    checksum : callable, optional
        For a file of one image: returns the checksum of the samples that a decoder will return.
    threads : int or None
        Largest number of threads.
    progress : callable or None
        Called with the bands done and the bands in all; each pass counts all bands.

    Raises
    ------
    ModelError
        The model has no transforms or does not serve the quality.
    ValueError
        ``latents`` asks for some of a model without latents.
    """
    transforms, level, limit = transforms_of(model), quality - 1, model.layout.high
    if not 0 <= level < len(transforms.steps):
        raise ModelError(f"model {model.number}: serves qualities 1 to {len(transforms.steps)}, got {quality}")
    steps = transforms.steps[level]
    workers = workers_of(threads, samples.shape)
    searches = effort == EFFORTS[-1]
    passes = SEARCH_PASSES if searches else PASSES[effort - 1]

    def report(number: int, count: int = 1) -> Progress | None:
        """Return what counts ``count`` of the passes, from ``number`` on."""
        if progress is None:
            return None
        return lambda done, total: progress(number * total + count * done, (passes + 1) * total)

    colours = np.ascontiguousarray(np.broadcast_to(samples, (*samples.shape[:2], 3)))
    with pool_of(workers) as pool:
        y = analyse(colours, transforms, level, pool, workers)
        if searches:
            tensor = refine(model, colours, y, level, pool, workers, report(0, passes))
        elif not passes:
            tensor = quantise(y, steps, limit)
        else:
            reports = [report(number) for number in range(passes)]
            tensor = _chosen(model, colours, y, level, (pool, workers, threads), reports)
    back = decoded(model, tensor, quality, samples.shape, threads)
    options: dict[str, Any] = {"onto": onto, "threads": threads, "progress": report(passes)}
    if checksum is not None:
        options["checksum"] = lambda _: checksum(back)
    return Lossy(encoding.encode(model, tensor, level, latents, **options), back)


def _chosen(
    model: Model,
    samples: U8,
    y: I32,
    level: int,
    work: tuple[Executor, int, int | None],
    reports: Sequence[Progress | None],
) -> Raster:
    """Return the integers near y, int16 array (h, w, C), that some passes choose as the cheapest, one pass a report.

    Parameters
    ----------
    model : Model
    samples : uint8 array (H, W, 3)
    y : int32 array (h, w, C), in 1/256 sample
        What analysis makes of the samples. It is overwritten.
    level : int
        Quality - 1.
    work : Executor, int, int or None
        The pool, the pieces it takes at once, and the largest number of threads.
    reports : sequence of callable or None
        Called as ``progress`` of `codec.encoder.rounding.optimise`.
    """
    pool, workers, threads = work
    transforms, limit = transforms_of(model), model.layout.high
    steps = transforms.steps[level]
    prices, alike = masking.prices(transforms, level), masking.structure(samples)
    tensor = quantise(y, steps, limit)
    for number, progress in enumerate(reports):
        if number:
            values = dequantise(tensor, steps)
            back = synthesise(values, transforms, level, samples.shape[0], samples.shape[1], pool, workers)
            moved = project(samples, back, transforms)
            moved += values.astype(np.int32) << (Y_BITS - VALUE_BITS)
            moved -= y
            moved *= REFINEMENT
            moved >>= 2
            y += moved
            del values, back, moved  # together they are as large as several images
            tensor = quantise(y, steps, limit)
        fine = quantise(y, np.maximum(steps // FINE, 1), FINE * limit)
        tensor = rounding.optimise(model, tensor, fine, level, prices, alike, threads=threads, progress=progress)
    return tensor
