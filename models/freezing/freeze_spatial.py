"""Freezing of models whose latents become a map of features, to the integers that `codec.frozen.features` executes.

Residual networks are frozen like those of the transforms, and the likelihood like that of all models. The prior's
hidden units see z itself, so the bound of their sums comes from the grid of z.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from codec.frozen import features
from models.freezing.freeze import Frozen, freeze_likelihood
from models.freezing.freeze_transforms import (
    HEADROOM,
    HIDDEN_LIMIT,
    LEAST,
    STREAM_LIMIT,
    LayerWriter,
    largest_scale,
    rows_of,
    shift_of,
    stream_unit,
)
from models.freezing.peaks import Peaks, watch_likelihood
from models.freezing.quantise import (
    ACTIVATION_LIMIT,
    F64,
    OUTPUT_SHIFT,
    Tensors,
    fit,
    freeze_output,
    half,
    latent_units,
    quantise_layer,
    to_f64,
)
from models.nets.layers import Residual, bias_of
from models.nets.spatial import INPUT_UNIT, Z_UNIT, MapModel, Spatial

FEATURE_LIMIT = 511
"""Largest magnitude of a feature: 10 bits with the sign. Features are only a few of the likelihood's many inputs."""


def watch_map(model: MapModel, peaks: Peaks) -> None:
    """Record the results of hidden layers of likelihood and prior, which models of all maps have."""
    watch_likelihood(model.likelihood, peaks)
    if model.config.prior:
        peaks.inputs("prior", model.prior.activation)


def watch_spatial(model: Spatial, peaks: Peaks) -> None:
    """Record the largest values of the streams, of the hidden layers and of the features."""
    watch_map(model, peaks)
    for prefix, network in (("posterior", model.posterior), ("features", model.decoder)):
        peaks.inputs(f"{prefix}.stream", network.blocks, torch.abs)
        for i, block in enumerate(network.blocks):
            peaks.outputs(f"{prefix}.stream", block, torch.abs)
            peaks.inputs(f"{prefix}.block{i + 1}", block.conv2)
    peaks.outputs("features", model.decoder.output, torch.abs)


def _write_blocks(
    writer: LayerWriter, prefix: str, blocks: Iterable[Residual], stream: F64, peaks: dict[str, F64]
) -> None:
    """Write residual blocks. ``stream`` has the integer units of each channel that stand for a float 1."""
    for i, block in enumerate(blocks):
        name = f"{prefix}.block{i + 1}"
        folded, bias = rows_of(block.conv1) / np.tile(stream, 9), to_f64(bias_of(block.conv1))
        scale = largest_scale(folded, STREAM_LIMIT, bias)
        shift = shift_of(peaks[name], scale, HIDDEN_LIMIT)
        writer.write(f"{name}.hidden", folded, scale, shift, bias)
        folded = rows_of(block.conv2) / np.tile(scale * 2.0**-shift, 9)
        writer.add(f"{name}.residual", folded, HIDDEN_LIMIT, to_f64(bias_of(block.conv2)), stream)


def _posterior(model: Spatial, peaks: dict[str, F64]) -> Tensors:
    net, config = model.posterior, model.config
    largest = features.largest_centred(config.coded.layout)
    writer = LayerWriter()
    first, bias = rows_of(net.input) / INPUT_UNIT, to_f64(bias_of(net.input))
    stream = np.minimum(stream_unit(peaks["posterior.stream"]), largest_scale(first, largest, bias))
    writer.add("posterior.input", first, largest, bias, stream)
    _write_blocks(writer, "posterior", net.blocks, stream, peaks)
    folded = to_f64(net.out.weight) / np.tile(stream, config.cell**2)
    offset = np.repeat([0.0, 1.0], config.latents)
    writer.add("posterior.out", folded, STREAM_LIMIT, to_f64(net.out.bias) + offset, latent_units(config.latents))
    return writer.tensors


def _features(model: Spatial, peaks: dict[str, F64]) -> tuple[Tensors, F64]:
    """Return the tensors of the map's network, and the unit of each feature."""
    net, config = model.decoder, model.config
    writer = LayerWriter()
    dense, bias = to_f64(net.dense.weight) / Z_UNIT, to_f64(net.dense.bias)
    reach = largest_scale(dense, config.grid, bias).reshape(config.cell**2, config.stream).min(0)
    stream = np.minimum(stream_unit(peaks["features.stream"]), reach)
    writer.add("features.dense", dense, config.grid, bias, np.tile(stream, config.cell**2))
    _write_blocks(writer, "features", net.blocks, stream, peaks)
    folded, bias = rows_of(net.output) / np.tile(stream, 9), to_f64(bias_of(net.output))
    peak = np.maximum(peaks["features"].reshape(config.features, -1).max(1), LEAST)
    reach = largest_scale(folded, STREAM_LIMIT, bias).reshape(config.features, -1).min(1)
    unit = np.minimum(FEATURE_LIMIT / (HEADROOM * peak), reach)
    writer.add("features.output", folded, STREAM_LIMIT, bias, np.repeat(unit, config.patch**2))
    return writer.tensors, unit


