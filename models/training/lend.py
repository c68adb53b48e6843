"""``vlae lend``: training on a machine that is lent for some minutes. Files are carried in pieces of at most 48 MiB.

    vlae lend pack RECIPE --data DIR --run RUN --to PIECES      here: the recipe, its data, the checkpoint
    vlae lend train PIECES --back BACK --minutes N              there
    vlae lend unpack BACK --run RUN                             here: the run goes on from what came back

Between these commands, carry the folders PIECES and BACK by any means that takes files of that size. The data need to
be carried only once: the next time, pack with ``--no-data`` into another folder, and name both folders to ``train``,
the newer one last.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import click

from codec.errors import CorruptDataError
from models.errors import TrainingError
from models.extra import need_extra

PIECE_BYTES = 48 << 20
LIST = "pieces.json"
RECIPE, DATA, RUN = "recipe.toml", "data", "run"
"""Names of the recipe, the data and the run in the pieces."""
GRACE_S = 60
"""Seconds that a run has, after it is told to stop, to finish a step and to save."""


class _Pieces:
    """A file that is open for writing, and is kept as pieces with a list of their hashes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, str] = {}
        self.held = bytearray()

    def write(self, data: bytes) -> int:
        self.held += data
        while len(self.held) >= PIECE_BYTES:
            self._put(PIECE_BYTES)
        return len(data)

    def _put(self, size: int) -> None:
        piece = bytes(self.held[:size])
        del self.held[:size]
        name = f"piece-{len(self.names):04d}"
        (self.folder / name).write_bytes(piece)
        self.names[name] = hashlib.sha256(piece).hexdigest()

    def close(self) -> None:
        self._put(len(self.held))
        (self.folder / LIST).write_text(json.dumps(self.names, indent=1), encoding="utf-8")


def pack(files: Iterable[tuple[Path, str]], folder: Path) -> None:
    """Write files into the pieces in a new or empty folder. Each file comes with its name in the pieces.

    Raises
    ------
    TrainingError
        The folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise TrainingError(f"{folder}: not empty")
    folder.mkdir(parents=True, exist_ok=True)
    pieces = _Pieces(folder)
    with tarfile.open(fileobj=cast("BinaryIO", pieces), mode="w|") as tar:
        for path, name in files:
            tar.add(path, name)
    pieces.close()


class _Joined:
    """A file that is open for reading, and is made of pieces. Each piece is checked."""

    def __init__(self, folder: Path) -> None:
        names = json.loads((folder / LIST).read_text(encoding="utf-8"))
        self.pieces = iter([(folder / name, digest) for name, digest in names.items()])
        self.held = b""

    def read(self, size: int) -> bytes:
        while len(self.held) < size:
            path, digest = next(self.pieces, (None, ""))
            if path is None:
                break
            piece = path.read_bytes() if path.exists() else b""
            if hashlib.sha256(piece).hexdigest() != digest:
                raise CorruptDataError(f"{path}: missing or damaged")
            self.held += piece
        found, self.held = self.held[:size], self.held[size:]
        return found


def unpack(folder: Path, to: Path) -> None:
    """Write the files that pieces hold, below the folder ``to``.

    Raises
    ------
    CorruptDataError
        A piece is missing or damaged.
    """
    if not (folder / LIST).exists():
        raise CorruptDataError(f"{folder}: no {LIST}")
    with tarfile.open(fileobj=cast("BinaryIO", _Joined(folder)), mode="r|") as tar:
        tar.extractall(to, filter="data")


def _checkpoint_files(run: Path) -> Iterator[tuple[Path, str]]:
    from models.training import checkpoints

    if (run / checkpoints.FOLDER / checkpoints.INDEX).exists():
        for path in checkpoints.travelling(run):
            yield path, f"{RUN}/{checkpoints.FOLDER}/{path.name}"
    elif (run / checkpoints.SINGLE).exists():
        yield run / checkpoints.SINGLE, f"{RUN}/{checkpoints.SINGLE}"


def _data_files(recipe: Path, data: Path) -> Iterator[tuple[Path, str]]:
    from models.recipes.reading import load_recipe

    checked = load_recipe(str(recipe))
    checked.check_data(data)
    for name in sorted({*(source.folder for source in checked.data), *checked.validation_folders}):
        path = data / name
        path = path if path.is_dir() else path.parent
        yield path, f"{DATA}/{path.relative_to(data)}"


@click.group()
def lend() -> None:
    """Carry a run to a machine that is lent, and back."""


def _folder(exists: bool = True) -> click.Path:
    return click.Path(path_type=Path, exists=exists, file_okay=False)


@lend.command("pack")
@click.argument("recipe")
@click.option("--data", type=_folder(), required=True)
@click.option("--run", type=_folder(exists=False), required=True, help="Run whose checkpoint is packed, if any.")
@click.option("--to", type=_folder(exists=False), required=True)
@click.option("--no-data", is_flag=True, help="Pack only recipe and checkpoint.")
def pack_command(recipe: str, data: Path, run: Path, to: Path, no_data: bool) -> None:
    """Pack RECIPE, its data and a run's checkpoint into pieces."""
    need_extra()
    from models.recipes.reading import FOLDER, load_recipe

    path = Path(recipe) if recipe.endswith(".toml") else FOLDER / f"{recipe}.toml"
    load_recipe(str(path))
    files = [(path, RECIPE), *_checkpoint_files(run), *([] if no_data else _data_files(path, data))]
    pack(files, to)


@lend.command("train")
@click.argument("pieces", nargs=-1, required=True, type=_folder())
@click.option("--back", type=_folder(exists=False), required=True, help="Folder for the checkpoint's pieces.")
@click.option("--minutes", type=float, required=True, help="Time for everything, with unpacking and packing.")
@click.option("--options", default="", help="More options of vlae train, in one string.")
def train_command(pieces: tuple[Path, ...], back: Path, minutes: float, options: str) -> None:
    """Train from PIECES and pack the checkpoint, all within some minutes."""
    end = time.monotonic() + 60 * minutes
    need_extra()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in pieces:
            unpack(part, folder)
        command = [sys.executable, "-m", "codec", "train", str(folder / RECIPE), "--data", str(folder / DATA)]
        grace = min(GRACE_S, 15 * minutes)
        run = subprocess.Popen([*command, "--run", str(folder / RUN), *options.split()])  # noqa: S603
        try:
            code = run.wait(max(1.0, end - grace - time.monotonic()))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGTERM)
            try:
                code = run.wait(grace)
            except subprocess.TimeoutExpired:
                run.kill()
                code = run.wait()
        if code not in (0, 128 + signal.SIGTERM):
            click.echo(f"vlae train ended with {code}; what it saved before comes back", err=True)
        pack(_checkpoint_files(folder / RUN), back)


@lend.command("unpack")
@click.argument("back", type=_folder())
@click.option("--run", type=_folder(exists=False), required=True)
def unpack_command(back: Path, run: Path) -> None:
    """Put the checkpoint of pieces that came BACK in place of a run's."""
    need_extra()
    from models.training import checkpoints

    with tempfile.TemporaryDirectory() as name:
        unpack(back, Path(name))
        found = checkpoints.load(Path(name) / RUN)
        if found is None:
            raise TrainingError(f"{back}: no checkpoint came back")
        own = checkpoints.load(run)
        if own is not None and own.progress.step > found.progress.step:
            raise TrainingError(f"{run}: its checkpoint is of a later step, {own.progress.step}")
        run.mkdir(parents=True, exist_ok=True)
        checkpoints.save(run, found.tensors, found.progress, found.shape)
    click.echo(f"{run}: step {found.progress.step}")
