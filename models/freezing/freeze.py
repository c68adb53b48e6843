"""Freezing: from a trained float model to the integers that `codec` executes.

Every row of a weight matrix gets its own scale, as large as the bound of exact sums allows. A
rectifier does not mind the scale of its input, so a hidden unit's scale is simply passed on to the
columns of the next layer: rescaling is a shift. Only the last layers, whose outputs have fixed
units, multiply. See docs/FORMAT.md, "Exact networks".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn import functional as F

from codec.constants import BIAS_LIMIT, EXACT
from codec.entropy.tables import SCALE_STEPS, WEIGHT_STEPS
from models.nets.vlae import CONTEXT_UNIT, VLAE, Likelihood
from models.recipes.recipe import Recipe

WEIGHT_MAX = 1023
"""Most rows stay below: it is the bound of exact sums that limits them."""
ACTIVATION_LIMIT = 2047
"""11 bits; the posterior's convolutions, which sum over more inputs, have 10."""
POSTERIOR_LIMIT = 1023
OUTPUT_SHIFT = 30
IDLE_SCALE = 2.0**16
"""Of rows without weights and biases."""
MEAN_UNIT = 256.0
LOGIT_UNIT = WEIGHT_STEPS / np.log(2)

UNSHIPPED = 65535
"""Number of weights that are in no package; `models.training.ship` gives them one of their own."""

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass
class Layer:
    """A quantised layer: integer weights (inputs, outputs) and what one unit of its sums stands for.

    Attributes
    ----------
    weight : int64 array (inputs, outputs)
    scale : float64 array (outputs,)
        Units of the accumulated sum per unit of the float layer.
    shift : int64 array (outputs,), and gain : float64 array (outputs,)
        Of the activation: gain = scale * 2**-shift.
    """

    weight: I64
    scale: F64
    shift: I64
    gain: F64


class Frozen(NamedTuple):
    """Tensors of a weights file by name, and entries of its configuration."""

    tensors: dict[str, NDArray[Any]]
    config: dict[str, Any]


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