def _prior(model: MapModel, peaks: dict[str, F64]) -> Tensors:
    net, config = model.prior, model.config
    n, grid, units = config.latents, config.grid, config.latents * config.prior
    around = config.neighbours * (n + 1)
    own, near, bias = np.zeros((units, n)), np.zeros((units, around)), np.zeros(units)
    channels, peak = np.zeros((2 * n, n)), np.zeros(units)
    out = np.zeros((2 * n, units))
    if config.prior:
        own, bias = to_f64(net.own.weight * net.sees), to_f64(net.own.bias)
        near = to_f64(net.hidden.weight) if config.neighbours else near
        channels, peak = to_f64(net.channels * net.causal) / Z_UNIT, peaks["prior"]
        out = to_f64(net.out.weight * net.seen)
    present = np.tile(np.arange(n + 1) == n, config.neighbours)
    gain = np.concatenate([np.where(present, 1.0, Z_UNIT), np.full(n, Z_UNIT)])
    largest = np.concatenate([np.where(present, 1.0, grid), np.full(n, grid)])
    hidden = quantise_layer(np.concatenate([near, own], 1), gain, largest, 0.0, peak, ACTIVATION_LIMIT, bias)
    offset = np.repeat([0.0, 2.0], n)
    limits = np.full(units, float(ACTIVATION_LIMIT))
    reach = grid * np.abs(channels).sum(1)
    last = quantise_layer(out, hidden.gain, limits, reach, None, 0, to_f64(net.out.bias) + offset)
    parts = freeze_output(net.out, last, latent_units(n), offset)
    return {
        "prior.hidden.weight": hidden.weight[:around].astype(np.int16),
        "prior.own.weight": hidden.weight[around:].astype(np.int16),
        "prior.hidden.shift": hidden.shift.astype(np.int8),
        "prior.hidden.biases": fit(np.rint(bias * hidden.scale) + half(hidden.shift), np.int32)[None],
        "prior.channels": fit(channels * last.scale[:, None], np.int32),
        **{f"prior.out.{name}": tensor for name, tensor in parts.items()},
    }


def freeze_map(model: MapModel, peaks: dict[str, F64], unit: F64) -> Frozen:
    """Return the likelihood and the prior, and the configuration that models of all maps have.

    Parameters
    ----------
    peaks : dict of float64 arrays
        Largest activations, from `watch_map` after running the model on calibration images.
    unit : float64 array (F,)
        Integers of each feature for a float one; they are within `FEATURE_LIMIT`.
    """
    config = model.config
    entries = [(float(u), float(FEATURE_LIMIT)) for u in unit]
    likelihood, _ = freeze_likelihood(model.likelihood, peaks, np.zeros((1, config.bias_count)), entries)
    header: dict[str, str | int] = {
        "kind": config.kind,
        "latent_distribution": "normal",
        "window_shows": "grey" if config.grey else "colours",
        "features": config.features,
        "neighbours": config.neighbours,
        "feature_limit": FEATURE_LIMIT,
        "mixtures": config.mixtures,
        "latents": config.latents,
        "grid": config.grid,
        "activation_limit": ACTIVATION_LIMIT,
        "output_shift": OUTPUT_SHIFT,
    }
    return Frozen(likelihood | _prior(model, peaks), header)


def freeze_spatial(model: Spatial, peaks: dict[str, F64]) -> tuple[Frozen, Frozen]:
    """Return the tensors and the configuration of a model: what models of all maps have, and its own.

    Parameters
    ----------
    peaks : dict of float64 arrays
        Largest activations, from `watch_spatial` after running the model on calibration images.
    """
    config = model.config
    features, unit = _features(model, peaks)
    header: dict[str, str | int] = {
        "networks": "spatial",
        "window_columns": config.window[0],
        "window_rows": config.window[1],
        "patch": config.patch,
        "cell": config.cell,
        "band": config.cells,
        "stream_limit": STREAM_LIMIT,
        "hidden_limit": HIDDEN_LIMIT,
    }
    return freeze_map(model, peaks, unit), Frozen(_posterior(model, peaks) | features, header)
