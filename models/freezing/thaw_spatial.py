"""Thawing of models whose latents become a map of features, to float models that compute the same.

It is the inverse of `models.freezing.freeze_spatial`. The units of streams, hidden layers and features are free: here
`models.freezing.filling.UNIT` integers stand for a float 1, and `FEATURE_UNIT` integers in a feature.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

import numpy as np
import torch
from safetensors.numpy import load

from codec.frozen.transform_weights import block_count
from codec.frozen.weights import parse_model
from models.freezing.balance import Units, balance, likelihood_units
from models.freezing.filling import UNIT, fill, fill_hidden, fill_output, frozen_header
from models.freezing.quantise import Tensors, half, latent_units
from models.freezing.thaw import fill_likelihood
from models.nets.layers import Residual, bias_of
from models.nets.likelihood import CONTEXT_UNIT
from models.nets.spatial import INPUT_UNIT, Z_UNIT, MapModel, Spatial, SpatialConfig

FEATURE_UNIT = 64.0
"""Integers that stand for 1 in a feature."""


def frozen_spatial_config(data: bytes) -> SpatialConfig:
    """Return the shape of a frozen model."""
    header, tensors = frozen_header(data), load(data)
    patch, cell, latents = header["patch"], header["cell"], header["latents"]
    return SpatialConfig(
        **{name: header[name] for name in ("kind", "patch", "cell", "latents", "grid", "features", "mixtures")},
        neighbours=header["neighbours"],
        window=(header["window_columns"], header["window_rows"]),
        grey=header["window_shows"] == "grey",
        size=header["band"] * patch * cell,
        stream=tensors["features.dense.weight"].shape[1] // cell**2,
        blocks=(block_count(tensors, "posterior.block"), block_count(tensors, "features.block")),
        prior=tensors["prior.own.weight"].shape[1] // latents,
        width=tensors["likelihood.hidden2.weight"].shape[1],
        head=tensors["likelihood.outputs.weight"].shape[1],
    )


def _fill_blocks(tensors: Tensors, prefix: str, blocks: Iterable[Residual]) -> None:
    """Fill residual blocks. `UNIT` is the unit of their results."""
    for i, block in enumerate(blocks):
        name = f"{prefix}.block{i + 1}"
        fill(bias_of(block.conv1), fill_hidden(tensors, f"{name}.hidden", block.conv1, UNIT))
        fill(bias_of(block.conv2), fill_hidden(tensors, f"{name}.residual", block.conv2, UNIT))


def _fill_prior(tensors: Tensors, model: MapModel, step: float) -> None:
    net, config = model.prior, model.config
    n = config.latents
    value = fill_output(tensors, "prior.out", net.out, step, latent_units(n), np.repeat([0.0, 2.0], n))
    if not config.prior:
        return
    shift = tensors["prior.hidden.shift"].astype(np.int64)
    scale = 2.0**shift
    fill(net.own.weight, tensors["prior.own.weight"].T * (Z_UNIT / scale[:, None]))
    fill(net.own.bias, (tensors["prior.hidden.biases"][0] - half(shift)) / scale)
    fill(net.channels, Z_UNIT * tensors["prior.channels"] * value[:, None])
    if config.neighbours:
        present = np.tile(np.arange(n + 1) == n, config.neighbours)
        gain = np.where(present, 1.0, Z_UNIT)
        fill(net.hidden.weight, tensors["prior.hidden.weight"].T * gain / scale[:, None])


def _units(model: MapModel) -> list[Units]:
    """Return the hidden units of the likelihood and of the prior, which are to be balanced."""
    result = likelihood_units(model.likelihood, lambda _begin, _count: [])
    if model.config.prior:
        net = model.prior
        around = [net.hidden.weight] if model.config.neighbours else []
        result.append(Units([net.own.weight, *around], [net.own.bias], [net.out.weight.T]))
    return result


def fill_map(tensors: Tensors, exact: MapModel, step: float, feature_unit: float) -> None:
    """Fill the likelihood and the prior, which models of all maps have.

    Parameters
    ----------
    step : float
        2**-output_shift.
    feature_unit : float
        Integers that are one in a feature.
    """
    contexts = exact.likelihood.hidden1.in_features - exact.config.features
    inputs = np.repeat([float(CONTEXT_UNIT), feature_unit], [contexts, exact.config.features])
    fill_likelihood(tensors, exact.likelihood, step, inputs)
    _fill_prior(tensors, exact, step)
    balance(_units(exact))


def _different(have: SpatialConfig, want: SpatialConfig) -> list[str]:
    pairs = [(field.name, getattr(have, field.name), getattr(want, field.name)) for field in fields(SpatialConfig)]
    return [f"{name} is {old}, not {new}" for name, old, new in pairs if old != new]


@torch.no_grad()
def thaw_spatial(data: bytes, model: Spatial) -> None:
    """Fill a model with weights that compute what a frozen model of the same shape computes, within rounding.

    Parameters
    ----------
    data : bytes
        A weights file, as `models.freezing.freeze.weights_file` returns it.

    Raises
    ------
    ValueError
        The frozen model has another shape.
    ModelError
        ``data`` is no weights file.
    """
    parse_model(data)  # refuses what is not a model
    tensors, config = load(data), model.config
    if frozen_header(data).get("networks") != "spatial":
        raise ValueError("the frozen model has no map of features")
    different = _different(frozen_spatial_config(data), config)
    if different:
        raise ValueError(f"the frozen model differs: {', '.join(different)}")
    step = 2.0 ** -frozen_header(data)["output_shift"]
    exact = Spatial(config).double()
    q, decoder, n = exact.posterior, exact.decoder, config.latents
    fill(bias_of(q.input), fill_hidden(tensors, "posterior.input", q.input, INPUT_UNIT))
    _fill_blocks(tensors, "posterior", q.blocks)
    means_and_scales = fill_hidden(tensors, "posterior.out", q.out, UNIT, latent_units(n))
    fill(q.out.bias, means_and_scales - np.repeat([0.0, 1.0], n))
    fill(decoder.dense.bias, fill_hidden(tensors, "features.dense", decoder.dense, Z_UNIT))
    _fill_blocks(tensors, "features", decoder.blocks)
    features = fill_hidden(tensors, "features.output", decoder.output, UNIT, FEATURE_UNIT)
    fill(bias_of(decoder.output), features)
    fill_map(tensors, exact, step, FEATURE_UNIT)
    for target, source in zip(model.parameters(), exact.parameters(), strict=True):
        target.copy_(source)