def fit(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Return the values rounded, as a smaller integer type that holds them."""
    rounded = np.rint(values)
    limits = np.iinfo(dtype)
    if rounded.min(initial=0) < limits.min or rounded.max(initial=0) > limits.max:
        raise OverflowError(f"{rounded.min():.0f} to {rounded.max():.0f} do not fit {np.dtype(dtype)}")
    return rounded.astype(dtype)


def to_f64(tensor: Tensor) -> F64:
    """Return a tensor's values."""
    return tensor.detach().double().cpu().numpy()


@dataclass
class Peaks:
    """Largest activation of every unit, by layer, seen while a model ran on calibration crops."""

    values: dict[str, F64] = field(default_factory=dict)
    handles: list[torch.utils.hooks.RemovableHandle] = field(default_factory=list)

    def inputs(self, name: str, module: nn.Module, follower: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        """Record what a follower makes of what comes into a module."""
        keep = self._keep(name, module)
        self.handles.append(module.register_forward_pre_hook(lambda _module, inputs: keep(follower(inputs[0]))))

    def outputs(self, name: str, module: nn.Module, follower: Callable[[Tensor], Tensor]) -> None:
        """Record what a follower makes of a module's results; modules may share a name."""
        keep = self._keep(name, module)
        self.handles.append(module.register_forward_hook(lambda _module, _inputs, out: keep(follower(out))))

    def stop(self) -> None:
        """Record no more."""
        while self.handles:
            self.handles.pop().remove()

    def _keep(self, name: str, module: nn.Module) -> Callable[[Tensor], None]:
        def keep(x: Tensor) -> None:
            axis = x.dim() - 1 if isinstance(module, (nn.Linear, nn.ReLU)) else 1
            peak = to_f64(x.amax([i for i in range(x.dim()) if i != axis]))
            self.values[name] = np.maximum(peak, self.values.get(name, peak))

        return keep


def watch_likelihood(likelihood: Likelihood, peaks: Peaks) -> None:
    """Record the results of the likelihood's layers that a rectifier follows."""
    followers = {
        "hidden1": likelihood.hidden2,
        "hidden2": likelihood.hidden3,
        "hidden3": likelihood.split,
        **{f"head{i}": layer for i, layer in enumerate(likelihood.outputs)},
    }
    for name, module in followers.items():
        peaks.inputs(name, module)


def watch_coder(model: VLAE, peaks: Peaks) -> None:
    """Record the results of the layers that a rectifier follows."""
    watch_likelihood(model.likelihood, peaks)
    followers = {
        "conv1": model.posterior.conv2,
        "conv2": model.posterior.conv3,
        "dense": model.posterior.out,
        "modulation": model.modulate2,
        "prior": model.prior.out,
    }
    for name, module in followers.items():
        peaks.inputs(name, module)
    peaks.outputs("conv3", model.posterior.conv3, F.relu)


def head_units(mixtures: int, channels: int, links: int) -> F64:
    """Units of a head's outputs: of each channel logits, means (in eighths), log2 scales; then of its links."""
    own = np.repeat([LOGIT_UNIT, 8 * MEAN_UNIT, float(SCALE_STEPS)], mixtures)
    return np.append(np.tile(own, channels), np.full(links, MEAN_UNIT))


def latent_units(latents: int) -> F64:
    """Units of the outputs that are means (in eighths of 8 grid steps) and log2 scales of z."""
    return np.repeat([8 * MEAN_UNIT, float(SCALE_STEPS)], latents)


def freeze_likelihood(
    net: Likelihood, peaks: dict[str, F64], conditions: F64, features: Sequence[tuple[float, float]] = ()
) -> tuple[dict[str, NDArray[Any]], F64]:
    """Return the likelihood's tensors and the units of its biases.

    Parameters
    ----------
    conditions : float64 array (rows, bias count)
        What each condition adds to the biases.
    features : sequence of (float, float)
        Of the last inputs, which are no contexts: integer units of each for a float one, and its largest integer.
    """
    config, coded = net.config, net.config.coded
    largest_input = float(coded.layout.largest_input)
    tensors: dict[str, NDArray[Any]] = {}
    contexts = net.hidden1.in_features - len(features)
    gain = np.concatenate([np.full(contexts, float(CONTEXT_UNIT)), [unit for unit, _ in features]])
    largest = np.concatenate([np.full(contexts, largest_input), [most for _, most in features]])
    scales, halves = [], []
    for name in ("hidden1", "hidden2", "hidden3"):
        layer = quantise_layer(to_f64(getattr(net, name).weight), gain, largest, 0.0, peaks[name], ACTIVATION_LIMIT)
        tensors[f"likelihood.{name}.weight"] = layer.weight.astype(np.int16)
        tensors[f"likelihood.{name}.shift"] = layer.shift.astype(np.int8)
        scales.append(layer.scale)
        halves.append(half(layer.shift))
        gain, largest = layer.gain, np.full(len(layer.gain), float(ACTIVATION_LIMIT))
    seen = [to_f64(c.weight).T / CONTEXT_UNIT for c in net.conditioning]
    said = [np.abs(rows).sum(0) for rows in seen]
    reach = largest_input * np.stack([np.zeros(config.head), *said])
    head_peaks = np.concatenate([peaks[f"head{i}"] for i in range(coded.groups)])
    split = quantise_layer(to_f64(net.split.weight), gain, largest, reach.reshape(-1), head_peaks, ACTIVATION_LIMIT)
    tensors["likelihood.split.weight"] = split.weight.astype(np.int16)
    tensors["likelihood.split.shift"] = split.shift.astype(np.int8)
    scales.append(split.scale)
    halves.append(half(split.shift))
    head_scale = split.scale.reshape(coded.groups, -1)
    said_rows = [rows * scale for rows, scale in zip(seen, head_scale[1:], strict=True)]
    conditioning = np.concatenate([np.zeros((0, config.head)), *said_rows])
    tensors["likelihood.conditioning"] = fit(conditioning, np.int32)
    m, width = config.mixtures, max(out.out_features for out in net.outputs)
    weights = np.zeros((coded.groups, config.head, width), dtype=np.int16)
    biases = np.zeros((coded.groups, width), dtype=np.int32)
    multipliers = np.zeros((coded.groups, width), dtype=np.int32)
    for place, out in enumerate(net.outputs):
        units = head_units(m, coded.group, coded.links[place])
        bias = to_f64(out.bias).copy()
        bias[: 3 * m * coded.group].reshape(coded.group, 3, m)[:, 2] += 0.5
        head_gain = split.gain.reshape(coded.groups, -1)[place]
        limits = np.full(config.head, float(ACTIVATION_LIMIT))
        layer = quantise_layer(to_f64(out.weight), head_gain, limits, 0.0, None, 0, bias)
        n = len(units)
        weights[place, :, :n] = layer.weight
        biases[place, :n] = fit(bias * layer.scale, np.int32)
        multipliers[place, :n] = fit(units / layer.scale * 2.0**OUTPUT_SHIFT, np.int32)
    tensors["likelihood.outputs.weight"] = weights
    tensors["likelihood.outputs.bias"] = biases
    tensors["likelihood.outputs.multiplier"] = multipliers
    scale = np.concatenate(scales)
    own = np.concatenate([to_f64(getattr(net, n).bias) for n in ("hidden1", "hidden2", "hidden3", "split")])
    fixed = np.rint((own + conditions) * scale) + np.concatenate(halves)
    tensors["likelihood.fixed_biases"] = fit(fixed, np.int32)
    return tensors, scale


def freeze_output(linear: nn.Linear, layer: Layer, units: F64, offset: F64 | float = 0.0) -> dict[str, NDArray[Any]]:
    """Return the tensors of a layer whose results are parameters; ``offset`` is added to its biases."""
    bias = to_f64(linear.bias) + offset
    return {
        "weight": layer.weight.astype(np.int16),
        "bias": fit(bias * layer.scale, np.int32),
        "multiplier": np.rint(units / layer.scale * 2.0**OUTPUT_SHIFT).astype(np.int64),
    }


def _hidden(layer: Layer, bias: F64) -> dict[str, NDArray[Any]]:
    return {
        "weight": layer.weight.astype(np.int16),
        "shift": layer.shift.astype(np.int8),
        "bias": fit(np.rint(bias * layer.scale) + half(layer.shift), np.int32),
    }


def _freeze_posterior(model: VLAE, peaks: dict[str, F64]) -> dict[str, NDArray[Any]]:
    net, config = model.posterior, model.config
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    gain = np.full(config.coded.planes, float(CONTEXT_UNIT))
    limit = float(config.coded.layout.largest_input)
    for name in ("conv1", "conv2", "conv3"):
        conv = getattr(net, name)
        weight = to_f64(conv.weight).transpose(0, 2, 3, 1).reshape(conv.out_channels, -1)
        inputs = weight.shape[1]
        reach, bias = np.full(inputs, limit), to_f64(conv.bias)
        layer = quantise_layer(weight, np.tile(gain, 9), reach, 0.0, peaks[name], POSTERIOR_LIMIT, bias)
        parts[f"posterior.{name}"] = _hidden(layer, to_f64(conv.bias))
        gain, limit = layer.gain, float(POSTERIOR_LIMIT)
    pooled = np.concatenate([4 * gain, gain])
    largest = np.repeat([4 * limit, limit], len(gain))
    biases = to_f64(net.dense.bias) + to_f64(net.condition.weight)
    most = np.abs(biases).max(0)
    dense = quantise_layer(to_f64(net.dense.weight), pooled, largest, 0.0, peaks["dense"], ACTIVATION_LIMIT, most)
    parts["posterior.dense"] = {
        "weight": dense.weight.astype(np.int16),
        "shift": dense.shift.astype(np.int8),
        "biases": fit(np.rint(biases * dense.scale) + half(dense.shift), np.int32),
    }
    limits = np.full(len(dense.gain), float(ACTIVATION_LIMIT))
    offset = np.repeat([0.0, 1.0], config.latents)
    layer = quantise_layer(to_f64(net.out.weight), dense.gain, limits, 0.0, None, 0, to_f64(net.out.bias) + offset)
    parts["posterior.out"] = freeze_output(net.out, layer, latent_units(config.latents), offset)
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}


def _freeze_modulation(model: VLAE, peaks: dict[str, F64], units: F64) -> dict[str, NDArray[Any]]:
    config = model.config
    n = config.latents
    first = quantise_layer(
        to_f64(model.modulate1.weight),
        np.full(n, 8.0),
        np.full(n, float(config.grid)),
        0.0,
        peaks["modulation"],
        ACTIVATION_LIMIT,
        to_f64(model.modulate1.bias),
    )
    limits = np.full(len(first.gain), float(ACTIVATION_LIMIT))
    weight, bias = to_f64(model.modulate2.weight), to_f64(model.modulate2.bias)
    second = quantise_layer(weight, first.gain, limits, 0.0, None, 0, bias)
    parts = {
        "modulation.hidden": _hidden(first, to_f64(model.modulate1.bias)),
        "modulation.out": freeze_output(model.modulate2, second, units),
    }
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}


