"""Evaluation of a float model on whole images: minus the ELBO, estimated from a fixed sample of their pixels."""

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
from models.nets.inputs import Inputs, Places
from models.nets.objective import Batch, infer, pixel_bits
from models.nets.vlae import VLAE
from models.noise import Noise

U8 = NDArray[np.uint8]
REFINE_RATE = 0.3
"""Learning rate of `_refine`: of a mean of z, in grid steps, and of its log2 scale."""


class Tiled:
    """An image that is cut into tiles. The last tiles may reach beyond it.

    Attributes
    ----------
    rows, columns : int
        Numbers of tiles along the sides.
    areas : int64 array (T,)
        Number of each tile's pixels that lie in the image.
    """

    def __init__(self, image: U8, tile: int, device: torch.device) -> None:
        h, w = image.shape[:2]
        self.tile = tile
        self.device = device
        self.rows, self.columns = -(-h // tile), -(-w // tile)
        corners = np.mgrid[0 : self.rows * tile : tile, 0 : self.columns * tile : tile]
        self._y, self._x = (a.reshape(-1, 1) for a in corners)
        self._heights, self._widths = np.minimum(tile, h - self._y), np.minimum(tile, w - self._x)
        self.areas: NDArray[np.int64] = (self._heights * self._widths)[:, 0]

    def padded(self, image: U8) -> U8:
        """Return the image with its last row and column repeated until whole tiles fill it."""
        h, w = image.shape[:2]
        return np.pad(image, ((0, -h % self.tile), (0, -w % self.tile), (0, 0)), "edge")

    def random_places(self, count: int, rng: np.random.Generator) -> Places:
        """Return ``count`` random pixels of each tile. All of them lie in the image."""
        y = self._y + (rng.random((len(self._y), count)) * self._heights).astype(np.int64)
        x = self._x + (rng.random((len(self._x), count)) * self._widths).astype(np.int64)
        return self._places(y, x)

    def all_places(self) -> Places:
        """Return all pixels of each tile."""
        y, x = np.mgrid[: self.tile, : self.tile].reshape(2, 1, -1)
        return self._places(self._y + y, self._x + x)

    def _places(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> Places:
        return Places(*(torch.from_numpy(a)[None].to(self.device) for a in (y, x)))


def _tile_bits(pixel_bits: Tensor, kl_bits: Tensor, areas: NDArray[np.int64]) -> Tensor:
    """Return the bits of all tiles, estimated from the bits of some pixels (1, T, N, 3) and of latents (1, R, C)."""
    area = torch.from_numpy(areas).float().to(pixel_bits.device)
    return (pixel_bits[0].sum(-1).mean(-1) * area).sum() + kl_bits.sum()


@torch.enable_grad()
def _refine(
    bits: Callable[[Tensor, Tensor], Tensor], means: Tensor, scales: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Return the posterior's means and scales after steps of Adam that make ``bits`` of them smaller.

    Each step draws fresh samples. This closes the gap between the amortised posterior and the best one of its family
    for this image (Kim et al. 2018, *Semi-amortized variational autoencoders*).
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
    decoded: NDArray[np.uint8] | None = None,
) -> tuple[float, float]:
    """Return the bits of the pixels, and of the latents, of an RGB image (H, W, 3).

    Parameters
    ----------
    count : int or None
        Pixels of each tile from which the bits are estimated. None takes all; then the image must have whole tiles.
    error : int
        Largest error within which the image is coded.
    latents : bool
        Whether latents are on.
    sample : bool
        Whether latents are sampled from the posterior; if not, they are its mode.
    refine_steps : int
        Steps of a search for a better posterior of this image, see `_refine`.
    decoded : uint8 array (H, W, 3) or None
        The image as contexts show it, from `models.data.rounding.Rounder`. None stands for the image itself.

    Raises
    ------
    ValueError
        ``error`` is above 0, and ``decoded`` is None.

    Notes
    -----
    There are many parameters, so that all comparisons (with latents or without, refined, sampled, or coded completely)
    use the same measure.
    """
    if error and decoded is None:
        raise ValueError(f"decoded: expected what contexts hold within {error}")
    config, device = model.config, model.off.device
    tiled, rng = Tiled(image, config.tile, device), np.random.default_rng(0)
    errors = torch.tensor([error], device=device)
    samples, shown = (
        torch.from_numpy(np.array(a))[None].to(device) for a in (image, image if decoded is None else decoded)
    )
    batch = Batch(samples, shown, errors, torch.zeros(1, dtype=torch.bool, device=device))
    places = tiled.all_places() if count is None else tiled.random_places(count, rng)
    gather = Inputs(contexts.offsets(config.radius), device=device)
    latent = 0.0
    if latents and config.latents:
        noise = Noise(device=device) if sample else None
        padded = torch.from_numpy(tiled.padded(image))[None].to(device)
        posterior = infer(model, gather, padded, errors)

        def code(means: Tensor, scales: Tensor, places: Places) -> tuple[Tensor, Tensor]:
            drawn = model.draw((means, scales), errors, noise)
            biases = model.biases(drawn.z, errors)
            return pixel_bits(model.likelihood, gather, batch, places, biases), drawn.tile_bits

        if refine_steps:

            def fresh_bits(means: Tensor, scales: Tensor) -> Tensor:
                fresh = places if count is None else tiled.random_places(count, rng)
                return _tile_bits(*code(means, scales, fresh), tiled.areas)

            posterior = _refine(fresh_bits, *posterior, refine_steps)
        bits, kl = code(*posterior, places)
        latent = float(kl.sum())
    else:
        biases = model.biases_off(errors)[:, None].expand(1, tiled.rows * tiled.columns, -1)
        bits = pixel_bits(model.likelihood, gather, batch, places, biases)
    return float((bits[0].sum(-1).mean(-1).double().cpu().numpy() * tiled.areas).sum()), latent


def folder_bpsp(
    model: VLAE, folder: Path, count: int, rounder: Rounder, error: int = 0, *, refine_steps: int = 0
) -> tuple[float, float, float]:
    """Return bits per sub-pixel, averaged over a folder's images: all, the latents' part, and all with latents off."""
    rows = []
    for image in load_images(folder):
        decoded = rounder(image, error)
        pixels, latent = image_bits(model, image, count, error, refine_steps=refine_steps, decoded=decoded)
        off, _ = image_bits(model, image, count, error, latents=False, decoded=decoded)
        rows.append(np.array([pixels + latent, latent, off]) / image.size)
    total, latent, off = np.mean(rows, axis=0)
    return float(total), float(latent), float(off)
