"""Evaluation of a float model on whole images: minus the ELBO from a fixed sample of their pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.frozen import contexts
from models.data.crops import load_images
from models.data.rounding import Rounder
from models.nets.inputs import Inputs, Pixels
from models.nets.objective import latent_bits, pixel_bits, tiles_of
from models.nets.vlae import VLAE, sample_planes
from models.noise import Noise

REFINE_RATE = 0.3
"""Step of a mean of z, in grid steps, and of its log2 scale."""


def pad_to_tiles(image: NDArray[np.uint8], tile: int) -> NDArray[np.uint8]:
    """Return the image with its last row and column repeated until whole tiles fill it."""
    h, w = image.shape[:2]
    return np.pad(image, ((0, -h % tile), (0, -w % tile), (0, 0)), "edge")


def _tile_bits(pixel_bits: Tensor, kl_bits: Tensor, areas: NDArray[np.int64]) -> Tensor:
    """Return the bits of all tiles from those of some of their pixels (1, T, N, 3), and of latents (1, R, C)."""
    area = torch.from_numpy(areas[:, 0]).float().to(pixel_bits.device)
    return (pixel_bits[0].sum(-1).mean(-1) * area).sum() + kl_bits.sum()


@torch.enable_grad()
def _refine(
    bits: Callable[[Tensor, Tensor], Tensor], means: Tensor, scales: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Return the posterior's means and scales moved so that ``bits`` of them falls: Adam on fresh samples.

    It closes the gap between the amortised posterior and the best one of its family for this image
    (Kim et al. 2018, *Semi-amortized variational autoencoders*).
    """
    moved = [means.clone().requires_grad_(), scales.clone().requires_grad_()]
    adam = torch.optim.Adam(moved, lr=REFINE_RATE)
    for _ in range(steps):
        gradients = torch.autograd.grad(bits(*moved), moved)
        for parameter, gradient in zip(moved, gradients, strict=True):
            parameter.grad = gradient
        adam.step()
    return moved[0].detach(), moved[1].detach()


@torch.no_grad()
def image_bits(
    model: VLAE,
    image: NDArray[np.uint8],
    count: int | None,
    error: int = 0,
    *,
    latents: bool = True,
    sample: bool = True,
    refine_steps: int = 0,
    seed: int = 0,
    decoded: NDArray[np.uint8] | None = None,
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
    refine_steps : int
        Steps by which an encoder would search for a better posterior of this image, see `_refine`.
    decoded : uint8 array (H, W, 3) or None
        What contexts hold, from `models.data.rounding.Rounder`; None if that is the image itself.
    """
    if error and decoded is None:
        raise ValueError(f"decoded: expected what contexts hold within {error}")
    config = model.config
    tile = config.tile
    h, w = image.shape[:2]
    device = model.off.device
    errors = torch.tensor([error], device=device)
    original = torch.from_numpy(np.array(image))[None].to(device)
    seen = original if decoded is None else torch.from_numpy(np.array(decoded))[None].to(device)
    rows, columns = -(-h // tile), -(-w // tile)
    rng = np.random.default_rng(seed)
    corner_y, corner_x = (a.reshape(-1, 1) for a in np.mgrid[0 : rows * tile : tile, 0 : columns * tile : tile])
    heights, widths = np.minimum(tile, h - corner_y), np.minimum(tile, w - corner_x)

    def draw() -> Pixels:
        y = corner_y + (rng.random((rows * columns, count)) * heights).astype(np.int64)
        x = corner_x + (rng.random((rows * columns, count)) * widths).astype(np.int64)
        return Pixels(*(torch.from_numpy(a)[None].to(device) for a in (y, x)))

    if count is None:
        places = zip((corner_y, corner_x), np.mgrid[:tile, :tile], strict=True)
        pixels = Pixels(*(torch.from_numpy(corner + a.reshape(1, -1))[None].to(device) for corner, a in places))
    else:
        pixels = draw()
    gather = Inputs(contexts.offsets(config.radius), device=device)
    latent = 0.0
    if latents and config.latents:
        padded = torch.from_numpy(pad_to_tiles(image, tile))[None].to(device)
        repeated = errors.expand(rows * columns)
        means, scales = model.posterior(
            sample_planes(tiles_of(padded, 0, 0, rows, columns, tile), gather.table), repeated
        )
        shape = (1, rows, columns, config.latents)
        means, scales = means.reshape(shape), scales.reshape(shape)
        noise = Noise(seed, device) if sample else None

        def code(means: Tensor, scales: Tensor, pixels: Pixels) -> tuple[Tensor, Tensor]:
            z, prior, posterior = latent_bits(model, means, scales, errors, noise)
            biases = model.biases(z.reshape(rows * columns, -1), repeated)[None]
            return pixel_bits(model, gather, original, seen, pixels, biases, errors), prior - posterior

        if refine_steps:
            means, scales = _refine(
                lambda *q: _tile_bits(*code(*q, draw()), heights * widths), means, scales, refine_steps
            )
        bits, kl = code(means, scales, pixels)
        latent = float(kl.sum())
    else:
        biases = model.biases(None, errors)[:, None].expand(1, rows * columns, -1)
        bits = pixel_bits(model, gather, original, seen, pixels, biases, errors)
    areas = (heights * widths)[:, 0]
    return float((bits[0].sum(-1).mean(-1).double().cpu().numpy() * areas).sum()), latent


def folder_bpsp(
    model: VLAE, folder: Path, count: int, rounder: Rounder, error: int = 0, *, refine_steps: int = 0
) -> tuple[float, float, float]:
    """Return means over a folder's images of bits per sub-pixel: all, the latents' share, all with latents off."""
    rows = []
    for image in load_images(folder):
        decoded = rounder(image, error)
        pixels, latent = image_bits(model, image, count, error, refine_steps=refine_steps, decoded=decoded)
        off, _ = image_bits(model, image, count, error, latents=False, decoded=decoded)
        rows.append(np.array([pixels + latent, latent, off]) / image.size)
    total, latent, off = np.mean(rows, axis=0)
    return float(total), float(latent), float(off)
