"""Layers of frozen networks: integers all the way, so that every machine gets the same result.

The likelihood's products are made of integers (`codec.networks.products`). Those of the networks around z, a
few for each band, are left to BLAS: weights and activations are integers that float32 holds exactly,
and as long as no partial sum can exceed 2**24 every one of them is exact, in any order. The bound of a
layer, the likelihood's too, is

    max over outputs of  sum |weight| * (largest |input|) + largest |bias|  <=  2**24

and is checked when a model is loaded, together with a product that reaches it (`self_test`).
See FORMAT.md, "Exact networks".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.errors import ModelError

EXACT = 1 << 24
"""Largest integer up to which float32 holds every integer."""
BIAS_LIMIT = 1 << 22
"""Biases that depend on latents are clipped to this, so that a layer's bound is known."""

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


class Hidden(NamedTuple):
    """A layer with clamped rectifier: clip(floor((x W + b) 2**-shift), 0, limit).

    Attributes
    ----------
    weight : float32 array (inputs, outputs), integers
    bias : float32 array (outputs,), integers
    scale : float32 array (outputs,), powers of two
    limit : int
    """

    weight: F32
    bias: F32
    scale: F32
    limit: int


class Output(NamedTuple):
    """A layer whose results are parameters in fixed units: ((x W + b) m + 2**(shift - 1)) >> shift.

    Attributes
    ----------
    weight : float32 array (inputs, outputs), integers
    bias : float32 array (outputs,), integers
    multiplier : int64 array (outputs,)
    shift : int
    """

    weight: F32
    bias: F32
    multiplier: I64
    shift: int


def accumulate(x: F32, weight: F32, bias: F32) -> F32:
    """Return x W + b (N, outputs), exact if the layer keeps its bound."""
    result: F32 = x @ weight
    result += bias
    return result


def activate(accumulated: F32, scale: F32, limit: int) -> F32:
    """Return clip(floor(accumulated * scale), 0, limit), in place."""
    np.multiply(accumulated, scale, out=accumulated)
    np.floor(accumulated, out=accumulated)
    np.clip(accumulated, 0, limit, out=accumulated)
    return accumulated


def hidden(x: F32, layer: Hidden) -> F32:
    """Return the activations (N, outputs) of a hidden layer."""
    return activate(accumulate(x, layer.weight, layer.bias), layer.scale, layer.limit)


def output(x: F32, layer: Output) -> I64:
    """Return the parameters (N, outputs) of an output layer."""
    accumulated = accumulate(x, layer.weight, layer.bias).astype(np.int64)
    return (accumulated * layer.multiplier + (1 << (layer.shift - 1))) >> layer.shift


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
    weight : array (inputs, outputs) of integers
    largest_input : float or float64 array (inputs,)
    largest_bias : float or array (outputs,)
    limit : int
        At most 2**53, which float64 holds.
    """
    per_input = np.abs(weight.astype(np.float64)) * np.reshape(largest_input, (-1, 1))
    bound = float((per_input.sum(0) + largest_bias).max())
    if not bound <= limit:  # also refuses what is not a number
        raise ModelError(f"layer {name}: sums may reach {bound:.0f}, exact only up to {limit}")


def check_numbers(config: Mapping[str, Any], ranges: Mapping[str, tuple[int, int]]) -> None:
    """Raise ModelError if a value of a configuration is no whole number in its range, KeyError if it has none."""
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
        What the tensors make up, for the message.
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
    """Return the rows of all conditions (E, units), those of levels (L, units) interpolated and rounded down.

    With L = E they are what they were.

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


def patches(x: F32) -> F32:
    """Return 3x3 patches at stride 2 of (B, H, W, C), zero outside: (B, H/2, W/2, 9 C), H and W even.

    The order within a patch is row, column, channel.
    """
    b, h, w, c = x.shape
    padded = np.zeros((b, h + 1, w + 1, c), dtype=np.float32)
    padded[:, 1:, 1:] = x
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    ordered = windows.transpose(0, 1, 2, 4, 5, 3)
    return np.ascontiguousarray(ordered).reshape(b, h // 2, w // 2, 9 * c)


def self_test() -> None:
    """Raise ModelError if this machine's matrix products are not exact up to 2**24 - 1.

    A product in reduced precision (bfloat16, TF32) or by a fast algorithm fails here, before it
    can spoil an image.
    """
    n = 32
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4096, (96, n + 1))
    w = rng.integers(-127, 128, (n + 1, 160))
    # The first sum is 2**24 - 1, and no other can be larger.
    x[0, :n], w[:n, 0] = 4095, 127
    x[:, n], w[n] = 0, 1
    x[0, n] = EXACT - 1 - n * 4095 * 127
    product = x.astype(np.float32) @ w.astype(np.float32)
    if not np.array_equal(product.astype(np.int64), x @ w):
        raise ModelError("matrix products of this machine are not exact: files would not decode elsewhere")
