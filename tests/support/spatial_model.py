"""Small random models whose latents become a map of features, of bits and of samples, and images for them to code.

They are as different as models may be: cells of one patch and of several, bands of one row of cells and of several,
contexts that reach over a band, priors with and without hidden units, factorised or with all neighbours.
"""

import json

import numpy as np
from safetensors.numpy import save

WIDTH, HEAD, LATENTS, POSTERIOR_STREAM, FEATURE_STREAM = 16, 8, 3, 6, 5

USUAL = {
    "number": 78,
    "name": "spatial-test",
    "networks": "spatial",
    "latent_distribution": "normal",
    "window_shows": "colours",
    "features": 3,
    "stream_limit": 900,
    "hidden_limit": 500,
    "feature_limit": 300,
    "mixtures": 1,
    "latents": LATENTS,
    "grid": 9,
    "activation_limit": 2047,
    "output_shift": 30,
}
CONFIGS = {
    "bits": {"kind": "bits", "window": (5, 3), "patch": 2, "cell": 1, "band": 2, "neighbours": 3, "prior": 2},
    "bits-low": {"kind": "bits", "window": (3, 5), "patch": 1, "cell": 2, "band": 1, "neighbours": 0, "prior": 0},
    "bits-alone": {"kind": "bits", "window": (1, 0), "patch": 1, "cell": 1, "band": 3, "neighbours": 1, "prior": 4},
    "samples": {"kind": "samples", "window": (5, 2), "patch": 4, "cell": 1, "band": 3, "neighbours": 6, "prior": 2},
    "samples-cells": {
        "kind": "samples",
        "window": (3, 4),
        "patch": 2,
        "cell": 2,
        "band": 2,
        "neighbours": 2,
        "prior": 0,
    },
    "grey": {"kind": "samples", "window": (7, 1), "patch": 2, "cell": 3, "band": 1, "neighbours": 1, "prior": 3},
}
"""What each model has besides `USUAL`. ``prior`` is hidden units a latent, and ``window`` is columns and rows."""
OTHER = {
    "samples": {"mixtures": 2},
    "samples-cells": {"latent_distribution": "logistic"},
    "grey": {"window_shows": "grey", "mixtures": 4},
}
BLOCKS = {"bits-low": (0, 1), "grey": (1, 0)}
"""Numbers of blocks in the posterior and in the map, for models in which they are not two and one."""


def config_of(name, **changes):
    """Return the configuration of a model, with other values than usual."""
    shape = dict(CONFIGS[name])
    del shape["prior"]
    columns, rows = shape.pop("window")
    return USUAL | {"window_columns": columns, "window_rows": rows} | shape | OTHER.get(name, {}) | changes


def contexts_of(config):
    """Return the number of contexts in a window."""
    beside = config["window_columns"] // 2
    return sum(min(beside, 2 * k - 1) + beside + 1 for k in range(config["window_rows"] + 1))


