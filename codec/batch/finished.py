"""Outputs that are there already: whether a batch has made them, and need not make them again.

No list of what is done is kept: an output appears only when it is whole, and has the time of its source. So a batch
that was ended in any way goes on when it is started again.
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

from PIL import Image

from codec.batch.plan import COMPRESS, Task, Way
from codec.errors import CodecError, CorruptDataError
from codec.format import container
from codec.format.beginning import read_beginning
from codec.format.headers import MAGIC

END_OF_PNG = bytes(4) + b"IEND" + bytes.fromhex("ae426082")
STEPS_NS = 100, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000
"""Units in which file systems keep times: some cut what is smaller away."""


class Standing(Enum):
    """What is there at the path of an output.

    MISSING: nothing. FINISHED: a whole output, not older than its source. OUTDATED: an output that is cut or damaged,
    or older than its source. ALIEN: something else.
    """

    MISSING = 0
    FINISHED = 1
    OUTDATED = 2
    ALIEN = 3


def standing(way: Way, task: Task, max_pixels: int | None = None) -> Standing:
    """Return what is there at the path of a task's output.

    A compressed file is whole if its checksum is right. An image is whole if it has the size of its source's image and,
    as a PNG, does not end early. Since it could be the original itself, it is never said to be outdated, unless it is
    empty.

    Raises
    ------
    OSError
        The source or the output cannot be read.
    """
    if not os.path.lexists(task.target):
        return Standing.MISSING
    if not task.target.is_file():
        return Standing.ALIEN
    source, target = task.source.stat(), task.target.stat()
    if not target.st_size:
        return Standing.OUTDATED
    older = _is_older(target.st_mtime_ns, source.st_mtime_ns)
    if way is COMPRESS:
        whole = _is_whole_file(task.target.read_bytes(), max_pixels)
        if whole is None:
            return Standing.ALIEN
        return Standing.FINISHED if whole and not older else Standing.OUTDATED
    return Standing.FINISHED if not older and _is_whole_image(task.target, task.source) else Standing.ALIEN


def _is_older(target_ns: int, source_ns: int) -> bool:
    """Return whether an output was changed before its source."""
    return target_ns < source_ns and not any(target_ns == source_ns - source_ns % step for step in STEPS_NS)


def _is_whole_file(data: bytes, max_pixels: int | None) -> bool | None:
    """Return whether compressed data is whole, or None if it is something else."""
    if not MAGIC.startswith(data[: len(MAGIC)]):
        return None
    try:
        container.unpack(data, max_pixels)
    except CorruptDataError:
        return False
    except CodecError:  # another version of the format
        return None
    return True


def _is_whole_image(path: Path, source: Path) -> bool:
    """Return whether an image has the size of that of a compressed file and, if it is a PNG, its own end."""
    try:
        with source.open("rb") as file:
            header, _ = read_beginning(file)
        with path.open("rb") as file, Image.open(file, formats=["PNG", "TIFF"]) as image:
            size, kind = image.size, image.format
            file.seek(-len(END_OF_PNG), os.SEEK_END)
            return size == (header.width, header.height) and (kind == "TIFF" or file.read() == END_OF_PNG)
    except CodecError:
        return False
    except Exception:  # a damaged header can make Pillow's plugins raise any exception
        return False
