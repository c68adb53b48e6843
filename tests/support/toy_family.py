"""A toy family of models: all that docs/ARCHITECTURE.md asks of a new one, but for the pages and the golden files.

    posterior:   raw = linear(sums of the colours of a tile)
    features:    linear(z of a tile), the same for all pixels of the tile

The contexts of its likelihood are a diamond. Prior and likelihood are those that all models of maps have. A real family
has what is below in the folders that the headings name. Needs torch.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.numpy import load
from torch import nn
from torch.nn import functional as F

from codec.constants import SLOPE
from codec.entropy.mixtures import Grid, latent_parameters
from codec.frozen import weights
from codec.frozen.features import centred, largest_centred
from codec.frozen.layout import SAMPLES, Layout
from codec.frozen.model import Family
from codec.frozen.transform_weights import output_layer
from codec.networks.convolutions import Output, output
from models.freezing.filling import fill_output, frozen_header
from models.freezing.freeze import Frozen, weights_file
from models.freezing.freeze_spatial import FEATURE_LIMIT, freeze_map, watch_map
from models.freezing.freeze_transforms import HEADROOM, LEAST
from models.freezing.quantise import freeze_output, latent_units, quantise_layer, to_f64
from models.freezing.thaw_spatial import FEATURE_UNIT, fill_map
from models.nets.spatial import INPUT_UNIT, Z_UNIT, MapModel, MapShape, bounded
from models.recipes import forms
from models.tasks import interface
from models.tasks.maps import SmallImagesTask

WORD = "toy"
"""In weights files and in recipes."""


def diamond(reach):
    """Return the legal contexts (P, 2) of which rows up and columns aside are ``reach`` at most, nearest rows first."""
    rows = range(reach + 1)
    pairs = [(k, j) for k in rows for j in range(k - reach, min(reach - k, SLOPE * k - 1) + 1)]
    return np.array(pairs, dtype=np.int64)


# codec/frozen: the integer networks, and the check of their weights


@dataclass(frozen=True)
class ToyNetworks:
    """A `codec.frozen.model.LatentNetworks`."""

    layout: Layout
    tile: int
    grid: Grid
    bias_count: int
    feature_limit: int
    inference: Output
    linear: Output

    def posterior(self, area, condition):
        side = self.tile
        down, across = area.shape[0] // side, area.shape[1] // side
        tiles = centred(area, self.layout).reshape(down, side, across, side, -1)
        sums = tiles.sum((1, 3), dtype=np.int16).reshape(down * across, -1)
        return latent_parameters(output(sums, self.inference), self.grid)

    def moved(self, z, tiles):
        return np.zeros((tiles, self.bias_count), dtype=np.int64)

    def features(self, z, down, across):
        side, count = self.tile, len(self.linear.bias)
        if z is None:
            return np.zeros((down * side, across * side, count), dtype=np.int16)
        made = np.clip(output(z.astype(np.int16), self.linear), -self.feature_limit, self.feature_limit)
        return made.astype(np.int16).reshape(down, across, count).repeat(side, 0).repeat(side, 1)


def shapes(tensors, config, channels, *_):
    n, found = config["latents"], {}
    for name, inputs, outputs in (("posterior.out", channels, 2 * n), ("features.linear", n, config["features"])):
        found[f"{name}.weight"] = ("int16", (inputs, outputs))
        found[f"{name}.bias"] = ("int32", (outputs,))
        found[f"{name}.multiplier"] = ("int64", (outputs,))
    return found


def build(tensors, config, coded, grid, conditions, bias_count):
    most, shift = config["tile"] ** 2 * largest_centred(coded), config["output_shift"]
    return ToyNetworks(
        layout=coded,
        tile=config["tile"],
        grid=grid,
        bias_count=bias_count,
        feature_limit=config["feature_limit"],
        inference=output_layer(tensors, "posterior.out", most, shift),
        linear=output_layer(tensors, "features.linear", config["grid"], shift),
    )


FAMILY = Family(
    kinds=(SAMPLES,),
    ranges={
        "reach": (2, 16),
        "tile": (1, 8),  # sums of a tile have 16 bits
        "band": (1, 64),
        "features": (1, 64),
        "neighbours": (0, 6),
        "feature_limit": (1, 32767),
    },
    is_conditional=False,
    is_adaptable=False,
    has_latents=True,
    needs_latents=True,
    has_own_units=True,
    check=lambda _: None,
    contexts=lambda config: (diamond(config["reach"]), config["reach"]),
    tile=lambda config: config["tile"],
    band=lambda config: config["band"],
    features=lambda config: (config["features"], config["feature_limit"]),
    neighbours=lambda config: config["neighbours"],
    shapes=shapes,
    build=build,
)


# models/nets: the networks in float


@dataclass(frozen=True)
class ToyShape(MapShape):
    """Shape of a model; a recipe's [model] table."""

    kind: str = "samples"
    reach: int = 2
    tile: int = 4

    @property
    def offsets(self):
        return diamond(self.reach)


