"""VLAEs whose latents become a map of features, in float. They are the models of the seed paper.

An image of S x S pixels is cut into patches of ``patch`` x ``patch`` pixels. ``cell`` x ``cell`` patches make a cell,
which has ``latents`` integers z. Networks work at the patches' resolution.

* posterior q(z|x): a residual network over the patches, factorised normals on an integer grid;
* prior p(z): autoregressive over the cells of an image and their channels, in one fixed order;
* likelihood p(x|z): a residual network makes ``features`` numbers for each pixel from z; a small network at each
  pixel sees them and a window of decoded pixels (`models.nets.likelihood.Likelihood`).

After Chen et al. (2017), "Variational Lossy Autoencoder", appendix A. `models.freezing.freeze_spatial` turns it into
the integer model that `codec` executes. Tensors are B C H W.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.frozen import contexts, layout
from codec.frozen.layout import Layout
from codec.frozen.prior import NEIGHBOURS
from models.nets.latents import Latent, draw, normal_bits
from models.nets.layers import Residual, Stack, lowered
from models.nets.likelihood import BITS, SAMPLES, Coded, Likelihood, LikelihoodShape
from models.noise import Noise

INPUT_UNIT = 64.0
"""Integer units that make 1 in the posterior's float inputs."""
Z_UNIT = 8.0
"""Grid steps of z that make 1 in the networks that read or predict it."""
CODED = {"bits": BITS, "samples": SAMPLES}


@dataclass(frozen=True)
class MapShape(LikelihoodShape):
    """What the shapes of all models have whose latents become a map, whatever networks make it.

    Attributes
    ----------
    kind : str
        What is coded: "bits" or "samples".
    size : int
        Side of the training images in pixels. A band of the codec has the same number of rows.
    latents, grid : int
        Number of latents of a cell. Each is within -grid..grid.
    features : int
        Features of each pixel.
    prior : int
        Hidden units of the prior for each latent of a cell. With 0 the prior is factorised.
    grey : bool
        Whether the window shows only the grey of the colours.
    neighbours : int
        Number of neighbouring cells that the prior sees: the first ones of `codec.frozen.prior.NEIGHBOURS`.
    """

    kind: str = "bits"
    size: int = 28
    latents: int = 64
    grid: int = 31
    features: int = 8
    prior: int = 8
    neighbours: int = 0
    grey: bool = False

    @property
    def offsets(self) -> contexts.IntArray:
        """Contexts of the likelihood, int64 (P, 2): rows up and columns to the right."""
        raise NotImplementedError

    @property
    def coded(self) -> Coded:
        """The tensor that is coded."""
        return CODED[self.kind]

    @property
    def layout(self) -> Layout:
        """The codec's layout of what is coded."""
        return layout.samples(grey=self.grey) if self.kind == "samples" else layout.bits()

    @property
    def inputs(self) -> int:
        """Inputs of the likelihood's network."""
        return self.layout.inputs(len(self.offsets)) + self.features


@dataclass(frozen=True)
class SpatialConfig(MapShape):
    """Shape of a model; a recipe's [model] table.

    Attributes
    ----------
    window : tuple of int
        Columns A and rows above B of the likelihood's window, see `codec.frozen.contexts.window`.
    patch, cell : int
        Side of a patch in pixels, and side of a cell in patches.
    stream : int
        Channels of the residual streams.
    blocks : tuple of int
        Number of blocks in the posterior's network and in the likelihood's.
    """

    window: tuple[int, int] = (7, 4)
    patch: int = 4
    cell: int = 7
    stream: int = 64
    blocks: tuple[int, int] = (2, 2)

    @property
    def offsets(self) -> contexts.IntArray:
        """Contexts of the likelihood."""
        return contexts.window(*self.window)

    @property
    def cells(self) -> int:
        """Number of cells along a side of a training image."""
        return self.size // (self.patch * self.cell)


def bounded(values: Tensor, low: float, high: float) -> Tensor:
    """Return values clipped to low..high, with the gradient of the identity, so that clipped ones can come back."""
    return values + (values.clamp(low, high) - values).detach()


