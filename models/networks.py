"""The Variational Lossy Autoencoder of images, in float: what is trained.

An image is cut into tiles of ``tile`` x ``tile`` pixels, each with ``latents`` integers z.

* posterior q(z|x): convolutions over the tile, factorised logistics on an integer grid;
* prior p(z): autoregressive over the tiles of a row and their channels, in one fixed order;
* likelihood p(x|z): a small network at every pixel that sees only a disc of decoded pixels
  (`codec.contexts`), whose biases are set by z and by the largest error d.

`models.freeze` turns it into the integer model that `codec` executes. Tensors are B C H W.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec import tables

CONTEXT_UNIT = tables.COMPRESS_UNIT
"""One unit of the float network's inputs is so many units of the integer table."""

BEYOND = 1e4
"""An edge outside every grid; finite, since gradients of infinity are not numbers."""

MAX_ERROR = 10
"""Largest d of near-lossless coding that one model serves."""


@dataclass(frozen=True)
class Config:
    """Shape of a model; a recipe's [model] table."""

    radius: int = 4
    width: int = 160
    head: int = 48
    mixtures: int = 4
    tile: int = 64
    latents: int = 16
    modulation: int = 64
    grid: int = 31
    posterior: tuple[int, int, int] = (32, 48, 64)
    prior: int = 48

    @property
    def bias_count(self) -> int:
        """Biases of the likelihood that z and d set: three hidden layers and three heads."""
        return 3 * self.width + 3 * self.head

    def multiply_adds(self, inputs: int) -> int:
        """Multiply-adds of the likelihood for each pixel, with so many inputs."""
        heads = 3 * self.head * self.width + self.head * (9 * self.mixtures + 3 + 4)
        return inputs * self.width + 2 * self.width**2 + heads


def compress_table() -> Tensor:
    """Return the codec's table of context differences -255..255."""
    return torch.from_numpy(tables.compress().astype(np.float32))


def bin_mass(weights: Tensor, means: Tensor, scales: Tensor, low: Tensor, high: Tensor, count: Tensor) -> Tensor:
    """Return the probability of the bins [low, high] of logistic mixtures.

    Parameters
    ----------
    weights, means, scales : float tensors (..., M)
    low, high : float tensors (...)
        Edges; minus and plus ``BEYOND`` at the ends of the grid.
    count : float tensor, broadcasts to (...)
        Symbols of the grid; each has at least 2**-24, as in the coder (FORMAT.md, "Cumulative").
    """
    inverse = 1 / scales
    upper = torch.sigmoid((high[..., None] - means) * inverse)
    lower = torch.sigmoid((low[..., None] - means) * inverse)
    mass = (weights * (upper - lower)).sum(-1).clamp(min=0)
    return mass * (1 - count * 2.0**-24) + 2.0**-24


