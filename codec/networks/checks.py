"""Checks of frozen networks, so that all machines compute the same results: bounds of sums, ranges, shapes.

Weights and activations are integers of 16 bits, and sums are integers of 32 bits (`codec.networks.products`). Sums
never wrap, because this bound is checked for each layer when a model is loaded:

    max over outputs of  sum |weight| * (largest |input|) + largest |bias|  <=  EXACT

Sums of the likelihood's hidden layers, of transforms and of maps of features may go up to 2**31 - 1.
See FORMAT.md, "Exact networks".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.constants import EXACT
from codec.errors import ModelError

I64 = NDArray[np.int64]


def check_bound(
    name: str,
    weight: NDArray[Any],
    largest_input: float | NDArray[np.float64],
    largest_bias: float | NDArray[Any],
    limit: int = EXACT,
) -> None:
    """Raise ModelError if a partial sum of the layer could exceed ``limit``.

    Parameters
    ----------
    name : str
        The layer's name, for the message.
    weight : array (inputs, outputs) of integers
    largest_input : float or float64 array (inputs,)
        Largest magnitude of all inputs, or of each.
    largest_bias : float or array (outputs,)
        Largest magnitude of the bias of all outputs, or of each.
    limit : int
        At most 2**53, up to which float64 holds integers.
    """
    per_input = np.abs(weight.astype(np.float64)) * np.reshape(largest_input, (-1, 1))
    bound = float((per_input.sum(0) + largest_bias).max())
    if not bound <= limit:  # also refuses what is not a number
        raise ModelError(f"layer {name}: sums may reach {bound:.0f}, exact only up to {limit}")


def check_numbers(config: Mapping[str, Any], ranges: Mapping[str, tuple[int, int]]) -> None:
    """Raise ModelError if a value of a configuration is no integer in its range, KeyError if the value is missing."""
    for name, (low, high) in ranges.items():
        value = config[name]
        if type(value) is not int or not low <= value <= high:
            raise ModelError(f"{name}: expected {low} to {high}, got {value!r}")


def check_tensors(
    whole: str, tensors: Mapping[str, NDArray[Any]], expected: Mapping[str, tuple[str, tuple[int, ...]]], limit: int
) -> None:
    """Raise ModelError if tensors are not those expected, with shifts of 0..31 and multipliers within ``limit``.

    Parameters
    ----------
    whole : str
        What the tensors belong to, for the message.
    expected : dict
        Type and shape of every tensor.
    """
    if set(expected) != set(tensors):
        raise ModelError(f"{whole}: tensors missing or unknown: {sorted(set(expected) ^ set(tensors))}")
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        if tensor.dtype != dtype or tensor.shape != shape:
            raise ModelError(f"{name}: expected {dtype} {shape}, got {tensor.dtype} {tensor.shape}")
        values = tensor.astype(np.int64)
        if name.endswith(".shift") and not ((values >= 0) & (values < 32)).all():
            raise ModelError(f"{name}: shifts are 0 to 31")
        if name.endswith(".multiplier") and (np.abs(values) > limit).any():
            raise ModelError(f"{name}: multipliers are at most {limit}")


def between_levels(rows: NDArray[Any], conditions: int) -> I64:
    """Return a row for each condition, int64 array (E, units), interpolated between the rows of L levels.

    Results are rounded down. If L = E, the rows are returned as they are.

    Parameters
    ----------
    rows : array (L, units) of integers below 2**32
    conditions : int
        E, at least L.
    """
    steps = max(conditions - 1, 1)
    below, part = np.divmod(np.arange(conditions) * (len(rows) - 1), steps)
    above = np.minimum(below + 1, len(rows) - 1)
    values, part = rows.astype(np.int64), part[:, None]
    result: I64 = (values[below] * (steps - part) + values[above] * part) // steps
    return result
