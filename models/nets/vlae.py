"""The Variational Lossy Autoencoder of an integer tensor, in float.

The tensor is an image's samples, or the latents of a learned transform (`models.nets.lossy`). It is cut into tiles of
``tile`` x ``tile`` positions. Each tile has ``latents`` integers z.

* posterior q(z|x): convolutions over the tile, factorised logistics on an integer grid;
* prior p(z): autoregressive over the tiles of a row and their channels, in one fixed order;
* likelihood p(x|z): a small network at each position that sees only a disc of decoded positions
  (`codec.frozen.contexts`). Its biases depend on z and on a condition, which is the largest error d, or quality.

`models.freezing.freeze` turns it into the integer model that `codec` executes. Tensors are B C H W.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.entropy import tables
from models.nets.latents import Latent, draw, logistic_bits
from models.nets.layers import Condition
from models.nets.likelihood import CONTEXT_UNIT, SAMPLES, Coded, Likelihood, LikelihoodShape
from models.noise import Noise


@dataclass(frozen=True)
class Config(LikelihoodShape):
    """Shape of a model; a recipe's [model] table."""

    coded: Coded = SAMPLES
    radius: int = 4
    tile: int = 64
    latents: int = 16
    modulation: int = 64
    grid: int = 31
    posterior: tuple[int, int, int] = (32, 48, 64)
    prior: int = 48


def compress_table() -> Tensor:
    """Return the codec's table of context differences -255..255."""
    return torch.from_numpy(tables.compress().astype(np.float32))


def sample_planes(tiles: Tensor, table: Tensor) -> Tensor:
    """Return the nine integer input planes (B, 9, T, T) of uint8 tiles (B, 3, T, T), in network units."""
    x = tiles.long()
    left = F.pad(x, (1, 0))[..., :-1]
    left[..., 0] = x[..., 0]
    up = F.pad(x, (0, 0, 1, 0))[..., :-1, :]
    up[..., 0, :] = x[..., 0, :]
    steps = table[torch.cat([x - left, x - up], 1) + 255]
    return torch.cat([steps, torch.floor((x - 128) / 2)], 1) / CONTEXT_UNIT


class Posterior(nn.Module):
    """The posterior q(z|x): mean and log2 scale, in grid steps, of a logistic for each latent."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        a, b, c = config.posterior
        self.conv1 = nn.Conv2d(config.coded.planes, a, 3, 2, 1)
        self.conv2 = nn.Conv2d(a, b, 3, 2, 1)
        self.conv3 = nn.Conv2d(b, c, 3, 2, 1)
        self.dense = nn.Linear(2 * c, 96)
        self.condition = Condition(config.coded.conditions, 96)
        self.out = nn.Linear(96, 2 * config.latents)
        self.config = config

    def forward(self, planes: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log2 scales (B, latents) of the input planes (B, planes, T, T) of tiles."""
        h = F.relu(self.conv1(planes))
        h = F.relu(self.conv2(h))
        h = F.relu(self.conv3(h))
        pooled = torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1)
        h = F.relu(self.dense(pooled) + self.condition(condition))
        means, scales = self.out(h).split(self.config.latents, 1)
        limit = self.config.grid
        return (8 * means).clamp(-limit, limit), (scales + 1).clamp(-1, 4)


class Prior(nn.Module):
    """The prior p(z): logistics whose parameters depend on the tile to the left and on the tile's latents before.

    `models.nets.spatial.SpatialPrior` is another network, which sees cells in two directions. There are frozen models
    of both.

    Rows of tiles are coded at the same time by several threads, so z of a row never depends on another row.
    """

    causal: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        n = config.latents
        self.hidden = nn.Linear(n + 1, config.prior)
        self.condition = Condition(config.coded.conditions, config.prior)
        self.out = nn.Linear(config.prior, 2 * n)
        self.channels = nn.Parameter(torch.zeros(2 * n, n))
        self.register_buffer("causal", torch.tril(torch.ones(n, n), -1).repeat(2, 1), persistent=False)
        self.config = config

    def forward(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log2 scales (B, R, C, latents), in grid steps, for z (B, R, C, latents).

        ``condition`` has an entry for each of the B images; see `Condition`.
        """
        b, rows, columns, n = z.shape
        left = torch.cat([torch.zeros_like(z[:, :, :1]), z[:, :, :-1]], 2).reshape(-1, n)
        present = z.new_zeros(b, rows, columns, 1)
        present[:, :, 1:] = 1
        h = torch.cat([left / 8, present.reshape(-1, 1)], 1)
        h = F.relu(self.hidden(h) + self.condition(condition.repeat_interleave(rows * columns, 0)))
        out = self.out(h) + (z.reshape(-1, n) / 8) @ (self.channels * self.causal).T
        means, scales = out.reshape(b, rows, columns, 2 * n).split(n, -1)
        limit = self.config.grid
        return (8 * means).clamp(-limit, limit), (scales + 2).clamp(-1, 5)


class VLAE(nn.Module):
    """All parts of one model. Without latents (``latents = 0``) only the likelihood is left.

    B images are cut into R x C tiles each; a condition has an entry for each image, see `Condition`.
    """

    def __init__(self, config: Config, contexts: int) -> None:
        super().__init__()
        self.config = config
        self.likelihood = Likelihood(config, config.coded.channels * contexts + config.coded.references)
        self.condition = Condition(config.coded.conditions, config.bias_count)
        self.off = nn.Parameter(torch.zeros(config.bias_count))
        if config.latents:
            self.posterior = Posterior(config)
            self.prior = Prior(config)
            self.modulate1 = nn.Linear(config.latents, config.modulation)
            self.modulate2 = nn.Linear(config.modulation, config.bias_count)
            with torch.no_grad():
                self.modulate2.weight.mul_(0.1)

    def infer(self, planes: Tensor, rows: int, columns: int, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior's means and log2 scales (B, R, C, latents) of planes (B R C, planes, T, T) of tiles."""
        means, scales = self.posterior(planes, condition.repeat_interleave(rows * columns, 0))
        shape = (-1, rows, columns, self.config.latents)
        return means.reshape(shape), scales.reshape(shape)

    def draw(self, posterior: tuple[Tensor, Tensor], condition: Tensor, noise: Noise | None) -> Latent:
        """Return latents (B, R, C, latents) drawn from the posterior that `infer` returns; without noise its mode."""
        (means, scales), grid = posterior, self.config.grid
        z = draw(means, scales, grid, None if noise is None else noise.logistic(*means.shape))
        # Do not reorder: gradients are summed in the order in which bits are computed; another one rounds otherwise.
        posterior_bits = logistic_bits(z, means, scales, grid)
        prior_means, prior_scales = self.prior(z, condition)
        return Latent(z, logistic_bits(z, prior_means, prior_scales, grid), posterior_bits)

    def biases(self, z: Tensor, condition: Tensor) -> Tensor:
        """Return the likelihood's biases (B, R C, bias_count) for latents z (B, R, C, latents)."""
        tiles = z.shape[1] * z.shape[2]
        fixed = self.condition(condition.repeat_interleave(tiles, 0))
        biases: Tensor = fixed + self.modulate2(F.relu(self.modulate1(z.flatten(0, 2) / 8)))
        return biases.reshape(len(z), tiles, -1)

    def biases_off(self, condition: Tensor) -> Tensor:
        """Return the likelihood's biases (B, bias_count) with latents off."""
        biases: Tensor = self.condition(condition) + self.off
        return biases
