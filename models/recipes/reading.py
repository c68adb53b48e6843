"""Reading recipes. They are checked, and an error names the wrong key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from models.data.crops import Source
from models.data.rounding import Rounding
from models.errors import RecipeError
from models.nets.likelihood import MAX_ERROR
from models.recipes.forms import TASKS, take
from models.recipes.tables import Recipe, Training, Validation

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
TABLES = ("name", "task", "model", "train", "data", "validation")
"""What a recipe has; some have a table [rounding], too."""


def _change(table: dict[str, Any], key: str, value: object) -> None:
    *sections, entry = key.split(".")
    for section in sections:
        table = table.get(section, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict) or entry not in table:
        raise RecipeError(f"the recipe has no value {key}")
    table[entry] = value


def _check(recipe: Recipe, where: str) -> None:
    """Refuse values that contradict each other."""
    train = recipe.train
    total = sum(source.share for source in recipe.data)
    if not recipe.data or abs(total - 1) > 1e-6:
        raise RecipeError(f"{where}: data: shares sum to {total:g}, expected 1")
    if not TASKS[recipe.task].has_errors:
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


def load_recipe(name: str, changes: dict[str, object] | None = None) -> Recipe:
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
    validation = take(table["validation"], Validation, f"{path.name}: validation")
    recipe = Recipe(
        name=table["name"],
        task=table["task"],
        model=TASKS[table["task"]].read(table["model"], f"{path.name}: model"),
        train=take(table["train"], Training, f"{path.name}: train"),
        data=tuple(take(source, Source, f"{path.name}: data") for source in table["data"]),
        validation_folders=validation.folders,
        validation_conditions=validation.conditions,
        validation_pixels=validation.pixels,
        rounding=take(table["rounding"], Rounding, f"{path.name}: rounding") if "rounding" in table else None,
    )
    _check(recipe, path.name)
    return recipe
