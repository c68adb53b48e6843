"""The plan of a batch: which image becomes which file. Two images never get one output.

A file is written to the folder of the outputs under its own name with another suffix. The images below a folder keep
their places: ``photos/a/b.png`` of the folder ``photos`` becomes ``a/b.vlae``. The name of a folder is not kept, so
that an output does not depend on what else is asked for. Names of a list keep their folders, as with tar.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from codec.errors import CodecError, RequestError
from codec.format.beginning import read_beginning
from codec.format.headers import MAGIC
from codec.image_files.writing import suffix_for
from codec.system.folders import Found, find_files, find_images

WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class Way:
    """A way that images go: into files, or back.

    Attributes
    ----------
    name : str
        The function of `codec.api` that goes it.
    suffix_of : callable
        Returns the suffix of the output of a file.
    find : callable
        Returns what a folder has for it.
    """

    name: str
    suffix_of: Callable[[Path], str]
    find: Callable[[Path], Found]


VLAE, PNG = ".vlae", ".png"
"""Suffixes of compressed files, and of images whose file cannot be read."""


def _image_suffix(path: Path) -> str:
    """Return the suffix of the image of a compressed file. If that cannot be read, the work will say so."""
    try:
        with path.open("rb") as file:
            return suffix_for(read_beginning(file)[0].mode)
    except (OSError, CodecError):
        return PNG


COMPRESS = Way("compress", lambda path: VLAE, find_images)
DECOMPRESS = Way("decompress", _image_suffix, lambda folder: find_files(folder, VLAE, MAGIC))


@dataclass(frozen=True)
class Task:
    """An image to code, and the file that it becomes."""

    source: Path
    target: Path


@dataclass
class Plan:
    """The tasks of a batch.

    Attributes
    ----------
    tasks : list of Task
        In the order of the inputs; the images of a folder in the order of their names.
    found : dict of Path to Found
        What there is in each folder.
    """

    tasks: list[Task] = field(default_factory=list)
    found: dict[Path, Found] = field(default_factory=dict)


def plan(way: Way, names: Iterable[str], to: Path, listed: Iterable[str] = ()) -> Plan:
    """Return the plan for files, folders and patterns such as ``photos/*.png``. Nothing is written.

    Parameters
    ----------
    way : Way
    names : iterable of str
        Files, folders, and patterns where there is no file of such a name. Their outputs lie directly in ``to``, those
        of a folder's images below it as in the folder.
    to : Path
        Folder of the outputs.
    listed : iterable of str
        Files and folders of a list. Their outputs lie in ``to`` as the names say: ``a/b.png`` becomes ``a/b.vlae``.

    Raises
    ------
    ValueError
        Two images would have one output, an output would replace one of the images, a pattern fits no file, or there
        is no image.
    """
    made = Plan()
    for name in names:
        for path in _matches(name):
            _add(made, way, path, to, PurePath(), PurePath(path.name))
    for name in listed:
        kept = _below(name)
        _add(made, way, Path(name), to, kept, kept)
    if not made.tasks:
        raise RequestError(f"{', '.join([*map(str, made.found)]) or 'inputs'}: expected images, got none")
    made.tasks = _without_collisions(way, made.tasks)
    return made


def is_pattern(name: str) -> bool:
    """Return whether a name has wildcards and is not that of a file."""
    return not WILDCARDS.isdisjoint(name) and not os.path.lexists(name)


def _matches(name: str) -> list[Path]:
    """Return the path of a name, or those that fit it if it is a pattern."""
    if not name:
        raise RequestError("file: expected a name, got an empty one")
    if not is_pattern(name):
        return [Path(name)]
    found = sorted(glob.glob(name, recursive=True))
    if not found:
        raise RequestError(f"{name}: fits no file")
    return [Path(path) for path in found]


def _below(name: str) -> PurePath:
    """Return a name as it is kept below another folder: without ``/`` at its beginning, and without ``..``."""
    path = PurePath(os.path.normpath(name))
    return PurePath(*(part for part in path.parts if part not in (path.anchor, "..")))


def _add(made: Plan, way: Way, path: Path, to: Path, of_folder: PurePath, of_file: PurePath) -> None:
    """Add a file or a folder to a plan. The last two parameters say where its output or outputs lie below ``to``."""
    if path.is_dir():
        if path.resolve() == Path(path.resolve().anchor):
            raise RequestError(f"{path}: is the whole file system, expected a folder of images")
        found = made.found[path] = way.find(path)
        places = [(image, of_folder / image.relative_to(path)) for image in found.images]
    else:
        places = [(path, of_file)]
    made.tasks += [Task(image, to / place.with_suffix(way.suffix_of(image))) for image, place in places]


def _without_collisions(way: Way, tasks: list[Task]) -> list[Task]:
    """Return the tasks, those that are there twice only once."""
    kept: dict[str, Task] = {}
    sources = {_key(task.source) for task in tasks}
    collisions = []
    for task in tasks:
        key = _key(task.target)
        if key in sources:
            raise RequestError(f"output {task.target}: is one of the sources, expected another folder")
        other = kept.setdefault(key, task)
        if _key(other.source) != _key(task.source):
            collisions.append((other, task))
    if collisions:
        (first, second), more = collisions[0], len(collisions) - 1
        raise RequestError(
            f"output {first.target}: would be that of {first.source} and of {second.source}"
            f"{f', and {more} others likewise' if more else ''}; rename one, or {way.name} them to different folders"
        )
    return list(kept.values())


def _key(path: Path) -> str:
    """Return what is equal for two paths that name one file."""
    return os.path.normcase(os.path.abspath(path))
