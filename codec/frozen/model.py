"""Frozen models: what one is.

`codec.frozen.weights` makes one of a weights file, `codec.frozen.shipped` loads those that ship. The networks around z
are of two kinds: `codec.frozen.modulation` and `codec.frozen.features`. See FORMAT.md, "Models" and "Exact networks".
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
"""Configuration in the metadata of a weights file."""
Tensors = dict[str, NDArray[Any]]
Shapes = dict[str, tuple[str, tuple[int, ...]]]
"""Type and shape of tensors by their names."""


class LatentNetworks(Protocol):
    """The networks around z."""

    def posterior(self, area: Raster, condition: int) -> I64:
        """Return the raw parameters (tiles * latents, 3) of q(z|x) for the decoded pixels (rows, columns, channels).

        They are those of a band, filled up to whole tiles.
        """

    def moved(self, z: I64 | None, tiles: int) -> I64:
        """Return what latents z (tiles, latents), or their absence, add to the likelihood's biases (tiles, count)."""

    def features(self, z: I64 | None, down: int, across: int) -> I16:
        """Return the features (rows, columns, F) that the latents of a band of ``down`` x ``across`` tiles make."""


@dataclass(frozen=True)
class Family:
    """What sets apart the models with one form of networks around z, for `codec.frozen.weights`.

    A configuration is the one of a weights file. A new family is a module with one of these, named in
    `codec.frozen.weights.FAMILIES`.

    Attributes
    ----------
    kinds : tuple of Kind
        What its models may code.
    ranges : dict of str to (int, int)
        Whole numbers that its configurations have besides those of all models.
    is_conditional : bool
        Whether biases may have several rows: one for each condition.
    is_adaptable : bool
        Whether files of samples may change its biases.
    needs_latents : bool
        See `Model`.
    has_own_units : bool
        Whether hidden units of the prior belong to a latent each and see the latents before it.
    check : callable
        Raises ModelError if a configuration, whose numbers are in their ranges, cannot be worked.
    contexts : callable
        Returns the contexts (P, 2) of a configuration, and how far they reach.
    tile, band, neighbours : callables
        Return the side of a tile in pixels, the rows of tiles in a band, and the neighbouring tiles that the prior
        sees, of a configuration.
    features : callable
        Returns how many features a pixel has, and their largest magnitude, of a configuration.
    shapes : callable
        Returns type and shape of each tensor of the networks around z, from tensors (widths of hidden layers are taken
        from some), the configuration, the raster's channels, the rows of biases, and the biases of the likelihood.
    build : callable
        Returns the networks around z, from tensors of these shapes, the configuration, the layout, the grid of latents,
        the number of conditions, and the biases of the likelihood. It raises ModelError if a layer could leave
        the range in which it is exact.
    """

    kinds: tuple[Kind, ...]
    ranges: dict[str, tuple[int, int]]
    is_conditional: bool
    is_adaptable: bool
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
    """A frozen model: what `codec.vlae.coders` needs of it.

    Attributes
    ----------
    number, name : identity
    hash : bytes
        First 4 bytes of the SHA-256 of the weights file.
    kind : Kind
        What it codes: samples of images, their bits, or a tensor.
    tile : int
        Pixels of a tile's side.
    band : int
        Rows of tiles in a band.
    latents : int
        Latents of a tile.
    conditions : int
        Rows of biases it has: one for each d of samples, for each quality of a tensor.
    grid : Grid
        Of latents.
    normal : bool
        Whether latents have normal distributions, or logistic ones.
    adaptable : bool
        Whether files may change its biases.
    needs_latents : bool
        Whether the likelihood never did without latents in training: images that find bits to borrow have them.
    networks : LatentNetworks
    transforms : Transforms or None
        Between samples and the tensor that is coded, if the model has them.
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
    prior_weights: Prior
    prior_biases: I32
    transforms: Transforms | None

    @property
    def layout(self) -> Layout:
        """What is coded."""
        return self.network.layout

    @property
    def latent_tables(self) -> Tables:
        """Tables of the distributions of latents."""
        return load_tables(normal=self.normal)

    def biases(self, z: I64 | None, condition: int, tiles: int, adaptation: I64 | None) -> I32:
        """Return the likelihood's biases (tiles, bias count).

        Parameters
        ----------
        z : int64 array (tiles, latents), or None: latents off
        adaptation : int64 array (bias count,) or None
            What the file's adaptation adds, in units of `adaptation_units`.
        """
        moved = self.networks.moved(z, tiles)
        if adaptation is not None:
            moved = moved + adaptation * self.adaptation_units
        biases: I32 = np.clip(self.fixed_biases[condition] + moved, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
        return biases

    @property
    def adaptation_units(self) -> I64:
        """Return by how much a unit of the adaptation moves each bias, (bias count,)."""
        net = self.network
        shifts = np.concatenate([net.shift1, net.shift2, net.shift3, net.shift_heads])
        return ADAPTATION_STEP << shifts.astype(np.int64)

    def prior(self, condition: int) -> Prior:
        """Return the prior's weights for one condition."""
        return self.prior_weights._replace(bias=self.prior_biases[condition])
