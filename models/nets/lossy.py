"""The lossy mode's model, in float: a transform to latents y, and the VLAE that codes y.

    bits of y (minus the ELBO of the VLAE) + lambda * distortion

lambda is drawn for each image, so that one model serves all qualities. Quality sets the steps with which y is
quantised, and biases depend on it everywhere. A few levels of quality have parameters of their own; between them
parameters are interpolated. Tensors are B C H W.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from codec.encoder.masking import PRICES
from codec.frozen import contexts
from models.nets.depthwise import DepthwiseAnalysis, DepthwiseSynthesis, Shape
from models.nets.inputs import read_at_all, reference_terms
from models.nets.latents import bin_mass
from models.nets.likelihood import Coded, Likelihood
from models.nets.objective import tiles_of
from models.nets.transforms import OPPONENTS, Transform
from models.nets.vlae import VLAE, Config
from models.noise import Noise

LAMBDA_LOW, LAMBDA_HIGH = map(float, PRICES)
"""lambda at the lowest and at the highest quality: the bits per pixel that a distortion of 1 is worth."""
COARSEST = 200.0, 140.0, 140.0
"""Bounds of the steps of a patch's mean colours, the first channels of y: brightness, then two differences of colours.
With larger steps, chance decides how close a smooth image is to their multiples, and its error would not always fall
while quality grows. Besides, an eye sees a shift of hue where squared error sees little."""


@dataclass(frozen=True)
class LossyConfig:
    """Shape of a lossy model; a recipe's [model] table.

    Attributes
    ----------
    channels : int
        Channels of y.
    width, analysis_blocks, synthesis_blocks : int
        Channels and blocks of the transforms' streams at an eighth of the resolution.
    expansion : int
        Hidden units of a block for each of its channels, see `models.nets.depthwise`.
    fine_width, analysis_fine_blocks, synthesis_fine_blocks : int
        Channels and blocks of the streams at a quarter of the resolution.
    levels : int
        Number of levels of quality that have parameters of their own.
    limit : int
        y is within -limit..limit.
    groups, references : int
        See `models.nets.likelihood.Coded`.
    planes : int
        Channels of y that the posterior sees.
    vlae : dict
        The other values of a `models.nets.vlae.Config`.
    """

    channels: int
    width: int
    analysis_blocks: int
    synthesis_blocks: int
    levels: int
    limit: int
    groups: int
    references: int
    planes: int
    vlae: dict[str, int | tuple[int, ...]]
    expansion: int
    fine_width: int
    analysis_fine_blocks: int
    synthesis_fine_blocks: int

    def transforms(self) -> tuple[Transform[nn.Module], Transform[nn.Module]]:
        """Return a fresh analysis and a fresh synthesis."""
        c = self
        shape = partial(Shape, c.width, expansion=c.expansion, fine_width=c.fine_width)
        return (
            DepthwiseAnalysis(c.channels, shape(c.analysis_blocks, fine_blocks=c.analysis_fine_blocks), c.levels),
            DepthwiseSynthesis(c.channels, shape(c.synthesis_blocks, fine_blocks=c.synthesis_fine_blocks), c.levels),
        )

    @property
    def coder(self) -> Config:
        """Return the shape of the VLAE that codes y."""
        group = self.channels // self.groups
        coded = Coded(
            self.channels,
            self.groups,
            self.references,
            features=tuple(group * i for i in range(self.groups)),
            links=(0,) * self.groups,
            planes=self.planes,
            conditions=self.levels,
            limit=self.limit,
        )
        return Config(coded=coded, **self.vlae)  # type: ignore[arg-type]  # the recipe's reader has checked them


def compress(values: Tensor) -> Tensor:
    """Return compressed values of y, or of their differences, as the networks' inputs."""
    # The general formula has no gradient at zero, where most values are.
    linear = values / (2 * math.log(2))
    return torch.where(values == 0, linear, torch.sign(values) * torch.log2(1 + values.abs() / 2))


