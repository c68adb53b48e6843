"""The weights of the transforms: which tensors a file has, and what is refused.

The families of networks around z use the functions `layer`, `blocks` and `packed` for their own layers, too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codec.constants import EXACT, SUM_LIMIT, VALUE_LIMIT
from codec.errors import ModelError
from codec.frozen.model import Config, Shapes, Tensors
from codec.networks import checks
from codec.networks.convolutions import I64, Last, Layer, Output
from codec.networks.products import I16, pack
from codec.networks.transform import CENTRE, SAMPLES, Transform, Transforms

MULTIPLIER_LIMIT = 1 << 30
"""Largest multiplier. The sum of two products of a multiplier with a sum of 2**31 then stays below 2**62."""
NETWORK = "int8"
"""Type of the networks' weights. Those of the linear maps are int16."""
CONFIG = {"stream_limit": (1, 32767), "hidden_limit": (1, 32767)}
"""Integers in the metadata of a weights file, and their ranges."""
PREFIXES = ("analysis.", "synthesis.")
"""The names of the transforms' tensors begin with these."""


def block_count(tensors: Tensors, prefix: str) -> int:
    """Return the number of residual blocks of the network whose tensors' names begin with ``prefix``."""
    count = 0
    while f"{prefix}.block{count + 1}.hidden.weight" in tensors:
        count += 1
    return count


def tensor_shapes(tensors: Tensors) -> Shapes:
    """Return the type and shape of each tensor of the transforms. Widths, blocks and levels are taken from the tensors.

    Raises
    ------
    KeyError, ValueError, IndexError
        A tensor from which the widths of others are taken is missing or misshapen.
    """
    conditions, channels = tensors["synthesis.steps"].shape
    levels = next((tensor.shape[0] for name, tensor in tensors.items() if name.endswith(".biases")), conditions)
    rows = ("int32", (conditions, channels))
    shapes: Shapes = {"synthesis.steps": rows, "analysis.prices": rows}
    for prefix, before, first, after, last in (
        ("analysis", SAMPLES, 1, channels, 3),
        ("synthesis", channels, 3, SAMPLES, 1),
    ):
        width = tensors[f"{prefix}.input.weight"].shape[-1]
        layers = {f"{prefix}.input": first * first * before}
        for i in range(block_count(tensors, prefix)):
            layers |= {f"{prefix}.block{i + 1}.{name}": 9 * width for name in ("hidden", "residual")}
        for name, inputs in layers.items():
            bias = ("biases", (levels, width)) if name.endswith("hidden") else ("bias", (width,))
            shapes[f"{name}.weight"] = (NETWORK, (inputs, width))
            shapes[f"{name}.{bias[0]}"] = ("int32", bias[1])
            shapes[f"{name}.shift"] = ("int8", (width,))
        shapes[f"{prefix}.linear.weight"] = ("int16", (before, after))
        shapes[f"{prefix}.output.weight"] = (NETWORK, (last * last * width, after))
        shapes[f"{prefix}.output.bias"] = ("int32", (after,))
        for name in ("linear", "output"):
            shapes[f"{prefix}.{name}.multiplier"] = ("int32", (after,))
    return shapes


def _check(tensors: Tensors, config: Config) -> None:
    """Raise ModelError for what the kernels could not work: wrong shapes or types, numbers out of range."""
    checks.check_numbers({name: config.get(name) for name in CONFIG}, CONFIG)
    try:
        expected = tensor_shapes(tensors)
    except (KeyError, ValueError, IndexError) as error:
        raise ModelError(f"transforms: a tensor is missing or misshapen: {error!r}") from error
    checks.check_tensors("transforms", tensors, expected, MULTIPLIER_LIMIT)
    for name, tensor in tensors.items():
        if not tensor.size:
            raise ModelError(f"{name}: expected a tensor that is not empty, got {tensor.shape}")
        if name.endswith(".biases") and len(tensor) > len(tensors["synthesis.steps"]):
            raise ModelError(f"{name}: expected at most {len(tensors['synthesis.steps'])} rows, got {len(tensor)}")
    for name, least in (("synthesis.steps", 1), ("analysis.prices", 0)):
        if (tensors[name] < least).any():
            raise ModelError(f"{name}: {name.split('.')[1]} are at least {least}")


