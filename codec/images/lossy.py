"""Lossy files: the quantised latents y of a learned transform are a tensor that the VLAE coder codes.

    samples -> analysis -> y -> quantised y -> VLAE coder          compress
    samples <- synthesis <- y <- quantised y <- VLAE coder         decompress

Quality sets the steps of the quantisation and moves biases everywhere. All of it is exact: every decoder
returns the same samples, and the encoder knows them. Grey images are worked as three equal channels.
See FORMAT.md, "Transforms".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from codec.encoder.masking import worth
from codec.entropy.rate_distortion import FINE
from codec.entropy.stack import Stack
from codec.errors import ModelError
from codec.format.headers import Latents
from codec.frozen.likelihood import Raster
from codec.frozen.model import Model
from codec.networks.quantisation import VALUE_BITS, Y_BITS, dequantise, quantise
from codec.networks.transform import Transforms, analyse, positions, project, synthesise
from codec.system.threads import pool_of
from codec.vlae import coder
from codec.vlae.pipeline import Progress

PASSES = (0, 2, 4)
"""In which y is chosen, at each effort: the first time as analysis makes it, then refined. The first refinement makes
files 2 to 3 % smaller, two more about 0.5 %."""
REFINEMENT = 3
"""Quarters of the way that y goes to where synthesis would be right."""
POSITIONS = 64
"""For each so many one more thread works the transforms: fewer are worked in the time that threads take."""

U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Lossy:
    """What `encode` returns: the code of y, and the samples (H, W, 3 or 1), uint8, that a decoder will return."""

    encoded: coder.Encoded
    samples: U8


def _workers(threads: int | None, shape: tuple[int, ...]) -> int:
    most = (os.cpu_count() or 1) if threads is None else threads
    return min(most, 1 + prod(positions(*shape[:2])) // POSITIONS)


def _transforms(model: Model) -> Transforms:
    if model.transforms is None:
        raise ModelError(f"model {model.number}: has no transforms")
    return model.transforms


def encode(
    model: Model,
    samples: U8,
    quality: int,
    latents: Latents | None,
    *,
    effort: int,
    onto: Sequence[Stack] = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Lossy:
    """Return the code of an image (H, W, 3 or 1) of uint8; `decoded` is its inverse but for what is lost.

    Parameters
    ----------
    quality : int
        1 to the conditions of the model.
    latents : Latents or None
        None takes what makes the code shortest.
    effort : int
        One of `codec.images.goals.EFFORTS`.
    onto : sequence of Stack
        As of `codec.vlae.coder.encode`.

    Raises
    ------
    ModelError
        The model has no transforms or does not serve the quality.
    """
    transforms, level, limit = _transforms(model), quality - 1, model.layout.high
    if not 0 <= level < len(transforms.steps):
        raise ModelError(f"model {model.number}: serves qualities 1 to {len(transforms.steps)}, got {quality}")
    steps, prices = transforms.steps[level], transforms.prices[level].astype(np.int64)
    workers = _workers(threads, samples.shape)
    passes = PASSES[effort - 1]

    def report(number: int) -> Progress | None:
        if progress is None:
            return None
        return lambda done, total: progress(number * total + done, (passes + 1) * total)

    colours = np.ascontiguousarray(np.broadcast_to(samples, (*samples.shape[:2], 3)))
    with pool_of(workers) as pool:
        y = analyse(colours, transforms, level, pool, workers)
        tensor = quantise(y, steps, limit)
        errors = worth(colours)
        for number in range(passes):
            if number:
                values = dequantise(tensor, steps)
                back = synthesise(values, transforms, level, samples.shape[0], samples.shape[1], pool, workers)
                moved = project(colours, back, transforms)
                moved += values.astype(np.int32) << (Y_BITS - VALUE_BITS)
                moved -= y
                moved *= REFINEMENT
                moved >>= 2
                y += moved
                del values, back, moved  # as large as several images
                tensor = quantise(y, steps, limit)
            fine = quantise(y, np.maximum(steps // FINE, 1), FINE * limit)
            tensor = coder.optimise(
                model, tensor, fine, level, prices, errors, threads=threads, progress=report(number)
            )
    encoded = coder.encode(model, tensor, level, latents, onto=onto, threads=threads, progress=report(passes))
    return Lossy(encoded, decoded(model, tensor, quality, samples.shape, threads))


def decoded(model: Model, tensor: Raster, quality: int, shape: tuple[int, ...], threads: int | None = None) -> U8:
    """Return the samples, uint8 array of a shape (H, W, 3 or 1), of a tensor of quantised y.

    Raises
    ------
    ModelError
        The model has no transforms.
    """
    transforms, level = _transforms(model), quality - 1
    workers = _workers(threads, shape)
    with pool_of(workers) as pool:
        values = dequantise(tensor, transforms.steps[level])
        colours = synthesise(values, transforms, level, shape[0], shape[1], pool, workers)
    if shape[2] == 3:
        return colours
    grey: U8 = ((colours.sum(-1, dtype=np.uint16, keepdims=True) + 1) // 3).astype(np.uint8)
    return grey
