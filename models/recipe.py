"""Recipes: TOML files that say which model is trained, how and on what."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.data import Source
from models.lossy import LossyConfig
from models.networks import Config
from models.spatial import SpatialConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Training:
    """How a model is trained; a recipe's [train] table.

    Attributes
    ----------
    latent_steps : int
        In so many steps the price of latents rises from nothing to their bits, lest they collapse before the
        likelihood listens to them; 0 has them at their bits from the first step on.
    squared_error, structure : float
        What distortion is made of, in lossy models: so many mean squared errors of samples, and so many times
        1 - MS-SSIM.
    free_bits : float
        Bits of each latent that cost nothing less if they are fewer, in the seed paper's models. They fall with the
        learning rate.
    """

    steps: int
    decay_steps: int
    warmup_steps: int
    learning_rate: float
    average: float
    batch: int
    uses: int
    pixels: int
    errors: tuple[float, ...]
    drop_latents: float
    latent_steps: int
    seed: int
    squared_error: float = 1.0
    structure: float = 0.0
    free_bits: float = 0.0

    def fall(self, step: int) -> float:
        """Return 1 until the learning rate falls, from there on its share of what it was."""
        return min(1.0, (self.steps - step) / self.decay_steps)

    def latent_price(self, step: int) -> float:
        """Return how many times the bits of latents count at a step."""
        return min(1.0, step / self.latent_steps) if self.latent_steps else 1.0


@dataclass(frozen=True)
class Recipe:
    """A recipe file, parsed.

    Attributes
    ----------
    validation_conditions : list of float
        What is judged: largest errors, or qualities 0..1.
    """

    name: str
    number: int
    model: Config | LossyConfig | SpatialConfig
    train: Training
    data: list[Source]
    validation_folders: list[str]
    validation_conditions: list[float]
    validation_pixels: int


def load_recipe(name: str, changes: dict[str, Any] | None = None) -> Recipe:
    """Return a recipe by its name in ``models/recipes`` or its path.

    ``changes`` replaces single values, such as ``{"model.latents": 0}``.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = FOLDER / f"{name}.toml"
    table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    for key, value in (changes or {}).items():
        section, _, entry = key.rpartition(".")
        target = table[section] if section else table
        if entry not in target:
            raise KeyError(f"{path.name} has no value {key}")
        target[entry] = value
    values = dict(table["model"])
    model: Config | LossyConfig | SpatialConfig
    if "window" in values:
        model = SpatialConfig(**values | {name: tuple(values[name]) for name in ("window", "blocks")})
    else:
        coder = values.pop("coder", values)
        coder["posterior"] = tuple(coder["posterior"])
        model = Config(**values) if coder is values else LossyConfig(**values, vlae=coder)
    return Recipe(
        name=table["name"],
        number=table["number"],
        model=model,
        train=Training(**table["train"]),
        data=[Source(**source) for source in table["data"]],
        validation_folders=table["validation"]["folders"],
        validation_conditions=table["validation"]["conditions"],
        validation_pixels=table["validation"]["pixels"],
    )
