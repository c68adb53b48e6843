"""Thawing of lossy models: from frozen weights back to a float model that computes what they compute.

The inverse of `models.freezing.freeze_transforms` and, for the coder of y, of `models.freezing.freeze`. What the
weights file does not hold is free, since rectifiers let any positive scale pass: the units of the residual streams and
of hidden layers. Here one float unit is `UNIT` integers, so that the largest activations seen before freezing, half of
what the integers bear, are 4 in a stream and 2 to 4 in a hidden layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load
from torch import Tensor, nn

from codec.constants import OUTPUT_SHIFT, STEP_BITS, VALUE_BITS, Y_BITS
from codec.frozen.transform_weights import block_count
from codec.frozen.weights import parse_model
from models.freezing.freeze import F64, half
from models.freezing.thaw import Tensors, frozen_header, thaw_coder
from models.nets.lossy import COARSEST, Lossy
from models.nets.transforms import OPPONENTS, Analysis, Synthesis, Transform

UNIT = 1024.0
"""Integers that are one in a stream and in a hidden layer."""


def _fill(parameter: Tensor, values: NDArray[Any]) -> None:
    if parameter.numel() != values.size:
        raise ValueError(f"of the frozen model a tensor has {values.size} values, not {parameter.numel()}")
    values = values.astype(np.float64).reshape(parameter.shape)
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _fill_rows(layer: nn.Conv2d, rows: F64) -> None:
    """Fill a convolution's weight from a matrix (outputs, inputs), inputs in the order row, column, channel."""
    side = layer.kernel_size[0]
    if rows.shape != (layer.out_channels, side * side * layer.in_channels):
        raise ValueError(f"of the frozen model a layer has shape {rows.shape}, not that of {layer}")
    _fill(layer.weight, rows.reshape(layer.out_channels, side, side, -1).transpose(0, 3, 1, 2))


def _thaw_layer(tensors: Tensors, name: str, layer: nn.Conv2d, unit: float) -> F64:
    """Fill a layer with shifts, whose inputs have ``unit`` integers; return its biases, a row or rows of levels."""
    shift = tensors[f"{name}.shift"].astype(np.int64)
    scale = UNIT * 2.0**shift
    _fill_rows(layer, tensors[f"{name}.weight"].T * (unit / scale[:, None]))
    bias = tensors[f"{name}.biases" if f"{name}.biases" in tensors else f"{name}.bias"]
    biases: F64 = (bias - half(shift)) / scale
    return biases


def _thaw_network(tensors: Tensors, prefix: str, net: Transform, gain: float, unit: float) -> None:
    """Fill a transform; ``gain`` and ``unit`` are integers of an input and of a result for each float one."""
    value = np.ldexp(tensors[f"{prefix}.linear.multiplier"].astype(np.float64), -OUTPUT_SHIFT) / unit
    _fill_rows(net.linear, tensors[f"{prefix}.linear.weight"].T * (gain * value[:, None]))
    if not isinstance(net, Analysis | Synthesis):
        return
    count = block_count(tensors, prefix)
    if count != len(net.blocks):
        raise ValueError(f"of the frozen model {prefix} has {count} blocks, not {len(net.blocks)}")
    _fill(net.input.bias, _thaw_layer(tensors, f"{prefix}.input", net.input, net.input_unit * gain))
    for i, block in enumerate(net.blocks):
        name = f"{prefix}.block{i + 1}"
        biases = _thaw_layer(tensors, f"{name}.hidden", block.conv1, UNIT)
        _fill(block.conv1.bias, biases[0])
        _fill(block.levels.weight, biases - biases[0])
        _fill(block.conv2.bias, _thaw_layer(tensors, f"{name}.residual", block.conv2, UNIT))
    value = np.ldexp(tensors[f"{prefix}.output.multiplier"].astype(np.float64), -OUTPUT_SHIFT) / (unit * net.unit)
    _fill_rows(net.output, tensors[f"{prefix}.output.weight"].T * (UNIT * value[:, None]))
    _fill(net.output.bias, tensors[f"{prefix}.output.bias"] * value)


def _thaw_steps(steps: NDArray[np.int32], model: Lossy) -> None:
    """Fill the steps of the levels: those between which the frozen qualities (rows) are interpolated best."""
    values = np.ldexp(steps.astype(np.float64), -STEP_BITS)
    means = values[:, : len(OPPONENTS)]
    means[...] = (means**-2.0 - COARSEST**-2.0) ** -0.5  # the inverse of the bound in `Lossy.steps`
    shares = model.level(torch.linspace(0, 1, len(values), dtype=torch.float64)).numpy()
    _fill(model.log_steps, np.linalg.lstsq(shares, np.log(values), rcond=None)[0])


@torch.no_grad()
def thaw_lossy(data: bytes, model: Lossy) -> None:
    """Fill a model with weights that compute what a frozen model computes, within rounding.

    Transforms whose networks are of another kind have the frozen linear maps alone, and their networks as they are.

    Parameters
    ----------
    data : bytes
        A weights file, as `models.freezing.freeze.weights_file` returns it.
    model : Lossy
        Its coder may be larger, as of `models.freezing.thaw.thaw`.

    Raises
    ------
    ValueError
        The model has another shape.
    ModelError
        ``data`` is no weights file.
    """
    parse_model(data)  # refuses what is not a model
    tensors, header = load(data), frozen_header(data)
    config = model.config
    shape = {"kind": "tensor", "channels": config.channels, "groups": config.groups, "limit": config.limit}
    shape |= {"references": config.references, "posterior_channels": config.planes}
    found = {name: header.get(name) for name in shape}
    different = [f"{name} is {found[name]}, not {value}" for name, value in shape.items() if found[name] != value]
    if different:
        raise ValueError(f"of the frozen model {', '.join(different)}")
    _thaw_network(tensors, "analysis", model.analysis, 1.0, 2.0**Y_BITS)
    _thaw_network(tensors, "synthesis", model.synthesis, 2.0**VALUE_BITS, 1.0)
    _thaw_steps(tensors["synthesis.steps"], model)
    thaw_coder(data, model.coder)