def _freeze_prior(model: VLAE, peaks: dict[str, F64]) -> dict[str, NDArray[Any]]:
    net, config = model.prior, model.config
    n = config.latents
    gain = np.append(np.full(n, 8.0), 1.0)
    largest = np.append(np.full(n, float(config.grid)), 1.0)
    biases = to_f64(net.hidden.bias) + to_f64(net.condition.weight)
    most = np.abs(biases).max(0)
    hidden = quantise_layer(to_f64(net.hidden.weight), gain, largest, 0.0, peaks["prior"], ACTIVATION_LIMIT, most)
    limits = np.full(len(hidden.gain), float(ACTIVATION_LIMIT))
    own = to_f64(net.channels * net.causal) / 8
    reach = config.grid * np.abs(own).sum(1)
    offset = np.repeat([0.0, 2.0], n)
    out = quantise_layer(to_f64(net.out.weight), hidden.gain, limits, reach, None, 0, to_f64(net.out.bias) + offset)
    channels = own * out.scale[:, None]
    parts = {
        "prior.hidden": {
            "weight": hidden.weight.astype(np.int16),
            "shift": hidden.shift.astype(np.int8),
            "biases": fit(np.rint(biases * hidden.scale) + half(hidden.shift), np.int32),
        },
        "prior.out": freeze_output(net.out, out, latent_units(n), offset),
    }
    tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}
    return tensors | {"prior.channels": fit(channels, np.int32)}


