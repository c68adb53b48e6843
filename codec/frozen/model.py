"""A frozen model, and the interface of its networks around z.

`codec.frozen.weights` makes a model of a weights file, and `codec.frozen.shipped` loads the models that ship. There are
two families of networks around z, `codec.frozen.modulation` and `codec.frozen.features`. Models without latents are a
family, too: `codec.frozen.plain`.
See FORMAT.md, "Models" and "Exact networks".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from codec.constants import ADAPTATION_STEP, BIAS_LIMIT
from codec.entropy.mixtures import Grid, Tables, load_tables
from codec.frozen.contexts import IntArray
from codec.frozen.layout import Kind, Layout
from codec.frozen.likelihood import Network, Raster
from codec.frozen.prior import Prior
from codec.networks.products import I16, I32
from codec.networks.transform import Transforms

I64 = NDArray[np.int64]
Config = dict[str, Any]
"""The configuration in the metadata of a weights file."""
Tensors = dict[str, NDArray[Any]]
Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""Type and shape of each tensor, by its name."""


class LatentNetworks(Protocol):
    """The networks around z: the posterior, and what z does to the likelihood."""

    def posterior(self, area: Raster, condition: int) -> I64:
        """Return the raw parameters of q(z|x), int64 array (tiles * latents, 3).

        ``area`` has the decoded pixels (rows, columns, channels) of a band, filled up to whole tiles.
        """

    def moved(self, z: I64 | None, tiles: int) -> I64:
        """Return what is added to the likelihood's biases, int64 array (tiles, bias count), for z (tiles, latents).

        If z is None, the model codes without latents.
        """

    def features(self, z: I64 | None, down: int, across: int) -> I16:
        """Return the features, int16 array (rows, columns, F), that z makes in a band of down x across tiles."""


@dataclass(frozen=True)
class Family:
    """A family: the models with the same form of networks around z. `codec.frozen.weights` reads their files with it.

    To add a family, write a module with one of these, and name it in `codec.frozen.weights.FAMILIES`. A configuration
    is that of a weights file.

    Attributes
    ----------
    kinds : tuple of Kind
        The kinds of rasters that its models may code.
    ranges : dict of str to (int, int)
        Integers that its configurations have besides those of all models, and their ranges.
    is_conditional : bool
        Whether biases may have several rows, one for each condition.
    is_adaptable : bool
        Whether files of samples may adapt its biases.
    has_latents : bool
        Whether its models have latents z, and so a prior and a posterior.
    needs_latents : bool
        See `Model`.
    has_own_units : bool
        Whether each hidden unit of the prior belongs to one latent of the tile and sees the latents before it.
    check : callable
        Called with a configuration whose numbers are in their ranges. Raises ModelError if they contradict each other.
    contexts : callable
        Called with a configuration. Returns its contexts (P, 2), and how far they reach.
    tile, band, neighbours : callables
        Called with a configuration. They return the side of a tile in pixels, the rows of tiles in a band, and
        the number of neighbouring tiles that the prior sees.
    features : callable
        Called with a configuration. Returns the number of features of a pixel, and their largest magnitude.
    shapes : callable
        Called with the tensors (from which widths of hidden layers are taken), the configuration, and the numbers of
        channels, of rows of biases, and of biases of the likelihood. Returns the type and shape of each tensor of the
        networks around z.
    build : callable
        Called with tensors of these shapes, the configuration, the layout, the grid of latents, and the numbers of
        conditions and of biases of the likelihood. Returns the networks around z. Raises ModelError if a layer could
        leave the range in which it is exact.
    """

    kinds: tuple[Kind, ...]
    ranges: dict[str, tuple[int, int]]
    is_conditional: bool
    is_adaptable: bool
    has_latents: bool
    needs_latents: bool
    has_own_units: bool
    check: Callable[[Config], None]
    contexts: Callable[[Config], tuple[IntArray, int]]
    tile: Callable[[Config], int]
    band: Callable[[Config], int]
    features: Callable[[Config], tuple[int, int]]
    neighbours: Callable[[Config], int]
    shapes: Callable[[Tensors, Config, int, int, int], Shapes]
    build: Callable[[Tensors, Config, Layout, Grid, int, int], LatentNetworks]


@dataclass(frozen=True)
class Model:
    """A frozen model.

    Attributes
    ----------
    number, name : int, str
        The number in files, and the name for people.
    hash : bytes
        First 4 bytes of the SHA-256 of the weights file.
    kind : Kind
        The rasters that it codes: samples of images, their bits, or tensors.
    tile : int
        Side of a tile in positions of the raster.
    band : int
        Rows of tiles in a band.
    latents : int
        Number of latents of a tile; 0 of a model without latents, whose files have none.
    conditions : int
        Rows of biases: one for each largest error of samples, or for each quality of a tensor.
    grid : Grid
        The grid of latents. Without latents it has one point, 0.
    normal : bool
        Whether latents have normal distributions; if not, logistic ones.
    adaptable : bool
        Whether files may adapt its biases.
    needs_latents : bool
        Whether the likelihood was never trained without latents. Then images that find bits to borrow have latents.
    networks : LatentNetworks
        The networks around z.
    priors : tuple of Prior
        The weights of p(z) for each condition; empty without latents.
    transforms : Transforms or None
        The transforms between samples and the coded tensor, if the model has them.
    """

    number: int
    name: str
    hash: bytes
    kind: Kind
    tile: int
    band: int
    latents: int
    conditions: int
    grid: Grid
    normal: bool
    adaptable: bool
    needs_latents: bool
    network: Network
    fixed_biases: I64
    networks: LatentNetworks
    priors: tuple[Prior, ...]
    transforms: Transforms | None

    @property
    def layout(self) -> Layout:
        """The layout of the rasters that the model codes."""
        return self.network.layout

    @property
    def latent_tables(self) -> Tables:
        """The tables of the latents' distributions."""
        return load_tables(normal=self.normal)

    def biases(self, z: I64 | None, condition: int, tiles: int, adaptation: I64 | None) -> I32:
        """Return the likelihood's biases, int32 array (tiles, bias count).

        Parameters
        ----------
        z : int64 array (tiles, latents) or None
            The latents; None codes without them.
        condition : int
            The largest error d of an image, or quality - 1 of a tensor.
        tiles : int
        adaptation : int64 array (bias count,) or None
            u of the file's adaptation, in `adaptation_units`.
        """
        moved = self.networks.moved(z, tiles)
        if adaptation is not None:
            moved = moved + adaptation * self.adaptation_units
        biases: I32 = np.clip(self.fixed_biases[condition] + moved, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
        return biases

    @property
    def adaptation_units(self) -> I64:
        """Return by how much a unit of the adaptation moves each bias, int64 array (bias count,)."""
        net = self.network
        shifts = np.concatenate([net.shift1, net.shift2, net.shift3, net.shift_heads])
        return ADAPTATION_STEP << shifts.astype(np.int64)
