"""Weights that ship are accepted; what could leave the exact range, is missing or misshapen is refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from codec.constants import EXACT
from codec.errors import ModelError
from codec.frozen.shipped import WEIGHTS, load_model
from codec.frozen.weights import parse_model

FILES = sorted(WEIGHTS.glob("*.safetensors"))


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
        ("posterior_limit", 1 << 13),
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
