"""One layer in integers: what freezing and thawing of all models share.

Every row of a weight matrix gets its own scale, as large as the bound of exact sums allows. A rectifier does not mind
the scale of its input, so a hidden unit's scale is simply passed on to the columns of the next layer: rescaling is a
shift. Only the last layers, whose outputs have fixed units, multiply. See docs/FORMAT.md, "Exact networks".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from torch import Tensor, nn

from codec.constants import BIAS_LIMIT, EXACT
from codec.entropy.tables import SCALE_STEPS, WEIGHT_STEPS

WEIGHT_MAX = 1023
"""Most rows stay below: it is the bound of exact sums that limits them."""
ACTIVATION_LIMIT = 2047
"""11 bits; the posterior's convolutions, which sum over more inputs, have 10."""
POSTERIOR_LIMIT = 1023
OUTPUT_SHIFT = 30
IDLE_SCALE = 2.0**16
"""Scale of rows without weights and biases."""
MEAN_UNIT = 256.0
LOGIT_UNIT = WEIGHT_STEPS / np.log(2)

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Tensors = dict[str, NDArray[Any]]
"""Tensors of a weights file by name, or a layer's: integers of several types."""


@dataclass
class Layer:
    """A quantised layer: integer weights (inputs, outputs) and what one unit of its sums stands for.

    Attributes
    ----------
    weight : int64 array (inputs, outputs)
    scale : float64 array (outputs,)
        Units of the accumulated sum per unit of the float layer.
    shift : int64 array (outputs,), and gain : float64 array (outputs,)
        What activations are shifted by, and their units for a unit of the float layer: gain = scale * 2**-shift.
    """

    weight: I64
    scale: F64
    shift: I64
    gain: F64


def quantise_layer(
    weight: F64, gain: F64, largest: F64, allowance: F64 | float, peak: F64 | None, limit: int, bias: F64 | float = 0.0
) -> Layer:
    """Return a float layer's integers.

    Parameters
    ----------
    weight : float64 array (outputs, inputs)
    gain : float64 array (inputs,)
        Integer units of each input per float unit.
    largest : float64 array (inputs,)
        Largest integer of each input.
    allowance : float, or float64 array (outputs,)
        What the sums of the layer must leave to biases, in units of the sum; per float unit if an array.
    peak : float64 array (outputs,) or None
        Largest activations seen, float units; None for an output layer.
    bias : float64 array (outputs,)
        Largest biases that are not clipped, float units: where weights are tiny, they are what limits the scale.
    """
    folded = weight / gain
    fixed, relative = (0.0, allowance) if isinstance(allowance, np.ndarray) else (allowance, 0.0)
    reach = (np.abs(folded) * largest).sum(1) + relative
    with np.errstate(divide="ignore"):
        scale = np.minimum(WEIGHT_MAX / np.abs(folded).max(1, initial=0), 0.98 * (EXACT - BIAS_LIMIT - fixed) / reach)
        scale = np.minimum(scale, 0.98 * EXACT / (reach + np.abs(bias)))
    scale[~np.isfinite(scale)] = IDLE_SCALE
    integers = np.rint(folded * scale[:, None]).astype(np.int64).T
    shift = np.zeros(len(scale), dtype=np.int64)
    if peak is not None:
        shift = np.maximum(0, np.ceil(np.log2(np.maximum(peak * scale / limit, 1e-9)))).astype(np.int64)
    return Layer(integers, scale, shift, scale * 2.0**-shift)


def half(shift: I64) -> I64:
    """Half a unit after the shift: turns rounding down into rounding to nearest."""
    return (1 << shift) >> 1


def fit(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Return the values rounded, as a smaller integer type that holds them.

    Raises
    ------
    OverflowError
        It does not.
    """
    rounded = np.rint(values)
    limits = np.iinfo(np.dtype(dtype))
    if rounded.min(initial=0) < limits.min or rounded.max(initial=0) > limits.max:
        raise OverflowError(f"{rounded.min():.0f} to {rounded.max():.0f} do not fit {np.dtype(dtype)}")
    integers: NDArray[Any] = rounded.astype(dtype)
    return integers


def to_f64(tensor: Tensor) -> F64:
    """Return a tensor's values."""
    return tensor.detach().double().cpu().numpy()


def head_units(mixtures: int, channels: int, links: int) -> F64:
    """Units of a head's outputs: of each channel logits, means (in eighths), log2 scales; then of its links."""
    own = np.repeat([LOGIT_UNIT, 8 * MEAN_UNIT, float(SCALE_STEPS)], mixtures)
    return np.append(np.tile(own, channels), np.full(links, MEAN_UNIT))


def latent_units(latents: int) -> F64:
    """Units of the outputs that are means (in eighths of 8 grid steps) and log2 scales of z."""
    return np.repeat([8 * MEAN_UNIT, float(SCALE_STEPS)], latents)


def freeze_output(linear: nn.Linear, layer: Layer, units: F64, offset: F64 | float = 0.0) -> Tensors:
    """Return the tensors of a layer whose results are parameters; ``offset`` is added to its biases."""
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
