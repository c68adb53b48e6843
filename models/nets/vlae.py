"""The Variational Lossy Autoencoder of an integer tensor, in float: what is trained.

The tensor is an image's samples, or the latents of a learned transform (`models.nets.lossy`). It is cut
into tiles of ``tile`` x ``tile`` positions, each with ``latents`` integers z.

* posterior q(z|x): convolutions over the tile, factorised logistics on an integer grid;
* prior p(z): autoregressive over the tiles of a row and their channels, in one fixed order;
* likelihood p(x|z): a small network at every position that sees only a disc of decoded ones
  (`codec.frozen.contexts`), whose biases are set by z and by a condition: the largest error d, or quality.

`models.freezing.freeze` turns it into the integer model that `codec` executes. Tensors are B C H W.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.entropy import tables
from codec.frozen import layout
from codec.frozen.layout import Layout
from models.nets.latents import Latent, draw, logistic_bits
from models.nets.layers import Condition, Layers, bias_of, lowered
from models.noise import Noise

CONTEXT_UNIT = tables.COMPRESS_UNIT
"""One unit of the float network's inputs is so many units of the integer table."""

MAX_ERROR = 10
"""Largest d of near-lossless coding that one model serves."""


@dataclass(frozen=True)
class Coded:
    """The integer tensor (H, W, C) that a model codes.

    Attributes
    ----------
    channels : int
    groups : int
        The channels are coded in so many equal groups, each seeing those before.
    references : int
        So many channels, from the first on, are seen as differences to a prediction from their neighbours.
    features : tuple of int
        What each group sees of the channels coded before.
    links : tuple of int
        How many of these channels the means of each group follow.
    planes : int
        Input planes of the posterior.
    conditions : int
        Rows of biases: one for each d, or for each level of quality.
    limit : int or None
        Values of a tensor are -limit..limit; None of an image's samples or bits.
    """

    channels: int
    groups: int
    references: int
    features: tuple[int, ...]
    links: tuple[int, ...]
    planes: int
    conditions: int
    limit: int | None = None

    @property
    def layout(self) -> Layout:
        """What the codec knows of it."""
        if self.limit is None:
            return layout.samples() if self.channels > 1 else layout.bits()
        return layout.tensor(self.channels, self.groups, self.limit, self.references)

    @property
    def group(self) -> int:
        """Channels of a group."""
        return self.channels // self.groups


SAMPLES = Coded(3, 3, 3, features=(0, 1, 3), links=(0, 1, 2), planes=9, conditions=MAX_ERROR + 1)
"""Green, red, blue."""
BITS = Coded(1, 1, 0, features=(0,), links=(0,), planes=1, conditions=1)
"""Of an image of black and white. Of its likelihood's mixture only the mean is trained: with one component of a fixed
scale, a logistic on two numbers is a Bernoulli distribution."""


@dataclass(frozen=True)
class LikelihoodShape:
    """Shape of a `Likelihood`."""

    width: int = 160
    head: int = 48
    mixtures: int = 4

    @property
    def coded(self) -> Coded:
        """What is coded."""
        raise NotImplementedError

    @property
    def bias_count(self) -> int:
        """Biases of the likelihood: three hidden layers and the heads."""
        return 3 * self.width + self.coded.groups * self.head

    def outputs(self, group: int) -> int:
        """Raw outputs of a group's head."""
        return 3 * self.mixtures * self.coded.group + self.coded.links[group]

    def multiply_adds(self, inputs: int) -> int:
        """Multiply-adds of the likelihood for each position, with so many inputs."""
        heads = sum(
            self.head * (self.width + seen + self.outputs(group)) for group, seen in enumerate(self.coded.features)
        )
        return inputs * self.width + 2 * self.width**2 + heads


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


class Likelihood(nn.Module):
    """p(x|z): parameters of a mixture of logistics per channel, in the order green, red, blue.

    Attributes
    ----------
    in_bfloat16 : bool
        Whether the hidden layers multiply in bfloat16: for training, on processors that do it faster.
    """

    def __init__(self, config: LikelihoodShape, inputs: int) -> None:
        super().__init__()
        c = config
        self.config = c
        self.in_bfloat16 = False
        self.hidden1 = nn.Linear(inputs, c.width)
        self.hidden2 = nn.Linear(c.width, c.width)
        self.hidden3 = nn.Linear(c.width, c.width)
        self.split = nn.Linear(c.width, c.coded.groups * c.head)
        groups = range(c.coded.groups)
        self.conditioning: Layers[nn.Linear] = Layers([nn.Linear(n, c.head, bias=False) for n in c.coded.features[1:]])
        self.outputs: Layers[nn.Linear] = Layers([nn.Linear(c.head, c.outputs(group)) for group in groups])
        with torch.no_grad():
            for group, layer in enumerate(self.outputs):
                layer.weight.mul_(0.3)
                bias = bias_of(layer).zero_()
                own = bias[: 3 * c.mixtures * c.coded.group].view(c.coded.group, 3, c.mixtures)
                own[:, 1] = torch.linspace(-0.2, 0.2, c.mixtures)
                own[:, 2] = torch.linspace(-1, 1.0, c.mixtures)
                if c.coded.links[group]:
                    bias[own.numel() :] = 0.8 / c.coded.links[group]

    def forward(self, inputs: Tensor, seen: Sequence[Tensor], biases: Tensor) -> list[Tensor]:
        """Return the raw outputs of the heads.

        Parameters
        ----------
        inputs : float tensor (..., C P + references)
        seen : what each head but the first sees of the channels before, (..., features)
        biases : float tensor, broadcasts to (..., bias_count)
        """
        c = self.config
        b1, b2, b3, b4 = biases.split([c.width, c.width, c.width, c.coded.groups * c.head], -1)
        with lowered(inputs, self.in_bfloat16):
            h = F.relu(self.hidden1(inputs) + b1)
            h = F.relu(self.hidden2(h) + b2)
            h = F.relu(self.hidden3(h) + b3)
            split = self.split(h)
        heads = (split.to(b4.dtype) + b4).split(c.head, -1)
        result = []
        for group, output in enumerate(self.outputs):
            a = heads[group]
            if group:
                a = a + self.conditioning[group - 1](seen[group - 1])
            result.append(output(F.relu(a)))
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
    """q(z|x): mean and log2 scale, in grid steps, of a logistic per latent."""

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
    """p(z): logistics whose parameters come from the tile to the left and the channels before.

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
        """Return means and log2 scales (B, R, C, latents), in grid steps, of z (B, R, C, latents).

        ``condition`` has an entry for each of the B; see `Condition`.
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
        """Return latents (B, R, C, latents) of the posterior that `infer` returns; without noise its mode."""
        (means, scales), grid = posterior, self.config.grid
        z = draw(means, scales, grid, None if noise is None else noise.logistic(*means.shape))
        # Gradients are summed in the order in which bits are computed here: another one rounds otherwise.
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
