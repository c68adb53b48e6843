"""Freezing of a VLAE, of samples or of a transform's latents, to the integers that `codec` executes.

`models.freezing.quantise` turns a layer into integers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save
from torch import nn

from models.freezing.quantise import (
    ACTIVATION_LIMIT,
    F64,
    OUTPUT_SHIFT,
    POSTERIOR_LIMIT,
    WEIGHT_MAX,
    Tensors,
    fit,
    freeze_output,
    half,
    head_units,
    hidden_tensors,
    latent_units,
    quantise_layer,
    to_f64,
)
from models.nets.layers import bias_of
from models.nets.likelihood import CONTEXT_UNIT, Likelihood
from models.nets.vlae import VLAE
from models.recipes.tables import Recipe

UNSHIPPED = 65535
"""Number of weights that do not ship. `models.training.ship` gives them a number of their own."""


class Frozen(NamedTuple):
    """A part of a weights file: tensors by name, and entries of its configuration."""

    tensors: Tensors
    config: dict[str, str | int]


def freeze_likelihood(
    net: Likelihood, peaks: dict[str, F64], conditions: F64, features: Sequence[tuple[float, float]] = ()
) -> tuple[Tensors, F64]:
    """Return the likelihood's tensors, and the integer units of its biases (bias count,).

    Parameters
    ----------
    peaks : dict of float64 arrays
        Largest activations, by layer.
    conditions : float64 array (rows, bias count)
        What each condition adds to the biases.
    features : sequence of (float, float)
        For each of the last inputs, which are no contexts: the integer units that stand for a float 1, and the largest
        integer.
    """
    config, coded = net.config, net.config.coded
    largest_input = float(coded.layout.largest_input)
    tensors: Tensors = {}
    contexts = net.hidden1.in_features - len(features)
    gain = np.concatenate([np.full(contexts, float(CONTEXT_UNIT)), [unit for unit, _ in features]])
    largest = np.concatenate([np.full(contexts, largest_input), [most for _, most in features]])
    # The noise of samples is known to a fraction of a step, for which 8 bits are too few. Steps of tensors are coarser.
    dtype = np.int16 if coded.limit is None else np.int8
    scales, halves = [], []
    for name in ("hidden1", "hidden2", "hidden3"):
        layer = quantise_layer(
            to_f64(getattr(net, name).weight),
            gain,
            largest,
            0.0,
            peaks[name],
            ACTIVATION_LIMIT,
            is_clipped=True,
            weight_max=np.iinfo(dtype).max if dtype == np.int8 else WEIGHT_MAX,
        )
        tensors[f"likelihood.{name}.weight"] = layer.weight.astype(dtype)
        tensors[f"likelihood.{name}.shift"] = layer.shift.astype(np.int8)
        scales.append(layer.scale)
        halves.append(half(layer.shift))
        gain, largest = layer.gain, np.full(len(layer.gain), float(ACTIVATION_LIMIT))
    seen = [to_f64(c.weight).T / CONTEXT_UNIT for c in net.conditioning]
    said = [np.abs(rows).sum(0) for rows in seen]
    reach = largest_input * np.stack([np.zeros(config.head), *said])
    head_peaks = np.concatenate([peaks[f"head{i}"] for i in range(coded.groups)])
    split = quantise_layer(
        to_f64(net.split.weight), gain, largest, reach.reshape(-1), head_peaks, ACTIVATION_LIMIT, is_clipped=True
    )
    tensors["likelihood.split.weight"] = split.weight.astype(np.int16)
    tensors["likelihood.split.shift"] = split.shift.astype(np.int8)
    scales.append(split.scale)
    halves.append(half(split.shift))
    head_scale = split.scale.reshape(coded.groups, -1)
    said_rows = [rows * scale for rows, scale in zip(seen, head_scale[1:], strict=True)]
    conditioning = np.concatenate([np.zeros((0, config.head)), *said_rows])
    tensors["likelihood.conditioning"] = fit(conditioning, np.int32)
    tensors |= _freeze_heads(net, split.gain.reshape(coded.groups, -1))
    scale = np.concatenate(scales)
    own = np.concatenate([to_f64(getattr(net, n).bias) for n in ("hidden1", "hidden2", "hidden3", "split")])
    fixed = np.rint((own + conditions) * scale) + np.concatenate(halves)
    tensors["likelihood.fixed_biases"] = fit(fixed, np.int32)
    return tensors, scale


def _freeze_heads(net: Likelihood, gains: F64) -> Tensors:
    """Return the tensors of the heads' outputs. ``gains`` (groups, head) are the units of their hidden layers."""
    config, coded = net.config, net.config.coded
    m, width = config.mixtures, max(out.out_features for out in net.outputs)
    weights = np.zeros((coded.groups, config.head, width), dtype=np.int16)
    biases = np.zeros((coded.groups, width), dtype=np.int32)
    multipliers = np.zeros((coded.groups, width), dtype=np.int32)
    for place, out in enumerate(net.outputs):
        units = head_units(m, coded.group, coded.links[place])
        bias = to_f64(bias_of(out)).copy()
        bias[: 3 * m * coded.group].reshape(coded.group, 3, m)[:, 2] += 0.5
        limits = np.full(config.head, float(ACTIVATION_LIMIT))
        layer = quantise_layer(to_f64(out.weight), gains[place], limits, 0.0, None, 0, bias)
        n = len(units)
        weights[place, :, :n] = layer.weight
        biases[place, :n] = fit(bias * layer.scale, np.int32)
        multipliers[place, :n] = fit(units / layer.scale * 2.0**OUTPUT_SHIFT, np.int32)
    return {
        "likelihood.outputs.weight": weights,
        "likelihood.outputs.bias": biases,
        "likelihood.outputs.multiplier": multipliers,
    }