def price(quality: Tensor) -> Tensor:
    """Return lambda of a quality 0..1, in bits per pixel and unit of distortion."""
    return LAMBDA_LOW * (LAMBDA_HIGH / LAMBDA_LOW) ** quality


def first_steps(levels: int) -> Tensor:
    """Return for each level the step of y at which, at high rates, a bit saves as much distortion as it costs.

    Where an orthonormal transform's 3 values a pixel are quantised with a step, the mean squared error is
    step**2 / 12. By the logarithm of the step, price * error grows by price * step**2 / 6 and the bits of a
    pixel fall by 3 / ln 2.
    """
    steps = torch.sqrt(18 / (price(torch.linspace(0, 1, levels)) * math.log(2)))
    return steps.clamp(min=1.0)


class Lossy(nn.Module):
    """Analysis, quantisation, VLAE of y, synthesis."""

    def __init__(self, config: LossyConfig) -> None:
        super().__init__()
        self.config = config
        self.offsets = contexts.offsets(config.coder.radius)
        self.analysis, self.synthesis = config.transforms()
        self.coder = VLAE(config.coder, len(self.offsets))
        steps = first_steps(config.levels)[:, None].expand(config.levels, config.channels)
        self.log_steps = nn.Parameter(torch.log(steps).clone())

    def analyse(self, samples: Tensor, level: Tensor) -> Tensor:
        """Return y (B, C, H/8, W/8) of samples minus 128 (B, 3, H, W)."""
        y: Tensor = self.analysis(samples, level)
        return y

    def synthesise(self, y: Tensor, level: Tensor) -> Tensor:
        """Return samples minus 128 (B, 3, H, W) of y (B, C, H/8, W/8)."""
        samples: Tensor = self.synthesis(y, level)
        return samples

    def level(self, quality: Tensor) -> Tensor:
        """Return the shares (B, levels) of the levels in qualities 0..1 (B,)."""
        levels = torch.arange(self.config.levels, device=quality.device)
        return (1 - (quality[:, None] * (self.config.levels - 1) - levels).abs()).clamp(min=0)

    def steps(self, level: Tensor) -> Tensor:
        """Return the quantisation steps (B, C, 1, 1)."""
        steps = torch.exp(level @ self.log_steps)
        means = steps[:, : len(OPPONENTS)]
        bounded = (means**-2 + steps.new_tensor(COARSEST) ** -2) ** -0.5
        return torch.cat([bounded, steps[:, len(OPPONENTS) :]], 1)[:, :, None, None]


