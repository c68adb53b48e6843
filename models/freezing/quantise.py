"""One layer in integers: functions that freezing and thawing of all models share.

Each row of a weight matrix gets its own scale, as large as the bound of exact sums allows. A rectifier commutes with a
positive scale, so that the scale of a hidden unit is passed on to the columns of the next layer, and rescaling is only
a shift. Only the last layers, whose outputs have fixed units, multiply. See docs/FORMAT.md, "Exact networks".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from torch import Tensor, nn

from codec.constants import BIAS_LIMIT, EXACT, SUM_LIMIT
from codec.entropy.tables import SCALE_STEPS, WEIGHT_STEPS

WEIGHT_MAX = 1023
"""Largest weight."""
ACTIVATION_LIMIT = 2047
"""Largest activation, of 11 bits. The posterior's convolutions, which sum over more inputs, have 10."""
POSTERIOR_LIMIT = 1023
OUTPUT_SHIFT = 30
IDLE_SCALE = 2.0**16
"""Scale of rows whose weights and biases are all zero."""
MEAN_UNIT = 256.0
LOGIT_UNIT = WEIGHT_STEPS / np.log(2)

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Tensors = dict[str, NDArray[Any]]
"""The tensors of a weights file, or of a layer, by name. They are integers of several types."""


@dataclass
class Layer:
    """A quantised layer: integer weights, and the units of its sums and results.

    Attributes
    ----------
    weight : int64 array (inputs, outputs)
    scale : float64 array (outputs,)
        Units of the sum that stand for 1 in the float layer.
    shift : int64 array (outputs,)
        Shift from sums to activations.
    gain : float64 array (outputs,)
        Units of the activations that stand for 1 in the float layer: gain = scale * 2**-shift.
    """

    weight: I64
    scale: F64
    shift: I64
    gain: F64


def quantise_layer(
    weight: F64,
    gain: F64,
    largest: F64,
    allowance: F64 | float,
    peak: F64 | None,
    limit: int,
    bias: F64 | float = 0.0,
    *,
    is_clipped: bool = False,
    weight_max: int = WEIGHT_MAX,
) -> Layer:
    """Return the quantised layer of a float layer.

    Parameters
    ----------
    weight : float64 array (outputs, inputs)
    gain : float64 array (inputs,)
        Integer units of each input that stand for a float 1.
    largest : float64 array (inputs,)
        Largest integer of each input.
    allowance : float, or float64 array (outputs,)
        The part of the sums' range that is left for biases: a float in units of the sum, an array in float units.
    peak : float64 array (outputs,) or None
        Largest activations that were seen, in float units. None for an output layer.
    limit : int
        Largest activation, in integer units.
    bias : float64 array (outputs,)
        Largest biases that are not clipped, in float units. They limit the scale where weights are tiny.
    is_clipped : bool
        Whether the layer is one of the likelihood's hidden layers or heads, whose biases are clipped to `BIAS_LIMIT`.
        Their sums have 32 bits.
    weight_max : int
        Largest weight.
    """
    bound, reserve = (SUM_LIMIT, BIAS_LIMIT) if is_clipped else (EXACT, 0)
    folded = weight / gain
    fixed, relative = (0.0, allowance) if isinstance(allowance, np.ndarray) else (allowance, 0.0)
    reach = (np.abs(folded) * largest).sum(1) + relative
    with np.errstate(divide="ignore"):
        scale = np.minimum(weight_max / np.abs(folded).max(1, initial=0), 0.98 * (bound - reserve - fixed) / reach)
        scale = np.minimum(scale, 0.98 * bound / (reach + np.abs(bias)))
    scale[~np.isfinite(scale)] = IDLE_SCALE
    integers = np.rint(folded * scale[:, None]).astype(np.int64).T
    shift = np.zeros(len(scale), dtype=np.int64)
    if peak is not None:
        shift = np.maximum(0, np.ceil(np.log2(np.maximum(peak * scale / limit, 1e-9)))).astype(np.int64)
    return Layer(integers, scale, shift, scale * 2.0**-shift)


def half(shift: I64) -> I64:
    """Return half a unit after the shift. Added to a bias, it turns rounding down into rounding to nearest."""
    return (1 << shift) >> 1


def fit(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Return the rounded values in a smaller integer type.

    Raises
    ------
    OverflowError
        The type does not hold them.
    """
    rounded = np.rint(values)
    limits = np.iinfo(np.dtype(dtype))
    if rounded.min(initial=0) < limits.min or rounded.max(initial=0) > limits.max:
        raise OverflowError(f"{rounded.min():.0f} to {rounded.max():.0f} do not fit {np.dtype(dtype)}")
    integers: NDArray[Any] = rounded.astype(dtype)
    return integers


def to_f64(tensor: Tensor) -> F64:
    """Return a tensor as a float64 array."""
    return tensor.detach().double().cpu().numpy()


def head_units(mixtures: int, channels: int, links: int) -> F64:
    """Return the units of a head's outputs: those of logits, means (in eighths) and log2 scales, then of links."""
    own = np.repeat([LOGIT_UNIT, 8 * MEAN_UNIT, float(SCALE_STEPS)], mixtures)
    return np.append(np.tile(own, channels), np.full(links, MEAN_UNIT))


def latent_units(latents: int) -> F64:
    """Return the units of a latent network's outputs: those of means (1/8 of 8 grid steps), then of log2 scales."""
    return np.repeat([8 * MEAN_UNIT, float(SCALE_STEPS)], latents)


def freeze_output(linear: nn.Linear, layer: Layer, units: F64, offset: F64 | float = 0.0) -> Tensors:
    """Return the tensors of an output layer, whose results have given ``units``. ``offset`` is added to its biases."""
    bias = to_f64(linear.bias) + offset
    return {
        "weight": layer.weight.astype(np.int16),
        "bias": fit(bias * layer.scale, np.int32),
        "multiplier": np.rint(units / layer.scale * 2.0**OUTPUT_SHIFT).astype(np.int64),
    }


def hidden_tensors(layer: Layer, bias: F64) -> Tensors:
    """Return the tensors of a layer with shifts."""
    return {
        "weight": layer.weight.astype(np.int16),
        "shift": layer.shift.astype(np.int8),
        "bias": fit(np.rint(bias * layer.scale) + half(layer.shift), np.int32),
    }
