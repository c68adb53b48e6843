"""Lossy files: the quantised latents y of a learned transform are a tensor, which the VLAE coder codes.

    samples -> analysis -> y -> quantised y -> VLAE coder          compress
    samples <- synthesis <- y <- quantised y <- VLAE coder         decompress

Quality sets the steps of the quantisation, and the biases of all networks depend on it. All arithmetic is exact: all
decoders return the same samples, and the encoder knows them. A grey image is worked as three equal channels.
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
from codec.networks.mean_colours import mean_colours
from codec.networks.quantisation import dequantise
from codec.networks.transform import Transforms, positions, synthesise
from codec.system.threads import pool_of

POSITIONS = 64
"""Positions for each thread that works the transforms. To start a thread takes as long as working fewer positions."""

U8 = NDArray[np.uint8]


def workers_of(threads: int | None, shape: tuple[int, ...]) -> int:
    """Return the number of threads that work the transforms of an image of a shape (H, W, ...), at most ``threads``."""
    most = (os.cpu_count() or 1) if threads is None else threads
    return min(most, 1 + prod(positions(*shape[:2])) // POSITIONS)


def transforms_of(model: Model) -> Transforms:
    """Return the transforms of a model.

    Raises
    ------
    ModelError
        The model has none.
    """
    if model.transforms is None:
        raise ModelError(f"model {model.number}: has no transforms")
    return model.transforms


def decoded(model: Model, tensor: Raster, quality: int, shape: tuple[int, ...], threads: int | None = None) -> U8:
    """Return the samples of a tensor of quantised y, uint8 array of the given shape.

    Parameters
    ----------
    model : Model
    tensor : int16 array (h, w, C)
    quality : int
        1 to the conditions of the model.
    shape : tuple of int
        (H, W, 3), or (H, W, 1) for a grey image.
    threads : int or None
        Largest number of threads.

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
    return colours if shape[2] == 3 else _grey(colours)


def reduced(model: Model, tensor: Raster, quality: int, channels: int) -> U8:
    """Return about the mean samples of each 8 x 8 patch, uint8 array (h, w, channels), of a tensor of quantised y.

    This takes a small part of the time of `decoded`.

    Parameters
    ----------
    model, tensor, quality
        As for `decoded`.
    channels : int
        3, or 1 for a grey image.

    Raises
    ------
    ModelError
        The model has no transforms.
    """
    transforms = transforms_of(model)
    colours = mean_colours(dequantise(tensor, transforms.steps[quality - 1]), transforms)
    return colours if channels == 3 else _grey(colours)


def _grey(colours: U8) -> U8:
    """Return the rounded mean of three colours, uint8 array (H, W, 1)."""
    grey: U8 = ((colours.sum(-1, dtype=np.uint16, keepdims=True) + 1) // 3).astype(np.uint8)
    return grey
