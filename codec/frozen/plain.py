"""Models without latents z: the likelihood alone, whose biases are the same everywhere. See FORMAT.md, "Models"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec.entropy.mixtures import Grid
from codec.frozen import contexts
from codec.frozen.layout import SAMPLES, TENSOR, Layout
from codec.frozen.likelihood import Raster
from codec.frozen.model import Config, Family, Tensors
from codec.networks.products import I16

I64 = NDArray[np.int64]

RANGES = {
    "radius": (2, 16),
    "rows": (1, 1024),
}
"""Integers in the metadata of a weights file, and their ranges."""


@dataclass(frozen=True)
class PlainNetworks:
    """What takes the place of networks around z. It is a `codec.frozen.model.LatentNetworks`.

    Attributes
    ----------
    bias_count : int
        Number of the likelihood's biases.
    """

    bias_count: int

    def posterior(self, area: Raster, condition: int) -> I64:
        """Return the raw parameters (0, 3) of no latents."""
        return np.zeros((0, 3), dtype=np.int64)

    def moved(self, z: I64 | None, tiles: int) -> I64:
        """Return zeros (tiles, bias count): nothing moves the biases."""
        return np.zeros((tiles, self.bias_count), dtype=np.int64)

    def features(self, z: I64 | None, down: int, across: int) -> I16:
        """Return an array of no features."""
        return np.zeros((1, 1, 0), dtype=np.int16)


def _build(_: Tensors, config: Config, coded: Layout, grid: Grid, conditions: int, bias_count: int) -> PlainNetworks:
    """Return what takes the place of networks around z."""
    return PlainNetworks(bias_count)


FAMILY = Family(
    kinds=(SAMPLES, TENSOR),
    ranges=RANGES,
    is_conditional=True,
    is_adaptable=True,
    has_latents=False,
    needs_latents=False,
    has_own_units=False,
    check=lambda _: None,
    contexts=lambda config: (contexts.offsets(config["radius"]), config["radius"]),
    tile=lambda config: int(config["rows"]),
    band=lambda _: 1,
    features=lambda _: (0, 0),
    neighbours=lambda _: 0,
    shapes=lambda *_: {},
    build=_build,
)
"""The family of models without latents. A tile is as high as a band; its side changes no result."""
