"""The reference decoder's synthesis, from docs/FORMAT.md alone, returns what the codec's returns."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors.numpy import load
from support import reference_decoder as reference
from support import tensor_model, transform_model

from codec.frozen import transform_weights
from codec.networks import quantisation, transform

CHANNELS, LEVELS = tensor_model.CHANNELS, tensor_model.CONDITIONS


def weights(blocks, config, seed):
    """Return the weights file of a model of tensors with transforms."""
    tensors = transform_model.make(CHANNELS, (18, 5), 23, (blocks, 1), LEVELS, config, seed)
    return tensor_model.weights(tensors=tensor_model.random_tensors(seed) | tensors, **config)


def both(data, config):
    return transform_weights.parse(load(data), config)


def tensors_of(rng, size):
    """Return tensors q of all kinds: usual, with the largest values, and all of them extreme."""
    shape = (*transform.positions(*size), CHANNELS)
    usual = np.rint(rng.laplace(0, 3, shape))
    some = np.where(rng.random(shape) < 0.05, rng.choice([-16383, 16383], shape), usual)
    return [q.astype(np.int16) for q in (usual, some, rng.choice([-16383, 16383], shape))]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 30), (31, 7), (40, 41)])
def test_synthesis(size, seed):
    limits = [(8191, 4095), (32767, 32767), (127, 3), (2047, 1023)][seed]
    config = {"stream_limit": limits[0], "hidden_limit": limits[1]}
    data = weights(seed % 3, config, seed)
    model, transforms = reference.parse_model(data), both(data, config)
    level = seed % LEVELS
    images = []
    with ThreadPoolExecutor(1) as pool:
        for q in tensors_of(np.random.default_rng(seed), size):
            values = quantisation.dequantise(q, transforms.steps[level])
            samples = transform.synthesise(values, transforms, level, *size, pool, 1)
            found = reference.synthesise(model, q.astype(np.int64), level, (*size, 3))
            np.testing.assert_array_equal(found, samples)
            grey = reference.synthesise(model, q.astype(np.int64), level, (*size, 1))
            np.testing.assert_array_equal(grey[:, :, 0], (samples.astype(np.int64).sum(2) + 1) // 3)
            images.append(samples)
    # Not everything is at a limit.
    assert size == (1, 1) or min(((samples > 0) & (samples < 255)).mean() for samples in images) > 0.05


def test_levels_and_blocks_make_a_difference():
    config = {"stream_limit": 8191, "hidden_limit": 4095}
    data = weights(2, config, 0)
    model = reference.parse_model(data)
    q = tensors_of(np.random.default_rng(0), (24, 24))[0].astype(np.int64)
    images = [reference.synthesise(model, q, level, (24, 24, 3)) for level in range(LEVELS)]
    for name in (
        "synthesis.coarse1.hidden.biases",
        "synthesis.coarse2.residual.bias",
        "synthesis.fine1.residual.bias",
        "synthesis.steps",
    ):
        changed = reference.parse_model(data)
        changed.tensors[name] = changed.tensors[name] // 2
        images.append(reference.synthesise(changed, q, 0, (24, 24, 3)))
    for other in images[1:]:
        assert (images[0] != other).mean() > 0.02


@pytest.mark.parametrize("step", [1, 4095, 4096, 1 << 14, 99991, 1 << 24, (1 << 31) - 1])
def test_dequantisation(step):
    steps = np.array([step], dtype=np.int32)
    q = np.arange(-32768, 32768).reshape(-1, 16, 1)
    values = quantisation.dequantise(q.astype(np.int16), steps)
    np.testing.assert_array_equal(reference.dequantise(q, steps.astype(np.int64)), values)
