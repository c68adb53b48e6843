"""Latents z on an integer grid: how they are drawn, and their bits under prior and posterior.

Logistics and normals are discretised in the same way: a grid point has the probability of the bin of width one around
it, and the bins at both ends take the tails.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BEYOND = 1e4
"""An edge outside of all grids. It is finite, because gradients at infinity would be NaN."""


class Latent(NamedTuple):
    """Latents z and their bits under prior and posterior: three float tensors of shape (..., latents)."""

    z: Tensor
    prior_bits: Tensor
    posterior_bits: Tensor

    @property
    def tile_bits(self) -> Tensor:
        """Return the bits that each tile's latents cost (...): prior bits minus posterior bits."""
        return self.prior_bits.sum(-1) - self.posterior_bits.sum(-1)


def rounded(values: Tensor) -> Tensor:
    """Return the rounded values, with the gradient of the identity."""
    return values + (values.round() - values).detach()


def bin_mass(
    weights: Tensor, means: Tensor, scales: Tensor, low: Tensor, high: Tensor, count: Tensor | float
) -> Tensor:
    """Return the probability of the bins [low, high] of logistic mixtures.

    Parameters
    ----------
    weights, means, scales : float tensors (..., M)
    low, high : float tensors (...)
        Edges of the bins. At the ends of the grid they are -``BEYOND`` and ``BEYOND``.
    count : float, or float tensor that broadcasts to (...)
        Number of symbols of the grid. Each has at least 2**-24, as in the coder (FORMAT.md, "Cumulative").
    """
    inverse = 1 / scales
    upper = torch.sigmoid((high[..., None] - means) * inverse)
    lower = torch.sigmoid((low[..., None] - means) * inverse)
    return floored((weights * (upper - lower)).sum(-1), count)


def floored(mass: Tensor, count: Tensor | float) -> Tensor:
    """Return probabilities with the coder's floor: each of ``count`` symbols has at least 2**-24."""
    return mass.clamp(min=0) * (1 - count * 2.0**-24) + 2.0**-24


def bin_edges(z: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Return the lower and upper edges of the bins around grid points z, where the grid is -grid..grid."""
    return torch.where(z <= -grid, -BEYOND, z - 0.5), torch.where(z >= grid, BEYOND, z + 0.5)


def logistic_bits(z: Tensor, means: Tensor, log2_scales: Tensor, grid: int) -> Tensor:
    """Return -log2 of the probability of grid points z under logistics. All tensors have the same shape."""
    low, high = bin_edges(z, grid)
    one = torch.ones_like(z)[..., None]
    mass = bin_mass(one, means[..., None], torch.exp2(log2_scales)[..., None], low, high, 2.0 * grid + 1)
    return -torch.log2(mass)


def normal_bits(z: Tensor, means: Tensor, log2_scales: Tensor, grid: int) -> Tensor:
    """Return -log2 of the probability of grid points z under normals. All tensors have the same shape."""
    low, high = (edge - means for edge in bin_edges(z, grid))
    # Where the distribution function is small, its differences do not cancel. So bins above the mean are mirrored.
    flip = low + high > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    inverse = torch.exp2(-log2_scales)
    mass = torch.special.ndtr(high * inverse) - torch.special.ndtr(low * inverse)
    return -torch.log2(floored(mass, 2 * grid + 1))


def draw(means: Tensor, log2_scales: Tensor, grid: int, numbers: Tensor | None) -> Tensor:
    """Return latents z on the grid, drawn from their posterior with straight-through gradients.

    Parameters
    ----------
    means, log2_scales : float tensors (..., latents)
        Means and log2 scales, in grid steps.
    numbers : float tensor (..., latents) or None
        Random numbers of the posterior's distribution with mean 0 and scale 1; None takes the mode.
    """
    continuous = means if numbers is None else means + torch.exp2(log2_scales) * numbers
    return rounded(continuous).clamp(-grid, grid)