def near(y: Tensor, config: LossyConfig, offsets: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return the likelihood's inputs (B, H W, inputs) for quantised y, and the references (B, H W, C) of y."""
    b, c, h, w = y.shape
    flat = torch.cat([y.flatten(2).transpose(1, 2), y.new_zeros(b, 1, c)], 1)
    places, predicted = read_at_all(h, w, offsets, y.device).flatten(), config.references

    def around(values: Tensor) -> Tensor:
        """Return the values (B, H W, P, channels) around each position of (B, H W + 1, channels)."""
        return values.index_select(1, places).reshape(b, h * w, len(offsets), -1)

    near = around(flat[..., :predicted])
    total = y.new_zeros(b, h * w, predicted)
    for place, weight in reference_terms(offsets):
        total += weight * near[:, :, place].detach()
    level = torch.floor((total + 2) / 4).clamp(-config.limit, config.limit)
    # Compression is slow, and each value is gathered many times. So it comes first where it can: only differences must
    # be gathered before.
    seen = [compress(near - level[:, :, None]), around(compress(flat[..., predicted:]))]
    return torch.cat([torch.cat(seen, -1).flatten(2), level / 256], -1), F.pad(level, (0, c - predicted))


class Mixtures(NamedTuple):
    """The distributions of y: weights, means and scales (B, H W, C, M) of logistics, in steps."""

    weights: Tensor
    means: Tensor
    scales: Tensor

    def bits(self, values: Tensor, limit: int) -> Tensor:
        """Return -log2 of the probability of values (B, C, H, W) in bits (B,), y being within -limit..limit."""
        value = values.flatten(2).transpose(1, 2)
        return -torch.log2(bin_mass(*self, value - 0.5, value + 0.5, 2.0 * limit + 1)).sum((1, 2))

    def fixed(self) -> Mixtures:
        """Return the same distributions, without a gradient."""
        return Mixtures(*(part.detach() for part in self))


def near_mixtures(net: Likelihood, inputs: Tensor, reference: Tensor, y: Tensor, biases: Tensor) -> Mixtures:
    """Return the distributions of y, given the results of `near`.

    Parameters
    ----------
    inputs, reference : see `near`
    y : float tensor (B, C, H, W)
        The values in contexts, which are quantised.
    biases : float tensor (B, H W, bias_count), or (B, 1, bias_count)
    """
    kind = net.config.coded
    known = compress(y.flatten(2).transpose(1, 2) - reference)
    seen = [known[..., : kind.group * group] for group in range(1, kind.groups)]
    raw = torch.cat([part.unflatten(-1, (kind.group, -1)) for part in net(inputs, seen, biases)], -2)
    logits, means, scales = raw.chunk(3, -1)
    return Mixtures(F.softmax(logits, -1), reference[..., None] + 8 * means, torch.exp2((scales + 0.5).clamp(-4, 7)))


def mixtures(model: Lossy, y: Tensor, biases: Tensor) -> Mixtures:
    """Return the distributions of y (B, C, H, W); ``biases`` as `near_mixtures` takes them."""
    inputs, reference = near(y, model.config, model.offsets)
    return near_mixtures(model.coder.likelihood, inputs, reference, y, biases)


def tensor_bits(model: Lossy, y: Tensor, noisy: Tensor | None, biases: Tensor) -> Tensor:
    """Return -log2 p(y|z) of integers y (B, C, H, W) in bits (B,).

    ``noisy`` is y before it was rounded, plus noise of a step's width. Where it is given, the bits are still those of
    integers, and the coder learns from them. But what made y gets the gradient of the bits of ``noisy`` under the same
    distributions: the expected cost of a change, which that of an integer does not show.
    """
    limit = model.config.limit
    if noisy is None:
        return mixtures(model, y, biases).bits(y, limit)
    y = y.detach()
    found = mixtures(model, y, biases)
    moved = found.fixed().bits(noisy, limit)
    return found.bits(y, limit) + (moved - moved.detach())


def coder_bits(
    model: Lossy, y: Tensor, noisy: Tensor | None, level: Tensor, on: Tensor, noise: Noise | None
) -> tuple[Tensor, Tensor]:
    """Return the bits of y, and of its latents z (prior minus posterior), (B,) each; 0 of a model without latents.

    Parameters
    ----------
    y, noisy : see `tensor_bits`
    level : float tensor (B, levels)
    on : bool tensor (B,)
        Whether the latents of each image are on.
    noise : Noise or None
        Source of the numbers that draw z. None takes the posterior's mode.
    """
    coder, tile = model.coder, model.coder.config.tile
    if not coder.config.latents:
        return tensor_bits(model, y, noisy, coder.biases_off(level)[:, None]), torch.zeros_like(level[:, 0])
    h, w = y.shape[2:]
    rows, columns = -(-h // tile), -(-w // tile)
    padded = F.pad(y[:, : model.config.planes], (0, columns * tile - w, 0, rows * tile - h), "replicate")
    posterior = coder.infer(compress(tiles_of(padded, tile)), rows, columns, level)
    latent = coder.draw(posterior, level, noise)
    biases = torch.where(on[:, None, None], coder.biases(latent.z, level), coder.biases_off(level)[:, None])
    row, column = (torch.arange(size, device=y.device) // tile for size in (h, w))
    place = (row[:, None] * columns + column).flatten()
    return tensor_bits(model, y, noisy, biases[:, place]), latent.tile_bits.sum((1, 2)) * on
