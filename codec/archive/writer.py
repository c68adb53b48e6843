"""Making archives, and adding to them: what is there is never written again.

An addition writes its blocks and their index behind the last valid trailer, waits until they are on the disk,
and only then writes the trailer that makes them part of the archive.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

from codec.archive.blocks import encode_block
from codec.errors import RequestError, UnsupportedError
from codec.format import metadata
from codec.format.archive_index import BLOCK_IMAGES, MAX_BLOCK_IMAGES, Block, check_name, pack_index
from codec.format.archive_sections import IMAGE_LIMIT, INDEX_LIMIT, START, TRAILER_BYTES, pack_trailer, read_sections
from codec.images.fidelities import check_model
from codec.images.goals import Goal, goal_of
from codec.system import sources, workers
from codec.system.outputs import open_to_add, output, sync, undoing
from codec.system.workers import Report

Source = Image.Image | sources.Source
"""An image, or the path or the bytes of its file."""
Dropped = dict[str, tuple[str, ...]]
"""By the names of images: the names of what their files say that is not kept, where there is such."""


@dataclass(frozen=True)
class _Task:
    """Images of a block that are to be encoded."""

    images: list[tuple[str, Image.Image | str | os.PathLike[str] | bytes]]
    goal: Goal
    model: str | None


def create_archive(
    path: str | os.PathLike[str] | BinaryIO,
    images: Mapping[str, Source],
    *,
    force: bool = True,
    lossless: bool = False,
    max_error: int | None = None,
    quality: int | None = None,
    model: str | None = None,
    block: int = BLOCK_IMAGES,
    processes: int | None = None,
    report: Report = lambda images: None,
) -> Dropped:
    """Write an archive of images; a file gets its name when all is written.

    Parameters
    ----------
    path : path or binary file
    images : mapping of str to PIL.Image.Image, or what `codec.compress` takes for a file of one
        By their names in the archive, in its order.
    force : bool
        Replace a file of this name; if not, one that exists or appears meanwhile is an error.
    lossless, max_error, quality
        One, or none for the default quality, as of `codec.compress`.
    model : str, optional
        As of `codec.compress`.
    block : int
        Images of a block, 1 to 65535: more share their bits, and more are decoded to get one.
    processes : int, optional
        At the same time; the archive is the same for any number.
    report : callable
        Called with numbers of images when they are done.

    Returns
    -------
    dict of str to tuple of str
        By the names of images, the names of what their files say that is not kept, where there is such.

    Raises
    ------
    ImageError
        An image cannot be read, or not be coded without changing it.
    ModelError
        The weights are missing or damaged.
    ValueError, TypeError
        A parameter out of range, a name that is not legal, no image, or a file that is not to be replaced.
    ChildProcessError, OSError
        A file cannot be read or written, or a process was killed.
    """
    goal = goal_of(lossless=lossless, max_error=max_error, quality=quality)
    tasks = _tasks(images, goal, model, block)
    to = output(path, force=force) if isinstance(path, str | os.PathLike) else nullcontext(path)
    with to as file:
        file.write(START)
        return _append(file, tasks, processes, report)


def add_to_archive(
    path: str | os.PathLike[str],
    images: Mapping[str, Source],
    *,
    lossless: bool = False,
    max_error: int | None = None,
    quality: int | None = None,
    model: str | None = None,
    block: int = BLOCK_IMAGES,
    processes: int | None = None,
    report: Report = lambda images: None,
) -> Dropped:
    """Add images to an archive, in blocks of their own; if that fails, the archive is as it was.

    Parameters and errors are those of `create_archive`, and besides:

    Raises
    ------
    CorruptDataError, UnsupportedError
        As of `codec.Archive`.
    ValueError
        An image of the archive has the name of one that is added.
    BlockingIOError, FileNotFoundError
        Another process is adding to the archive, or has replaced it meanwhile.
    """
    goal = goal_of(lossless=lossless, max_error=max_error, quality=quality)
    tasks = _tasks(images, goal, model, block)
    with open_to_add(path) as file:
        _lock(file)
        sections = read_sections(file)
        known = {image.name for section in sections for b in section.blocks for image in b.images}
        for name in images:
            if name in known:
                raise RequestError(f"name {name!r}: is in the archive")
        if len(known) + len(images) > IMAGE_LIMIT:
            raise UnsupportedError(f"archive: expected at most {IMAGE_LIMIT} images, got {len(known) + len(images)}")
        end = sections[-1].end
        file.truncate(end)
        file.seek(end)
        with undoing(lambda: file.truncate(end)):
            dropped = _append(file, tasks, processes, report)
        if not os.path.samestat(os.stat(path), os.fstat(file.fileno())):
            raise FileNotFoundError(f"{os.fspath(path)}: another process has replaced it meanwhile, nothing was added")
        return dropped


def _lock(file: BinaryIO) -> None:
    """Let no other process add at the same time, where the system has such locks."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"{file.name}: another process is adding to it") from None


def _tasks(images: Mapping[str, Source], goal: Goal, model: str | None, block: int) -> list[_Task]:
    check_model(model, goal)
    if not 1 <= sources.whole("block", block) <= MAX_BLOCK_IMAGES:
        raise RequestError(f"block: expected 1 to {MAX_BLOCK_IMAGES}, got {block}")
    if not 1 <= len(images) <= IMAGE_LIMIT:
        raise RequestError(f"images: expected 1 to {IMAGE_LIMIT}, got {len(images)}")
    for name in images:
        check_name(name)
    named = [(name, _sendable(name, image)) for name, image in images.items()]
    return [_Task(named[begin : begin + block], goal, model) for begin in range(0, len(named), block)]


def _sendable(name: str, image: Source) -> Image.Image | str | os.PathLike[str] | bytes:
    """Return an image, or its file, such that another process can have it."""
    if isinstance(image, Image.Image | str | os.PathLike):
        return image
    return sources.data_of(image, f"image {name!r}", "a Pillow image, ")


def _append(file: BinaryIO, tasks: list[_Task], processes: int | None, report: Report) -> Dropped:
    """Write a section of images at the end of a file; return what is not kept of them."""
    blocks = []
    dropped = {}
    with closing(workers.run(_encode_block, tasks, lambda task: len(task.images), processes, report)) as done:
        for block, data in done:
            file.write(data)
            file.flush()  # a full disk shows now, not after all work
            blocks.append(block)
            for image, container in zip(block.images, block.split(data)[1], strict=True):
                if names := metadata.info_of(container.metadata).get("dropped"):
                    dropped[image.name] = names
    index = pack_index(blocks)
    if len(index) > INDEX_LIMIT:
        raise RequestError(f"images: expected names for an index of at most {INDEX_LIMIT} bytes, got {len(index)}")
    file.write(index)
    # The trailer must not reach the disk before what it speaks of.
    sync(file)
    file.write(pack_trailer(index, sum(block.length for block in blocks) + len(index) + TRAILER_BYTES))
    sync(file)
    return dropped


def _encode_block(task: _Task, threads: int | None, report: Report) -> tuple[Block, bytes]:
    return encode_block(task.images, task.goal, task.model, threads, report)
