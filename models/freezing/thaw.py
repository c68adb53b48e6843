"""Thawing: from a frozen model back to a float one that computes the same, for training to go on from.

The inverse of `models.freezing.freeze`, up to the rounding of activations. The scales of hidden units are not
in the weights file, and free: a rectifier lets any positive scale pass. They are chosen so that the
weights that come into a unit and those that go out of it have equal norms.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load
from torch import Tensor, nn

from codec.frozen.contexts import offsets
from codec.frozen.weights import parse_model
from models.freezing.balance import balance, hidden_units
from models.freezing.freeze import F64, I64, head_units, latent_units
from models.nets.vlae import CONTEXT_UNIT, SAMPLES, VLAE, Coded, Condition, Config, Likelihood

GROWING = ("radius", "width", "head", "modulation")
"""Values of a Config that may be larger than the frozen model's."""
OUTPUT = ("weight", "bias", "multiplier")
"""Tensors of an output layer."""

Tensors = dict[str, NDArray[Any]]


def _fill(parameter: Tensor, values: NDArray[Any]) -> None:
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64)))


def _scale(tensors: Tensors, name: str) -> F64:
    """Return the units of a hidden layer's sums, of which 2**shift are 1 here: then one is of its activations."""
    return np.ldexp(1.0, tensors[f"{name}.shift"])


def _half(tensors: Tensors, name: str) -> I64:
    """Return what the biases have in addition so that shifts round to nearest."""
    return (1 << tensors[f"{name}.shift"].astype(np.int64)) >> 1


def _biases(own: Tensor, errors: Condition, biases: F64) -> None:
    """Fill biases (d, units): d = 0 is a layer's own, for others the difference is added."""
    _fill(own, biases[0])
    _fill(errors.weight, biases - biases[0])


def _hidden(
    tensors: Tensors, name: str, layer: nn.Linear | nn.Conv2d, inputs: F64, errors: Condition | None = None
) -> None:
    """Fill a hidden layer; ``inputs`` are the integer units of each input."""
    scale = _scale(tensors, name)
    weight = (tensors[f"{name}.weight"] * inputs[:, None] / scale).T
    if isinstance(layer, nn.Conv2d):
        weight = weight.reshape(len(scale), 3, 3, -1).transpose(0, 3, 1, 2)
    _fill(layer.weight, weight)
    if errors is not None:
        _biases(layer.bias, errors, (tensors[f"{name}.biases"] - _half(tensors, name)) / scale)
    elif f"{name}.bias" in tensors:
        _fill(layer.bias, (tensors[f"{name}.bias"] - _half(tensors, name)) / scale)


def fill_output(
    tensors: Tensors, name: str, layer: nn.Linear, step: float, units: F64, offset: F64 | float = 0.0
) -> F64:
    """Fill an output layer and return the float value of a unit of each sum; ``step`` is 2**-output_shift."""
    value: F64 = tensors[f"{name}.multiplier"] * step / units
    _fill(layer.weight, (tensors[f"{name}.weight"] * value).T)
    _fill(layer.bias, tensors[f"{name}.bias"] * value - offset)
    return value


def fill_likelihood(tensors: Tensors, net: Likelihood, step: float, inputs: F64) -> tuple[F64, F64]:
    """Fill a likelihood, but for its biases; return these, rows of conditions, and their scale.

    ``inputs`` are the integer units of each input.
    """
    width = net.config.width
    names = [f"likelihood.{n}" for n in ("hidden1", "hidden2", "hidden3", "split")]
    layers = [net.hidden1, net.hidden2, net.hidden3, net.split]
    for name, layer in zip(names, layers, strict=True):
        _hidden(tensors, name, layer, inputs)
        inputs = np.ones(width)
    scale, half = (np.concatenate([f(tensors, n) for n in names]) for f in (_scale, _half))
    biases = (tensors["likelihood.fixed_biases"] - half) / scale
    ends = np.cumsum([layer.out_features for layer in layers])[:-1]
    for layer, part in zip(layers, np.split(biases[0], ends), strict=True):
        _fill(layer.bias, part)
    coded, m = net.config.coded, net.config.mixtures
    heads = _scale(tensors, names[3]).reshape(coded.groups, -1)
    begin = 0  # of the rows of a group's conditioning
    for place, layer in enumerate(net.conditioning, 1):
        end = begin + coded.features[place]
        conditioning = tensors["likelihood.conditioning"][begin:end] * CONTEXT_UNIT / heads[place]
        _fill(layer.weight, conditioning.T)
        begin = end
    for place, out in enumerate(net.outputs):
        links = coded.links[place]
        used = 3 * m * coded.group + links
        part = {f"out.{k}": tensors[f"likelihood.outputs.{k}"][place][..., :used] for k in OUTPUT}
        offset = np.append(np.tile(np.repeat([0.0, 0.5], [2 * m, m]), coded.group), np.zeros(links))
        fill_output(part, "out", out, step, head_units(m, coded.group, links), offset)
    return biases, scale


def _thaw_latents(tensors: Tensors, model: VLAE, step: float, bias_scale: F64) -> None:
    """Fill the networks around z."""
    q, prior, n = model.posterior, model.prior, model.config.latents
    a, b, c = model.config.posterior
    for name, conv, inputs in (
        ("conv1", q.conv1, np.full(9 * model.config.coded.planes, float(CONTEXT_UNIT))),
        ("conv2", q.conv2, np.ones(9 * a)),
        ("conv3", q.conv3, np.ones(9 * b)),
    ):
        _hidden(tensors, f"posterior.{name}", conv, inputs)
    _hidden(tensors, "posterior.dense", q.dense, np.repeat([4.0, 1.0], c), q.condition)
    fill_output(tensors, "posterior.out", q.out, step, latent_units(n), np.repeat([0.0, 1.0], n))
    _hidden(tensors, "modulation.hidden", model.modulate1, np.full(n, 8.0))
    fill_output(tensors, "modulation.out", model.modulate2, step, bias_scale)
    _hidden(tensors, "prior.hidden", prior.hidden, np.append(np.full(n, 8.0), 1.0), prior.condition)
    value = fill_output(tensors, "prior.out", prior.out, step, latent_units(n), np.repeat([0.0, 2.0], n))
    _fill(prior.channels, 8 * tensors["prior.channels"] * value[:, None])


