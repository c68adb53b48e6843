"""Exact layers equal integer arithmetic, and what could leave the exact range is refused."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from codec.errors import ModelError
from codec.frozen.shipped import WEIGHTS, load_model
from codec.frozen.weights import parse_model
from codec.networks import layers

EXACT = 1 << 24
FILES = sorted(WEIGHTS.glob("*.safetensors"))


def integer_matrix(rng, rows, columns, limit):
    return rng.integers(-limit, limit + 1, (rows, columns))


def layer_values(seed):
    """Return (x, weight, bias, shift) of a layer whose bound is nearly reached."""
    rng = np.random.default_rng(seed)
    n, inputs, outputs = (int(v) for v in rng.integers(1, 70, 3))
    weight = integer_matrix(rng, inputs, outputs, 127)
    weight[0] = 127
    bias = rng.integers(-(1 << 22), (1 << 22) + 1, outputs)
    limit = int((EXACT - (1 << 22)) // np.abs(weight).sum(0).max())
    x = rng.integers(0, limit + 1, (n, inputs))
    x[0] = limit
    layers.check_bound("test", weight.astype(np.float32), limit, float(1 << 22))
    return x, weight, bias, rng.integers(0, 12, outputs)


def f32(values):
    return values.astype(np.float32)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_hidden_equals_integer_arithmetic(seed):
    x, weight, bias, shift = layer_values(seed)
    layer = layers.Hidden(f32(weight), f32(bias), np.ldexp(np.float32(1), -shift).astype(np.float32), 4095)
    expected = np.clip((x @ weight + bias) >> shift, 0, 4095)
    np.testing.assert_array_equal(layers.hidden(f32(x), layer), expected)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_output_equals_integer_arithmetic(seed):
    x, weight, bias, _ = layer_values(seed)
    multiplier = np.random.default_rng(seed).integers(0, 1 << 30, len(bias))
    layer = layers.Output(f32(weight), f32(bias), multiplier, 30)
    accumulated = (x @ weight + bias).tolist()
    expected = [
        [(a * m + (1 << 29)) // (1 << 30) for a, m in zip(row, multiplier.tolist(), strict=True)] for row in accumulated
    ]
    result = layers.output(f32(x), layer)
    assert result.dtype == np.int64
    assert result.tolist() == expected


@pytest.mark.parametrize("shape", [(1, 2, 2, 1), (2, 4, 6, 3), (1, 8, 2, 5)])
def test_patches_equal_a_loop(shape):
    b, h, w, c = shape
    x = np.random.default_rng(0).integers(-300, 300, shape).astype(np.float32)
    expected = np.zeros((b, h // 2, w // 2, 3, 3, c), dtype=np.float32)
    for y in range(h // 2):
        for column in range(w // 2):
            for i in range(3):
                for j in range(3):
                    row, across = 2 * y + i - 1, 2 * column + j - 1
                    if 0 <= row < h and 0 <= across < w:
                        expected[:, y, column, i, j] = x[:, row, across]
    np.testing.assert_array_equal(layers.patches(x), expected.reshape(b, h // 2, w // 2, 9 * c))


def test_bound_is_the_largest_sum_of_an_output():
    weight = np.array([[100, 1], [-60, 1]], dtype=np.float32)
    most = EXACT - 160 * 1000
    layers.check_bound("a", weight, 1000, most)
    with pytest.raises(ModelError, match=f"layer a: sums may reach {EXACT + 1}"):
        layers.check_bound("a", weight, 1000, most + 1)
    # Limits of each input, and of each output.
    layers.check_bound("a", weight, np.array([1000.0, 0]), np.array([EXACT - 100_000, EXACT - 1000.0]))
    with pytest.raises(ModelError, match="layer a"):
        layers.check_bound("a", weight, np.array([1000.0, 0]), np.array([0, EXACT - 999.0]))


def test_self_test_passes_here():
    layers.self_test()


class Rounded(np.ndarray):
    """Integers whose float32 products are made with fewer bits, as accelerators like to."""

    bits = 8

    def __matmul__(self, other):
        if self.dtype != np.float32:
            return np.asarray(self) @ np.asarray(other)
        return self.rounded(self) @ self.rounded(other)

    @classmethod
    def rounded(cls, x):
        mantissa, exponent = np.frexp(np.asarray(x))
        return np.ldexp(np.rint(np.ldexp(mantissa, cls.bits)), exponent - cls.bits).astype(np.float32)


def with_products(monkeypatch, kind):
    """Let the arrays of `layers.self_test` be of a kind that multiplies in its own way."""

    class Generator:
        def __init__(self, seed):
            self.rng = np.random.Generator(np.random.PCG64(seed))

        def integers(self, *args):
            return self.rng.integers(*args).view(kind)

    monkeypatch.setattr(np.random, "default_rng", Generator)


def test_self_test_refuses_products_in_bfloat16(monkeypatch):
    with_products(monkeypatch, Rounded)
    with pytest.raises(ModelError, match="not exact"):
        layers.self_test()


def test_self_test_refuses_products_in_tf32(monkeypatch):
    class TF32(Rounded):
        bits = 11

    with_products(monkeypatch, TF32)
    with pytest.raises(ModelError, match="not exact"):
        layers.self_test()


def test_self_test_refuses_sums_in_less_than_float32(monkeypatch):
    class Short(Rounded):
        def __matmul__(self, other):
            product = np.asarray(self) @ np.asarray(other)
            return product if self.dtype != np.float32 else self.rounded(product)

    Short.bits = 23
    with_products(monkeypatch, Short)
    with pytest.raises(ModelError, match="not exact"):
        layers.self_test()


def test_the_patched_arrays_multiply_exactly_with_all_bits(monkeypatch):
    class Whole(Rounded):
        bits = 24

    with_products(monkeypatch, Whole)
    layers.self_test()


def test_a_model_is_loaded_only_where_products_are_exact(monkeypatch):
    with_products(monkeypatch, Rounded)
    with pytest.raises(ModelError, match="not exact"):
        load_model.__wrapped__()


def config_of(data):
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header["__metadata__"]["config"])


def changed(data, tensors=None, config=None):
    """Return the weights file with other tensors or configuration."""
    return save(tensors or load(data), {"config": json.dumps(config or config_of(data))})


def modulates(path):
    """Return whether a model's latents set biases; tests/frozen/test_features.py has the others."""
    return config_of(path.read_bytes()).get("networks", "modulation") == "modulation"


