"""Evaluation of a float model on whole images: minus the ELBO from a fixed sample of their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from codec.near_lossless import approximate
from models.data import load_images
from models.networks import VLAE
from models.objective import Inputs, Pixels, latent_bits, pixel_bits, tiles_of


def pad_to_tiles(image: NDArray[np.uint8], tile: int) -> NDArray[np.uint8]:
    """Return the image with its last row and column repeated until whole tiles fill it."""
    h, w = image.shape[:2]
    return np.pad(image, ((0, -h % tile), (0, -w % tile), (0, 0)), "edge")


@torch.no_grad()
def image_bits(
    model: VLAE,
    image: NDArray[np.uint8],
    count: int | None,
    error: int = 0,
    *,
    latents: bool = True,
    sample: bool = True,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the bits of pixels, and of latents, of an RGB image (H, W, 3).

    Parameters
    ----------
    count : int or None
        Pixels a tile from which the bits are estimated; None takes all, of an image of whole tiles.
    error : int
        Largest error within which the image is coded.
    latents : bool
        Whether latents are on.
    sample : bool
        Whether latents are sampled from the posterior, or its mode.
    """
    config = model.config
    tile = config.tile
    h, w = image.shape[:2]
    errors = torch.tensor([error])
    original = torch.from_numpy(np.array(image))[None]
    decoded = torch.from_numpy(approximate(image, error).copy())[None]
    rows, columns = -(-h // tile), -(-w // tile)
    rng = np.random.default_rng(seed)
    corner_y, corner_x = (a.reshape(-1, 1) for a in np.mgrid[0 : rows * tile : tile, 0 : columns * tile : tile])
    heights, widths = np.minimum(tile, h - corner_y), np.minimum(tile, w - corner_x)
    if count is None:
        y, x = (
            corner + a.reshape(1, -1) for corner, a in zip((corner_y, corner_x), np.mgrid[:tile, :tile], strict=True)
        )
    else:
        y = corner_y + (rng.random((rows * columns, count)) * heights).astype(np.int64)
        x = corner_x + (rng.random((rows * columns, count)) * widths).astype(np.int64)
    latent = 0.0
    biases = model.biases(None, errors)[:, None].expand(1, rows * columns, -1)
    if latents and config.latents:
        padded = torch.from_numpy(pad_to_tiles(image, tile))[None]
        repeated = errors.expand(rows * columns)
        means, scales = model.posterior(tiles_of(padded, 0, 0, rows, columns, tile), repeated)
        shape = (1, rows, columns, config.latents)
        torch.default_generator.manual_seed(seed)
        z, prior, posterior = latent_bits(model, means.reshape(shape), scales.reshape(shape), errors, sample=sample)
        latent = float((prior - posterior).sum())
        biases = model.biases(z.reshape(rows * columns, -1), repeated)[None]
    bits = pixel_bits(model, Inputs(config.radius), original, decoded, Pixels(y[None], x[None]), biases, errors)
    areas = (heights * widths)[:, 0]
    return float((bits[0].sum(-1).mean(-1).double().numpy() * areas).sum()), latent


def folder_bpsp(model: VLAE, folder: Path, count: int, error: int = 0, *, latents: bool = True) -> tuple[float, float]:
    """Return the mean over a folder's images of bits per sub-pixel, and of the latents' share of them."""
    rows = []
    for image in load_images(folder):
        pixels, latent = image_bits(model, image, count, error, latents=latents)
        rows.append(((pixels + latent) / image.size, latent / image.size))
    total, latent = np.mean(rows, axis=0)
    return float(total), float(latent)
