"""Checkpoints: everything that a run needs to go on, in files small enough to be carried to another machine.

``RUN/checkpoint/index.json`` names the files, each at most `SHARD_BYTES` long, with their lengths and SHA-256:

* ``weights``: the weights and their averages, float32, compressed by gzip without loss;
* ``moments``: the optimiser's moments, rounded to bfloat16, compressed as well;
* ``exact``: the same moments in float32. They need not be carried: without them a run goes on along the same loss
  curve, and with them it goes on to the same bits.

A file's name has its hash, so that the files of a new checkpoint never replace those of the last. The index is renamed
last, and only then the old files are deleted. So an interruption at any time leaves a complete checkpoint.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from codec.errors import CorruptDataError
from codec.system.outputs import write_file
from models.errors import RecipeError, TrainingError
from models.recipes.tables import Recipe
from models.training.progress import Progress

SHARD_BYTES = 15 << 20
"""Largest length of a file. Some ways of carrying files take no larger ones."""
TRAVELLING_BYTES = 45 << 20
"""Largest length of all files together, without the exact moments."""
FOLDER, INDEX = "checkpoint", "index.json"
SINGLE = "checkpoint.safetensors"
"""Name of the checkpoint that older runs wrote: a single file, whose moments are float32."""
WEIGHTS = ("model.", "average.")
TEMPORARY = ".vlae-*.tmp"
"""Pattern of the temporary names of `codec.system.outputs`."""

Tensors = dict[str, Tensor]
Shape = dict[str, object]
"""Task and shape of a model, as JSON has them."""


class Checkpoint(NamedTuple):
    """A checkpoint: tensors by name, the run's progress, and the shape of its model if that is known."""

    tensors: Tensors
    progress: Progress
    shape: Shape | None


class _Entry(TypedDict):
    """A file of a checkpoint, as the index names it."""

    name: str
    bytes: int
    sha256: str
    kind: str


def shape_of(recipe: Recipe) -> Shape:
    """Return the part of a recipe that must be the same in its checkpoint: the task and the model's shape."""
    shape: Shape = json.loads(json.dumps({"task": recipe.task, "model": asdict(recipe.model)}))
    return shape


def _differences(have: object, want: object, name: str) -> Iterator[str]:
    if isinstance(have, dict) and isinstance(want, dict):
        for key in sorted({*have, *want}):
            yield from _differences(have.get(key), want.get(key), f"{name}.{key}" if name else key)
    elif have != want:
        yield f"{name} is {have}, not {want}"


def check_shape(found: Checkpoint, recipe: Recipe, model: torch.nn.Module, where: Path) -> None:
    """Refuse a checkpoint of another recipe.

    Raises
    ------
    RecipeError
        The task, the shape of the model, or the shape of a tensor is another one. The message names it.
    """
    own = {f"{part}{name}": tuple(p.shape) for part in WEIGHTS for name, p in model.named_parameters()}
    have = {name: tuple(tensor.shape) for name, tensor in found.tensors.items() if name.startswith(WEIGHTS)}
    shape = shape_of(recipe) if found.shape is not None else None
    different = [*_differences(found.shape, shape, ""), *_differences(have, own, "")]
    if different:
        raise RecipeError(f"{where}: a checkpoint of another recipe: {different[0]}")


def _shards(tensors: Tensors) -> Iterator[bytes]:
    part: Tensors = {}
    size = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        bytes_ = tensor.numel() * tensor.element_size() + 256  # with the tensor's entry in the header
        if part and size + bytes_ > SHARD_BYTES - 256:
            yield save_tensors(part)
            part, size = {}, 0
        part[name] = tensor
        size += bytes_
    if part:
        yield save_tensors(part)


