"""Making archives and adding to them. Bytes of an archive are never changed after they are written.

An addition writes its blocks and their index behind the last valid trailer, and waits until they are on the disk. Only
then it writes the trailer, which makes them part of the archive.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.archive import plan
from codec.archive.encoding import Refused, encode_block
from codec.errors import RequestError, UnsupportedError
from codec.format import metadata
from codec.format.archive_index import MAX_BLOCK_IMAGES, Block, check_name, pack_index
from codec.format.archive_sections import IMAGE_LIMIT, START, TRAILER_BYTES, index_room, pack_trailer, read_sections
from codec.image_files import frame_files
from codec.image_files.frames import frame_name
from codec.image_files.wide_image import from_array
from codec.images.fidelities import check_model
from codec.images.goals import Goal, goal_of
from codec.system import sources, workers
from codec.system.outputs import open_to_add, output, sync, undoing
from codec.system.workers import Report

Source = Image.Image | NDArray[Any] | sources.Source
"""Type of an image's source: the image itself, or the path or the bytes of its file."""
Dropped = dict[str, tuple[str, ...]]
"""Names of dropped metadata, by the name of the image. Only images whose files have such metadata are in it."""


Refuse = Callable[[str, Exception], None]
"""A callable. It is called with the name and the error of an image that cannot be read or coded."""


def raise_error(name: str, error: Exception) -> None:
    """Raise the error of an image, so that no archive is made without it."""
    raise error


@dataclass(frozen=True)
class _Task:
    """A task for a worker: the images of one block to encode."""

    images: list[plan.Named]
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
    block: int | None = None,
    processes: int | None = None,
    report: Report = lambda images: None,
    refuse: Refuse = raise_error,
) -> Dropped:
    """Write an archive of images, and return the names of the metadata that was dropped.

    The file gets its name when all images are written.

    Parameters
    ----------
    path : path or binary file
        Where the archive is written.
    images : mapping of str to PIL.Image.Image, uint16 array, path, bytes, bytearray, memoryview or binary file
        The images, or sources of their files, by their names in the archive and in its order. A file of several frames
        becomes several images: frame 1 of ``a.gif`` has the name ``a.gif/0001``, and its duration in ``info``.
    force : bool
        Whether to replace an existing file.
    lossless : bool
        Every sample comes back.
    max_error : int, optional
        No colour sample comes back changed by more than this, 0 to 10.
    quality : int, optional
        Quality of lossy images, 1 to 100. Without any of the three, images are lossy at the default quality.
    model : str, optional
        With ``lossless``: the name of a model for certain images, see ``vlae models``. By default small images get a
        model of their own where it makes their block shorter (`codec.images.small`).
    block : int, optional
        Images of a block, 1 to 65535. With more images, each is shorter, but more are decoded to get one. By default a
        block has up to 8 images, and small ones until they have half a megapixel together (`codec.archive.plan`).
    processes : int, optional
        Number of processes, by default one for each processor. The archive is the same for any number.
    report : callable
        Called with the number of images that have been done since the last call.
    refuse : callable
        Called with the name and the error of each image that cannot be read or coded. It is left out if this returns,
        unless all images are. By default the error is raised.

    Returns
    -------
    dict of str to tuple of str
        Names of the dropped metadata, by the name of the image. Images without dropped metadata are not in it.

    Raises
    ------
    ImageError
        An image cannot be read, or cannot be coded without changing it.
    ModelError
        The weights are missing or damaged.
    ValueError
        A parameter is out of range, a name is not legal, there is no image, or the file exists and ``force`` is false.
    TypeError
        A parameter has a wrong type.
    OSError
        A file cannot be read or written.
    ChildProcessError
        A process was killed.
    """
    goal = goal_of(lossless=lossless, max_error=max_error, quality=quality)
    tasks = _tasks(images, goal, model, block)
    to = output(path, force=force) if isinstance(path, str | os.PathLike) else nullcontext(path)
    with to as file:
        file.write(START)
        return _append(file, index_room([]), _encoded(tasks, processes, report, refuse))


