"""The lossy mode's model, in float: a transform to latents y, and the VLAE that codes y.

    bits of y (minus the ELBO of the VLAE) + lambda * distortion

with lambda drawn for each image, so that one model serves all qualities: quality sets the steps with
which y is quantised and moves biases everywhere. Between the levels that have parameters of their
own, those are interpolated. Tensors are B C H W.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.frozen import contexts
from models.nets.depthwise import DepthwiseAnalysis, DepthwiseSynthesis, Shape
from models.nets.objective import latent_bits
from models.nets.transforms import OPPONENTS, Analysis, Synthesis, Transform
from models.nets.vlae import VLAE, Coded, Config, Likelihood, bin_mass
from models.noise import Noise

LAMBDA_LOW, LAMBDA_HIGH = 0.0002, 0.6
"""Bits per pixel that a distortion of one is worth, at the lowest and the highest quality."""


COARSEST = 200.0
"""What steps of a patch's mean colours, the first channels of y, approach but do not reach: with larger ones it is
chance how near a smooth image comes to their multiples, and its error would not always fall as quality rises."""


@dataclass(frozen=True)
class LossyConfig:
    """Shape of a lossy model; a recipe's [model] table.

    Attributes
    ----------
    channels : int
        Of y.
    width : int
        Of the transforms.
    analysis_blocks, synthesis_blocks : int
    expansion : int
        Hidden units of a block for each of its channels, if blocks are depthwise (`models.nets.depthwise`); 0: dense.
    fine_width, analysis_fine_blocks, synthesis_fine_blocks : int
        Of depthwise transforms at a quarter of the resolution; 0 without.
    levels : int
        Of quality that have parameters of their own.
    limit : int
        y is within -limit..limit.
    groups, references : int
        See `models.nets.vlae.Coded`.
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
    expansion: int = 0
    fine_width: int = 0
    analysis_fine_blocks: int = 0
    synthesis_fine_blocks: int = 0

    def transforms(self) -> tuple[Transform, Transform]:
        """Return a fresh analysis and a fresh synthesis."""
        c = self
        if not c.expansion:
            return (
                Analysis(c.channels, c.width, c.analysis_blocks, c.levels),
                Synthesis(c.channels, c.width, c.synthesis_blocks, c.levels),
            )
        shape = partial(Shape, c.width, expansion=c.expansion, fine_width=c.fine_width)
        return (
            DepthwiseAnalysis(c.channels, shape(c.analysis_blocks, fine_blocks=c.analysis_fine_blocks), c.levels),
            DepthwiseSynthesis(c.channels, shape(c.synthesis_blocks, fine_blocks=c.synthesis_fine_blocks), c.levels),
        )

    @property
    def coder(self) -> Config:
        """Shape of the VLAE that codes y."""
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
        return Config(coded=coded, **self.vlae)  # type: ignore[arg-type]


def compress(values: Tensor) -> Tensor:
    """Return what networks see of values of y, and of their differences."""
    # In what is written for other values, nothing has a gradient at zero, where most values are.
    linear = values / (2 * math.log(2))
    return torch.where(values == 0, linear, torch.sign(values) * torch.log2(1 + values.abs() / 2))


def rounded(values: Tensor) -> Tensor:
    """Return the values rounded, with the gradient of the identity."""
    return values + (values.round() - values).detach()


def price(quality: Tensor) -> Tensor:
    """Return lambda of a quality 0..1, in bits per pixel and unit of distortion."""
    return LAMBDA_LOW * (LAMBDA_HIGH / LAMBDA_LOW) ** quality


def first_steps(levels: int) -> Tensor:
    """Return for each level the step of y at which, at high rates, a bit costs what it saves.

    Of an orthonormal transform whose 3 values a pixel are quantised with a step the mean squared error is
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
        return self.analysis(samples, level)

    def synthesise(self, y: Tensor, level: Tensor) -> Tensor:
        """Return samples minus 128 (B, 3, H, W) of y (B, C, H/8, W/8)."""
        return self.synthesis(y, level)

    def level(self, quality: Tensor) -> Tensor:
        """Return the shares (B, levels) of the levels in qualities 0..1 (B,)."""
        levels = torch.arange(self.config.levels, device=quality.device)
        return (1 - (quality[:, None] * (self.config.levels - 1) - levels).abs()).clamp(min=0)

    def steps(self, level: Tensor) -> Tensor:
        """Return the quantisation steps (B, C, 1, 1)."""
        steps = torch.exp(level @ self.log_steps)
        means = steps[:, : len(OPPONENTS)]
        bounded = (means**-2 + COARSEST**-2) ** -0.5
        return torch.cat([bounded, steps[:, len(OPPONENTS) :]], 1)[:, :, None, None]


@lru_cache(maxsize=16)
def _places(h: int, w: int, offsets: bytes, device: torch.device) -> Tensor:
    """Return where the contexts of all positions are read, int64 (H W P,): on the device, since steps repeat it."""
    rows, columns = (a.reshape(-1, 1) for a in np.mgrid[0:h, 0:w])
    k, j = np.frombuffer(offsets, dtype=np.int64).reshape(-1, 2).T
    where = contexts.neighbour(rows, columns, k, j, w)
    where[where < 0] = h * w
    return torch.from_numpy(where.flatten()).to(device)


def near(y: Tensor, config: LossyConfig, offsets: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the likelihood's inputs (B, H W, inputs) for quantised y, and the references (B, H W, C)."""
    b, c, h, w = y.shape
    flat = torch.cat([y.flatten(2).transpose(1, 2), y.new_zeros(b, 1, c)], 1)
    k, j = offsets.T
    places, predicted = _places(h, w, offsets.tobytes(), y.device), config.references

    def around(values: Tensor) -> Tensor:
        """Return the values (B, H W, P, channels) around each position of (B, H W + 1, channels)."""
        return values.index_select(1, places).unflatten(1, (h * w, len(offsets)))

    near = around(flat[..., :predicted])
    total = y.new_zeros(b, h * w, predicted)
    for row, column, weight in contexts.REFERENCE:
        place = int(np.flatnonzero((k == row) & (j == column))[0])
        total += weight * near[:, :, place].detach()
    level = torch.floor((total + 2) / 4).clamp(-config.limit, config.limit)
    # Only differences are compressed after they are gathered: it takes long, and each value is seen many times.
    seen = [compress(near - level[:, :, None]), around(compress(flat[..., predicted:]))]
    return torch.cat([torch.cat(seen, -1).flatten(2), level / 256], -1), F.pad(level, (0, c - predicted))


