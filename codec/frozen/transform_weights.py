"""The weights of the transforms: which tensors a file has, and what is refused.

The families of networks around z use `layer`, `output_layer` and `block_count` for their own layers, too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codec.constants import EXACT, SUM_LIMIT, VALUE_LIMIT
from codec.errors import ModelError
from codec.frozen.model import Config, Shapes, Tensors
from codec.networks import checks
from codec.networks.convolutions import I64, Layer, Output
from codec.networks.depthwise import SQUARE, Block, Dense, Last
from codec.networks.products import I16, pack
from codec.networks.transform import CENTRE, FINE_SAMPLES, SAMPLES, Transform, Transforms

MULTIPLIER_LIMIT = 1 << 30
"""Largest multiplier. The sum of two products of a multiplier with a sum of 2**31 then stays below 2**62."""
NETWORK = "int8"
"""Type of the networks' weights. Those of linear maps and of depthwise layers are int16."""
CONFIG = {"stream_limit": (1, 32767), "hidden_limit": (1, 32767)}
"""Integers in the metadata of a weights file, and their ranges."""
PREFIXES = ("analysis.", "synthesis.")
"""The names of the transforms' tensors begin with these."""


def block_count(tensors: Tensors, prefix: str) -> int:
    """Return the number of residual blocks whose tensors' names begin with ``prefix`` and a number, from 1 on."""
    count = 0
    while f"{prefix}{count + 1}.hidden.weight" in tensors:
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
    shapes: Shapes = {"synthesis.steps": rows, "analysis.prices": rows, "analysis.shares": ("int32", (channels,))}

    def add(name: str, inputs: int, outputs: int, bias: str = "bias", row: tuple[int, ...] = ()) -> None:
        shapes[f"{name}.weight"] = (NETWORK, (inputs, outputs))
        shapes[f"{name}.shift"] = ("int8", (outputs,))
        shapes[f"{name}.{bias}"] = ("int32", (*row, outputs))

    def add_blocks(prefix: str, width: int) -> None:
        for i in range(block_count(tensors, prefix)):
            name = f"{prefix}{i + 1}"
            units = tensors[f"{name}.hidden.weight"].shape[-1]
            shapes[f"{name}.depthwise.weight"] = ("int16", (9, width))
            shapes[f"{name}.depthwise.shift"] = ("int8", (width,))
            add(f"{name}.hidden", width, units, "biases", (levels,))
            add(f"{name}.residual", units, width)

    def add_last(prefix: str, linear: tuple[int, int], output: tuple[int, int]) -> None:
        shapes[f"{prefix}.linear.weight"] = ("int16", linear)
        shapes[f"{prefix}.linear.multiplier"] = ("int32", linear[1:])
        shapes[f"{prefix}.output.weight"] = (NETWORK, output)
        for name in ("bias", "multiplier"):
            shapes[f"{prefix}.output.{name}"] = ("int32", output[1:])

    for prefix in ("analysis", "synthesis"):
        inputs, outputs = tensors[f"{prefix}.between.weight"].shape
        if prefix == "analysis":
            fine, coarse = inputs // SQUARE, outputs
            add("analysis.input", FINE_SAMPLES, fine)
            add("analysis.between", SQUARE * fine, coarse)
            add_last("analysis", (SAMPLES, channels), (coarse, channels))
        else:
            coarse, fine = inputs, outputs // SQUARE
            add("synthesis.input", channels, coarse)
            add("synthesis.between", coarse, SQUARE * fine)
            add_last("synthesis", (channels, SAMPLES), (fine, FINE_SAMPLES))
        add_blocks(f"{prefix}.coarse", coarse)
        add_blocks(f"{prefix}.fine", fine)
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
    for name, least in (("synthesis.steps", 1), ("analysis.prices", 0), ("analysis.shares", 0)):
        if (tensors[name] < least).any():
            raise ModelError(f"{name}: {name.split('.')[1]} are at least {least}")


def _packed(
    tensors: Tensors, name: str, largest: int | NDArray[np.float64], biases: I64, bound: int = SUM_LIMIT
) -> I16:
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
    weight = _packed(tensors, name, largest, biases, bound)
    return Layer(weight, biases.astype(np.int32), tensors[f"{name}.shift"].astype(np.int32), side, stride)


def output_layer(tensors: Tensors, name: str, largest: int, shift: int) -> Output:
    """Return an output layer whose inputs are within ``largest``; ModelError if a sum could exceed EXACT."""
    bias = tensors[f"{name}.bias"].astype(np.int64)
    weight = _packed(tensors, name, largest, bias[None], EXACT)
    return Output(weight, bias, tensors[f"{name}.multiplier"].astype(np.int64), shift)


def _dense(tensors: Tensors, name: str, largest: int, conditions: int) -> Dense:
    """Return the 1 x 1 layer of the tensors that begin with ``name``, whose inputs are within ``largest``."""
    whole = layer(tensors, name, 1, largest, conditions)
    return Dense(whole.weight, whole.biases, whole.shift)


def _block(tensors: Tensors, name: str, stream_limit: int, hidden_limit: int, conditions: int) -> Block:
    """Return the block of the tensors that begin with ``name``."""
    weight, shift = tensors[f"{name}.depthwise.weight"], tensors[f"{name}.depthwise.shift"].astype(np.int32)
    half = (1 << shift.astype(np.int64)) >> 1
    checks.check_bound(f"{name}.depthwise", weight, stream_limit, half, SUM_LIMIT)
    return Block(
        np.ascontiguousarray(weight),
        half.astype(np.int32),
        shift,
        _dense(tensors, f"{name}.hidden", stream_limit, conditions),
        _dense(tensors, f"{name}.residual", hidden_limit, conditions),
    )


def _transform(
    tensors: Tensors, prefix: str, streams: tuple[str, str], largest: int, stream_limit: int, hidden_limit: int
) -> Transform:
    """Return the transform of the tensors that begin with ``prefix``.

    ``streams`` are the names of its blocks before and after the layer between resolutions. Its inputs are within
    ``largest``.
    """
    conditions = len(tensors["synthesis.steps"])
    linear, output = f"{prefix}.linear", f"{prefix}.output"
    bias = tensors[f"{output}.bias"].astype(np.int64)
    last = Last(
        _packed(tensors, linear, largest, np.zeros((1, 1), dtype=np.int64)),
        tensors[f"{linear}.multiplier"].astype(np.int64),
        _packed(tensors, output, stream_limit, bias[None]),
        bias,
        tensors[f"{output}.multiplier"].astype(np.int64),
    )
    before, after = (
        tuple(
            _block(tensors, f"{prefix}.{kind}{i + 1}", stream_limit, hidden_limit, conditions)
            for i in range(block_count(tensors, f"{prefix}.{kind}"))
        )
        for kind in streams
    )
    return Transform(
        _dense(tensors, f"{prefix}.input", largest, conditions),
        before,
        _dense(tensors, f"{prefix}.between", stream_limit, conditions),
        after,
        last,
    )


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
        _transform(own, "analysis", ("fine", "coarse"), CENTRE, *limits),
        _transform(own, "synthesis", ("coarse", "fine"), VALUE_LIMIT, *limits),
        np.ascontiguousarray(own["synthesis.steps"]),
        np.ascontiguousarray(own["analysis.prices"]),
        np.ascontiguousarray(own["analysis.shares"]),
        *limits,
    )
