"""Transforms in a weights file, beside the coder of their tensor: read together, and refused if they do not fit."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import tensor_model
from support.tensor_model import CHANNELS, CONDITIONS, LEVELS, LIMIT, weights

from codec.encoder.encoding import encode
from codec.errors import ModelError
from codec.format.headers import Latents
from codec.frozen import transform_weights
from codec.frozen.weights import parse_model
from codec.networks import quantisation, transform
from codec.vlae.decoding import decode_bands
from codec.vlae.image import Image

LIMITS = {"stream_limit": 8191, "hidden_limit": 4095}
WIDTH, FINE_WIDTH, UNITS = 10, 4, 12


def random_transforms(levels=LEVELS, conditions=CONDITIONS, channels=CHANNELS, seed=0):
    """Return the tensors of transforms with a block in each stream, whose networks say something."""
    rng = np.random.default_rng(seed)
    known = {
        "synthesis.steps": np.zeros((conditions, channels)),
        "analysis.between.weight": np.zeros((4 * FINE_WIDTH, WIDTH)),
        "synthesis.between.weight": np.zeros((WIDTH, 4 * FINE_WIDTH)),
    }
    for name in ("coarse1", "fine1"):
        known |= {f"{prefix}.{name}.hidden.weight": np.zeros((1, UNITS)) for prefix in ("analysis", "synthesis")}
    known["analysis.coarse1.hidden.biases"] = np.zeros((levels, UNITS))
    most = {
        "steps": 1 << 20,
        "prices": 1 << 12,
        "shares": 512,
        "shift": 8,
        "multiplier": 1 << 27,
        "bias": 20000,
        "biases": 20000,
    }
    tensors = {}
    for name, (dtype, shape) in transform_weights.tensor_shapes(known).items():
        kind = name.split(".")[-1]
        large = most.get(kind, 100)
        least = {"steps": 1 << 16, "prices": 0, "shares": 0, "shift": 6}.get(kind, -large)
        tensors[name] = rng.integers(least, large, shape).astype(dtype)
    return tensors


TENSORS = tensor_model.random_tensors() | random_transforms()


def test_a_model_of_tensors_has_its_transforms():
    model = parse_model(weights(tensors=TENSORS, **LIMITS))
    both = model.transforms
    for name, found in (("synthesis.steps", both.steps), ("analysis.prices", both.prices)):
        np.testing.assert_array_equal(found, TENSORS[name])
        assert found.shape == (CONDITIONS, CHANNELS)
    for prefix, part in (("analysis", both.analysis), ("synthesis", both.synthesis)):
        first = "fine1" if prefix == "analysis" else "coarse1"
        levels = TENSORS[f"{prefix}.{first}.hidden.biases"].astype(np.int64)
        biases = part.before[0].hidden.biases
        np.testing.assert_array_equal(biases[::2], levels)
        np.testing.assert_array_equal(biases[1::2], (levels[1:] + levels[:-1]) // 2)
        assert len(part.input.biases) == len(part.before[0].residual.biases) == CONDITIONS
    assert parse_model(weights()).transforms is None


def test_an_image_goes_through_model_and_transforms():
    model = parse_model(weights(tensors=TENSORS, **LIMITS))
    samples = np.random.default_rng(1).integers(0, 256, (100, 90, 3)).astype(np.uint8)
    decoded = []
    with ThreadPoolExecutor(1) as pool:
        for condition in (0, 1, CONDITIONS - 1):
            y = transform.analyse(samples, model.transforms, condition, pool, 1)
            q = quantisation.quantise(y, model.transforms.steps[condition], LIMIT)
            assert len(np.unique(q)) > 3
            encoded = encode(model, q, condition, Latents.BITS_BACK)
            image = Image.blank(model, q.shape, condition, encoded.lanes)
            decode_bands(image, encoded.payload, encoded.lane_table, encoded.latents)
            np.testing.assert_array_equal(image.samples, q)
            values = quantisation.dequantise(q, model.transforms.steps[condition])
            decoded.append(transform.synthesise(values, model.transforms, condition, 100, 90, pool, 1))
    assert not np.array_equal(decoded[0], decoded[1])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"channels": 11}, r"synthesis.steps: expected \(5, 12\), got \(5, 11\)"),
        ({"channels": 13}, r"synthesis.steps: expected \(5, 12\), got \(5, 13\)"),
        ({"conditions": 4}, r"synthesis.steps: expected \(5, 12\), got \(4, 12\)"),
        ({"conditions": 6}, r"synthesis.steps: expected \(5, 12\), got \(6, 12\)"),
        ({"levels": 2}, "hidden.biases: expected 3 rows, got 2"),
        ({"levels": 4}, "hidden.biases: expected 3 rows, got 4"),
        ({"levels": 6}, "hidden.biases: expected at most 5 rows, got 6"),
        ({"levels": 0}, "hidden.biases: expected a tensor that is not empty"),
    ],
)
def test_transforms_of_another_tensor_are_refused(made, message):
    with pytest.raises(ModelError, match=message):
        parse_model(weights(tensors=tensor_model.random_tensors() | random_transforms(**made), **LIMITS))


def test_levels_are_alike_in_all_layers():
    changed = dict(TENSORS)
    changed["synthesis.fine1.hidden.biases"] = changed["synthesis.fine1.hidden.biases"][:2]
    with pytest.raises(ModelError, match=r"hidden\.biases: expected int32"):  # of whichever layer comes first
        parse_model(weights(tensors=changed, **LIMITS))


@pytest.mark.parametrize("name", sorted(random_transforms()))
def test_transforms_are_whole(name):
    with pytest.raises(ModelError):
        parse_model(weights(tensors={key: value for key, value in TENSORS.items() if key != name}, **LIMITS))


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_needed(name):
    with pytest.raises(ModelError, match=f"{name}: expected 1 to 32767"):
        parse_model(weights(tensors=TENSORS, **LIMITS | {name: None}))


def test_prices_are_not_negative():
    prices = TENSORS["analysis.prices"].copy()
    prices[-1, -1] = -1
    with pytest.raises(ModelError, match=r"analysis\.prices: prices are at least 0"):
        parse_model(weights(tensors=TENSORS | {"analysis.prices": prices}, **LIMITS))


def test_samples_have_no_transforms():
    with pytest.raises(ModelError, match="tensors missing or unknown"):
        parse_model(weights(tensors=TENSORS, kind="samples", tile=64, **LIMITS))
