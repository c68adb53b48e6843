"""Thawing: from a frozen model back to a float model that computes the same, so that training can go on from it.

It is the inverse of `models.freezing.freeze`, up to the rounding of activations. The weights file does not hold the
scales of hidden units. They are free, and are chosen so that the weights into a unit and those out of it have equal
norms.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch
from safetensors.numpy import load

from codec.frozen.contexts import offsets
from codec.frozen.weights import parse_model
from models.freezing.balance import balance, hidden_units
from models.freezing.filling import (
    fill,
    fill_biases,
    fill_hidden,
    fill_output,
    fill_rows,
    frozen_header,
)
from models.freezing.quantise import F64, I64, Tensors, half, head_units, latent_units
from models.nets.layers import bias_of
from models.nets.likelihood import CONTEXT_UNIT, SAMPLES, Coded, Likelihood
from models.nets.vlae import VLAE, Config

GROWING = ("radius", "width", "head", "modulation")
"""The values of a Config that may be larger than those of the frozen model."""
AROUND_Z = ("latents", "tile", "modulation", "grid", "posterior", "prior")
"""The values of a Config that change nothing of what a model without latents computes."""
OUTPUT = ("weight", "bias", "multiplier")
"""Names of an output layer's tensors."""


def fill_likelihood(tensors: Tensors, net: Likelihood, step: float, inputs: F64) -> tuple[F64, F64]:
    """Fill a likelihood except for its biases. Return the biases, a row for each condition, and their scale.

    ``inputs`` has the integer units of each input that stand for a float 1.
    """
    width = net.config.width
    names = [f"likelihood.{n}" for n in ("hidden1", "hidden2", "hidden3", "split")]
    layers = [net.hidden1, net.hidden2, net.hidden3, net.split]
    for name, layer in zip(names, layers, strict=True):
        shift = tensors[f"{name}.shift"].astype(np.int64)
        fill_rows(layer, tensors[f"{name}.weight"].T * (inputs / 2.0 ** shift[:, None]))
        inputs = np.ones(width)
    shifts = np.concatenate([tensors[f"{name}.shift"].astype(np.int64) for name in names])
    scale = 2.0**shifts
    biases = (tensors["likelihood.fixed_biases"] - half(shifts)) / scale
    ends = np.cumsum([layer.out_features for layer in layers])[:-1]
    for layer, part in zip(layers, np.split(biases[0], ends), strict=True):
        fill(layer.bias, part)
    coded, m = net.config.coded, net.config.mixtures
    heads = scale[-coded.groups * net.config.head :].reshape(coded.groups, -1)
    begin = 0  # of the rows of a group's conditioning
    for place, conditioned in enumerate(net.conditioning, 1):
        end = begin + coded.features[place]
        conditioning = tensors["likelihood.conditioning"][begin:end] * CONTEXT_UNIT / heads[place]
        fill(conditioned.weight, conditioning.T)
        begin = end
    for place, out in enumerate(net.outputs):
        links = coded.links[place]
        used = 3 * m * coded.group + links
        own = {f"out.{k}": tensors[f"likelihood.outputs.{k}"][place][..., :used] for k in OUTPUT}
        offset = np.append(np.tile(np.repeat([0.0, 0.5], [2 * m, m]), coded.group), np.zeros(links))
        fill_output(own, "out", out, step, head_units(m, coded.group, links), offset)
    return biases, scale


def _thaw_latents(tensors: Tensors, model: VLAE, step: float, bias_scale: F64) -> None:
    """Fill the networks around z."""
    q, prior, n = model.posterior, model.prior, model.config.latents
    for name, conv, unit in (("conv1", q.conv1, float(CONTEXT_UNIT)), ("conv2", q.conv2, 1.0), ("conv3", q.conv3, 1.0)):
        fill(bias_of(conv), fill_hidden(tensors, f"posterior.{name}", conv, unit, 1.0))
    pooled = np.repeat([4.0, 1.0], model.config.posterior[2])
    fill_biases(q.dense.bias, q.condition, fill_hidden(tensors, "posterior.dense", q.dense, pooled, 1.0))
    fill_output(tensors, "posterior.out", q.out, step, latent_units(n), np.repeat([0.0, 1.0], n))
    fill(model.modulate1.bias, fill_hidden(tensors, "modulation.hidden", model.modulate1, 8.0, 1.0))
    fill_output(tensors, "modulation.out", model.modulate2, step, bias_scale)
    seen = np.append(np.full(n, 8.0), 1.0)
    fill_biases(prior.hidden.bias, prior.condition, fill_hidden(tensors, "prior.hidden", prior.hidden, seen, 1.0))
    value = fill_output(tensors, "prior.out", prior.out, step, latent_units(n), np.repeat([0.0, 2.0], n))
    fill(prior.channels, 8 * tensors["prior.channels"] * value[:, None])


