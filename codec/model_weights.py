"""The weights of models: which tensors they are, what is refused, and how `codec.model` takes them.

A weights file is a safetensors file of integers, with a configuration in its metadata; `models.freeze` writes it.
See FORMAT.md, "Models" and "Exact networks".
"""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from codec import contexts, exact, layout, transform_weights
from codec.distributions import COMPONENTS, number_grid
from codec.errors import ModelError
from codec.exact import BIAS_LIMIT, Hidden, Output
from codec.headers import HASH_BYTES
from codec.layout import Layout
from codec.likelihood import Network
from codec.model import Model
from codec.prior import Prior
from codec.products import pack
from codec.transform import Transforms
from codec.transform_weights import Tensors

LATENT_HIDDEN = ("posterior.dense", "modulation.hidden", "prior.hidden")
"""Hidden layers of the networks around z."""
MULTIPLIER_LIMIT = 1 << 38
"""With sums of 2**24 a product stays below 2**62."""

CONFIG = {
    "number": (0, 65535),
    "radius": (2, 16),
    "mixtures": (1, COMPONENTS),
    "tile": (16, 1024),
    "latents": (1, 256),
    "grid": (1, 1023),
    "activation_limit": (1, 32767),
    "posterior_limit": (1, 32767),
    "output_shift": (30, 40),
}
"""Whole numbers in a weights file's metadata, and their ranges."""
TENSOR_CONFIG = {
    "channels": (1, 1024),
    "groups": (1, 1024),
    "limit": (1, layout.TENSOR_LIMIT),
    "references": (0, 1024),
    "posterior_channels": (1, 1024),
    "conditions": (1, 100),
}
"""Those that only models of tensors have; references and posterior_channels are at most channels."""
TILE_UNITS = {"samples": 64, "tensor": 16}
"""Kinds of models, and what the side of a tile is a multiple of."""
SAMPLE_PLANES = 9
"""Input planes of the posterior of samples."""

F32 = NDArray[np.float32]


def config_layout(config: dict[str, Any]) -> Layout:
    """Return what a model codes."""
    if config["kind"] == "samples":
        return layout.samples()
    return layout.tensor(*(config[name] for name in ("channels", "groups", "limit", "references")))


