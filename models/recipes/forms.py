"""How recipes of each task are read: the shape that their [model] table becomes, and what else they may say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import msgspec

from models.errors import RecipeError
from models.nets.lossy import LossyConfig
from models.nets.spatial import SpatialConfig
from models.nets.vlae import Config

Table = dict[str, Any]
"""A table of a recipe's file."""
Kind = TypeVar("Kind")


def take(table: object, kind: type[Kind], where: str) -> Kind:
    """Return a table of the file as a dataclass; keys and types must be those of its fields.

    Raises
    ------
    RecipeError
        They are not; the message begins with ``where``.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # each kind is a dataclass
    unknown = sorted(set(table) - set(known)) if isinstance(table, dict) else []
    if unknown:
        raise RecipeError(f"{where}: unknown key {unknown[0]}, expected some of {', '.join(known)}")
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{where}: {error}") from error


def _as_it_is(table: Table, where: str) -> Table:
    return table


def _without_coded(table: Table, where: str) -> Table:
    """Return the table; what is coded follows from the task."""
    if "coded" in table:
        raise RecipeError(f"{where}: unknown key coded")
    return table


def _with_coder(table: Table, where: str) -> Table:
    """Return the table with the values of its table [model.coder], checked, as its entry ``vlae``."""
    given, where = table.get("coder", {}), f"{where}.coder"
    coder = take(given, Config, where)
    values = {name: getattr(coder, name) for name in _without_coded(given, where)}
    return {key: value for key, value in table.items() if key != "coder"} | {"vlae": values}


@dataclass(frozen=True)
class Form:
    """How the recipes of one task are read.

    Attributes
    ----------
    shape : type
        The dataclass that a [model] table becomes.
    fields : callable
        Returns the values of that dataclass's fields, of a [model] table and of where it stands, for messages. It
        raises RecipeError. A task whose tables hold other tables has one of its own.
    has_errors : bool
        Whether crops are coded within largest errors: `models.recipes.tables.Training.errors`.
    takes_arrays : bool
        Whether images may come from arrays, ``FILE.npz/NAME``, as well as from folders.
    """

    shape: type
    fields: Callable[[Table, str], Table] = _as_it_is
    has_errors: bool = False
    takes_arrays: bool = False

    def read(self, table: object, where: str) -> Any:
        """Return the shape that a [model] table says.

        Raises
        ------
        RecipeError
            The table is wrong; the message begins with ``where`` and names the key.
        """
        if not isinstance(table, dict):
            raise RecipeError(f"{where}: expected a table")
        return take(self.fields(table, where), self.shape, where)


TASKS = {
    "samples": Form(Config, _without_coded, has_errors=True),
    "lossy": Form(LossyConfig, _with_coder),
    "maps": Form(SpatialConfig, takes_arrays=True),
}
"""By the word that a recipe has for what it trains: photographs' samples, the latents of a transform, or small images
whose latents become a map of features. What trains each, `models.tasks.interface.TASKS` says."""
