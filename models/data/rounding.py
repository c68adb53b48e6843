"""What contexts hold of samples that are coded within a largest error: rounded, as a frozen model rounds them."""

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
    """The frozen model that rounds samples which are coded within d > 0; a recipe's [rounding] table.

    Attributes
    ----------
    weights : str
        Name of a file that ships, without its ending, or the path of a weights file.
    hash : str
        The first digits of the file's SHA-256; its card prints some.
    """

    weights: str
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{8,64}$")]


class Rounder:
    """Rounds samples with the frozen model that a recipe names, or refuses where it names none.

    A file holds what its own model rounds. In training a frozen one rounds, the same from the first step to the
    last: it is close to any that is trained, and runs do not depend on what ships.
    """

    def __init__(self, rounding: Rounding | None) -> None:
        self.rounding = rounding

    @cached_property
    def model(self) -> Model:
        """The model, checked.

        Raises
        ------
        RecipeError
            The recipe names none, there is no such file, or its hash is another.
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
        """Return what contexts hold of an image (H, W, 3) coded within ``error``; grey ones have one channel."""
        if error == 0:
            return samples
        return rounded(self.model, samples[..., :1] if grey else samples, int(error))
