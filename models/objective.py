"""The loss: minus the ELBO of crops, in bits per sub-pixel, from a random subset of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec import contexts
from codec.contexts import ORDER
from codec.shipped import model_for
from codec.vlae import rounded
from models.networks import BEYOND, CONTEXT_UNIT, VLAE, bin_mass, compress_table, logistic_bits, sample_planes
from models.spatial import Spatial


@dataclass
class Pixels:
    """Pixels chosen for the likelihood, as many from each tile: positions (B, T, N) of B images."""

    y: NDArray[np.int64]
    x: NDArray[np.int64]


@dataclass
class Terms:
    """Parts of the code length, in bits: of each chosen pixel (B, T, N), and of each tile (B, T)."""

    pixel_bits: Tensor
    prior_bits: Tensor
    posterior_bits: Tensor


@dataclass
class Batch:
    """Crops that are learned from.

    Attributes
    ----------
    samples, decoded : uint8 tensors (B, S, S, 3)
        What is coded, and what contexts hold of it.
    errors : int64 tensor (B,)
        Largest error within which each is coded.
    grey : bool tensor (B,)
        Three equal channels: one is coded.
    """

    samples: Tensor
    decoded: Tensor
    errors: Tensor
    grey: Tensor


def make_batch(crops: NDArray[np.uint8], shares: Sequence[float], rng: np.random.Generator) -> Batch:
    """Return crops (B, S, S, 3), each coded within a random error d; ``shares`` of d = 0, 1, ..."""
    errors = rng.choice(len(shares), size=len(crops), p=shares)
    grey = (crops == crops[..., :1]).all((1, 2, 3))
    decoded = [decoded_samples(*one) for one in zip(crops, errors, grey, strict=True)]
    return Batch(*(torch.from_numpy(a) for a in (crops, np.stack(decoded), errors, grey)))


def decoded_samples(samples: NDArray[np.uint8], error: int, grey: bool = False) -> NDArray[np.uint8]:
    """Return what contexts hold of an image (H, W, 3) that is coded within ``error``; of a grey one a channel is coded.

    A file holds what its own model rounds. Here the model that ships rounds: it is close to any that
    is trained, and at hand from the first step on.
    """
    if error == 0:
        return samples
    return rounded(model_for(error), samples[..., :1] if grey else samples, int(error))


class Inputs:
    """Gathers the likelihood's inputs of chosen pixels: it sees ``offsets`` (P, 2), or of them ``grey`` alone."""

    def __init__(self, offsets: NDArray[np.int64], *, grey: bool = False) -> None:
        self.offsets = offsets
        self.grey = grey
        self.table = compress_table()

    def __call__(self, images: Tensor, pixels: Pixels) -> tuple[Tensor, Tensor, Tensor]:
        """Return samples (B, T, N, 3), references (B, T, N, 3) and network inputs (B, T, N, 3 P + 3).

        ``images`` is a uint8 tensor (B, H, W, 3) of decoded values.
        """
        b, h, w, _ = images.shape
        words = self._words(images)
        k, j = self.offsets.T
        where = contexts.neighbour(pixels.y[..., None], pixels.x[..., None], k, j, w)
        where[where < 0] = h * w
        start = np.arange(b)[:, None, None] * (h * w + 1)
        around = self._samples(words, where + start[..., None])  # (B, T, N, P, 3)
        values = self._samples(words, pixels.y * w + pixels.x + start)
        if self.grey:
            around = (around[..., :1] + 2 * around[..., 1:2] + around[..., 2:] + 2) >> 2
        reference = torch.zeros(*values.shape[:-1], around.shape[-1], dtype=torch.int32)
        for row, column, weight in contexts.REFERENCE:
            place = int(np.flatnonzero((k == row) & (j == column))[0])
            reference += weight * around[..., place, :]
        reference = ((reference + 2) >> 2).clamp(0, 255)
        steps = self.table[around - reference[..., None, :] + 255]
        level = torch.floor((reference - contexts.NO_PIXEL) / 2)
        return values, reference.expand_as(values), torch.cat([steps.flatten(-2), level], -1) / CONTEXT_UNIT

    def samples(self, images: Tensor, pixels: Pixels) -> Tensor:
        """Return the samples (B, T, N, 3) of the chosen pixels."""
        b, h, w, _ = images.shape
        start = np.arange(b)[:, None, None] * (h * w + 1)
        return self._samples(self._words(images), pixels.y * w + pixels.x + start)

    @staticmethod
    def _words(images: Tensor) -> Tensor:
        """Return images as 32-bit words, a missing pixel after each: gathered three times faster than bytes."""
        b, h, w, _ = images.shape
        flat = torch.full((b, h * w + 1, 4), contexts.NO_PIXEL, dtype=torch.uint8)
        flat[:, :-1, :3] = images.reshape(b, h * w, 3)
        return flat.view(torch.int32)[..., 0].reshape(-1)

    @staticmethod
    def _samples(words: Tensor, where: NDArray[np.int64]) -> Tensor:
        return words[torch.from_numpy(where)][..., None].view(torch.uint8)[..., :3].int()


