"""The weights of models: which tensors they are, what is refused, and how `codec.frozen.model` takes them.

A weights file is a safetensors file of integers, with a configuration in its metadata; `models.freezing.freeze` writes
it. See FORMAT.md, "Models" and "Exact networks".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from codec.constants import BIAS_LIMIT, COMPONENTS, SUM_LIMIT
from codec.entropy.mixtures import number_grid
from codec.errors import ModelError
from codec.format.headers import MAX_BAND_HEIGHT
from codec.frozen import contexts, features_weights, layout, modulation, plain, transform_weights
from codec.frozen.layout import Layout
from codec.frozen.likelihood import Network
from codec.frozen.model import Config, Family, Model, Shapes, Tensors
from codec.frozen.prior import NEIGHBOURS, Prior
from codec.networks import checks
from codec.networks.products import pack
from codec.networks.transform import Transforms

CARD_HASH_BYTES = 4
"""Bytes of the hash by which a model's card names its weights. Files have the first `codec.format.headers.HASH_BYTES`
of them."""
MULTIPLIER_LIMIT = 1 << 38
"""Largest multiplier. Its product with a sum of 2**24 stays below 2**62."""

CONFIG = {
    "number": (0, 65535),
    "mixtures": (1, COMPONENTS),
    "activation_limit": (1, 32767),
    "output_shift": (30, 40),
}
"""Integers in the metadata of a weights file, and their ranges."""
LATENT_CONFIG = {
    "latents": (1, 256),
    "grid": (1, 1023),
}
"""Integers that only models with latents have."""
FAMILIES: dict[str, Family] = {
    "modulation": modulation.FAMILY,
    "spatial": features_weights.FAMILY,
    "plain": plain.FAMILY,
}
"""The families of models, by the word for their networks around z."""
DISTRIBUTIONS = ("logistic", "normal")
"""The words for the distributions of latents."""
SHOWN = ("colours", "grey")
"""The words for what contexts show of samples."""
USUAL = {"kind": "samples", "networks": "modulation", "latent_distribution": "logistic", "window_shows": "colours"}
"""Defaults of a configuration, which need not have these entries."""


def tensor_shapes(tensors: Tensors, config: Config) -> Shapes:
    """Return the type and shape of every tensor; widths of hidden layers are taken from some of them."""
    m, coded = config["mixtures"], layout.KINDS[config["kind"]].layout(config)
    family = FAMILIES[config["networks"]]
    places = len(coded.sizes)
    inputs = coded.inputs(len(family.contexts(config)[0])) + family.features(config)[0]
    outputs = max(3 * m * size + count for size, count in zip(coded.sizes, coded.coefficients.tolist(), strict=True))
    width = tensors["likelihood.hidden2.weight"].shape[-1]
    head = tensors["likelihood.outputs.weight"].shape[1]
    levels, biases = tensors["likelihood.fixed_biases"].shape[0], 3 * width + places * head
    hidden = "int8" if tensors["likelihood.hidden2.weight"].dtype == np.int8 else "int16"
    shapes: Shapes = {}
    for name, dtype, before, after in (
        ("likelihood.hidden1", hidden, inputs, width),
        ("likelihood.hidden2", hidden, width, width),
        ("likelihood.hidden3", hidden, width, width),
        ("likelihood.split", "int16", width, places * head),
    ):
        shapes[f"{name}.weight"] = (dtype, (before, after))
        shapes[f"{name}.shift"] = ("int8", (after,))
    if family.has_latents:
        shapes |= _prior_shapes(tensors, config, levels)
    shapes |= family.shapes(tensors, config, len(coded.order), levels, biases)
    return shapes | {
        "likelihood.conditioning": ("int32", (len(coded.features), head)),
        "likelihood.outputs.weight": ("int16", (places, head, outputs)),
        "likelihood.outputs.bias": ("int32", (places, outputs)),
        "likelihood.outputs.multiplier": ("int32", (places, outputs)),
        "likelihood.fixed_biases": ("int32", (levels, biases)),
    }


def _prior_shapes(tensors: Tensors, config: Config, levels: int) -> Shapes:
    """Return the type and shape of every tensor of the prior; the width of its hidden layer is taken from one."""
    family, n, hidden = FAMILIES[config["networks"]], config["latents"], tensors["prior.hidden.weight"].shape[-1]
    own: Shapes = {"prior.own.weight": ("int16", (n, hidden))} if family.has_own_units else {}
    return own | {
        "prior.hidden.weight": ("int16", (family.neighbours(config) * (n + 1), hidden)),
        "prior.hidden.shift": ("int8", (hidden,)),
        "prior.hidden.biases": ("int32", (levels, hidden)),
        "prior.out.weight": ("int16", (hidden, 2 * n)),
        "prior.out.bias": ("int32", (2 * n,)),
        "prior.out.multiplier": ("int64", (2 * n,)),
        "prior.channels": ("int32", (2 * n, n)),
    }


def _take_transforms(tensors: Tensors) -> Tensors:
    """Take the tensors of the transforms out of a file's and return them."""
    return {name: tensors.pop(name) for name in list(tensors) if name.startswith(transform_weights.PREFIXES)}


