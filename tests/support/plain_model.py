"""Models without latents: a small random one of tensors, and models with latents whose latents are left out.

`tensor_model.draw` returns tensors for the random one.
"""

import json

from safetensors.numpy import load, save
from support import tensor_model

ROWS = 5
AROUND_Z = ("prior.", "posterior.", "modulation.", "likelihood.off_biases")
LATENT_CONFIG = ("latents", "grid", "tile", "posterior_limit", "posterior_channels")

CONFIG = {name: value for name, value in tensor_model.CONFIG.items() if name not in LATENT_CONFIG} | {
    "number": 79,
    "name": "plain-test",
    "networks": "plain",
    "rows": ROWS,
}


def random_tensors(seed=0):
    """Return the tensors of a model of tensors by name."""
    tensors = tensor_model.random_tensors(seed)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(AROUND_Z)}


def weights(seed=0, *, tensors=None, **config):
    """Return the weights file of a model with other values of the config, None for none, and tensors if given."""
    known = {name: value for name, value in (CONFIG | config).items() if value is not None}
    return save(random_tensors(seed) if tensors is None else tensors, metadata={"config": json.dumps(known)})


def made_plain(data, number, name):
    """Return the weights file of a model with latents as one of a model without: its latents are off in every file."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    known, tensors = json.loads(header["__metadata__"]["config"]), load(data)
    biases = tensors["likelihood.fixed_biases"] + tensors["likelihood.off_biases"]
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(AROUND_Z)}
    tensors["likelihood.fixed_biases"] = biases
    config = {key: value for key, value in known.items() if key not in LATENT_CONFIG}
    config |= {"number": number, "name": name, "networks": "plain", "rows": known["tile"]}
    return save(tensors, metadata={"config": json.dumps(config)})
