"""The loss: minus the ELBO of crops, in bits per sub-pixel, from a random subset of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.frozen.contexts import ORDER
from models.data.rounding import Rounder
from models.nets.inputs import Inputs, Pixels
from models.nets.spatial import Spatial
from models.nets.vlae import BEYOND, CONTEXT_UNIT, VLAE, bin_mass, logistic_bits, sample_planes
from models.noise import Noise


@dataclass
class Terms:
    """Parts of the code length, in bits: of each chosen pixel (B, T, N), and of each tile (B, T)."""

    pixel_bits: Tensor
    prior_bits: Tensor
    posterior_bits: Tensor


class Batch(NamedTuple):
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


def make_batch(crops: NDArray[np.uint8], shares: Sequence[float], rng: np.random.Generator, rounder: Rounder) -> Batch:
    """Return crops (B, S, S, 3), each coded within a random error d; ``shares`` of d = 0, 1, ..."""
    errors = rng.choice(len(shares), size=len(crops), p=shares)
    grey = (crops == crops[..., :1]).all((1, 2, 3))
    decoded = [rounder(*one) for one in zip(crops, errors, grey, strict=True)]
    return Batch(*(torch.from_numpy(a) for a in (crops, np.stack(decoded), errors, grey)))


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
    model: VLAE, means: Tensor, scales: Tensor, condition: Tensor, noise: Noise | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample z, or take its mode, and return it with its prior and posterior bits.

    Parameters
    ----------
    means, scales : float tensors (B, R, C, latents), the posterior of a grid of tiles
    condition : tensor (B, ...), see `models.nets.vlae.Condition`
    noise : Noise or None
        None takes the mode.

    Returns
    -------
    z, float tensor (B, R, C, latents) with straight-through gradients; prior and posterior bits (B, R, C).
    """
    grid = model.config.grid
    b, rows, columns, n = means.shape
    continuous = means
    if noise is not None:
        u = noise.uniform(*means.shape).clamp(1e-6, 1 - 1e-6)
        continuous = means + torch.exp2(scales) * torch.logit(u)
    z = (continuous + (torch.round(continuous) - continuous).detach()).clamp(-grid, grid)
    posterior = logistic_bits(z, means, scales, grid).sum(-1)
    left = torch.cat([torch.zeros_like(z[:, :, :1]), z[:, :, :-1]], 2)
    present = means.new_zeros(b, rows, columns, 1)
    present[:, :, 1:] = 1
    repeated = condition.repeat_interleave(rows * columns, 0)
    p_means, p_scales = model.prior(z.reshape(-1, n), left.reshape(-1, n), present.reshape(-1, 1), repeated)
    shape = means.shape
    prior = logistic_bits(z, p_means.reshape(shape), p_scales.reshape(shape), grid).sum(-1)
    return z, prior, posterior


def crop_terms(model: VLAE, gather: Inputs, batch: Batch, count: int, noise: Noise, *, drop: float) -> Terms:
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
    top = 0 if noise.host.random() < 0.08 else margin
    left = int(noise.host.choice([0, margin // 2, margin], p=[0.08, 0.84, 0.08]))
    y, x = (noise.integers(tile, b, 4, count) for _ in range(2))
    corner = torch.arange(4, device=images.device)[:, None]
    pixels = Pixels(y + top + corner // 2 * tile, x + left + corner % 2 * tile)
    off = model.biases(None, errors)[:, None].expand(b, 4, -1)
    if config.latents:
        z_errors = errors.repeat_interleave(4)
        means, scales = model.posterior(sample_planes(tiles_of(images, top, left, 2, 2, tile), gather.table), z_errors)
        grid_shape = (b, 2, 2, config.latents)
        z, prior, posterior = latent_bits(model, means.reshape(grid_shape), scales.reshape(grid_shape), errors, noise)
        on = noise.uniform(b) >= drop
        biases = model.biases(z.reshape(b * 4, -1), z_errors).reshape(b, 4, -1)
        biases = torch.where(on[:, None, None], biases, off)
        prior = prior.flatten(1) * on[:, None]
        posterior = posterior.flatten(1) * on[:, None]
    else:
        biases = off
        prior = posterior = off.new_zeros(b, 4)
    bits = pixel_bits(model, gather, images, batch.decoded, pixels, biases, errors)
    # Of a grey image only the first channel is coded; it counts three times to weigh like others.
    grey = batch.grey[:, None, None]
    return Terms(torch.where(grey, 3 * bits[..., 0], bits.sum(-1)), prior, posterior)


def neg_elbo_bits(terms: Terms, tile: int, latent_price: float = 1.0) -> Tensor:
    """Return minus the ELBO in bits per sub-pixel, a scalar; the bits of latents count ``latent_price`` times."""
    area = 3 * tile * tile
    latent = (terms.prior_bits - terms.posterior_bits).mean() / area
    return terms.pixel_bits.mean() / 3 + latent_price * latent