class ToyPosterior(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.out = nn.Linear(config.coded.channels, 2 * config.latents)

    def forward(self, images):
        c = self.config
        means, scales = self.out(F.avg_pool2d(images, c.tile).flatten(2).transpose(1, 2)).chunk(2, -1)
        return bounded(Z_UNIT * means, -c.grid, c.grid), bounded(scales + 1, -1, 4)


class ToyDecoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.latents, config.features)

    def forward(self, z):
        side, tile = math.isqrt(z.shape[1]), self.config.tile
        made = self.linear(z / Z_UNIT).transpose(1, 2).unflatten(2, (side, side))
        return made.repeat_interleave(tile, 2).repeat_interleave(tile, 3)


class Toy(MapModel):
    def __init__(self, config):
        super().__init__(config, ToyPosterior(config), ToyDecoder(config))


# models/freezing: from float to integers, and back


def offset(latents):
    """Return what is added to the biases of the posterior: log2 deviations are 1 where it says nothing."""
    return np.repeat([0.0, 1.0], latents)


def freeze_toy(model, peaks):
    config, q, linear = model.config, model.posterior.out, model.decoder.linear
    n, area, one = config.latents, config.tile**2, np.ones
    gain, most = area * INPUT_UNIT, area * float(largest_centred(config.layout))
    bias = to_f64(q.bias) + offset(n)
    inputs = q.in_features
    inference = quantise_layer(to_f64(q.weight), gain * one(inputs), most * one(inputs), 0.0, None, 0, bias)
    made = quantise_layer(
        to_f64(linear.weight), Z_UNIT * one(n), config.grid * one(n), 0.0, None, 0, to_f64(linear.bias)
    )
    unit = FEATURE_LIMIT / (HEADROOM * np.maximum(peaks["features"], LEAST))
    layers = {
        "posterior.out": freeze_output(q, inference, latent_units(n), offset(n)),
        "features.linear": freeze_output(linear, made, unit),
    }
    tensors = {f"{name}.{key}": tensor for name, layer in layers.items() for key, tensor in layer.items()}
    header = {"networks": WORD, "reach": config.reach, "tile": config.tile, "band": config.size // config.tile}
    return freeze_map(model, peaks, unit), Frozen(tensors, header)


@torch.no_grad()
def thaw_toy(data, model):
    weights.parse_model(data)  # refuses what is not a model
    tensors, n = load(data), model.config.latents
    step = 2.0 ** -frozen_header(data)["output_shift"]
    exact = Toy(model.config).double()
    q, linear = exact.posterior.out, exact.decoder.linear
    fill_output(tensors, "posterior.out", q, step, latent_units(n), offset(n))
    q.weight.mul_(model.config.tile**2 * INPUT_UNIT)
    fill_output(tensors, "features.linear", linear, step, FEATURE_UNIT)
    linear.weight.mul_(Z_UNIT)
    fill_map(tensors, exact, step, FEATURE_UNIT)
    for target, source in zip(model.parameters(), exact.parameters(), strict=True):
        target.copy_(source)


# models/tasks


class ToyTask(SmallImagesTask):
    def new_model(self):
        torch.manual_seed(self.recipe.train.seed)
        return Toy(self.config).to(self.device)

    def thaw(self, data, model):
        thaw_toy(data, model)

    def watch(self, model, peaks):
        watch_map(model, peaks)
        peaks.outputs("features", model.decoder, torch.abs)

    def freeze(self, model, peaks, crops):
        return weights_file(self.recipe, *freeze_toy(model, peaks))

    def multiply_adds(self, model):
        around = sum(net.weight.numel() for net in (model.posterior.out, model.decoder.linear))
        return {"likelihood": self.config.multiply_adds(self.config.inputs), "around z": around}


ENTRIES = (
    (weights.FAMILIES, FAMILY),
    (forms.TASKS, forms.Form(ToyShape, takes_arrays=True)),
    (interface.TASKS, ToyTask),
)
"""The tables in which the family has an entry by its word, and the entries."""