class SpatialPosterior(nn.Module):
    """The posterior q(z|x): mean and log2 standard deviation, in grid steps, of a normal for each latent."""

    def __init__(self, config: SpatialConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.input = nn.Conv2d(c.coded.channels * c.patch**2, c.stream, 3, padding=1)
        self.blocks: Stack[Residual] = Stack([Residual(c.stream) for _ in range(c.blocks[0])])
        self.out = nn.Linear(c.stream * c.cell**2, 2 * c.latents)
        with torch.no_grad():
            self.out.weight.mul_(0.3)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log2 deviations (B, cells, latents), cells in raster order, of inputs (B, C, S, S)."""
        c = self.config
        s = F.relu(self.blocks(self.input(F.pixel_unshuffle(images, c.patch))))
        flat = s.unflatten(3, (-1, c.cell)).unflatten(2, (-1, c.cell)).permute(0, 2, 4, 3, 5, 1)
        means, scales = self.out(flat.flatten(3).flatten(1, 2)).float().chunk(2, -1)
        return bounded(Z_UNIT * means, -c.grid, c.grid), bounded(scales + 1, -1, 4)


class SpatialDecoder(nn.Module):
    """The likelihood's large network, from z to features of each pixel. The cells must fill a square."""

    def __init__(self, config: SpatialConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.dense = nn.Linear(c.latents, c.stream * c.cell**2)
        self.blocks: Stack[Residual] = Stack([Residual(c.stream) for _ in range(c.blocks[1])])
        self.output = nn.Conv2d(c.stream, c.features * c.patch**2, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Return features (B, F, S, S) of z (B, cells, latents)."""
        c, side = self.config, math.isqrt(z.shape[1])
        s = self.dense(z / Z_UNIT).unflatten(2, (c.cell, c.cell, c.stream)).unflatten(1, (side, side))
        s = s.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        s = self.blocks(s.contiguous(memory_format=torch.channels_last))
        return F.pixel_shuffle(self.output(F.relu(s)), c.patch)


class SpatialPrior(nn.Module):
    """The prior p(z): normals whose parameters depend on neighbouring cells and on the cell's latents before.

    It is a masked network with one hidden layer (MADE, Germain et al. 2015) plus a linear map of the latents before.
    Each hidden unit belongs to one latent and sees those before it. A factorised prior is only a bias.
    """

    sees: Tensor
    seen: Tensor
    causal: Tensor

    def __init__(self, config: MapShape) -> None:
        super().__init__()
        n, units = config.latents, config.latents * config.prior
        self.config = config
        with warnings.catch_warnings():  # a factorised prior has empty weights, of which torch warns
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            self.out = nn.Linear(units, 2 * n)
        nn.init.zeros_(self.out.bias)
        if config.prior:
            group = torch.arange(units) // config.prior
            self.register_buffer("sees", (torch.arange(n) < group[:, None]).float(), persistent=False)
            self.register_buffer("seen", (group <= torch.arange(n)[:, None]).float().repeat(2, 1), persistent=False)
            self.register_buffer("causal", torch.tril(torch.ones(n, n), -1).repeat(2, 1), persistent=False)
            self.own = nn.Linear(n, units)
            self.activation = nn.ReLU()
            self.channels = nn.Parameter(torch.zeros(2 * n, n))
            with torch.no_grad():
                self.out.weight.mul_(0.1)
            if config.neighbours:
                self.hidden = nn.Linear(config.neighbours * (n + 1), units, bias=False)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and log2 deviations, in grid steps, for z; all tensors are (B, cells, latents)."""
        c = self.config
        if not c.prior:
            out = self.out.bias.expand(*z.shape[:2], -1)
        else:
            own = z / Z_UNIT
            h = F.linear(own, self.own.weight * self.sees, self.own.bias)
            if c.neighbours:
                h = h + self.hidden(self._around(own))
            out = F.linear(self.activation(h), self.out.weight * self.seen, self.out.bias)
            out = out + F.linear(own, self.channels * self.causal)
        means, scales = out.chunk(2, -1)
        return bounded(Z_UNIT * means, -c.grid, c.grid), bounded(scales + 2, -1, 5)

    def _around(self, own: Tensor) -> Tensor:
        """Return the neighbours' z, and whether they exist: (B, cells, neighbours * (latents + 1))."""
        cells = math.isqrt(own.shape[1])
        padded = F.pad(F.pad(own, (0, 1), value=1.0).unflatten(1, (cells, cells)), (0, 0, 2, 2, 2, 0))
        near = [
            padded[:, 2 - up : 2 - up + cells, 2 + right : 2 + right + cells]
            for up, right in NEIGHBOURS[: self.config.neighbours]
        ]
        return torch.cat(near, -1).flatten(1, 2)


class MapModel(nn.Module):
    """All parts of one model, whatever networks its posterior and its decoder are.

    Parameters
    ----------
    posterior : module
        Returns means and log2 deviations (B, cells, latents), in grid steps, of inputs (B, C, S, S).
    decoder : module
        Returns features (B, F, S, S) of z (B, cells, latents).

    Attributes
    ----------
    in_bfloat16 : bool
        Whether the networks multiply in bfloat16. Only training uses it.
    """

    def __init__(self, config: MapShape, posterior: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.in_bfloat16 = False
        self.posterior = posterior
        self.decoder = decoder
        self.prior = SpatialPrior(config)
        self.likelihood = Likelihood(config, config.inputs)
        if config.kind == "bits":
            with torch.no_grad():  # the mixture has one component of scale 1, of which only the mean is trained
                self.likelihood.outputs[0].weight[::2] = 0
                self.likelihood.outputs[0].bias.copy_(torch.tensor([0.0, 0.0, -0.5]))

    def infer(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior's means and log2 deviations (B, cells, latents) of inputs (B, C, S, S)."""
        with lowered(images, self.in_bfloat16):
            posterior: tuple[Tensor, Tensor] = self.posterior(images)
        return posterior

    def features(self, z: Tensor) -> Tensor:
        """Return features (B, F, S, S) of z (B, cells, latents)."""
        with lowered(z, self.in_bfloat16):
            features: Tensor = self.decoder(z)
        return features


class Spatial(MapModel):
    """The seed paper's model: residual networks make latents of patches, and the map of latents."""

    config: SpatialConfig
    posterior: SpatialPosterior
    decoder: SpatialDecoder

    def __init__(self, config: SpatialConfig) -> None:
        super().__init__(config, SpatialPosterior(config), SpatialDecoder(config))


def draw_latents(model: MapModel, images: Tensor, noise: Noise | None) -> Latent:
    """Return the latents (B, cells, latents) of images (B, C, S, S), drawn from the posterior.

    Without noise they are the posterior's mode.
    """
    grid, (means, scales) = model.config.grid, model.infer(images)
    z = draw(means, scales, grid, None if noise is None else noise.normal(*means.shape))
    # Do not reorder: gradients are summed in the order in which bits are computed, and another one rounds otherwise.
    prior_means, prior_scales = model.prior(z)
    prior_bits = normal_bits(z, prior_means, prior_scales, grid)
    return Latent(z, prior_bits, normal_bits(z, means, scales, grid))
