"""The weights of the networks of `codec.frozen.modulation`: which tensors a file has, and what is refused."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codec.constants import EXACT
from codec.entropy.mixtures import Grid
from codec.errors import ModelError
from codec.frozen import contexts
from codec.frozen.layout import SAMPLES, TENSOR, Layout
from codec.frozen.model import Config, Family, Shapes, Tensors
from codec.frozen.modulation import ModulationNetworks
from codec.frozen.transform_weights import layer, output_layer
from codec.networks.convolutions import Layer

RANGES = {
    "radius": (2, 16),
    "tile": (16, 1024),
    "posterior_limit": (1, 8191),
}
"""Integers in the metadata of a weights file, and their ranges. Four times the posterior's limit must have 16 bits."""
TILE_UNITS = {"samples": 64, "tensor": 16}
"""The side of a tile is a multiple of this."""
SAMPLE_PLANES = 9
"""Number of input planes of a posterior that sees samples."""


def _check(config: Config) -> None:
    """Raise ModelError if the networks cannot work tiles of this side."""
    if config["tile"] % TILE_UNITS[config["kind"]]:
        raise ModelError(f"tile: expected a multiple of {TILE_UNITS[config['kind']]}, got {config['tile']}")


def _shapes(tensors: Tensors, config: Config, _: int, levels: int, biases: int) -> Shapes:
    """Return the type and shape of each tensor. Widths of hidden layers are taken from the tensors."""
    n = config["latents"]
    planes = SAMPLE_PLANES if config["kind"] == "samples" else config["posterior_channels"]
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

    def dense(name: str, largest: int | NDArray[np.float64], rows: int) -> Layer:
        return layer(tensors, name, 1, largest, rows, bound=EXACT)

    pooled = np.repeat([4.0 * coarse, coarse], len(tensors["posterior.dense.weight"]) // 2)
    return ModulationNetworks(
        layout=coded,
        of_samples=config["kind"] == "samples",
        tile=config["tile"],
        grid=grid,
        off_biases=tensors["likelihood.off_biases"].astype(np.int64),
        posterior_limit=coarse,
        activation_limit=limit,
        planes=len(tensors["posterior.conv1.weight"]) // 9,
        convolutions=(convolution(1), convolution(2), convolution(3)),
        dense=dense("posterior.dense", pooled, conditions),
        posterior_out=output_layer(tensors, "posterior.out", limit, shift),
        modulate_hidden=dense("modulation.hidden", config["grid"], 1),
        modulate_out=output_layer(tensors, "modulation.out", limit, shift),
    )


FAMILY = Family(
    kinds=(SAMPLES, TENSOR),
    ranges=RANGES,
    is_conditional=True,
    is_adaptable=True,
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
