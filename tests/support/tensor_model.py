"""A small random model of tensors: weights that say something, and tensors for it to code.

`codec` ships no model of tensors; tests of the coder and of the reference decoder make one here.
"""

import json

import numpy as np
from safetensors.numpy import save

CHANNELS, GROUPS, LIMIT, PLANES, TILE, LEVELS, CONDITIONS = 12, 3, 40, 4, 16, 3, 5
WIDTH, HEAD, LATENTS, MIXTURES, RADIUS, CONTEXTS = 16, 8, 4, 2, 2, 9

CONFIG = {
    "number": 77,
    "name": "tensor-test",
    "kind": "tensor",
    "channels": CHANNELS,
    "groups": GROUPS,
    "limit": LIMIT,
    "references": 3,
    "posterior_channels": PLANES,
    "conditions": CONDITIONS,
    "radius": RADIUS,
    "mixtures": MIXTURES,
    "tile": TILE,
    "latents": LATENTS,
    "grid": 9,
    "activation_limit": 2047,
    "posterior_limit": 1023,
    "output_shift": 30,
}


def random_tensors(seed=0, **config):
    """Return the tensors of a model by name, with other values of the config than usual."""
    rng = np.random.default_rng(seed)
    config = CONFIG | config
    channels, groups = config["channels"], config["groups"]
    found = {}

    def integers(name, dtype, shape, most):
        found[name] = rng.integers(-most, most + 1, shape).astype(dtype)

    def hidden(name, inputs, outputs, most, shift):
        integers(f"{name}.weight", np.int16, (inputs, outputs), most)
        found[f"{name}.shift"] = np.full(outputs, shift, dtype=np.int8)

    def results(name, inputs, steps, centre):
        """Write an output layer. A unit of its results is the given number of steps of its sums."""
        integers(f"{name}.weight", np.int16, (inputs, len(steps)), 60)
        found[f"{name}.bias"] = (centre * steps).astype(np.int32)
        found[f"{name}.multiplier"] = ((1 << 30) // steps).astype(np.int64)

    biases = 3 * WIDTH + groups * HEAD
    hidden("likelihood.hidden1", CONTEXTS * channels + config["references"], WIDTH, 7, 3)
    hidden("likelihood.hidden2", WIDTH, WIDTH, 60, 7)
    hidden("likelihood.hidden3", WIDTH, WIDTH, 60, 7)
    hidden("likelihood.split", WIDTH, groups * HEAD, 60, 7)
    group = channels // groups
    integers("likelihood.conditioning", np.int32, (group * sum(range(groups)), HEAD), 200)
    outputs = 3 * MIXTURES * group
    integers("likelihood.outputs.weight", np.int16, (groups, HEAD, outputs), 60)
    steps = np.tile(np.repeat([1000, 200, 2000], MIXTURES), group)
    centres = np.tile(np.repeat([0, 0, 50], MIXTURES), group)
    found["likelihood.outputs.bias"] = np.tile(centres * steps, (groups, 1)).astype(np.int32)
    found["likelihood.outputs.multiplier"] = np.tile((1 << 30) // steps, (groups, 1)).astype(np.int32)
    integers("likelihood.fixed_biases", np.int32, (LEVELS, biases), 30000)
    integers("likelihood.off_biases", np.int32, (biases,), 10000)
    hidden("modulation.hidden", LATENTS, 6, 60, 0)
    integers("modulation.hidden.bias", np.int32, (6,), 200)
    results("modulation.out", 6, np.full(biases, 4), 0)
    for name, inputs, units in (("conv1", 9 * config["posterior_channels"], 5), ("conv2", 45, 6), ("conv3", 54, 7)):
        hidden(f"posterior.{name}", inputs, units, 30, 6)
        integers(f"posterior.{name}.bias", np.int32, (units,), 2000)
    hidden("posterior.dense", 14, 8, 30, 7)
    integers("posterior.dense.biases", np.int32, (LEVELS, 8), 20000)
    latent_steps, latent_centres = np.repeat([40, 2000], LATENTS), np.repeat([0, 10], LATENTS)
    results("posterior.out", 8, latent_steps, latent_centres)
    hidden("prior.hidden", LATENTS + 1, 6, 100, 1)
    integers("prior.hidden.biases", np.int32, (LEVELS, 6), 1000)
    results("prior.out", 6, latent_steps, np.repeat([0, 40], LATENTS))
    integers("prior.channels", np.int32, (2 * LATENTS, LATENTS), 500)
    return found


def weights(seed=0, *, tensors=None, **config):
    """Return the weights file of a model with other values of the config, None for none, and tensors if given."""
    if tensors is None:
        tensors = random_tensors(seed, **config)
    known = {name: value for name, value in (CONFIG | config).items() if value is not None}
    return save(tensors, metadata={"config": json.dumps(known)})


def draw(height, width, seed=0):
    """Return a tensor (H, W, C): smooth, with noise, and values at both limits."""
    rng = np.random.default_rng(seed)
    y, x, c = np.mgrid[0:height, 0:width, 0:CHANNELS]
    values = 30 / (1 + c / 2) * np.sin(y / 5 + c) * np.cos(x / 7 + seed) + rng.laplace(0, 2, y.shape)
    values[rng.random(y.shape) < 0.01] = 100
    values[rng.random(y.shape) < 0.01] = -100
    return np.clip(np.rint(values), -LIMIT, LIMIT).astype(np.int16)
