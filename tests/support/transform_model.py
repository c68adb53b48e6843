"""Small random transforms, and images and latents for them: for tests of the codec and of the reference decoder."""

import numpy as np

SUM_LIMIT = (1 << 31) - 1
SAMPLES, FINE_SAMPLES = 192, 48
LARGEST = {"analysis": 128, "synthesis": 32767}
"""Limit of the inputs."""


def largest_input(name, config):
    """Return the largest input of a layer."""
    prefix, *_, kind = name.split(".")
    if kind in ("input", "linear"):
        return LARGEST[prefix]
    return config["hidden_limit" if kind == "residual" else "stream_limit"]


def shapes(channels, widths, units, blocks):
    """Return inputs and outputs of all layers. ``widths`` and ``blocks`` are those of coarse and fine streams."""
    coarse, fine = widths
    layers = {
        "analysis.input": (FINE_SAMPLES, fine),
        "analysis.between": (4 * fine, coarse),
        "analysis.linear": (SAMPLES, channels),
        "analysis.output": (coarse, channels),
        "synthesis.input": (channels, coarse),
        "synthesis.between": (coarse, 4 * fine),
        "synthesis.linear": (channels, SAMPLES),
        "synthesis.output": (fine, FINE_SAMPLES),
    }
    for prefix in ("analysis", "synthesis"):
        for kind, width, count in (("coarse", coarse, blocks[0]), ("fine", fine, blocks[1])):
            for i in range(count):
                name = f"{prefix}.{kind}{i + 1}"
                layers[f"{name}.depthwise"] = (9, width)
                layers[f"{name}.hidden"] = (width, units)
                layers[f"{name}.residual"] = (units, width)
    return layers


def make(channels, widths, units, blocks, levels, config, seed=0):
    """Return the tensors of random transforms; many sums come near their bound."""
    rng = np.random.default_rng(seed)
    tensors = {"synthesis.steps": rng.integers(1 << 14, 1 << 24, (levels, channels)).astype(np.int32)}
    tensors["analysis.prices"] = rng.integers(0, 1 << 12, (levels, channels)).astype(np.int32)
    tensors["analysis.shares"] = rng.integers(0, 512, channels).astype(np.int32)
    for name, (inputs, outputs) in shapes(channels, widths, units, blocks).items():
        largest = largest_input(name, config)
        dtype = np.int16 if name.endswith(("linear", "depthwise")) else np.int8
        most = min(np.iinfo(dtype).max, (1 << 30) // (inputs * largest))
        weight = rng.integers(-most, most + 1, (inputs, outputs))
        typical = int(np.sqrt(inputs)) * most * largest
        tensors[f"{name}.weight"] = weight.astype(dtype)
        if name.endswith(("linear", "output")):
            magnitude = 2.0 ** rng.uniform(5, 30, outputs)
            tensors[f"{name}.multiplier"] = (magnitude * rng.choice([-1, 1], outputs)).astype(np.int32)
        else:
            bits = max(0, int(np.log2(typical / config["stream_limit"])))
            tensors[f"{name}.shift"] = np.clip(rng.integers(bits - 3, bits + 2, outputs), 0, 31).astype(np.int8)
        if not name.endswith(("linear", "depthwise")):
            room = SUM_LIMIT - np.abs(weight).sum(0) * largest
            rows = (levels, outputs) if name.endswith("hidden") else (outputs,)
            bias = (rng.uniform(-1, 1, rows) * np.minimum(room, typical)).astype(np.int32)
            tensors[f"{name}.{'biases' if name.endswith('hidden') else 'bias'}"] = bias
    return tensors


def images(rng, height, width):
    """Return samples of all kinds: noise, and extremes only."""
    noise = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    return noise, np.where(noise < 128, 0, 255).astype(np.uint8)


def latents(rng, height, width, channels):
    """Return dequantised y of all kinds."""
    shape = (-(-height // 8), -(-width // 8), channels)
    return rng.integers(-400, 401, shape).astype(np.int16), (32767 * rng.integers(-1, 2, shape)).astype(np.int16)
