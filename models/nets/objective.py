"""The loss: minus the ELBO of crops, in bits per sub-pixel, estimated from a random subset of their pixels."""

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
from models.nets.inputs import Inputs, Places
from models.nets.latents import BEYOND, bin_mass
from models.nets.likelihood import CONTEXT_UNIT, Likelihood
from models.nets.vlae import VLAE, sample_planes
from models.noise import Noise


@dataclass
class Terms:
    """The parts of the code length, in bits.

    Attributes
    ----------
    pixel_bits : float tensor (B, T, N)
        Bits of each chosen pixel.
    latent_bits : float tensor (B, T)
        Bits of the latents of each tile: the prior's minus the posterior's.
    """

    pixel_bits: Tensor
    latent_bits: Tensor


class Batch(NamedTuple):
    """Images to be coded, or crops to learn from.

    Attributes
    ----------
    samples, decoded : uint8 tensors (B, H, W, 3)
        The samples that are coded, and the decoded samples that contexts show.
    errors : int64 tensor (B,)
        Largest error within which each image is coded.
    grey : bool tensor (B,)
        Whether the three channels are equal. Then one of them is coded.
    """

    samples: Tensor
    decoded: Tensor
    errors: Tensor
    grey: Tensor

    @classmethod
    def lossless(cls, images: Tensor) -> Batch:
        """Return a batch of uint8 images (B, H, W, 3) that are coded losslessly, with all channels."""
        none = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        return cls(images, images, none, none.bool())


def make_batch(crops: NDArray[np.uint8], shares: Sequence[float], rng: np.random.Generator, rounder: Rounder) -> Batch:
    """Return a batch of crops (B, S, S, 3), each coded within a random error d; ``shares`` are for d = 0, 1, ..."""
    errors = rng.choice(len(shares), size=len(crops), p=shares)
    grey = (crops == crops[..., :1]).all((1, 2, 3))
    decoded = [rounder(*one) for one in zip(crops, errors, grey, strict=True)]
    return Batch(*(torch.from_numpy(a) for a in (crops, np.stack(decoded), errors, grey)))


def bins(samples: Tensor, centre: Tensor, d: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the lower and upper edges of the bins that hold samples, and the number of bins.

    The bins are 2 d + 1 wide, and one of them has ``centre`` in its middle. The outermost bins take the tails; see
    FORMAT.md, "Distributions". All tensors are floats with integer values, and their shapes broadcast.
    """
    step = 2 * d + 1
    first = centre - step * torch.floor((centre + d) / step)
    value = first + step * torch.floor((samples - first + d) / step)
    low = torch.where(value - d <= 0, -BEYOND, value - d - 0.5)
    high = torch.where(value + d >= 255, BEYOND, value + d + 0.5)
    return low, high, torch.floor((255 - first + d) / step) + 1


def pixel_bits(
    likelihood: Likelihood,
    gather: Inputs,
    batch: Batch,
    places: Places,
    biases: Tensor,
    features: Tensor | None = None,
) -> Tensor:
    """Return -log2 p(x|z) per pixel and channel (B, T, N, 3), channels in coding order.

    Parameters
    ----------
    biases : float tensor (B, T, bias_count)
        The likelihood's biases in each tile.
    features : float tensor (B, T, N, F) or None
        Further inputs of each pixel.
    """
    values, reference, inputs = gather(batch.decoded, places)
    if features is not None:
        inputs = torch.cat([inputs, features], -1)
    samples = gather.samples(batch.samples, places)
    green, red, _ = ((values - reference)[..., c] for c in ORDER)

    def unit(d: Tensor) -> Tensor:
        return gather.table[d.clamp(-255, 255) + 255] / CONTEXT_UNIT

    colours = (unit(green)[..., None], torch.stack([unit(green), unit(red), unit(red - green)], -1))
    raw: list[Tensor] = likelihood(inputs, colours, biases[:, :, None])
    d = batch.errors[:, None, None].float()
    bits: list[Tensor] = []
    earlier: list[Tensor] = []
    for place, channel in enumerate(ORDER):
        ref = reference[..., channel].float()
        weights, means, scales = likelihood.mixture(raw[place], ref, earlier)
        centre = (weights * means).sum(-1).detach().round().clamp(0, 255)
        low, high, count = bins(samples[..., channel].float(), centre, d)
        bits.append(-torch.log2(bin_mass(weights, means, scales, low, high, count)))
        earlier.append(values[..., channel].float() - ref)
    return torch.stack(bits, -1)


def tiles_of(planes: Tensor, tile: int) -> Tensor:
    """Return the tiles (B R C, channels, tile, tile) of planes (B, channels, R tile, C tile)."""
    b, channels, height, width = planes.shape
    tiles = planes.reshape(b, channels, height // tile, tile, width // tile, tile).permute(0, 2, 4, 1, 3, 5)
    return tiles.reshape(-1, channels, tile, tile)


def infer(model: VLAE, gather: Inputs, images: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the posterior's means and log2 scales (B, R, C, latents) of uint8 images (B, R tile, C tile, 3)."""
    tile = model.config.tile
    rows, columns = images.shape[1] // tile, images.shape[2] // tile
    planes = sample_planes(tiles_of(images.permute(0, 3, 1, 2), tile), gather.table)
    return model.infer(planes, rows, columns, errors)


def crop_terms(model: VLAE, gather: Inputs, batch: Batch, count: int, noise: Noise, *, drop: float) -> Terms:
    """Return the code length of random pixels of crops of 2 x 2 tiles, and of the tiles' latents.

    Parameters
    ----------
    batch : Batch
        Crops of side S = 2 tile + 2 radius.
    count : int
        Pixels of each tile.
    drop : float
        Share of crops whose latents are switched off.

    Notes
    -----
    In some batches the tiles lie at the crop's border, so that the model learns the borders of images.
    """
    config = model.config
    images, errors = batch.samples, batch.errors
    b, size = images.shape[:2]
    tile, side = config.tile, 2 * config.tile
    margin = size - side
    # All crops of a batch have their tiles at the same place, so that these are one slice of the batch.
    top = 0 if noise.host.random() < 0.08 else margin
    left = int(noise.host.choice([0, margin // 2, margin], p=[0.08, 0.84, 0.08]))
    y, x = (noise.integers(tile, b, 4, count) for _ in range(2))
    corner = torch.arange(4, device=images.device)[:, None]
    places = Places(y + top + corner // 2 * tile, x + left + corner % 2 * tile)
    biases = model.biases_off(errors)[:, None].expand(b, 4, -1)
    latent_bits = biases.new_zeros(b, 4)
    if config.latents:
        coded = images[:, top : top + side, left : left + side]
        latent = model.draw(infer(model, gather, coded, errors), errors, noise)
        on = noise.uniform(b) >= drop
        biases = torch.where(on[:, None, None], model.biases(latent.z, errors), biases)
        latent_bits = latent.tile_bits.flatten(1) * on[:, None]
    bits = pixel_bits(model.likelihood, gather, batch, places, biases)
    # A grey image codes only its first channel. That counts three times, so that the image weighs like others.
    grey = batch.grey[:, None, None]
    return Terms(torch.where(grey, 3 * bits[..., 0], bits.sum(-1)), latent_bits)


def neg_elbo_bits(terms: Terms, tile: int, latent_price: float = 1.0) -> Tensor:
    """Return minus the ELBO in bits per sub-pixel, a scalar. The bits of latents count ``latent_price`` times."""
    area = 3 * tile * tile
    return terms.pixel_bits.mean() / 3 + latent_price * (terms.latent_bits.mean() / area)
