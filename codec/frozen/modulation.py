"""The networks around z of models whose latents modulate the likelihood: the latents of a tile set the biases there.

See FORMAT.md, "Posterior" and "Modulation".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.constants import EXACT
from codec.entropy.mixtures import Grid, latent_parameters
from codec.errors import ModelError
from codec.frozen import contexts
from codec.frozen.layout import SAMPLES, TENSOR, Layout
from codec.frozen.likelihood import Raster
from codec.frozen.model import Config, Family, Shapes, Tensors
from codec.frozen.transform_weights import layer, output_layer
from codec.networks.checks import check_numbers
from codec.networks.convolutions import Layer, Output, blank_plane, dense, output, run_layer
from codec.networks.products import I16

I64 = NDArray[np.int64]

RANGES = {
    "radius": (2, 16),
    "tile": (16, 1024),
    "posterior_limit": (1, 8191),
}
"""Integers in the metadata of a weights file, and their ranges. Four times the posterior's limit must have 16 bits."""
TILE_UNIT = 16
"""The side of a tile is a multiple of this. Three convolutions halve it, and four positions or more must be left, since
their means are in quarters."""
_NO_FEATURES = np.zeros((1, 1, 0), dtype=np.int16)


def sample_planes(tile: Raster, planes: I16, layout: Layout) -> None:
    """Fill three planes for each channel of a tile: the differences from the left and from above, and the level."""
    compress, zero = layout.compress, layout.high - layout.low
    x = tile.astype(np.int64)
    planes[:, 1:, 0:3] = compress[x[:, 1:] - x[:, :-1] + zero]
    planes[1:, :, 3:6] = compress[x[1:] - x[:-1] + zero]
    planes[..., 6:9] = (x - layout.missing) >> layout.level_shift


def tensor_planes(tile: Raster, planes: I16, layout: Layout) -> None:
    """Fill a plane for each of the first channels of a tile."""
    planes[...] = layout.compress[tile[..., : planes.shape[2]].astype(np.int64) + layout.high - layout.low]


def _posterior_channels(config: Config) -> int:
    """Return the number of channels of a tensor that the posterior sees; ModelError if there are none such."""
    check_numbers(config, {"posterior_channels": (1, config["channels"])})
    return int(config["posterior_channels"])


class Sight(NamedTuple):
    """How posteriors see a kind of raster.

    Attributes
    ----------
    planes : callable
        Called with a configuration. Returns the number of input planes.
    fill : callable
        Called with a tile (T, T, channels), its input planes (T, T, planes), which are zero, and the layout. Fills the
        planes.
    """

    planes: Callable[[Config], int]
    fill: Callable[[Raster, I16, Layout], None]


SIGHTS = {
    SAMPLES.name: Sight(lambda _: 9, sample_planes),
    TENSOR.name: Sight(_posterior_channels, tensor_planes),
}