def _parse_transforms(own: Tensors, tensors: Tensors, config: Config) -> Transforms:
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


def _choice(config: Config, name: str, choices: Iterable[str]) -> None:
    """Raise ModelError if a word of the configuration is none of those that there are."""
    if config[name] not in choices:
        raise ModelError(f"{name}: expected one of {', '.join(choices)}, got {config[name]!r}")


def _check_config(config: Config) -> None:
    """Raise ModelError if a word or a number of the configuration is not one of those that there are."""
    _choice(config, "networks", FAMILIES)
    family = FAMILIES[config["networks"]]
    _choice(config, "kind", [kind.name for kind in family.kinds])
    _choice(config, "latent_distribution", DISTRIBUTIONS)
    _choice(config, "window_shows", SHOWN)
    kind = layout.KINDS[config["kind"]]
    numbers = CONFIG | kind.ranges | family.ranges | (LATENT_CONFIG if family.has_latents else {})
    checks.check_numbers(config, numbers)
    family.check(config)
    rows = family.band(config) * family.tile(config) * kind.patch
    if rows > MAX_BAND_HEIGHT:
        raise ModelError(f"band: expected at most {MAX_BAND_HEIGHT} rows, got {rows}")


def _check_tensors(tensors: Tensors, config: Config) -> None:
    """Refuse what the kernels could not work: wrong shapes and types, numbers out of range."""
    family, kind = FAMILIES[config["networks"]], layout.KINDS[config["kind"]]
    levels = len(tensors["likelihood.fixed_biases"])
    if not family.is_conditional and levels != 1:
        raise ModelError(f"likelihood.fixed_biases: expected 1 row, got {levels}")
    checks.check_tensors("not a model file", tensors, tensor_shapes(tensors, config), MULTIPLIER_LIMIT)
    conditions = kind.conditions(config, levels)
    if not 1 <= levels <= conditions:
        raise ModelError(f"likelihood.fixed_biases: expected 1 to {conditions} rows, got {levels}")
    if family.has_own_units and len(tensors["prior.hidden.shift"]) % config["latents"]:
        raise ModelError(f"prior.hidden: expected as many units for each of {config['latents']} latents")


def _likelihood(t: Tensors, config: Config, coded: Layout, tile: int) -> Network:
    """Return the likelihood's network; ModelError if a sum could leave the range in which it is exact."""
    limit = config["activation_limit"]
    family = FAMILIES[config["networks"]]
    offsets, reach = family.contexts(config)
    references = contexts.REFERENCE if coded.references else ()
    places = [
        (int(np.flatnonzero((offsets[:, 0] == k) & (offsets[:, 1] == j))[0]), weight) for k, j, weight in references
    ]
    names = [f"likelihood.{n}" for n in ("hidden1", "hidden2", "hidden3", "split")]
    weights = [t[f"{name}.weight"] for name in names]
    conditioning = t["likelihood.conditioning"]
    outputs = t["likelihood.outputs.weight"]
    output_bias = t["likelihood.outputs.bias"].astype(np.int64)
    largest = np.full(weights[0].shape[0], float(coded.largest_input))
    largest[coded.inputs(len(offsets)) :] = family.features(config)[1]
    for i, weight in enumerate(weights):
        bias = np.full(weight.shape[1], float(BIAS_LIMIT))
        if i == 3:  # the heads also add what the channels before say
            said = float(coded.compress[-1]) * np.abs(conditioning.astype(np.float64))
            bias += np.concatenate([said[a:b].sum(0) for a, b in pairwise(coded.feature_begins)])
        checks.check_bound(f"likelihood {i}", weight, limit if i else largest, bias, SUM_LIMIT)
    for place in range(len(outputs)):
        checks.check_bound(f"output {place}", outputs[place], limit, np.abs(output_bias[place]).astype(np.float64))
    packed = [pack(weight) for weight in weights]
    shifts = [t[f"{name}.shift"].astype(np.int32) for name in names]
    return Network(
        offsets,
        np.array(places, dtype=np.int64).reshape(-1, 2),
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
        config["output_shift"],
        limit,
        config["mixtures"],
        tile,
        reach,
    )