def packed(tensors: Tensors, name: str, largest: int | NDArray[np.float64], biases: I64, bound: int = SUM_LIMIT) -> I16:
    """Return a layer's weight for `codec.networks.products.product`; ModelError if a sum could exceed ``bound``.

    ``largest`` is the largest magnitude of the inputs: one number, or one for each input.
    """
    weight = tensors[f"{name}.weight"]
    checks.check_bound(name, weight, largest, np.abs(biases).max(0), bound)
    return pack(weight)


def layer(
    tensors: Tensors,
    name: str,
    side: int,
    largest: int | NDArray[np.float64],
    conditions: int,
    *,
    bound: int = SUM_LIMIT,
    stride: int = 1,
) -> Layer:
    """Return the layer of the tensors that begin with ``name``, whose inputs are within ``largest``.

    Raises
    ------
    ModelError
        A sum could exceed ``bound``.
    """
    levels = f"{name}.biases"
    rows = tensors[levels] if levels in tensors else tensors[f"{name}.bias"][None]
    biases = checks.between_levels(rows, conditions)
    weight = packed(tensors, name, largest, biases, bound)
    return Layer(weight, biases.astype(np.int32), tensors[f"{name}.shift"].astype(np.int32), side, stride)


def output_layer(tensors: Tensors, name: str, largest: int, shift: int) -> Output:
    """Return an output layer whose inputs are within ``largest``; ModelError if a sum could exceed EXACT."""
    bias = tensors[f"{name}.bias"].astype(np.int64)
    weight = packed(tensors, name, largest, bias[None], EXACT)
    return Output(weight, bias, tensors[f"{name}.multiplier"].astype(np.int64), shift)


def blocks(
    tensors: Tensors, prefix: str, stream_limit: int, hidden_limit: int, conditions: int
) -> tuple[tuple[Layer, Layer], ...]:
    """Return the residual blocks of a network; each is a hidden and a residual layer.

    Raises
    ------
    ModelError
        A sum could leave int32.
    """
    return tuple(
        (
            layer(tensors, f"{prefix}.block{i + 1}.hidden", 3, stream_limit, conditions),
            layer(tensors, f"{prefix}.block{i + 1}.residual", 3, hidden_limit, conditions),
        )
        for i in range(block_count(tensors, prefix))
    )


def _transform(
    tensors: Tensors, prefix: str, sides: tuple[int, int], largest: int, stream_limit: int, hidden_limit: int
) -> Transform:
    """Return the transform of the tensors that begin with ``prefix``, whose inputs are within ``largest``."""
    conditions = len(tensors["synthesis.steps"])
    linear, output = f"{prefix}.linear", f"{prefix}.output"
    bias = tensors[f"{output}.bias"].astype(np.int64)
    last = Last(
        packed(tensors, linear, largest, np.zeros((1, 1), dtype=np.int64)),
        tensors[f"{linear}.multiplier"].astype(np.int64),
        packed(tensors, output, stream_limit, bias[None]),
        bias,
        tensors[f"{output}.multiplier"].astype(np.int64),
        sides[1],
    )
    first = layer(tensors, f"{prefix}.input", sides[0], largest, conditions)
    return Transform(first, blocks(tensors, prefix, stream_limit, hidden_limit, conditions), last)


def parse(tensors: Tensors, config: Config) -> Transforms:
    """Return the transforms of a weights file's tensors, whose names begin with ``analysis.`` and ``synthesis.``.

    Parameters
    ----------
    tensors : dict of arrays
        The tensors that `tensor_shapes` names; others are not read.
    config : dict
        The entries of `CONFIG`; others are not read.

    Raises
    ------
    ModelError
        A tensor is missing, unknown, out of range, or of another type or shape; or a sum could leave int32.
    """
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIXES)}
    _check(own, config)
    limits = config["stream_limit"], config["hidden_limit"]
    return Transforms(
        _transform(own, "analysis", (1, 3), CENTRE, *limits),
        _transform(own, "synthesis", (3, 1), VALUE_LIMIT, *limits),
        np.ascontiguousarray(own["synthesis.steps"]),
        np.ascontiguousarray(own["analysis.prices"]),
        *limits,
    )
