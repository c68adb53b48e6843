"""The origin of a run: frozen weights, or the averages of another run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import nn

from codec.frozen.weights import CARD_HASH_BYTES
from models.errors import RecipeError
from models.tasks.interface import AnyTask
from models.training import checkpoints
from models.training.progress import Start


@torch.no_grad()
def fill(task: AnyTask, model: nn.Module, path: Path) -> None:
    """Fill a fresh model with frozen weights, with the averages of a run, or with those of `save_averages`.

    Raises
    ------
    RecipeError
        Their shape is not that of the recipe's model.
    CorruptDataError
        The averages are damaged.
    ModelError
        The frozen weights are damaged.
    """
    if not checkpoints.is_checkpoint(path):
        try:
            task.thaw(path.read_bytes(), model)
        except ValueError as error:
            raise RecipeError(f"{path}: {error}") from error
        return
    tensors = _checkpoint(path).tensors
    for name, p in model.named_parameters():
        value = tensors.get(f"average.{name}")
        if value is None or value.shape != p.shape:
            have = "missing" if value is None else tuple(value.shape)
            raise RecipeError(f"{path}: averages of another recipe: {name} is {have}, not {tuple(p.shape)}")
        p.copy_(value)


def _checkpoint(path: Path) -> checkpoints.Checkpoint:
    found = checkpoints.load(path) if path.is_dir() else checkpoints.load_single(path)
    if found is None:
        raise RecipeError(f"{path}: no checkpoint")
    return found


def start_entry(path: Path) -> Start:
    """Return the origin for a run that begins from weights: their hash, and the steps and hours that made them.

    For frozen weights, the steps and hours stand in the card beside them, if there is one. Those of the weights' own
    origin are included.
    """
    if path.is_dir():
        names = [checkpoints.FOLDER + "/" + checkpoints.INDEX, checkpoints.SINGLE]
        hashed = next(path / name for name in names if (path / name).exists())
    else:
        hashed = path
    entry: Start = {"hash": hashlib.sha256(hashed.read_bytes()).digest()[:CARD_HASH_BYTES].hex()}
    card = path.with_suffix(".json")
    values: dict[str, float] = {}
    before: Start = {}
    if checkpoints.is_checkpoint(path):
        found = _checkpoint(path).progress
        values, before = {"steps": found.step, "hours": found.seconds / 3600}, found.start or {}
    elif card.exists():
        written = json.loads(card.read_text(encoding="utf-8"))
        values, before = {key: written[key] for key in ("steps", "hours") if key in written}, written.get("start") or {}
    for key, value in values.items():
        entry[key] = round(value + float(before.get(key, 0)), 2)
    return entry
