"""Filling the parameters of a float model from the integers of a weights file: functions that all thawing shares.

The unit of a hidden layer's sums is free, because a rectifier commutes with positive factors. So any number of integers
may stand for 1 in the float layer's results.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.freezing.quantise import F64, Tensors, half
from models.nets.layers import Condition

UNIT = 1024.0
"""Integers that stand for 1 in a residual stream and in the hidden layers of its blocks. The largest activations before
freezing, which are half of the integers' limit, are then 4 in a stream and 2 to 4 in a hidden layer."""


def frozen_header(data: bytes) -> dict[str, Any]:
    """Return the configuration in a weights file's metadata."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    numbers: dict[str, Any] = json.loads(header["__metadata__"]["config"])
    return numbers


def fill(parameter: Tensor, values: NDArray[Any]) -> None:
    """Fill a parameter, in place.

    Raises
    ------
    ValueError
        The number of values is not that of the parameter.
    """
    if parameter.numel() != values.size:
        raise ValueError(f"the frozen model differs: a tensor has {values.size} values, not {parameter.numel()}")
    values = values.astype(np.float64).reshape(parameter.shape)
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def fill_rows(layer: nn.Conv2d | nn.Linear, rows: F64) -> None:
    """Fill a layer's weight from a matrix (outputs, inputs), a convolution's inputs in the order row, column, channel.

    Raises
    ------
    ValueError
        The layer has another shape.
    """
    if len(rows) != len(layer.weight) or rows.size != layer.weight.numel():
        raise ValueError(f"the frozen model differs: a layer has shape {rows.shape}, not that of {layer}")
    if isinstance(layer, nn.Conv2d):
        side = layer.kernel_size[0]
        rows = rows.reshape(layer.out_channels, side, side, -1).transpose(0, 3, 1, 2)
    fill(layer.weight, rows)


def fill_hidden(
    tensors: Tensors, name: str, layer: nn.Conv2d | nn.Linear, inputs: F64 | float, unit: F64 | float = UNIT
) -> F64:
    """Fill the weight of a layer with shifts; return its biases (outputs,), or rows of conditions (rows, outputs).

    Parameters
    ----------
    inputs : float, or float64 array (inputs,)
        Integer units of an input that stand for a float 1.
    unit : float, or float64 array (outputs,)
        Integer units of a result that stand for a float 1.
    """
    shift = tensors[f"{name}.shift"].astype(np.int64)
    scale: F64 = np.multiply(unit, 2.0**shift)
    rows: F64 = tensors[f"{name}.weight"].T * (inputs / scale[:, None])
    fill_rows(layer, rows)
    own = tensors[f"{name}.biases" if f"{name}.biases" in tensors else f"{name}.bias"]
    biases: F64 = (own - half(shift)) / scale
    return biases


def fill_biases(own: Tensor, condition: Condition, biases: F64) -> None:
    """Fill a layer's biases and what its condition adds, from a row for each condition."""
    fill(own, biases[0])
    fill(condition.weight, biases - biases[0])


def fill_output(
    tensors: Tensors, name: str, layer: nn.Linear, step: float, units: F64, offset: F64 | float = 0.0
) -> F64:
    """Fill an output layer and return the float value of a unit of each sum; ``step`` is 2**-output_shift."""
    value: F64 = tensors[f"{name}.multiplier"] * step / units
    fill(layer.weight, (tensors[f"{name}.weight"] * value).T)
    fill(layer.bias, tensors[f"{name}.bias"] * value - offset)
    return value