def save(run: Path, tensors: Tensors, progress: Progress, shape: Shape | None) -> None:
    """Write a checkpoint in place of the run's last one.

    Raises
    ------
    TrainingError
        It cannot be written. The last one stays.
    """
    folder = run / FOLDER
    moments = {name: tensor for name, tensor in tensors.items() if not name.startswith(WEIGHTS)}
    kinds = {
        "weights": {name: tensor for name, tensor in tensors.items() if name.startswith(WEIGHTS)},
        "moments": {name: tensor.to(torch.bfloat16) for name, tensor in moments.items()},
        "exact": moments,
    }
    files: list[_Entry] = []
    before = set(folder.glob("*.safetensors*"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind, parts in kinds.items():
            for data in _shards(parts):
                ending = ".safetensors"
                if kind != "exact":
                    data, ending = gzip.compress(data, 1, mtime=0), ".safetensors.gz"
                digest = hashlib.sha256(data).hexdigest()
                name = f"{kind}-{digest[:16]}{ending}"
                if folder / name not in before:
                    write_file(folder / name, data, force=True)
                files.append({"name": name, "bytes": len(data), "sha256": digest, "kind": kind})
        index = {"progress": asdict(progress), "shape": shape, "files": files}
        write_file(folder / INDEX, (json.dumps(index, indent=1) + "\n").encode(), force=True)
    except BaseException as error:
        for path in set(folder.glob("*.safetensors*")) - before:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            step = f"the checkpoint of step {progress.step}"
            raise TrainingError(f"{folder}: {error.strerror}: cannot write {step}, the last one stays") from error
        raise
    # Temporary files were left by a process that was killed while it wrote.
    for path in {*before, *folder.glob(TEMPORARY)} - {folder / entry["name"] for entry in files}:
        path.unlink(missing_ok=True)
    (run / SINGLE).unlink(missing_ok=True)


def _load_file(path: Path, entry: _Entry) -> Tensors:
    data = path.read_bytes() if path.exists() else b""
    if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise CorruptDataError(f"{path}: missing or damaged, expected {entry['bytes']} bytes as {INDEX} says")
    return load_tensors(gzip.decompress(data) if path.suffix == ".gz" else data)


def load(run: Path) -> Checkpoint | None:
    """Return a run's checkpoint, or None if it has none.

    Raises
    ------
    CorruptDataError
        A file is missing or damaged. Only the files of the exact moments may be missing, and then all of them.
    """
    folder = run / FOLDER
    if not (folder / INDEX).exists():
        return load_single(run / SINGLE) if (run / SINGLE).exists() else None
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        files: list[_Entry] = index["files"]
        progress, shape = Progress(**index["progress"]), index["shape"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(f"{folder / INDEX}: damaged: {error}") from error
    tensors: Tensors = {}
    left = [entry for entry in files if entry["kind"] == "exact" and (folder / entry["name"]).exists()]
    for entry in files:
        if entry["kind"] != "exact" or left:
            tensors |= _load_file(folder / entry["name"], entry)
    return Checkpoint({name: tensor.float() for name, tensor in tensors.items()}, progress, shape)


def load_single(path: Path) -> Checkpoint:
    """Return the checkpoint in a single file, as older runs wrote it.

    Raises
    ------
    CorruptDataError
        The file is damaged.
    """
    try:
        data = path.read_bytes()
        progress = Progress(**json.loads(metadata(data)["progress"]))
        return Checkpoint(load_tensors(data), progress, None)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(f"{path}: not a checkpoint: {error}") from error


def metadata(data: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file.

    Raises
    ------
    ValueError
        The metadata cannot be read.
    """
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    found: dict[str, str] = header.get("__metadata__", {})
    return found


def save_averages(run: Path) -> Path:
    """Write the averages of a run's checkpoint as float16, ``RUN/averages-STEP.safetensors``, and return the path.

    Runs of all recipes with the same shape may begin from them (``--start``).

    Raises
    ------
    TrainingError
        The run has no checkpoint.
    CorruptDataError
        The checkpoint is damaged.
    """
    found = load(run)
    if found is None:
        raise TrainingError(f"{run}: no checkpoint")
    tensors = {name: t.half().contiguous() for name, t in found.tensors.items() if name.startswith("average.")}
    path = run / f"averages-{found.progress.step}.safetensors"
    progress = json.dumps(asdict(found.progress))
    write_file(path, save_tensors(tensors, {"progress": progress}), force=True)
    return path


def travelling(run: Path) -> list[Path]:
    """Return the files of a run's checkpoint that must be carried: all but the exact moments."""
    index = json.loads((run / FOLDER / INDEX).read_text(encoding="utf-8"))
    names = [entry["name"] for entry in index["files"] if entry["kind"] != "exact"]
    return [run / FOLDER / name for name in (*names, INDEX)]


def is_checkpoint(path: Path) -> bool:
    """Return whether a path holds averages: a run's folder, a checkpoint in one file, or a file of `save_averages`."""
    if path.is_dir():
        return (path / FOLDER / INDEX).exists() or (path / SINGLE).exists()
    with path.open("rb") as file:
        begin = file.read(8)
        header = file.read(min(int.from_bytes(begin, "little"), path.stat().st_size))
    try:
        return "progress" in metadata(begin + header)
    except (ValueError, AttributeError):
        return False
