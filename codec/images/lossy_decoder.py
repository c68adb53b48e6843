"""Lossy files: the quantised latents y of a learned transform are a tensor, which the VLAE coder codes.

    samples -> analysis -> y -> quantised y -> VLAE coder          compress
    samples <- synthesis <- y <- quantised y <- VLAE coder         decompress

Quality sets the steps of the quantisation and moves biases everywhere. All of it is exact: every decoder
returns the same samples, and the encoder knows them. Grey images are worked as three equal channels.
See FORMAT.md, "Transforms".
"""

from __future__ import annotations

import os
from math import prod

import numpy as np
from numpy.typing import NDArray

from codec.errors import ModelError
from codec.frozen.likelihood import Raster
from codec.frozen.model import Model
from codec.networks.quantisation import dequantise
from codec.networks.transform import Transforms, positions, synthesise
from codec.system.threads import pool_of

POSITIONS = 64
"""For each so many one more thread works the transforms: fewer are worked in the time that threads take."""

U8 = NDArray[np.uint8]


def workers_of(threads: int | None, shape: tuple[int, ...]) -> int:
    """Return how many threads work the transforms of an image of a shape (H, W, ...)."""
    most = (os.cpu_count() or 1) if threads is None else threads
    return min(most, 1 + prod(positions(*shape[:2])) // POSITIONS)


def transforms_of(model: Model) -> Transforms:
    """Return the transforms of a model.

    Raises
    ------
    ModelError
        It has none.
    """
    if model.transforms is None:
        raise ModelError(f"model {model.number}: has no transforms")
    return model.transforms


def decoded(model: Model, tensor: Raster, quality: int, shape: tuple[int, ...], threads: int | None = None) -> U8:
    """Return the samples, uint8 array of a shape (H, W, 3 or 1), of a tensor of quantised y.

    Raises
    ------
    ModelError
        The model has no transforms.
    """
    transforms, level = transforms_of(model), quality - 1
    workers = workers_of(threads, shape)
    with pool_of(workers) as pool:
        values = dequantise(tensor, transforms.steps[level])
        colours = synthesise(values, transforms, level, shape[0], shape[1], pool, workers)
    if shape[2] == 3:
        return colours
    grey: U8 = ((colours.sum(-1, dtype=np.uint16, keepdims=True) + 1) // 3).astype(np.uint8)
    return grey