def near_bits(
    net: Likelihood, limit: int, inputs: Tensor, reference: Tensor, y: Tensor, coded: Tensor, biases: Tensor
) -> Tensor:
    """Return -log2 p(y|z) in bits (B,), given what `near` returns.

    Parameters
    ----------
    limit : int
        y is within -limit..limit.
    inputs, reference : see `near`
    y, coded, biases : see `tensor_bits`
    """
    kind = net.config.coded
    known = compress(y.flatten(2).transpose(1, 2) - reference)
    seen = [known[..., : kind.group * group] for group in range(1, kind.groups)]
    parts = [part.unflatten(-1, (kind.group, -1)) for part in net(inputs, seen, biases)]
    raw = torch.cat(parts, -2)
    logits, means, scales = raw.chunk(3, -1)  # (B, H W, C, M) each
    value = coded.flatten(2).transpose(1, 2)
    means = reference[..., None] + 8 * means
    scales = torch.exp2((scales + 0.5).clamp(-4, 7))
    mass = bin_mass(F.softmax(logits, -1), means, scales, value - 0.5, value + 0.5, 2.0 * limit + 1)
    return -torch.log2(mass).sum((1, 2))


def tensor_bits(model: Lossy, y: Tensor, coded: Tensor, biases: Tensor) -> Tensor:
    """Return -log2 p(y|z) in bits (B,).

    Parameters
    ----------
    y : float tensor (B, C, H, W)
        What contexts hold: quantised.
    coded : float tensor (B, C, H, W)
        What is coded: y, or y with noise of a step's width, whose probability has a gradient.
    biases : float tensor (B, H W, bias_count), or (B, 1, bias_count)
    """
    inputs, reference = near(y, model.config, model.offsets)
    return near_bits(model.coder.likelihood, model.config.limit, inputs, reference, y, coded, biases)


def coder_bits(
    model: Lossy, y: Tensor, coded: Tensor, level: Tensor, on: Tensor, noise: Noise | None
) -> tuple[Tensor, Tensor]:
    """Return the bits of y, and of its latents z (prior minus posterior), (B,) each.

    Parameters
    ----------
    y, coded : see `tensor_bits`
    level : float tensor (B, levels)
    on : bool tensor (B,)
        Whose latents are on.
    noise : Noise or None
        Draws z; None takes the posterior's mode.
    """
    coder, planes = model.coder, model.config.planes
    tile, n = coder.config.tile, coder.config.latents
    b, _, h, w = y.shape
    rows, columns = -(-h // tile), -(-w // tile)
    padded = F.pad(y[:, :planes], (0, columns * tile - w, 0, rows * tile - h), "replicate")
    tiles = padded.unflatten(3, (columns, tile)).unflatten(2, (rows, tile)).permute(0, 2, 4, 1, 3, 5)
    repeated = level.repeat_interleave(rows * columns, 0)
    means, scales = coder.posterior(compress(tiles.flatten(0, 2)), repeated)
    shape = (b, rows, columns, n)
    z, prior, posterior = latent_bits(coder, means.reshape(shape), scales.reshape(shape), level, noise)
    moved = coder.biases(z.reshape(-1, n), repeated).unflatten(0, (b, rows * columns))
    off = coder.biases(None, level)[:, None]
    biases = torch.where(on[:, None, None], moved, off)
    row, column = (torch.arange(size, device=y.device) // tile for size in (h, w))
    place = (row[:, None] * columns + column).flatten()
    kl = (prior - posterior).sum((1, 2)) * on
    return tensor_bits(model, y, coded, biases[:, place]), kl