def random_tensors(name, seed=0, **changes):
    """Return the tensors of a model by their names."""
    rng = np.random.default_rng(seed)
    config, units = config_of(name, **changes), CONFIGS[name]["prior"] * LATENTS
    bits, grey, m = config["kind"] == "bits", config["window_shows"] == "grey", config["mixtures"]
    channels = places = 1 if bits else 3
    area, patches, features = config["patch"] ** 2, config["cell"] ** 2, config["features"]
    found = {}

    def integers(name, dtype, shape, most):
        found[name] = rng.integers(-most, np.add(most, 1), shape).astype(dtype)

    def hidden(name, inputs, outputs, most, shift):
        integers(f"{name}.weight", np.int16, (inputs, outputs), most)
        found[f"{name}.shift"] = np.full(outputs, shift, dtype=np.int8)

    def convolution(name, inputs, outputs, most, shift, bias=2000):
        integers(f"{name}.weight", np.int8, (inputs, outputs), most)
        integers(f"{name}.bias", np.int32, (outputs,), bias)
        found[f"{name}.shift"] = (shift + rng.integers(0, 2, outputs)).astype(np.int8)

    count = contexts_of(config)
    seen = count + 1 if grey else count if bits else 3 * count + 3
    hidden("likelihood.hidden1", seen + features, WIDTH, 7, 2 if bits else 3)
    hidden("likelihood.hidden2", WIDTH, WIDTH, 60, 7)
    hidden("likelihood.hidden3", WIDTH, WIDTH, 60, 7)
    hidden("likelihood.split", WIDTH, places * HEAD, 60, 7)
    integers("likelihood.conditioning", np.int32, (0 if bits else 4, HEAD), 200)
    steps = np.repeat([1000, 200, 2000], m)
    centres = np.repeat([0, 128 if bits else 0, 0 if bits else 50], m)
    if not bits:  # coefficients, in 1/256
        steps, centres = np.append(steps, [2000, 2000]), np.append(centres, [0, 0])
    integers("likelihood.outputs.weight", np.int16, (places, HEAD, len(steps)), 60)
    found["likelihood.outputs.bias"] = np.tile(centres * steps, (places, 1)).astype(np.int32)
    found["likelihood.outputs.multiplier"] = np.tile((1 << 30) // steps, (places, 1)).astype(np.int32)
    integers("likelihood.fixed_biases", np.int32, (1, 3 * WIDTH + places * HEAD), 30000)

    networks = (("posterior", POSTERIOR_STREAM), ("features", FEATURE_STREAM))
    for (prefix, width), blocks in zip(networks, BLOCKS.get(name, (2, 1)), strict=True):
        for k in range(blocks):
            convolution(f"{prefix}.block{k + 1}.hidden", 9 * width, width, 30, 6)
            convolution(f"{prefix}.block{k + 1}.residual", 9 * width, width, 30, 6)
    convolution("posterior.input", 9 * channels * area, POSTERIOR_STREAM, 40, 6)
    most = np.repeat([40, 2], LATENTS)
    convolution("posterior.out", patches * POSTERIOR_STREAM, 2 * LATENTS, most, 4, np.repeat([2000, 300], LATENTS))
    convolution("features.dense", LATENTS, patches * FEATURE_STREAM, 60, 0, 100)
    convolution("features.output", 9 * FEATURE_STREAM, features * area, 30, 5)

    integers("prior.own.weight", np.int16, (LATENTS, units), 60)
    hidden("prior.hidden", config["neighbours"] * (LATENTS + 1), units, 100, 1)
    integers("prior.hidden.biases", np.int32, (1, units), 1000)
    steps, centres = np.repeat([40, 2000], LATENTS), np.repeat([0, 40], LATENTS)
    integers("prior.out.weight", np.int16, (units, 2 * LATENTS), 60)
    found["prior.out.bias"] = (centres * steps).astype(np.int32)
    found["prior.out.multiplier"] = ((1 << 30) // steps).astype(np.int64)
    integers("prior.channels", np.int32, (2 * LATENTS, LATENTS), 500)
    return found


def weights(name, seed=0, *, tensors=None, **changes):
    """Return the weights file of a model with other values of the config, None for none, and tensors if given."""
    if tensors is None:
        tensors = random_tensors(name, seed, **{key: v for key, v in changes.items() if v is not None})
    config = {key: value for key, value in config_of(name, **changes).items() if value is not None}
    return save(tensors, metadata={"config": json.dumps(config)})


def draw(name, height, width, seed=0, channels=3):
    """Return an image for a model to code, uint8 (H, W, 1) of bits or (H, W, channels) of samples."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    wave = np.sin(y / 3 + seed) * np.cos(x / 4 + seed)
    if CONFIGS[name]["kind"] == "bits":
        return (wave + rng.normal(0, 0.3, wave.shape) > 0).astype(np.uint8)[..., None]
    planes = 128 + 90 * wave[..., None] * (1 - np.arange(channels) / 5) + rng.normal(0, 6, (height, width, channels))
    planes[rng.random(wave.shape) < 0.02] = rng.choice([0, 255])
    return np.clip(planes, 0, 255).astype(np.uint8)