@pytest.fixture(scope="module", params=filter(modulates, FILES), ids=lambda path: path.stem)
def weights(request):
    return request.param.read_bytes()


def test_shipped_weights_are_accepted(weights):
    model = parse_model(changed(weights))
    assert model.number == config_of(weights)["number"]


@pytest.mark.parametrize(
    "name",
    [
        "likelihood.hidden3.weight",
        "likelihood.split.weight",
        "likelihood.conditioning",
        "likelihood.outputs.weight",
        "likelihood.outputs.bias",
        "posterior.conv2.weight",
        "posterior.conv3.bias",
        "posterior.dense.weight",
        "posterior.dense.biases",
        "posterior.out.weight",
        "modulation.hidden.bias",
        "modulation.out.weight",
    ],
)
def test_weights_over_the_bound_are_refused(weights, name):
    tensors = load(weights)
    before = tensors[name]
    tensors[name] = np.full(before.shape, min(EXACT, np.iinfo(before.dtype).max), before.dtype)
    with pytest.raises(ModelError, match="exact only up to 16777216"):
        parse_model(changed(weights, tensors))


def test_a_larger_activation_limit_is_refused(weights):
    config = config_of(weights)
    config["activation_limit"] *= 16
    with pytest.raises(ModelError, match=r"sums may exceed|exact only up to"):
        parse_model(changed(weights, config=config))


def test_each_tensor_is_needed(weights):
    tensors = load(weights)
    for name in tensors:
        rest = {key: value for key, value in tensors.items() if key != name}
        with pytest.raises(ModelError, match=r"not a model file|transforms|_limit|tile"):
            parse_model(changed(weights, rest))


@pytest.mark.parametrize("name", ["likelihood.conditioning", "likelihood.hidden2.weight", "prior.channels"])
@pytest.mark.parametrize("change", [np.ravel, lambda tensor: tensor[:-1]], ids=["flat", "short"])
def test_a_tensor_of_another_shape_is_refused(weights, name, change):
    tensors = load(weights)
    tensors[name] = np.ascontiguousarray(change(tensors[name]))
    with pytest.raises(ModelError):
        parse_model(changed(weights, tensors))


@pytest.mark.parametrize("value", [np.nan, 0.5])
def test_weights_that_are_no_integers_are_refused(weights, value):
    tensors = load(weights)
    tensors["likelihood.hidden2.weight"] = np.full(tensors["likelihood.hidden2.weight"].shape, value, np.float32)
    with pytest.raises(ModelError):
        parse_model(changed(weights, tensors))


def test_each_entry_of_the_configuration_is_needed(weights):
    config = config_of(weights)
    for name in config:
        rest = {key: value for key, value in config.items() if key != name}
        with pytest.raises(ModelError, match=r"not a model file|transforms|_limit|tile"):
            parse_model(changed(weights, config=rest))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("radius", 0),
        ("mixtures", 5),
        ("latents", 8),
        ("tile", 0),
        ("tile", 65),
        ("activation_limit", 1 << 15),
        ("output_shift", 29),
        ("output_shift", "x"),
    ],
)
def test_a_wrong_configuration_is_refused(weights, name, value):
    with pytest.raises(ModelError):
        parse_model(changed(weights, config=config_of(weights) | {name: value}))


@pytest.mark.parametrize("length", [0, 7, 8, 100, -1])
def test_a_cut_file_is_refused(weights, length):
    with pytest.raises(ModelError, match="not a model file"):
        parse_model(weights[:length])


def test_a_file_without_configuration_is_refused(weights):
    with pytest.raises(ModelError, match="not a model file"):
        parse_model(save(load(weights)))


def test_a_missing_model_is_named():
    with pytest.raises(ModelError, match="model 999 is not installed"):
        load_model(999)


@settings(deadline=None)
@given(st.integers(1, 100), st.data())
def test_rows_between_levels_equal_rational_arithmetic(conditions, data):
    levels = data.draw(st.integers(1, conditions))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    rows = rng.integers(-(1 << 31), 1 << 31, (levels, 3)).astype(np.int32)
    found = layers.between_levels(rows, conditions)
    assert (found.dtype, found.shape) == (np.int64, (conditions, 3))
    for condition in range(conditions):
        place = Fraction(condition * (levels - 1), max(conditions - 1, 1))
        below = int(place)
        above = min(below + 1, levels - 1)
        for unit in range(3):
            low, high = int(rows[below, unit]), int(rows[above, unit])
            assert found[condition, unit] == math.floor(low + (place - below) * (high - low))


def test_as_many_levels_as_conditions_stay_as_they_are():
    rows = np.random.default_rng(0).integers(-(1 << 31), 1 << 31, (100, 4)).astype(np.int32)
    np.testing.assert_array_equal(layers.between_levels(rows, 100), rows)
    np.testing.assert_array_equal(layers.between_levels(rows[:1], 1), rows[:1])