@dataclass(frozen=True)
class ModulationNetworks:
    """The posterior and the modulation. It is a `codec.frozen.model.LatentNetworks`.

    Attributes
    ----------
    sight : Sight
        How the posterior sees tiles.
    posterior_limit, activation_limit : int
        Largest activation of the convolutions, and of dense layers.
    planes : int
        Number of the posterior's input planes.
    """

    layout: Layout
    sight: Sight
    tile: int
    grid: Grid
    off_biases: I64
    posterior_limit: int
    activation_limit: int
    planes: int
    convolutions: tuple[Layer, Layer, Layer]
    dense: Layer
    posterior_out: Output
    modulate_hidden: Layer
    modulate_out: Output

    def posterior(self, area: Raster, condition: int) -> I64:
        """Return the raw parameters (tiles * latents, 3) of q(z|x) for a row of tiles (T, tiles * T, channels)."""
        pooled = np.stack([self._pooled(tile) for tile in np.split(area, area.shape[1] // self.tile, axis=1)])
        h = dense(pooled, self.dense, condition, self.activation_limit)
        return latent_parameters(output(h, self.posterior_out), self.grid)

    def _pooled(self, tile: Raster) -> I64:
        """Return the mean and the largest activation, (2 C3,), of each output of the convolutions over a tile."""
        side = self.tile
        plane, inner = blank_plane((side, side), self.planes)
        self.sight.fill(tile, inner, self.layout)
        for convolution in self.convolutions:
            side //= 2
            out, inner = blank_plane((side, side), len(convolution.shift))
            run_layer(0, 1, (side, side), plane, convolution, 0, self.posterior_limit, False, out)
            plane = out
        # Means are in quarters. Four times the largest activation has 16 bits.
        quarters = side**2 // 4
        return np.concatenate([inner.sum((0, 1), dtype=np.int64) // quarters, inner.max((0, 1))])

    def moved(self, z: I64 | None, tiles: int) -> I64:
        """Return what z (tiles, latents), or its absence, adds to the likelihood's biases: (tiles, bias count)."""
        if z is None:
            return np.repeat(self.off_biases[None], tiles, 0)
        return output(dense(z, self.modulate_hidden, 0, self.activation_limit), self.modulate_out)

    def features(self, z: I64 | None, down: int, across: int) -> I16:
        """Return an array of no features: in these models z acts by the biases alone."""
        return _NO_FEATURES


def _check(config: Config) -> None:
    """Raise ModelError if the networks cannot work tiles of this side, or if the posterior sees no such channels."""
    if config["tile"] % TILE_UNIT:
        raise ModelError(f"tile: expected a multiple of {TILE_UNIT}, got {config['tile']}")
    SIGHTS[config["kind"]].planes(config)


def _shapes(tensors: Tensors, config: Config, _: int, levels: int, biases: int) -> Shapes:
    """Return the type and shape of each tensor. Widths of hidden layers are taken from the tensors."""
    n = config["latents"]
    planes = SIGHTS[config["kind"]].planes(config)
    c1, c2, c3 = (tensors[f"posterior.conv{i}.weight"].shape[-1] for i in (1, 2, 3))
    dense, modulation = (tensors[f"{k}.weight"].shape[-1] for k in ("posterior.dense", "modulation.hidden"))
    shapes: Shapes = {}
    for name, before, after in (
        ("posterior.conv1", 9 * planes, c1),
        ("posterior.conv2", 9 * c1, c2),
        ("posterior.conv3", 9 * c2, c3),
        ("posterior.dense", 2 * c3, dense),
        ("modulation.hidden", n, modulation),
    ):
        shapes[f"{name}.weight"] = ("int16", (before, after))
        shapes[f"{name}.shift"] = ("int8", (after,))
    for name, after in (("posterior.conv1", c1), ("posterior.conv2", c2), ("posterior.conv3", c3)):
        shapes[f"{name}.bias"] = ("int32", (after,))
    shapes["modulation.hidden.bias"] = ("int32", (modulation,))
    shapes["posterior.dense.biases"] = ("int32", (levels, dense))
    for name, before, after in (("posterior.out", dense, 2 * n), ("modulation.out", modulation, biases)):
        shapes[f"{name}.weight"] = ("int16", (before, after))
        shapes[f"{name}.bias"] = ("int32", (after,))
        shapes[f"{name}.multiplier"] = ("int64", (after,))
    return shapes | {"likelihood.off_biases": ("int32", (biases,))}


def _build(tensors: Tensors, config: Config, coded: Layout, grid: Grid, conditions: int, _: int) -> ModulationNetworks:
    """Return the networks of a weights file's tensors, whose shapes were checked.

    Raises
    ------
    ModelError
        A layer could leave the range in which it is exact.
    """
    limit, coarse, shift = config["activation_limit"], config["posterior_limit"], config["output_shift"]

    def convolution(number: int) -> Layer:
        largest = coarse if number > 1 else coded.largest_input
        return layer(tensors, f"posterior.conv{number}", 3, largest, 1, bound=EXACT, stride=2)

    def hidden(name: str, largest: int | NDArray[np.float64], rows: int) -> Layer:
        return layer(tensors, name, 1, largest, rows, bound=EXACT)

    pooled = np.repeat([4.0 * coarse, coarse], len(tensors["posterior.dense.weight"]) // 2)
    return ModulationNetworks(
        layout=coded,
        sight=SIGHTS[config["kind"]],
        tile=config["tile"],
        grid=grid,
        off_biases=tensors["likelihood.off_biases"].astype(np.int64),
        posterior_limit=coarse,
        activation_limit=limit,
        planes=len(tensors["posterior.conv1.weight"]) // 9,
        convolutions=(convolution(1), convolution(2), convolution(3)),
        dense=hidden("posterior.dense", pooled, conditions),
        posterior_out=output_layer(tensors, "posterior.out", limit, shift),
        modulate_hidden=hidden("modulation.hidden", config["grid"], 1),
        modulate_out=output_layer(tensors, "modulation.out", limit, shift),
    )


FAMILY = Family(
    kinds=(SAMPLES, TENSOR),
    ranges=RANGES,
    is_conditional=True,
    is_adaptable=True,
    has_latents=True,
    needs_latents=False,
    has_own_units=False,
    check=_check,
    contexts=lambda config: (contexts.offsets(config["radius"]), config["radius"]),
    tile=lambda config: int(config["tile"]),
    band=lambda _: 1,
    features=lambda _: (0, 0),
    neighbours=lambda _: 1,
    shapes=_shapes,
    build=_build,
)
"""The family of models whose latents modulate the likelihood, tile by tile."""
