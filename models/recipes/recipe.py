"""Recipes: TOML files that say which model is trained, how and on what. They are checked when they are read."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from models.data.crops import Source
from models.data.rounding import Rounding
from models.errors import RecipeError
from models.nets.lossy import LossyConfig
from models.nets.spatial import SpatialConfig
from models.nets.vlae import MAX_ERROR, Config

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
TASKS = {"samples": Config, "lossy": LossyConfig, "maps": SpatialConfig}
"""What a recipe may train, and the shape that its [model] table then has: samples, the latents of a transform, or
small images whose latents become a map of features."""

TABLES = ("name", "task", "model", "train", "data", "validation")
"""What a recipe has; some have a table [rounding], too."""

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Training:
    """How a model is trained; a recipe's [train] table.

    Attributes
    ----------
    uses : int
        Steps that see a batch of crops. Where crops are drawn from a pool on the device, a crop is drawn at most
        this often in the mean.
    errors : tuple of float
        Shares of crops that are coded within d = 0, 1, ...; of the task "samples" alone.
    latent_steps : int
        In these first steps the price of latents rises from nothing to their bits, lest they collapse before the
        likelihood listens to them; 0 has them at their bits from the first step on.
    squared_error, structure : float
        The distortion of a lossy model: this times the mean squared error of samples, and this times 1 - MS-SSIM.
    free_bits : float
        Each latent of a map costs at least these bits. They fall with the learning rate.
    """

    steps: Count
    decay_steps: Count
    warmup_steps: Count
    learning_rate: Positive
    average: Share
    batch: Count
    uses: Count
    pixels: Count
    drop_latents: Share
    latent_steps: Annotated[int, Meta(ge=0)]
    seed: Annotated[int, Meta(ge=0)]
    errors: tuple[Share, ...] = ()
    squared_error: NotNegative = 1.0
    structure: NotNegative = 0.0
    free_bits: NotNegative = 0.0

    def fall(self, step: int) -> float:
        """Return 1 until the learning rate falls, from there on its share of what it was."""
        return min(1.0, (self.steps - step) / self.decay_steps)

    def latent_price(self, step: int) -> float:
        """Return how many times the bits of latents count at a step."""
        return min(1.0, step / self.latent_steps) if self.latent_steps else 1.0


@dataclass(frozen=True)
class Validation:
    """What models are judged by; a recipe's [validation] table.

    Attributes
    ----------
    folders : tuple of str
        Below the folder of the data.
    conditions : tuple of float
        Largest errors, or qualities 0..1.
    pixels : int
        Of each tile, along a side of an image's centre, or images: as the task says.
    """

    folders: tuple[str, ...]
    conditions: tuple[Annotated[int, Meta(ge=0)] | NotNegative, ...]
    pixels: Count


@dataclass(frozen=True)
class Recipe:
    """A recipe file, checked.

    Attributes
    ----------
    task : str
        A key of `TASKS`.
    validation_folders, validation_conditions, validation_pixels
        See `Validation`.
    """

    name: str
    task: str
    model: Config | LossyConfig | SpatialConfig
    train: Training
    data: tuple[Source, ...]
    validation_folders: tuple[str, ...]
    validation_conditions: tuple[float, ...]
    validation_pixels: int
    rounding: Rounding | None = None

    def check_data(self, root: Path) -> None:
        """Refuse a folder of data that lacks one that the recipe names.

        Raises
        ------
        RecipeError
            Says which.
        """
        for name in (*(source.folder for source in self.data), *self.validation_folders):
            path = root / name
            if not path.is_dir() and not (self.task == "maps" and path.parent.is_file()):
                raise RecipeError(f"recipe {self.name}: no folder {name} in {root}")


def _take(table: Any, kind: type[Kind], where: str) -> Kind:
    """Return a table of the file as a dataclass; keys and types must be those of its fields."""
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(known)) if isinstance(table, dict) else []
    if unknown:
        raise RecipeError(f"{where}: unknown key {unknown[0]}, expected some of {', '.join(known)}")
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{where}: {error}") from error


def _take_model(task: str, table: Any, where: str) -> Config | LossyConfig | SpatialConfig:
    if not isinstance(table, dict):
        raise RecipeError(f"{where}: expected a table")
    if task != "lossy":
        if "coded" in table:  # what is coded follows from the task
            raise RecipeError(f"{where}: unknown key coded")
        return _take(table, TASKS[task], where)
    coder = _take(table.get("coder", {}), Config, f"{where}.coder")
    values = {name: getattr(coder, name) for name in table.get("coder", {})}
    return _take({key: value for key, value in table.items() if key != "coder"} | {"vlae": values}, LossyConfig, where)


def _change(table: dict[str, Any], key: str, value: Any) -> None:
    *sections, entry = key.split(".")
    for section in sections:
        table = table.get(section, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict) or entry not in table:
        raise RecipeError(f"the recipe has no value {key}")
    table[entry] = value


def _check(recipe: Recipe, where: str) -> None:
    """Refuse values that are right one by one and wrong together."""
    train = recipe.train
    total = sum(source.share for source in recipe.data)
    if not recipe.data or abs(total - 1) > 1e-6:
        raise RecipeError(f"{where}: data: shares sum to {total:g}, expected 1")
    if recipe.task != "samples":
        if train.errors:
            raise RecipeError(f"{where}: train.errors: expected none, the task is {recipe.task}")
        return
    if len(train.errors) > MAX_ERROR + 1 or abs(sum(train.errors) - 1) > 1e-6:
        given = f"{len(train.errors)} that sum to {sum(train.errors):g}"
        raise RecipeError(f"{where}: train.errors: expected up to {MAX_ERROR + 1} shares that sum to 1, got {given}")
    if any(condition not in range(MAX_ERROR + 1) for condition in recipe.validation_conditions):
        raise RecipeError(f"{where}: validation.conditions: expected largest errors 0..{MAX_ERROR}")
    if recipe.rounding is None and (any(train.errors[1:]) or any(recipe.validation_conditions)):
        raise RecipeError(f"{where}: expected a table [rounding]: errors of d > 0 need the model that rounds samples")


def load_recipe(name: str, changes: dict[str, Any] | None = None) -> Recipe:
    """Return a recipe by its name in ``models/recipes`` or its path.

    ``changes`` replaces single values, such as ``{"model.latents": 0}``.

    Raises
    ------
    RecipeError
        There is no such recipe, or it is wrong: the message names the key.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = FOLDER / f"{name}.toml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise RecipeError(f"no recipe {name}: expected one of {shipped}, or the path of a file .toml")
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path.name}: {error}") from error
    for key, value in (changes or {}).items():
        _change(table, key, value)
    unknown, missing = sorted(set(table) - {*TABLES, "rounding"}), sorted(set(TABLES) - set(table))
    if unknown or missing:
        fault = f"unknown key {unknown[0]}" if unknown else f"{missing[0]} is missing"
        raise RecipeError(f"{path.name}: {fault}")
    if table["task"] not in TASKS:
        raise RecipeError(f"{path.name}: task: expected one of {', '.join(TASKS)}, got {table['task']!r}")
    if not isinstance(table["name"], str) or not isinstance(table["data"], list):
        raise RecipeError(f"{path.name}: expected a name, and a list of tables [[data]]")
    validation = _take(table["validation"], Validation, f"{path.name}: validation")
    recipe = Recipe(
        name=table["name"],
        task=table["task"],
        model=_take_model(table["task"], table["model"], f"{path.name}: model"),
        train=_take(table["train"], Training, f"{path.name}: train"),
        data=tuple(_take(source, Source, f"{path.name}: data") for source in table["data"]),
        validation_folders=validation.folders,
        validation_conditions=validation.conditions,
        validation_pixels=validation.pixels,
        rounding=_take(table["rounding"], Rounding, f"{path.name}: rounding") if "rounding" in table else None,
    )
    _check(recipe, path.name)
    return recipe