def _priors(t: Tensors, config: Config, conditions: int) -> tuple[Prior, ...]:
    """Return the prior for each condition; ModelError if a sum could leave the exact range."""
    latents, grid, limit = config["latents"], config["grid"], config["activation_limit"]
    units = len(t["prior.hidden.shift"])
    if FAMILIES[config["networks"]].has_own_units:
        own = t["prior.own.weight"]
        begins = np.arange(latents + 1) * (units // latents)
    else:  # all units are seen from the first channel on, and see none
        own = np.zeros((latents, units), dtype=np.int16)
        begins = np.minimum(np.arange(latents + 1), 1) * units
    weight, out, channels = t["prior.hidden.weight"], t["prior.out.weight"], t["prior.channels"]
    biases = checks.between_levels(t["prior.hidden.biases"], conditions)
    if units:
        checks.check_bound("prior.hidden", np.concatenate([weight, own]), grid, np.abs(biases).max(0))
    largest = np.repeat([float(limit), grid], [len(out), latents])
    out_bias = np.abs(t["prior.out.bias"].astype(np.int64))
    checks.check_bound("prior.out", np.concatenate([out, channels.T]), largest, out_bias)
    prior_biases = biases.astype(np.int32)
    prior = Prior(
        np.array(NEIGHBOURS[: weight.shape[0] // (latents + 1)], dtype=np.int64).reshape(-1, 2),
        weight,
        own,
        begins,
        prior_biases[0],
        t["prior.hidden.shift"].astype(np.int32),
        limit,
        np.ascontiguousarray(out.T),
        t["prior.out.bias"],
        channels,
        t["prior.out.multiplier"],
        config["output_shift"],
    )
    return tuple(prior._replace(bias=row) for row in prior_biases)


def _build(tensors: Tensors, config: Config, digest: bytes, transforms: Transforms | None) -> Model:
    family, kind = FAMILIES[config["networks"]], layout.KINDS[config["kind"]]
    conditions = kind.conditions(config, len(tensors["likelihood.fixed_biases"]))
    latents, largest = (config["latents"], config["grid"]) if family.has_latents else (0, 0)
    coded, grid = kind.layout(config), number_grid(-largest, largest)
    tile, biases = family.tile(config), tensors["likelihood.fixed_biases"].shape[1]
    return Model(
        number=config["number"],
        name=config["name"],
        hash=digest,
        kind=kind,
        tile=tile,
        band=family.band(config),
        latents=latents,
        conditions=conditions,
        grid=grid,
        normal=config["latent_distribution"] == "normal",
        adaptable=kind.is_adaptable and family.is_adaptable,
        needs_latents=family.needs_latents,
        network=_likelihood(tensors, config, coded, tile),
        fixed_biases=checks.between_levels(tensors["likelihood.fixed_biases"], conditions),
        networks=family.build(tensors, config, coded, grid, conditions, biases),
        priors=_priors(tensors, config, conditions) if family.has_latents else (),
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
        config = USUAL | json.loads(header["__metadata__"]["config"])
        _check_config(config)
        own = _take_transforms(tensors) if layout.KINDS[config["kind"]].has_transforms else {}
        _check_tensors(tensors, config)
        transforms = _parse_transforms(own, tensors, config) if own else None
        return _build(tensors, config, hashlib.sha256(data).digest()[:CARD_HASH_BYTES], transforms)
    except (KeyError, ValueError, TypeError, IndexError, SafetensorError) as error:
        raise ModelError(f"not a model file: {error!r}") from error
