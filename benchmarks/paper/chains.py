"""Chains of small images in one message, for models that need not ship, and the bounds of the same models for them."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.encoder import encoding
from codec.entropy.stack import Stack
from codec.format.headers import Latents
from codec.frozen.model import Model
from codec.frozen.weights import parse_model
from codec.ledger.evidence import elbo, importance, sample_bits
from codec.vlae import decoding, lanes
from codec.vlae.image import Image
from codec.vlae.latents import draw, mode, posterior_intervals, prior_intervals
from codec.vlae.pixels import intervals

U8 = NDArray[np.uint8]
PIECE = 50
"""Images of a process's task."""


@dataclass(frozen=True)
class Coded:
    """A message of many images.

    Attributes
    ----------
    images : int
    bits : int
        Length of the message, with its head and its initial bits.
    encode_s, decode_s : float
        Seconds on one core.
    """

    images: int
    bits: int
    encode_s: float
    decode_s: float


def code(model: Model, images: U8, latents: Latents) -> Coded:
    """Code images (N, H, W, C) as one chain, decode it and compare.

    Raises
    ------
    ValueError
        A decoded image differs from the original.
    """
    begin = time.perf_counter()
    chain: tuple[Stack, ...] = ()
    dry = []
    for values in images[::-1]:
        encoded = encoding.encode(model, values, 0, latents, onto=chain, threads=1)
        chain = (*encoded.messages, *chain[encoded.lanes :])
        dry.append(encoded.dry)
    payload, table = lanes.write_lanes(chain), lanes.lane_table(chain)
    middle = time.perf_counter()
    messages = lanes.read_lanes(payload, table)
    for values, is_dry in zip(images, reversed(dry), strict=True):
        image = replace(Image.blank(model, values.shape, 0, min(len(table), encoded.lanes)), dry=is_dry)
        decoding.pop_bands(image, messages, latents, threads=1)
        if not np.array_equal(image.samples, values):
            raise ValueError("an image was not decoded as it was")
    lanes.check_all_popped(messages)
    return Coded(len(images), 8 * len(payload), middle - begin, time.perf_counter() - middle)


@dataclass(frozen=True)
class Bits:
    """Bounds of a frozen model, averaged over images, in bits an image.

    Attributes
    ----------
    elbo, elbo_stderr : float
        Minus the ELBO, estimated from fresh latents, and its standard error.
    latent, pixel : float
        The parts of minus the ELBO: KL(q(z|x) || p(z)), and -log2 p(x|z).
    two_part : float
        -log2 p(z) p(x|z) of the posterior's mode.
    off : float
        -log2 p(x) without latents.
    """

    elbo: float
    elbo_stderr: float
    latent: float
    pixel: float
    two_part: float
    off: float


@lru_cache(maxsize=2)
def model_of(weights: Path) -> Model:
    """Return the model of a weights file."""
    return parse_model(weights.read_bytes())


def _in_processes(work: Any, weights: Path, images: U8, *more: Any) -> NDArray[np.float64]:
    """Return the rows that ``work`` returns for the images, in their order. Each core has a process."""
    tasks = [(weights, images[i : i + PIECE], i, *more) for i in range(0, len(images), PIECE)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(work, tasks)))


def _promise(task: tuple[Path, U8, int]) -> NDArray[np.float64]:
    """Return for each image latent and pixel bits of two samples, two-part bits, and bits without latents."""
    weights, images, seed = task
    model, rows = model_of(weights), []
    for number, values in enumerate(images):
        image = Image.of(model, values, 0)
        row = np.zeros(6)
        for band in range(image.bands):
            for sample in range(2):
                z = draw(image, band, 2 * (seed + number) + sample)
                row[sample] += prior_intervals(image, z).ideal_bits - posterior_intervals(image, band, z).ideal_bits
                row[2 + sample] += intervals(image, band, z, ideal=True).ideal_bits
            z = mode(image, band)
            row[4] += prior_intervals(image, z).ideal_bits + intervals(image, band, z, ideal=True).ideal_bits
            row[5] += intervals(image, band, None, ideal=True).ideal_bits
        rows.append(row)
    return np.array(rows)


def promise(weights: Path, images: U8) -> Bits:
    """Return the bounds of a frozen model for images (N, H, W, C)."""
    rows = _in_processes(_promise, weights, images)
    totals = rows[:, :2] + rows[:, 2:4]
    noise = float(np.sqrt((totals.var(1, ddof=1) / 2).sum())) / len(rows)
    latent, pixel, two_part, off = rows[:, :2].mean(), rows[:, 2:4].mean(), rows[:, 4].mean(), rows[:, 5].mean()
    return Bits(float(totals.mean()), noise, float(latent), float(pixel), float(two_part), float(off))


def _gap(task: tuple[Path, U8, int, int]) -> NDArray[np.float64]:
    """Return for each image minus its ELBO and its importance-weighted bound, from the same samples."""
    weights, images, seed, samples = task
    model, rows = model_of(weights), []
    for number, values in enumerate(images):
        bits = sample_bits(Image.of(model, values, 0), samples, seed + number, threads=1)
        rows.append((elbo(bits).bits, importance(bits, samples).bits))
    return np.array(rows)


def evidence_gap(weights: Path, images: U8, samples: int) -> tuple[float, float]:
    """Return minus the ELBO less the importance-weighted bound, in bits an image, and its standard error.

    It estimates KL(q(z|x) || p(z|x)) from below. The difference varies much less from image to image than the bounds
    themselves, so that a few images are enough.
    """
    rows = _in_processes(_gap, weights, images, samples)
    gaps = rows[:, 0] - rows[:, 1]
    return float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
