"""Shipping: the frozen weights of a finished run become a model of the package, under a new number.

Files name their model by its number and hash. So a number is never used again, and no weights that ship are replaced.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import safetensors.numpy

from codec.errors import CorruptDataError, ModelError
from codec.frozen.shipped import WEIGHTS
from codec.frozen.weights import parse_model
from codec.system.outputs import write_file
from models.errors import RecipeError, TrainingError
from models.freezing.freeze import UNSHIPPED
from models.training.checkpoints import metadata
from models.training.finish import CARD, FROZEN, Card

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NUMBERS = Path(__file__).parents[1] / "numbers.toml"
"""The file of all numbers that were ever used, with the names of their models."""
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def read_run(run: Path) -> tuple[bytes, Card]:
    """Return the frozen weights of a finished run, and their card.

    Raises
    ------
    TrainingError
        The run is not finished.
    CorruptDataError
        The weights or the card are damaged, or do not belong together.
    """
    if not (run / FROZEN).is_file() or not (run / CARD).is_file():
        raise TrainingError(f"{run}: not finished: expected {FROZEN} and {CARD}, which vlae train writes at its end")
    data = (run / FROZEN).read_bytes()
    try:
        card: Card = json.loads((run / CARD).read_text(encoding="utf-8"))
        found = parse_model(data).hash.hex()
        wanted = card["hash"]
    except (ModelError, ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(f"{run}: damaged weights or card: {error}") from error
    if found != wanted:
        raise CorruptDataError(f"{run}: {FROZEN} has hash {found}, expected {wanted} of {CARD}")
    return data, card


def renumbered(data: bytes, number: int, name: str) -> bytes:
    """Return a weights file with another number and name, and so with another hash."""
    config = json.loads(metadata(data)["config"]) | {"number": number, "name": name}
    return safetensors.numpy.save(safetensors.numpy.load(data), {"config": json.dumps(config)})


def _check_new(number: int, name: str, weights: Path, numbers: Path) -> None:
    if not 0 <= number < UNSHIPPED:
        raise RecipeError(f"--number {number}: expected 0..{UNSHIPPED - 1}")
    if not NAME.fullmatch(name):
        raise RecipeError(f"--name {name}: expected small letters, digits and hyphens")
    used = tomllib.loads(numbers.read_text(encoding="utf-8")) if numbers.exists() else {}
    if str(number) in used:
        raise RecipeError(f"--number {number}: was used by {used[str(number)]}, and numbers are never used again")
    for path in weights.iterdir():
        old_name, _, old_number = path.stem.rpartition("-")
        if path.suffix in (".safetensors", ".json") and (old_number == str(number) or old_name == name):
            raise RecipeError(f"{path} exists: expected a new number and a new name (--name)")


def ship(run: Path, number: int, name: str | None = None, weights: Path = WEIGHTS, numbers: Path = NUMBERS) -> Card:
    """Add the frozen weights of a finished run to the package, and return their card.

    Parameters
    ----------
    run : Path
        The run's folder.
    number : int
        A number that was never used before.
    name : str or None
        A name that no shipped model has. None takes the recipe's.
    weights, numbers : Path
        Folder of the weights that ship, and file of the numbers that were used.

    Raises
    ------
    RecipeError
        The number or the name is not new.
    TrainingError
        The run is not finished, or a file cannot be written. Then nothing is shipped, but the number may count as used.
    CorruptDataError
        The run's weights or card are damaged, or do not belong together.

    Notes
    -----
    The weights are written last, because a model exists as soon as its weights do.
    """
    data, card = read_run(run)
    name = str(card["name"]) if name is None else name
    _check_new(number, name, weights, numbers)
    data = renumbered(data, number, name)
    model = parse_model(data)
    own = {"name": name, "number": number, "hash": model.hash.hex(), "weights_bytes": len(data)}
    card = own | {key: value for key, value in card.items() if key not in own}
    stem = weights / f"{name}-{number}"
    before = numbers.read_text(encoding="utf-8") if numbers.exists() else ""
    try:
        write_file(numbers, f'{before}{number} = "{name}"\n'.encode(), force=True)
        write_file(stem.with_suffix(".json"), (json.dumps(card, indent=2) + "\n").encode())
        try:
            write_file(stem.with_suffix(".safetensors"), data)
        except BaseException:
            stem.with_suffix(".json").unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TrainingError(f"{error.filename}: {error.strerror}: nothing was shipped") from error
    except ValueError as error:  # a file of this name has appeared just now, and is not replaced
        raise TrainingError(f"{stem}: exists: nothing was shipped") from error
    return card
