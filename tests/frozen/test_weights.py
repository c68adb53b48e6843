"""Weights that ship are accepted; what could leave the exact range, is missing or misshapen is refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from codec.constants import EXACT, SUM_LIMIT
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


def of(*networks):
    """Return the files of families. tests/frozen/test_features.py has those of spatial networks."""
    return [path for path in FILES if config_of(path.read_bytes()).get("networks", "modulation") in networks]


@pytest.fixture(scope="module", params=of("modulation"), ids=lambda path: path.stem)
def weights(request):
    """Return the weights of a model whose latents set biases."""
    return request.param.read_bytes()


@pytest.fixture(scope="module", params=of("modulation", "plain"), ids=lambda path: path.stem)
def any_weights(request):
    return request.param.read_bytes()


def test_every_family_ships():
    assert len(of("modulation")) >= 2
    assert len(of("plain")) >= 1


def test_shipped_weights_are_accepted(any_weights):
    model = parse_model(changed(any_weights))
    assert model.number == config_of(any_weights)["number"]


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
    is_hidden = name.startswith("likelihood.") and "outputs" not in name
    with pytest.raises(ModelError, match=f"exact only up to {SUM_LIMIT if is_hidden else EXACT}$"):
        parse_model(changed(weights, tensors))


def test_a_larger_activation_limit_is_refused(any_weights):
    config = config_of(any_weights)
    config["activation_limit"] *= 16
    with pytest.raises(ModelError, match="exact only up to"):
        parse_model(changed(any_weights, config=config))


def test_each_tensor_is_needed(any_weights):
    tensors = load(any_weights)
    for name in tensors:
        rest = {key: value for key, value in tensors.items() if key != name}
        with pytest.raises(ModelError, match=r"not a model file|transforms|_limit|tile"):
            parse_model(changed(any_weights, rest))


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


def test_each_entry_of_the_configuration_is_needed(any_weights):
    config = config_of(any_weights)
    for name in config:
        rest = {key: value for key, value in config.items() if key != name}
        with pytest.raises(ModelError, match=r"not a model file|transforms|_limit|tile"):
            parse_model(changed(any_weights, config=rest))


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