def bins(samples: Tensor, centre: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the edges of the bins that hold samples, and how many bins there are.

    The bins are 2 d + 1 wide, one of them has ``centre`` in its middle, and the outermost take the
    tails; see FORMAT.md, "Distributions". All tensors are floats of whole numbers, shapes broadcast.
    """
    step = 2 * d + 1
    first = centre - step * torch.floor((centre + d) / step)
    value = first + step * torch.floor((samples - first + d) / step)
    low = torch.where(value - d <= 0, -BEYOND, value - d - 0.5)
    high = torch.where(value + d >= 255, BEYOND, value + d + 0.5)
    return low, high, torch.floor((255 - first + d) / step) + 1


def pixel_bits(
    model: VLAE | Spatial,
    gather: Inputs,
    images: Tensor,
    decoded: Tensor,
    pixels: Pixels,
    biases: Tensor,
    errors: Tensor,
    features: Tensor | None = None,
) -> Tensor:
    """Return -log2 p(x|z) per pixel and channel (B, T, N, 3), channels in coding order.

    Parameters
    ----------
    images : uint8 tensor (B, H, W, 3)
        What is coded, within ``errors``.
    decoded : uint8 tensor (B, H, W, 3)
        What the contexts hold: ``images`` themselves if they are coded losslessly.
    biases : float tensor (B, T, bias_count), one row a tile
    errors : int64 tensor (B,)
    features : float tensor (B, T, N, F) or None
        What else the likelihood sees of each pixel.
    """
    values, reference, inputs = gather(decoded, pixels)
    if features is not None:
        inputs = torch.cat([inputs, features], -1)
    samples = gather.samples(images, pixels)
    green, red, _ = ((values - reference)[..., c] for c in ORDER)

    def unit(d: Tensor) -> Tensor:
        return gather.table[d.clamp(-255, 255) + 255] / CONTEXT_UNIT

    colours = (unit(green)[..., None], torch.stack([unit(green), unit(red), unit(red - green)], -1))
    raw = model.likelihood(inputs, colours, biases[:, :, None])
    d = errors[:, None, None].float()
    bits, earlier = [], []
    for place, channel in enumerate(ORDER):
        ref = reference[..., channel].float()
        weights, means, scales = model.likelihood.mixture(raw[place], ref, earlier)
        centre = (weights * means).sum(-1).detach().round().clamp(0, 255)
        low, high, count = bins(samples[..., channel].float(), centre, d)
        bits.append(-torch.log2(bin_mass(weights, means, scales, low, high, count)))
        earlier.append(values[..., channel].float() - ref)
    return torch.stack(bits, -1)


def tiles_of(images: Tensor, top: int, left: int, rows: int, columns: int, tile: int) -> Tensor:
    """Return tiles as (B * rows * columns, 3, tile, tile) of uint8 images (B, H, W, 3)."""
    b = images.shape[0]
    area = images[:, top : top + rows * tile, left : left + columns * tile]
    area = area.reshape(b, rows, tile, columns, tile, 3).permute(0, 1, 3, 5, 2, 4)
    return area.reshape(b * rows * columns, 3, tile, tile)


def latent_bits(
    model: VLAE, means: Tensor, scales: Tensor, condition: Tensor, *, sample: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample z, or take its mode, and return it with its prior and posterior bits.

    Parameters
    ----------
    means, scales : float tensors (B, R, C, latents), the posterior of a grid of tiles
    condition : tensor (B, ...), see `models.networks.Condition`

    Returns
    -------
    z, float tensor (B, R, C, latents) with straight-through gradients; prior and posterior bits (B, R, C).
    """
    grid = model.config.grid
    b, rows, columns, n = means.shape
    continuous = means
    if sample:
        u = torch.rand_like(means).clamp(1e-6, 1 - 1e-6)
        continuous = means + torch.exp2(scales) * torch.logit(u)
    z = (continuous + (torch.round(continuous) - continuous).detach()).clamp(-grid, grid)
    posterior = logistic_bits(z, means, scales, grid).sum(-1)
    left = torch.cat([torch.zeros_like(z[:, :, :1]), z[:, :, :-1]], 2)
    present = torch.zeros(b, rows, columns, 1)
    present[:, :, 1:] = 1
    repeated = condition.repeat_interleave(rows * columns, 0)
    p_means, p_scales = model.prior(z.reshape(-1, n), left.reshape(-1, n), present.reshape(-1, 1), repeated)
    shape = means.shape
    prior = logistic_bits(z, p_means.reshape(shape), p_scales.reshape(shape), grid).sum(-1)
    return z, prior, posterior


def crop_terms(
    model: VLAE, gather: Inputs, batch: Batch, count: int, rng: np.random.Generator, *, drop: float
) -> Terms:
    """Return the code length of random pixels of crops of 2 x 2 tiles, and of their latents.

    Parameters
    ----------
    batch : Batch
        With S = 2 tile + 2 radius.
    count : int
        Pixels a tile.
    drop : float
        Share of crops whose latents are switched off.

    Notes
    -----
    Now and then the tiles are laid at the crop's border, so that the model meets image borders.
    """
    config = model.config
    images, errors = batch.samples, batch.errors
    b, size = images.shape[:2]
    tile, side = config.tile, 2 * config.tile
    margin = size - side
    # All crops of a batch share their placement: it makes the tiles one slice.
    top = 0 if rng.random() < 0.08 else margin
    left = int(rng.choice([0, margin // 2, margin], p=[0.08, 0.84, 0.08]))
    y, x = rng.integers(0, tile, (2, b, 4, count))
    corner = np.arange(4)[:, None]
    pixels = Pixels(y + top + corner // 2 * tile, x + left + corner % 2 * tile)
    off = model.biases(None, errors)[:, None].expand(b, 4, -1)
    if config.latents:
        z_errors = errors.repeat_interleave(4)
        means, scales = model.posterior(sample_planes(tiles_of(images, top, left, 2, 2, tile), gather.table), z_errors)
        grid_shape = (b, 2, 2, config.latents)
        z, prior, posterior = latent_bits(model, means.reshape(grid_shape), scales.reshape(grid_shape), errors)
        on = torch.from_numpy(rng.random(b) >= drop)
        biases = model.biases(z.reshape(b * 4, -1), z_errors).reshape(b, 4, -1)
        biases = torch.where(on[:, None, None], biases, off)
        prior = prior.flatten(1) * on[:, None]
        posterior = posterior.flatten(1) * on[:, None]
    else:
        biases = off
        prior = posterior = torch.zeros(b, 4)
    bits = pixel_bits(model, gather, images, batch.decoded, pixels, biases, errors)
    # Of a grey image only the first channel is coded; it counts three times to weigh like others.
    weight = torch.where(batch.grey[:, None], torch.tensor([3.0, 0, 0]), torch.ones(3))[:, None, None]
    return Terms((bits * weight).sum(-1), prior, posterior)


def neg_elbo_bits(terms: Terms, tile: int, latent_price: float = 1.0) -> Tensor:
    """Return minus the ELBO in bits per sub-pixel, a scalar; the bits of latents count ``latent_price`` times."""
    area = 3 * tile * tile
    latent = (terms.prior_bits - terms.posterior_bits).mean() / area
    return terms.pixel_bits.mean() / 3 + latent_price * latent