def add_to_archive(
    path: str | os.PathLike[str],
    images: Mapping[str, Source],
    *,
    lossless: bool = False,
    max_error: int | None = None,
    quality: int | None = None,
    model: str | None = None,
    block: int | None = None,
    processes: int | None = None,
    report: Report = lambda images: None,
    refuse: Refuse = raise_error,
) -> Dropped:
    """Add images to an archive, in new blocks, and return the names of the metadata that was dropped.

    If that fails, the archive stays as it was. The parameters and the result are those of `create_archive`.

    Raises
    ------
    CorruptDataError
        The file is not an archive, or it is damaged.
    UnsupportedError
        The archive has another version of the format, or would have more images than the limit.
    ValueError
        An image of the archive already has one of the names; or a parameter is wrong, see `create_archive`.
    BlockingIOError
        Another process is adding to the archive.
    FileNotFoundError
        The archive does not exist, or another process has replaced it meanwhile.
    ImageError, ModelError, TypeError, OSError, ChildProcessError
        See `create_archive`.
    """
    goal = goal_of(lossless=lossless, max_error=max_error, quality=quality)
    tasks = _tasks(images, goal, model, block)
    with open_to_add(path) as file:
        _lock(file)
        sections = read_sections(file)
        known = {image.name for section in sections for b in section.blocks for image in b.images}
        added = [name for task in tasks for name, _ in task.images]
        for name in added:
            if name in known:
                raise RequestError(f"name {name!r}: is in the archive")
        if len(known) + len(added) > IMAGE_LIMIT:
            raise UnsupportedError(f"archive: expected at most {IMAGE_LIMIT} images, got {len(known) + len(added)}")
        end = sections[-1].end
        file.truncate(end)
        file.seek(end)
        with undoing(lambda: file.truncate(end)):
            dropped = _append(file, index_room(sections), _encoded(tasks, processes, report, refuse))
        if not os.path.samestat(os.stat(path), os.fstat(file.fileno())):
            raise FileNotFoundError(f"{os.fspath(path)}: another process has replaced it meanwhile, nothing was added")
        return dropped


def _lock(file: BinaryIO) -> None:
    """Lock the file against additions by other processes, where the system has such locks."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"{file.name}: another process is adding to it") from None


def _tasks(images: Mapping[str, Source], goal: Goal, model: str | None, block: int | None) -> list[_Task]:
    check_model(model, goal)
    if block is not None and not 1 <= sources.whole("block", block) <= MAX_BLOCK_IMAGES:
        raise RequestError(f"block: expected 1 to {MAX_BLOCK_IMAGES}, got {block}")
    if not 1 <= len(images) <= IMAGE_LIMIT:
        raise RequestError(f"images: expected 1 to {IMAGE_LIMIT}, got {len(images)}")
    for name in images:
        check_name(name)
    named = [each for name, image in images.items() for each in _with_frames(name, _sendable(name, image))]
    if len(named) > IMAGE_LIMIT:
        raise RequestError(f"images: expected 1 to {IMAGE_LIMIT}, got {len(named)}")
    for name, count in Counter(name for name, _ in named).items():
        check_name(name)
        if count > 1:
            raise RequestError(f"name {name!r}: would be that of a frame and of a file")
    return [_Task(images, goal, model) for images in plan.blocks_of(named, block)]


def _with_frames(name: str, source: plan.Source) -> list[plan.Named]:
    """Return a named image, or the frames of its file if it has several."""
    if not isinstance(source, str | os.PathLike | bytes):
        return [(name, source)]
    frames = frame_files.frames_of(source)
    return [(frame_name(name, frame.number), frame) for frame in frames] or [(name, source)]


def _sendable(name: str, image: Source) -> plan.Source:
    """Return an image, or its file, in a form that can be sent to another process."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint16:
        return from_array(image)
    if isinstance(image, Image.Image | str | os.PathLike):
        return image
    return sources.data_of(cast("sources.Source", image), f"image {name!r}", "a Pillow image, a uint16 array, ")


def _encoded(
    tasks: list[_Task], processes: int | None, report: Report, refuse: Refuse
) -> Generator[tuple[Block, bytes], None, None]:
    """Yield the blocks of tasks that have any image, and their bytes. The last error is raised if there is none."""
    last: Exception | None = None
    images = 0
    with closing(workers.run(_encode_block, tasks, lambda task: len(task.images), processes, report)) as done:
        for block, data, refused in done:
            for name, error in reversed(refused.items()):
                refuse(name, error)
                last = error
            if block.images:
                images += len(block.images)
                yield block, data
    if last is not None and not images:
        raise last


def _append(file: BinaryIO, room: int, encoded: Generator[tuple[Block, bytes], None, None]) -> Dropped:
    """Write a section of images at the end of a file. Return the names of the metadata that was dropped.

    ``room`` is the most bytes that its index may have.
    """
    blocks = []
    dropped = {}
    with closing(encoded):
        for block, data in encoded:
            file.write(data)
            file.flush()  # so that a full disk is noticed now, and not after all work
            blocks.append(block)
            for image, container in zip(block.images, block.split(data)[1], strict=True):
                if names := metadata.info_of(container.metadata).get("dropped"):
                    dropped[image.name] = names
    index = pack_index(blocks, room)
    file.write(index)
    # The trailer must not reach the disk before the blocks and the index.
    sync(file)
    file.write(pack_trailer(index, sum(block.length for block in blocks) + len(index) + TRAILER_BYTES))
    sync(file)
    return dropped


def _encode_block(task: _Task, threads: int | None, report: Report) -> tuple[Block, bytes, Refused]:
    return encode_block(task.images, task.goal, task.model, threads, report)