@torch.no_grad()
def fill_coder(tensors: Tensors, model: VLAE, output_shift: int) -> None:
    """Fill a coder of the frozen one's shape, in place; the weights of its hidden units are balanced."""
    step = 2.0**-output_shift
    inputs = np.full(model.likelihood.hidden1.in_features, float(CONTEXT_UNIT))
    biases, bias_scale = fill_likelihood(tensors, model.likelihood, step, inputs)
    _fill(model.condition.weight, biases - biases[0])
    _fill(model.off, tensors["likelihood.off_biases"] / bias_scale)
    _thaw_latents(tensors, model, step, bias_scale)
    balance(hidden_units(model))


def frozen_header(data: bytes) -> dict[str, Any]:
    """Return the whole numbers in a weights file's metadata."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    numbers: dict[str, Any] = json.loads(header["__metadata__"]["config"])
    return numbers


def frozen_config(data: bytes, coded: Coded = SAMPLES) -> Config:
    """Return the shape of a frozen model, or of what codes ``coded`` in it."""
    header, tensors = frozen_header(data), load(data)
    modulation, prior = (tensors[f"{name}.hidden.weight"].shape[1] for name in ("modulation", "prior"))
    c1, c2, c3 = (tensors[f"posterior.conv{i}.weight"].shape[1] for i in (1, 2, 3))
    return Config(
        coded=coded,
        **{key: header[key] for key in ("radius", "mixtures", "tile", "latents", "grid")},
        width=tensors["likelihood.hidden2.weight"].shape[1],
        head=tensors["likelihood.outputs.weight"].shape[1],
        modulation=modulation,
        posterior=(c1, c2, c3),
        prior=prior,
    )


def _grow(small: VLAE, model: VLAE) -> None:
    """Copy a model into one with more contexts and hidden units, which only new units read yet."""
    old, new, coded = small.config, model.config, model.config.coded
    width, head = np.arange(old.width), np.arange(old.head)
    contexts = [tuple(o) for o in offsets(new.radius)]
    seen = np.array([contexts.index(tuple(o)) for o in offsets(old.radius)])
    levels = coded.channels * len(contexts) + np.arange(coded.references)
    inputs = np.append(coded.channels * seen[:, None] + np.arange(coded.channels), levels)
    heads = np.concatenate([i * new.head + head for i in range(coded.groups)])
    biases = np.concatenate([i * new.width + width for i in range(3)] + [3 * new.width + heads])
    # Where a parameter's axes are indexed by units of which there may be more.
    places: dict[str, dict[int, I64]] = {
        "likelihood.hidden1.weight": {0: width, 1: inputs},
        "likelihood.hidden1.bias": {0: width},
        "likelihood.hidden2.weight": {0: width, 1: width},
        "likelihood.hidden2.bias": {0: width},
        "likelihood.hidden3.weight": {0: width, 1: width},
        "likelihood.hidden3.bias": {0: width},
        "likelihood.split.weight": {0: heads, 1: width},
        "likelihood.split.bias": {0: heads},
        **{f"likelihood.conditioning.{i}.weight": {0: head} for i in range(coded.groups - 1)},
        **{f"likelihood.outputs.{i}.weight": {1: head} for i in range(coded.groups)},
        "condition.weight": {1: biases},
        "off": {0: biases},
        "modulate1.weight": {0: np.arange(old.modulation)},
        "modulate1.bias": {0: np.arange(old.modulation)},
        "modulate2.weight": {0: biases, 1: np.arange(old.modulation)},
        "modulate2.bias": {0: biases},
    }
    values = dict(small.named_parameters())
    for name, parameter in model.named_parameters():
        value, where = values[name], places.get(name, {})
        kept = [torch.from_numpy(where.get(axis, np.arange(size))) for axis, size in enumerate(value.shape)]
        parameter[kept[0]] = 0.0
        parameter[torch.meshgrid(*kept, indexing="ij")] = value.to(parameter.dtype)


@torch.no_grad()
def thaw_coder(data: bytes, model: VLAE) -> None:
    """Fill a freshly initialised model with weights that compute what a frozen one computes; as of `thaw`."""
    tensors, frozen, config = load(data), frozen_config(data, model.config.coded), model.config
    different = []
    for field in fields(Config):
        have, want = getattr(frozen, field.name), getattr(config, field.name)
        if want != have and not (field.name in GROWING and want > have):
            different.append(f"{field.name} is {have}, not {want}")
    if different:
        raise ValueError(f"of the frozen model {', '.join(different)}")
    small = VLAE(frozen, len(offsets(frozen.radius))).double()
    fill_coder(tensors, small, frozen_header(data)["output_shift"])
    _grow(small, model)


def thaw(data: bytes, model: VLAE) -> None:
    """Fill a freshly initialised model with weights that compute what a frozen model computes.

    Parameters
    ----------
    data : bytes
        A weights file, as `models.freezing.freeze.freeze` returns it.
    model : VLAE
        May have more hidden units of the likelihood, its heads and the modulation: new ones keep
        what comes into them, and what was there reads them with weights of zero.

    Raises
    ------
    ValueError
        The model has another shape.
    """
    parse_model(data)  # refuses what is not a model
    thaw_coder(data, model)