class Likelihood(nn.Module):
    """p(x|z): parameters of a mixture of logistics per channel, in the order green, red, blue.

    Attributes
    ----------
    bfloat16 : bool
        Whether the hidden layers multiply in bfloat16: for training, on processors that do it faster.
    """

    def __init__(self, config: Config, contexts: int) -> None:
        super().__init__()
        c = config
        self.config = c
        self.bfloat16 = False
        self.hidden1 = nn.Linear(3 * contexts + 3, c.width)
        self.hidden2 = nn.Linear(c.width, c.width)
        self.hidden3 = nn.Linear(c.width, c.width)
        self.split = nn.Linear(c.width, 3 * c.head)
        self.conditioning = nn.ModuleList([nn.Linear(n, c.head, bias=False) for n in (1, 3)])
        self.outputs = nn.ModuleList([nn.Linear(c.head, 3 * c.mixtures + n) for n in (0, 1, 2)])
        with torch.no_grad():
            for channel, layer in enumerate(self.outputs):
                layer.weight.mul_(0.3)
                layer.bias.zero_()
                layer.bias[c.mixtures : 2 * c.mixtures] = torch.linspace(-0.2, 0.2, c.mixtures)
                layer.bias[2 * c.mixtures : 3 * c.mixtures] = torch.linspace(-1, 1.0, c.mixtures)
                if channel:
                    layer.bias[3 * c.mixtures :] = 0.8 / channel

    def forward(self, inputs: Tensor, colours: tuple[Tensor, Tensor], biases: Tensor) -> list[Tensor]:
        """Return the raw outputs of the three heads.

        Parameters
        ----------
        inputs : float tensor (..., 3 P + 3)
        colours : conditioning inputs of the second (..., 1) and third channel (..., 3)
        biases : float tensor, broadcasts to (..., bias_count)
        """
        c = self.config
        b1, b2, b3, b4 = biases.split([c.width, c.width, c.width, 3 * c.head], -1)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            h = F.relu(self.hidden1(inputs) + b1)
            h = F.relu(self.hidden2(h) + b2)
            h = F.relu(self.hidden3(h) + b3)
            split = self.split(h)
        heads = (split.to(b4.dtype) + b4).split(c.head, -1)
        result = []
        for channel in range(3):
            a = heads[channel]
            if channel:
                a = a + self.conditioning[channel - 1](colours[channel - 1])
            result.append(self.outputs[channel](F.relu(a)))
        return result

    def mixture(self, raw: Tensor, reference: Tensor, earlier: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights, means and scales (..., M) in samples from a head's raw outputs.

        Parameters
        ----------
        raw : float tensor (..., 3 M + len(earlier))
        reference : float tensor (...)
        earlier : differences to their reference of the channels coded before, (...) each
        """
        m = self.config.mixtures
        shift = reference
        for i, difference in enumerate(earlier):
            shift = shift + raw[..., 3 * m + i] * difference
        means = shift[..., None] + 8 * raw[..., m : 2 * m]
        scales = torch.exp2((raw[..., 2 * m : 3 * m] + 0.5).clamp(-4, 7))
        return F.softmax(raw[..., :m], -1), means, scales


class Posterior(nn.Module):
    """q(z|x): mean and log2 scale, in grid steps, of a logistic per latent."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        a, b, c = config.posterior
        self.conv1 = nn.Conv2d(9, a, 3, 2, 1)
        self.conv2 = nn.Conv2d(a, b, 3, 2, 1)
        self.conv3 = nn.Conv2d(b, c, 3, 2, 1)
        self.dense = nn.Linear(2 * c, 96)
        self.errors = nn.Embedding(MAX_ERROR + 1, 96)
        self.out = nn.Linear(96, 2 * config.latents)
        nn.init.zeros_(self.errors.weight)
        self.register_buffer("table", compress_table(), persistent=False)
        self.config = config

    def features(self, tiles: Tensor) -> Tensor:
        """Return the nine integer input planes of uint8 tiles (B, 3, T, T), in network units."""
        x = tiles.long()
        left = F.pad(x, (1, 0))[..., :-1]
        left[..., 0] = x[..., 0]
        up = F.pad(x, (0, 0, 1, 0))[..., :-1, :]
        up[..., 0, :] = x[..., 0, :]
        steps = self.table[torch.cat([x - left, x - up], 1) + 255]
        return torch.cat([steps, torch.floor((x - 128) / 2)], 1) / CONTEXT_UNIT

    def forward(self, tiles: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log2 scales (B, latents) of uint8 tiles (B, 3, T, T) coded within ``errors`` (B,)."""
        h = F.relu(self.conv1(self.features(tiles)))
        h = F.relu(self.conv2(h))
        h = F.relu(self.conv3(h))
        pooled = torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1)
        h = F.relu(self.dense(pooled) + self.errors(errors))
        means, scales = self.out(h).split(self.config.latents, 1)
        limit = self.config.grid
        return (8 * means).clamp(-limit, limit), (scales + 1).clamp(-1, 4)


class Prior(nn.Module):
    """p(z): logistics whose parameters come from the tile to the left and the channels before.

    Rows of tiles are coded at the same time by several threads, so z of a row never depends on another row.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        n = config.latents
        self.hidden = nn.Linear(n + 1, config.prior)
        self.errors = nn.Embedding(MAX_ERROR + 1, config.prior)
        self.out = nn.Linear(config.prior, 2 * n)
        self.channels = nn.Parameter(torch.zeros(2 * n, n))
        nn.init.zeros_(self.errors.weight)
        self.register_buffer("causal", torch.tril(torch.ones(n, n), -1).repeat(2, 1), persistent=False)
        self.config = config

    def forward(self, z: Tensor, left: Tensor, present: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log2 scales (B, latents), in grid steps.

        Parameters
        ----------
        z, left : float tensors (B, latents), grid steps; zero where there is no such tile
        present : float tensor (B, 1)
            1 where the tile to the left exists.
        errors : int64 tensor (B,)
        """
        h = torch.cat([left / 8, present], 1)
        h = F.relu(self.hidden(h) + self.errors(errors))
        out = self.out(h) + (z / 8) @ (self.channels * self.causal).T
        means, scales = out.split(self.config.latents, 1)
        limit = self.config.grid
        return (8 * means).clamp(-limit, limit), (scales + 2).clamp(-1, 5)


class VLAE(nn.Module):
    """All parts of one model. Without latents (``latents = 0``) only the likelihood is left."""

    def __init__(self, config: Config, contexts: int) -> None:
        super().__init__()
        self.config = config
        self.likelihood = Likelihood(config, contexts)
        self.errors = nn.Embedding(MAX_ERROR + 1, config.bias_count)
        self.off = nn.Parameter(torch.zeros(config.bias_count))
        nn.init.zeros_(self.errors.weight)
        if config.latents:
            self.posterior = Posterior(config)
            self.prior = Prior(config)
            self.modulate1 = nn.Linear(config.latents, config.modulation)
            self.modulate2 = nn.Linear(config.modulation, config.bias_count)
            with torch.no_grad():
                self.modulate2.weight.mul_(0.1)

    def biases(self, z: Tensor | None, errors: Tensor) -> Tensor:
        """Return the likelihood's biases (B, bias_count) for latents z (B, latents), or None: latents off."""
        fixed = self.errors(errors)
        if z is None:
            return fixed + self.off
        return fixed + self.modulate2(F.relu(self.modulate1(z / 8)))


def logistic_bits(z: Tensor, means: Tensor, log2_scales: Tensor, grid: int) -> Tensor:
    """Return -log2 of the probability of grid points z, the end bins taking the tails; shapes alike."""
    low = torch.where(z <= -grid, -BEYOND, z - 0.5)
    high = torch.where(z >= grid, BEYOND, z + 0.5)
    count = torch.tensor(2.0 * grid + 1, device=z.device)
    one = torch.ones_like(z)[..., None]
    mass = bin_mass(one, means[..., None], torch.exp2(log2_scales)[..., None], low, high, count)
    return -torch.log2(mass)