def freeze_coder(model: VLAE, peaks: dict[str, F64]) -> Frozen:
    """Return the tensors and the configuration of a model.

    Parameters
    ----------
    peaks : dict of float64 arrays
        Largest activations, from `Peaks` after running the model on calibration crops.
    """
    config, coded = model.config, model.config.coded
    likelihood, units = freeze_likelihood(model.likelihood, peaks, to_f64(model.condition.weight))
    likelihood["likelihood.off_biases"] = fit(to_f64(model.off) * units, np.int32)
    tensors = likelihood | _freeze_posterior(model, peaks) | _freeze_modulation(model, peaks, units)
    tensors |= _freeze_prior(model, peaks)
    header: dict[str, Any] = {
        "radius": config.radius,
        "mixtures": config.mixtures,
        "tile": config.tile,
        "latents": config.latents,
        "grid": config.grid,
        "activation_limit": ACTIVATION_LIMIT,
        "posterior_limit": POSTERIOR_LIMIT,
        "output_shift": OUTPUT_SHIFT,
    }
    if coded.limit is not None:
        header |= {
            "kind": "tensor",
            "channels": coded.channels,
            "groups": coded.groups,
            "limit": coded.limit,
            "references": coded.references,
            "posterior_channels": coded.planes,
        }
    return Frozen(tensors, header)


def weights_file(recipe: Recipe, *parts: Frozen) -> bytes:
    """Return the weights file of a recipe's model: safetensors, read by `codec.frozen.weights.parse_model`."""
    tensors: dict[str, NDArray[Any]] = {}
    header: dict[str, Any] = {"number": UNSHIPPED, "name": recipe.name}
    for part in parts:
        tensors |= {name: np.ascontiguousarray(tensor) for name, tensor in part.tensors.items()}
        header |= part.config
    return save(tensors, {"config": json.dumps(header)})