def frozen_config(data: bytes, coded: Coded = SAMPLES) -> Config:
    """Return the shape of a frozen model's coder, which codes ``coded``."""
    header, tensors = frozen_header(data), load(data)
    likelihood = Config(
        coded=coded,
        radius=header["radius"],
        mixtures=header["mixtures"],
        width=tensors["likelihood.hidden2.weight"].shape[1],
        head=tensors["likelihood.outputs.weight"].shape[1],
        latents=0,
    )
    if header.get("networks") == "plain":
        return replace(likelihood, tile=header["rows"])
    modulation, prior = (tensors[f"{name}.hidden.weight"].shape[1] for name in ("modulation", "prior"))
    c1, c2, c3 = (tensors[f"posterior.conv{i}.weight"].shape[1] for i in (1, 2, 3))
    return replace(
        likelihood,
        **{key: header[key] for key in ("tile", "latents", "grid")},
        modulation=modulation,
        posterior=(c1, c2, c3),
        prior=prior,
    )


def _grow(small: VLAE, model: VLAE) -> None:
    """Copy a model into one with more contexts and hidden units. Old units do not read the new ones yet."""
    old, new, coded = small.config, model.config, model.config.coded
    width, head = np.arange(old.width), np.arange(old.head)
    contexts = [tuple(o) for o in offsets(new.radius)]
    seen = np.array([contexts.index(tuple(o)) for o in offsets(old.radius)])
    levels = coded.channels * len(contexts) + np.arange(coded.references)
    inputs = np.append(coded.channels * seen[:, None] + np.arange(coded.channels), levels)
    heads = np.concatenate([i * new.head + head for i in range(coded.groups)])
    biases = np.concatenate([i * new.width + width for i in range(3)] + [3 * new.width + heads])
    # The places of the small model's units along each axis of a parameter that may be longer in the large model.
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
        parameter[torch.meshgrid(*kept, indexing="ij")] = value.to(parameter)


@torch.no_grad()
def thaw_coder(data: bytes, model: VLAE) -> None:
    """Fill a freshly initialised coder with weights that compute what a frozen model's coder computes.

    ``data`` is a weights file that was checked. The coder may be larger than the frozen one, see `thaw_samples`. A
    coder without latents becomes the frozen one with its latents off.

    Raises
    ------
    ValueError
        The coder has another shape.
    """
    tensors, frozen, config = load(data), frozen_config(data, model.config.coded), model.config
    different = []
    for name in [field.name for field in fields(Config) if config.latents or field.name not in AROUND_Z]:
        have, want = getattr(frozen, name), getattr(config, name)
        if want != have and not (name in GROWING and want > have):
            different.append(f"{name} is {have}, not {want}")
    if different:
        raise ValueError(f"the frozen model differs: {', '.join(different)}")
    small = VLAE(frozen, len(offsets(frozen.radius))).double()
    step = 2.0 ** -frozen_header(data)["output_shift"]
    inputs = np.full(small.likelihood.hidden1.in_features, float(CONTEXT_UNIT))
    biases, bias_scale = fill_likelihood(tensors, small.likelihood, step, inputs)
    fill(small.condition.weight, biases - biases[0])
    if frozen.latents:
        fill(small.off, tensors["likelihood.off_biases"] / bias_scale)
        _thaw_latents(tensors, small, step, bias_scale)
    balance(hidden_units(small))
    _grow(small, model)


def thaw_samples(data: bytes, model: VLAE) -> None:
    """Fill a freshly initialised model of samples with weights that compute what a frozen model computes.

    Parameters
    ----------
    data : bytes
        A weights file, as `models.freezing.freeze.weights_file` returns it.
    model : VLAE
        It may have more hidden units in the likelihood, its heads and the modulation than the frozen model. New units
        keep their incoming weights, and old ones read them with weights of zero.

    Raises
    ------
    ValueError
        The model has another shape.
    ModelError
        ``data`` is no weights file.
    """
    parse_model(data)  # refuses what is not a model
    thaw_coder(data, model)
