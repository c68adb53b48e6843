"""Rounding of training samples, as near-lossless coding rounds what contexts show. A frozen model does it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from codec.encoder.rounding import rounded
from codec.frozen.model import Model
from codec.frozen.shipped import WEIGHTS
from codec.frozen.weights import parse_model
from models.errors import RecipeError

U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Rounding:
    """The frozen model that rounds samples coded within an error d > 0. It is a recipe's [rounding] table.

    Attributes
    ----------
    weights : str
        Name of a weights file that ships, without its suffix, or the path of a weights file.
    hash : str
        The first digits of the file's SHA-256. The model's card has some.
    """

    weights: str
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{8,64}$")]


class Rounder:
    """Rounds samples with the frozen model that a recipe names. It refuses to if the recipe names none.

    In a file, the file's own model rounds. In training, a frozen model rounds, which stays the same from the first step
    to the last. It is close enough to the model in training, and runs do not depend on the models that ship.
    """

    def __init__(self, rounding: Rounding | None) -> None:
        self.rounding = rounding

    @cached_property
    def model(self) -> Model:
        """The model, checked.

        Raises
        ------
        RecipeError
            The recipe names no model, the file does not exist, or it has another hash.
        ModelError
            The file is damaged.
        """
        wanted = self.rounding
        if wanted is None:
            raise RecipeError("the recipe has no table [rounding], which errors of d > 0 need")
        path = Path(wanted.weights)
        if path.suffix != ".safetensors":
            path = WEIGHTS / f"{wanted.weights}.safetensors"
        if not path.is_file():
            raise RecipeError(f"rounding: no weights {path}")
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if not digest.startswith(wanted.hash):
            raise RecipeError(f"rounding: {path.name} has hash {digest[: len(wanted.hash)]}, expected {wanted.hash}")
        return parse_model(data)

    def __call__(self, samples: U8, error: int, grey: bool = False) -> U8:
        """Return an image (H, W, 3) as contexts show it if coded within ``error``; of grey, one channel is coded."""
        if error == 0:
            return samples
        return rounded(self.model, samples[..., :1] if grey else samples, int(error))
