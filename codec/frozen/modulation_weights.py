"""The weights of the networks of `codec.frozen.modulation`: which tensors they are and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.entropy.mixtures import Grid
from codec.errors import ModelError
from codec.frozen.layout import Layout
from codec.frozen.modulation import ModulationNetworks
from codec.frozen.transform_weights import Tensors
from codec.networks import layers
from codec.networks.layers import Hidden, Output

CONFIG = {
    "radius": (2, 16),
    "tile": (16, 1024),
    "posterior_limit": (1, 32767),
}
"""Whole numbers in a weights file's metadata, and their ranges."""
TILE_UNITS = {"samples": 64, "tensor": 16}
"""What the side of a tile is a multiple of."""
SAMPLE_PLANES = 9
"""Input planes of the posterior of samples."""

F32 = NDArray[np.float32]
Shapes = dict[str, tuple[str, tuple[int, ...]]]


def check_tile(config: dict[str, Any]) -> None:
    """Raise ModelError if tiles have no side that the networks can work."""
    if config["tile"] % TILE_UNITS[config["kind"]]:
        raise ModelError(f"tile: expected a multiple of {TILE_UNITS[config['kind']]}, got {config['tile']}")


def tensor_shapes(tensors: Tensors, config: dict[str, Any], levels: int, biases: int) -> Shapes:
    """Return the type and shape of every tensor; widths of hidden layers are taken from some of them.

    Parameters
    ----------
    levels : int
        Rows of biases that depend on the condition.
    biases : int
        Of the likelihood.
    """
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


def _hidden(tensors: Tensors, name: str, limit: int, bias: F32 | None = None) -> Hidden:
    weight = np.ascontiguousarray(tensors[f"{name}.weight"], dtype=np.float32)
    if bias is None:
        bias = tensors[f"{name}.bias"].astype(np.float32)
    scale = np.ldexp(np.float32(1), -tensors[f"{name}.shift"].astype(np.int64)).astype(np.float32)
    return Hidden(weight, bias, scale, limit)


def _output(tensors: Tensors, name: str, shift: int) -> Output:
    return Output(
        np.ascontiguousarray(tensors[f"{name}.weight"], dtype=np.float32),
        tensors[f"{name}.bias"].astype(np.float32),
        tensors[f"{name}.multiplier"].astype(np.int64),
        shift,
    )


def _check(name: str, layer: Hidden | Output, largest: float) -> None:
    layers.check_bound(name, layer.weight, largest, np.abs(layer.bias.astype(np.float64)))


def build(tensors: Tensors, config: dict[str, Any], coded: Layout, grid: Grid, conditions: int) -> ModulationNetworks:
    """Return the networks of a weights file's tensors, whose shapes are right.

    Raises
    ------
    ModelError
        A layer could leave the range in which it is exact.
    """
    t = tensors
    limit, coarse, shift = config["activation_limit"], config["posterior_limit"], config["output_shift"]
    convolutions = tuple(_hidden(t, f"posterior.conv{i}", coarse) for i in (1, 2, 3))
    for i, conv in enumerate(convolutions):
        _check(f"posterior convolution {i}", conv, coarse if i else coded.largest_input)
    dense_biases = layers.between_levels(t["posterior.dense.biases"], conditions).astype(np.float32)
    dense = _hidden(t, "posterior.dense", limit, np.zeros(0, dtype=np.float32))
    inputs = np.repeat([4.0 * coarse, coarse], dense.weight.shape[0] // 2)
    layers.check_bound("posterior dense", dense.weight, inputs, np.abs(dense_biases).max(0))
    posterior_out = _output(t, "posterior.out", shift)
    _check("posterior output", posterior_out, limit)
    modulate_hidden = _hidden(t, "modulation.hidden", limit)
    _check("modulation", modulate_hidden, config["grid"])
    modulate_out = _output(t, "modulation.out", shift)
    _check("modulation output", modulate_out, limit)
    return ModulationNetworks(
        layout=coded,
        of_samples=config["kind"] == "samples",
        tile=config["tile"],
        planes=convolutions[0].weight.shape[0] // 9,
        grid=grid,
        off_biases=t["likelihood.off_biases"].astype(np.int64),
        convolutions=(convolutions[0], convolutions[1], convolutions[2]),
        dense=dense,
        dense_biases=dense_biases,
        posterior_out=posterior_out,
        modulate_hidden=modulate_hidden,
        modulate_out=modulate_out,
    )
