"""Small random transforms, and images and latents for them: for tests of the codec and of the reference decoder."""

import numpy as np

SUM_LIMIT = (1 << 31) - 1
SAMPLES = 192
LARGEST = {"analysis": 128, "synthesis": 32767}
"""Limit of the inputs."""


def largest_input(name, config):
    """Return the largest input of a layer."""
    prefix, *_, kind = name.split(".")
    if kind in ("input", "linear"):
        return LARGEST[prefix]
    return config["hidden_limit" if kind == "residual" else "stream_limit"]


def make(channels, width, blocks, levels, config, seed=0):
    """Return the tensors of random transforms; many sums come near their bound."""
    rng = np.random.default_rng(seed)
    tensors = {"synthesis.steps": rng.integers(1 << 14, 1 << 24, (levels, channels)).astype(np.int32)}
    tensors["analysis.prices"] = rng.integers(0, 1 << 12, (levels, channels)).astype(np.int32)
    for prefix, before, side, after, last, count in (
        ("analysis", SAMPLES, 1, channels, 3, blocks[0]),
        ("synthesis", channels, 3, SAMPLES, 1, blocks[1]),
    ):
        names = [f"{prefix}.block{i + 1}.{kind}" for i in range(count) for kind in ("hidden", "residual")]
        layers = [(f"{prefix}.input", side * side * before, width), *((name, 9 * width, width) for name in names)]
        layers += [(f"{prefix}.linear", before, after), (f"{prefix}.output", last * last * width, after)]
        for name, inputs, outputs in layers:
            dtype = np.int16 if name.endswith("linear") else np.int8
            most = min(np.iinfo(dtype).max, (1 << 30) // (inputs * largest_input(name, config)))
            weight = rng.integers(-most, most + 1, (inputs, outputs))
            room = SUM_LIMIT - np.abs(weight).sum(0) * largest_input(name, config)
            tensors[f"{name}.weight"] = weight.astype(dtype)
            typical = int(np.sqrt(inputs)) * most * largest_input(name, config)
            rows = (levels, outputs) if name.endswith("hidden") else (outputs,)
            bias = (rng.uniform(-1, 1, rows) * np.minimum(room, typical)).astype(np.int32)
            if name.endswith(("linear", "output")):
                magnitude = 2.0 ** rng.uniform(5, 30, outputs)
                tensors[f"{name}.multiplier"] = (magnitude * rng.choice([-1, 1], outputs)).astype(np.int32)
            else:
                bits = max(0, int(np.log2(typical / config["stream_limit"])))
                tensors[f"{name}.shift"] = np.clip(rng.integers(bits - 3, bits + 2, outputs), 0, 31).astype(np.int8)
            if not name.endswith("linear"):
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
