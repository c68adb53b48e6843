"""Latents z on an integer grid: how they are drawn, and the bits of their prior and posterior.

Logistics and normals, discretised alike: a grid point has the probability of the bin of width one around it, and the
end bins take the tails.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BEYOND = 1e4
"""An edge outside every grid; finite, since gradients of infinity are not numbers."""


class Latent(NamedTuple):
    """Latents z, float tensor (..., latents), and the bits of each under prior and posterior, shaped alike."""

    z: Tensor
    prior_bits: Tensor
    posterior_bits: Tensor

    @property
    def tile_bits(self) -> Tensor:
        """What the latents of each tile cost, (...): their bits under the prior minus those under the posterior."""
        return self.prior_bits.sum(-1) - self.posterior_bits.sum(-1)


def rounded(values: Tensor) -> Tensor:
    """Return the values rounded, with the gradient of the identity."""
    return values + (values.round() - values).detach()


def bin_mass(
    weights: Tensor, means: Tensor, scales: Tensor, low: Tensor, high: Tensor, count: Tensor | float
) -> Tensor:
    """Return the probability of the bins [low, high] of logistic mixtures.

    Parameters
    ----------
    weights, means, scales : float tensors (..., M)
    low, high : float tensors (...)
        Edges; minus and plus ``BEYOND`` at the ends of the grid.
    count : float, or float tensor that broadcasts to (...)
        Symbols of the grid; each has at least 2**-24, as in the coder (FORMAT.md, "Cumulative").
    """
    inverse = 1 / scales
    upper = torch.sigmoid((high[..., None] - means) * inverse)
    lower = torch.sigmoid((low[..., None] - means) * inverse)
    return floored((weights * (upper - lower)).sum(-1), count)


def floored(mass: Tensor, count: Tensor | float) -> Tensor:
    """Return the probabilities of ``count`` symbols, of which the coder gives each at least 2**-24."""
    return mass.clamp(min=0) * (1 - count * 2.0**-24) + 2.0**-24


def bin_edges(z: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Return the edges of the bins of grid points -grid..grid."""
    return torch.where(z <= -grid, -BEYOND, z - 0.5), torch.where(z >= grid, BEYOND, z + 0.5)


def logistic_bits(z: Tensor, means: Tensor, log2_scales: Tensor, grid: int) -> Tensor:
    """Return -log2 of the probability of grid points z under logistics; shapes alike."""
    low, high = bin_edges(z, grid)
    one = torch.ones_like(z)[..., None]
    mass = bin_mass(one, means[..., None], torch.exp2(log2_scales)[..., None], low, high, 2.0 * grid + 1)
    return -torch.log2(mass)


def normal_bits(z: Tensor, means: Tensor, log2_scales: Tensor, grid: int) -> Tensor:
    """Return -log2 of the probability of grid points z under normals; shapes alike."""
    low, high = (edge - means for edge in bin_edges(z, grid))
    # On the side where the distribution function is small, differences of it do not cancel.
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
        In grid steps.
    numbers : float tensor (..., latents) or None
        Random ones of the posterior's kind, of mean 0 and scale 1; None takes the mode.
    """
    continuous = means if numbers is None else means + torch.exp2(log2_scales) * numbers
    return rounded(continuous).clamp(-grid, grid)