def tensor_shapes(tensors: Tensors, config: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the type and shape of every tensor; widths of hidden layers are taken from some of them."""
    n, m, coded = config["latents"], config["mixtures"], config_layout(config)
    places = len(coded.sizes)
    inputs = len(coded.order) * len(contexts.offsets(config["radius"])) + coded.references
    outputs = max(3 * m * size + count for size, count in zip(coded.sizes, coded.coefficients.tolist(), strict=True))
    planes = SAMPLE_PLANES if config["kind"] == "samples" else config["posterior_channels"]
    width = tensors["likelihood.hidden2.weight"].shape[-1]
    head = tensors["likelihood.outputs.weight"].shape[1]
    levels, biases = tensors["likelihood.fixed_biases"].shape[0], 3 * width + places * head
    c1, c2, c3 = (tensors[f"posterior.conv{i}.weight"].shape[-1] for i in (1, 2, 3))
    dense, modulation, prior = (tensors[f"{k}.weight"].shape[-1] for k in LATENT_HIDDEN)
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, before, after in (
        ("likelihood.hidden1", inputs, width),
        ("likelihood.hidden2", width, width),
        ("likelihood.hidden3", width, width),
        ("likelihood.split", width, places * head),
        ("posterior.conv1", 9 * planes, c1),
        ("posterior.conv2", 9 * c1, c2),
        ("posterior.conv3", 9 * c2, c3),
        ("posterior.dense", 2 * c3, dense),
        ("modulation.hidden", n, modulation),
        ("prior.hidden", n + 1, prior),
    ):
        shapes[f"{name}.weight"] = ("int16", (before, after))
        shapes[f"{name}.shift"] = ("int8", (after,))
    for name, after in (("posterior.conv1", c1), ("posterior.conv2", c2), ("posterior.conv3", c3)):
        shapes[f"{name}.bias"] = ("int32", (after,))
    shapes["modulation.hidden.bias"] = ("int32", (modulation,))
    for name, after in (("posterior.dense", dense), ("prior.hidden", prior)):
        shapes[f"{name}.biases"] = ("int32", (levels, after))
    for name, before, after in (
        ("posterior.out", dense, 2 * n),
        ("modulation.out", modulation, biases),
        ("prior.out", prior, 2 * n),
    ):
        shapes[f"{name}.weight"] = ("int16", (before, after))
        shapes[f"{name}.bias"] = ("int32", (after,))
        shapes[f"{name}.multiplier"] = ("int64", (after,))
    return shapes | {
        "prior.channels": ("int32", (2 * n, n)),
        "likelihood.conditioning": ("int32", (len(coded.features), head)),
        "likelihood.outputs.weight": ("int16", (places, head, outputs)),
        "likelihood.outputs.bias": ("int32", (places, outputs)),
        "likelihood.outputs.multiplier": ("int32", (places, outputs)),
        "likelihood.fixed_biases": ("int32", (levels, biases)),
        "likelihood.off_biases": ("int32", (biases,)),
    }


def _take_transforms(tensors: Tensors) -> Tensors:
    """Take the tensors of the transforms out of a file's and return them."""
    return {name: tensors.pop(name) for name in list(tensors) if name.startswith(transform_weights.PREFIXES)}


def _parse_transforms(own: Tensors, tensors: Tensors, config: dict[str, Any]) -> Transforms:
    """Return the transforms of their own tensors; ModelError if they are for another tensor than the rest codes."""
    transforms = transform_weights.parse(own, config)
    expected = (config["conditions"], config["channels"])
    if transforms.steps.shape != expected:
        raise ModelError(f"synthesis.steps: expected {expected}, got {transforms.steps.shape}")
    levels = len(tensors["likelihood.fixed_biases"])
    for name, tensor in own.items():
        if name.endswith(".biases") and len(tensor) != levels:
            raise ModelError(f"{name}: expected {levels} rows, got {len(tensor)}")
    return transforms


def _check_ranges(tensors: Tensors, config: dict[str, Any]) -> None:
    """Refuse what the kernels could not work: wrong shapes and types, numbers out of range."""
    kind = config["kind"]
    if kind not in TILE_UNITS:
        raise ModelError(f"kind: expected one of {', '.join(TILE_UNITS)}, got {kind!r}")
    exact.check_numbers(config, CONFIG | (TENSOR_CONFIG if kind == "tensor" else {}))
    if config["tile"] % TILE_UNITS[kind]:
        raise ModelError(f"tile: expected a multiple of {TILE_UNITS[kind]}, got {config['tile']}")
    if kind == "tensor":
        channels = config["channels"]
        if channels % config["groups"]:
            raise ModelError(f"groups: expected a divisor of {channels}, got {config['groups']}")
        for name in ("references", "posterior_channels"):
            if config[name] > channels:
                raise ModelError(f"{name}: expected at most {channels}, got {config[name]}")
        levels = len(tensors["likelihood.fixed_biases"])
        if not 1 <= levels <= config["conditions"]:
            raise ModelError(f"likelihood.fixed_biases: expected 1 to {config['conditions']} rows, got {levels}")
    exact.check_tensors("not a model file", tensors, tensor_shapes(tensors, config), MULTIPLIER_LIMIT)


def _hidden(tensors: Tensors, name: str, limit: int, bias: F32 | None = None) -> Hidden:
    weight = np.ascontiguousarray(tensors[f"{name}.weight"], dtype=np.float32)
    if bias is None:
        bias = tensors[f"{name}.bias"].astype(np.float32)
    scale = np.ldexp(np.float32(1), -tensors[f"{name}.shift"].astype(np.int64)).astype(np.float32)
    return Hidden(weight, bias, scale, limit)


def _output(tensors: Tensors, name: str, shift: int) -> Output:
    return Output(
        np.ascontiguousarray(tensors[f"{name}.weight"], dtype=np.float32),
        tensors[f"{name}.bias"].astype(np.float32),
        tensors[f"{name}.multiplier"].astype(np.int64),
        shift,
    )


def _check(name: str, layer: Hidden | Output, largest: float) -> None:
    exact.check_bound(name, layer.weight, largest, np.abs(layer.bias.astype(np.float64)))


def _build(tensors: Tensors, config: dict[str, Any], digest: bytes, transforms: Transforms | None) -> Model:
    t = tensors
    conditions = config["conditions"] if config["kind"] == "tensor" else len(t["likelihood.fixed_biases"])
    limit, coarse = config["activation_limit"], config["posterior_limit"]
    shift = config["output_shift"]
    coded = config_layout(config)
    offsets = contexts.offsets(config["radius"])
    places = [
        (int(np.flatnonzero((offsets[:, 0] == k) & (offsets[:, 1] == j))[0]), weight)
        for k, j, weight in contexts.REFERENCE
    ]
    names = [f"likelihood.{n}" for n in ("hidden1", "hidden2", "hidden3", "split")]
    weights = [t[f"{name}.weight"] for name in names]
    conditioning = t["likelihood.conditioning"]
    outputs = t["likelihood.outputs.weight"]
    output_bias = t["likelihood.outputs.bias"].astype(np.int64)
    for i, weight in enumerate(weights):
        bias = np.full(weight.shape[1], float(BIAS_LIMIT))
        if i == 3:  # the heads also add what the channels before say
            said = float(coded.compress[-1]) * np.abs(conditioning.astype(np.float64))
            bias += np.concatenate([said[a:b].sum(0) for a, b in pairwise(coded.feature_begins)])
        exact.check_bound(f"likelihood {i}", weight, limit if i else coded.largest_input, bias)
    for place in range(len(outputs)):
        exact.check_bound(f"output {place}", outputs[place], limit, np.abs(output_bias[place]).astype(np.float64))
    packed = [pack(weight) for weight in weights]
    shifts = [t[f"{name}.shift"].astype(np.int32) for name in names]
    network = Network(
        offsets,
        np.array(places, dtype=np.int64),
        coded,
        packed[0],
        packed[1],
        packed[2],
        packed[3],
        shifts[0],
        shifts[1],
        shifts[2],
        shifts[3],
        np.ascontiguousarray(conditioning, dtype=np.int32),
        np.stack([pack(weight) for weight in outputs]),
        output_bias,
        t["likelihood.outputs.multiplier"].astype(np.int64),
        shift,
        limit,
        config["mixtures"],
        config["tile"],
        config["radius"],
    )
    convolutions = tuple(_hidden(t, f"posterior.conv{i}", coarse) for i in (1, 2, 3))
    for i, conv in enumerate(convolutions):
        _check(f"posterior convolution {i}", conv, coarse if i else coded.largest_input)
    dense_biases = exact.between_levels(t["posterior.dense.biases"], conditions).astype(np.float32)
    dense = _hidden(t, "posterior.dense", limit, np.zeros(0, dtype=np.float32))
    inputs = np.repeat([4.0 * coarse, coarse], dense.weight.shape[0] // 2)
    exact.check_bound("posterior dense", dense.weight, inputs, np.abs(dense_biases).max(0))
    posterior_out = _output(t, "posterior.out", shift)
    _check("posterior output", posterior_out, limit)
    modulate_hidden = _hidden(t, "modulation.hidden", limit)
    _check("modulation", modulate_hidden, config["grid"])
    modulate_out = _output(t, "modulation.out", shift)
    _check("modulation output", modulate_out, limit)
    prior_biases = exact.between_levels(t["prior.hidden.biases"], conditions)
    prior = Prior(
        t["prior.hidden.weight"].astype(np.int64),
        prior_biases[0],
        t["prior.hidden.shift"].astype(np.int64),
        limit,
        t["prior.out.weight"].astype(np.int64),
        t["prior.out.bias"].astype(np.int64),
        t["prior.channels"].astype(np.int64),
        t["prior.out.multiplier"].astype(np.int64),
        shift,
    )
    hidden_sum = np.abs(prior.weight).sum(0) * config["grid"] + np.abs(prior_biases).max(0)
    out_sum = np.abs(prior.out).sum(0) * limit + np.abs(prior.channels).sum(1) * config["grid"]
    if max(hidden_sum.max(), (out_sum + np.abs(prior.out_bias)).max()) > exact.EXACT:
        raise ModelError(f"prior: sums may exceed {exact.EXACT}")
    return Model(
        number=config["number"],
        name=config["name"],
        hash=digest,
        kind=config["kind"],
        tile=config["tile"],
        latents=config["latents"],
        planes=convolutions[0].weight.shape[0] // 9,
        conditions=conditions,
        grid=number_grid(-config["grid"], config["grid"]),
        network=network,
        fixed_biases=exact.between_levels(t["likelihood.fixed_biases"], conditions),
        off_biases=t["likelihood.off_biases"].astype(np.int64),
        convolutions=(convolutions[0], convolutions[1], convolutions[2]),
        dense=dense,
        dense_biases=dense_biases,
        posterior_out=posterior_out,
        modulate_hidden=modulate_hidden,
        modulate_out=modulate_out,
        prior_weights=prior,
        prior_biases=prior_biases,
        transforms=transforms,
    )


def parse_model(data: bytes) -> Model:
    """Return the model of a weights file's bytes.

    Raises
    ------
    ModelError
        The file is not a model, or a layer could leave the range in which it is exact.
    """
    try:
        tensors = load_tensors(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        config = {"kind": "samples"} | json.loads(header["__metadata__"]["config"])
        own = {} if config["kind"] == "samples" else _take_transforms(tensors)
        _check_ranges(tensors, config)
        transforms = _parse_transforms(own, tensors, config) if own else None
        return _build(tensors, config, hashlib.sha256(data).digest()[:HASH_BYTES], transforms)
    except (KeyError, ValueError, TypeError, IndexError, SafetensorError) as error:
        raise ModelError(f"not a model file: {error!r}") from error
