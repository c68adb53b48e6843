"""The models that ship with the package: their numbers, weights and cards.

A file has no meaning without its model. So the weights ship with the package, and a file names its model by a number
and by a hash of the weights.
See FORMAT.md, "Models".
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from codec.errors import ModelError, RequestError
from codec.frozen.model import Model
from codec.frozen.weights import parse_model

WEIGHTS = Path(__file__).parents[1] / "weights"
LOSSLESS, NEAR_LOSSLESS, LOSSY = 9, 1, 7
"""Numbers of the models that `codec.compress` uses by default."""
FAST, MAX = 10, 11
"""Numbers of the models of lossless files of the least and of the most effort."""


def weights_path(name: str) -> Path:
    """Return the weights file of a model by its name.

    Raises
    ------
    ValueError
        There is no such model. The message names those that exist.
    """
    paths = {path.stem.rpartition("-")[0]: path for path in sorted(WEIGHTS.glob("*.safetensors"))}
    if name not in paths:
        raise RequestError(f"model: expected one of {', '.join(paths)}, got {name!r}")
    return paths[name]


def named_model(name: str) -> Model:
    """Return a model that ships, by its name.

    Raises
    ------
    ValueError
        There is no such model.
    ModelError
        Its file is damaged.
    """
    return load_model(int(weights_path(name).stem.rpartition("-")[2]))


def model_for(max_error: int | None, effort: int = 2) -> Model:
    """Return the model with which `codec.compress` codes images within ``max_error``, or lossily if that is None.

    Only lossless files have a model for each effort, 1 to 3.

    Raises
    ------
    ModelError
        It is not installed, or its file is damaged.
    """
    if max_error is None:
        return load_model(LOSSY)
    if max_error:
        return load_model(NEAR_LOSSLESS)
    return load_model((FAST, LOSSLESS, MAX)[effort - 1])


@lru_cache(maxsize=8)
def load_model(number: int = LOSSLESS) -> Model:
    """Return a model that ships with the package, checked.

    Raises
    ------
    ModelError
        There is no such model, or its file is damaged.
    """
    paths = sorted(WEIGHTS.glob(f"*-{number}.safetensors"))
    if not paths:
        raise ModelError(f"model {number} is not installed")
    return parse_model(paths[0].read_bytes())


def model_cards() -> list[dict[str, Any]]:
    """Return the cards of all models that ship. A card tells data, training, machine and figures of a model."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(WEIGHTS.glob("*.json"))]