def _freeze_posterior(model: VLAE, peaks: dict[str, F64]) -> Tensors:
    net, config = model.posterior, model.config
    parts: dict[str, Tensors] = {}
    conv: nn.Conv2d
    gain = np.full(config.coded.planes, float(CONTEXT_UNIT))
    limit = float(config.coded.layout.largest_input)
    for name in ("conv1", "conv2", "conv3"):
        conv = getattr(net, name)
        weight = to_f64(conv.weight).transpose(0, 2, 3, 1).reshape(conv.out_channels, -1)
        inputs = weight.shape[1]
        reach, bias = np.full(inputs, limit), to_f64(bias_of(conv))
        layer = quantise_layer(weight, np.tile(gain, 9), reach, 0.0, peaks[name], POSTERIOR_LIMIT, bias)
        parts[f"posterior.{name}"] = hidden_tensors(layer, bias)
        gain, limit = layer.gain, float(POSTERIOR_LIMIT)
    pooled = np.concatenate([4 * gain, gain])
    largest = np.repeat([4 * limit, limit], len(gain))
    biases = to_f64(bias_of(net.dense)) + to_f64(net.condition.weight)
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


def _freeze_modulation(model: VLAE, peaks: dict[str, F64], units: F64) -> Tensors:
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
        "modulation.hidden": hidden_tensors(first, to_f64(model.modulate1.bias)),
        "modulation.out": freeze_output(model.modulate2, second, units),
    }
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.items()}


def _freeze_prior(model: VLAE, peaks: dict[str, F64]) -> Tensors:
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
    parts: dict[str, Tensors] = {
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
    """Return the tensors and the configuration of a model: of the family `modulation`, or `plain` without latents.

    Parameters
    ----------
    peaks : dict of float64 arrays
        Largest activations, from `Peaks` after running the model on calibration crops.
    """
    config, coded = model.config, model.config.coded
    header: dict[str, str | int] = {
        "radius": config.radius,
        "mixtures": config.mixtures,
        "activation_limit": ACTIVATION_LIMIT,
        "output_shift": OUTPUT_SHIFT,
    }
    if coded.limit is not None:
        header |= {
            "kind": "tensor",
            "channels": coded.channels,
            "groups": coded.groups,
            "limit": coded.limit,
            "references": coded.references,
        }
    conditions = to_f64(model.condition.weight)
    if not config.latents:  # what is added to all conditions is a part of each
        tensors, _ = freeze_likelihood(model.likelihood, peaks, conditions + to_f64(model.off))
        return Frozen(tensors, header | {"networks": "plain", "rows": config.tile})
    tensors, units = freeze_likelihood(model.likelihood, peaks, conditions)
    tensors["likelihood.off_biases"] = fit(to_f64(model.off) * units, np.int32)
    tensors |= _freeze_posterior(model, peaks) | _freeze_modulation(model, peaks, units) | _freeze_prior(model, peaks)
    header |= {
        "tile": config.tile,
        "latents": config.latents,
        "grid": config.grid,
        "posterior_limit": POSTERIOR_LIMIT,
    }
    if coded.limit is not None:
        header["posterior_channels"] = coded.planes
    return Frozen(tensors, header)


def weights_file(recipe: Recipe, *parts: Frozen) -> bytes:
    """Return the weights file of a recipe's model: safetensors, read by `codec.frozen.weights.parse_model`."""
    tensors: Tensors = {}
    header: dict[str, str | int] = {"number": UNSHIPPED, "name": recipe.name}
    for part in parts:
        tensors |= {name: np.ascontiguousarray(tensor) for name, tensor in part.tensors.items()}
        header |= part.config
    return save(tensors, {"config": json.dumps(header)})
