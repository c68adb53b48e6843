"""Measuring an archive: its images are decoded, and what they asked of their blocks' messages is summed.

Images are accounted for as they lie in the chains of their blocks, so what an image borrows from those after it is no
initial bits. Words and heads of the messages are in the row ``rans_bits`` once for each lane of a chain.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

from codec.archive.reader import Archive, open_block
from codec.format.archive_index import Block
from codec.images.decoder import Opened
from codec.ledger import account
from codec.ledger.evidence import check_samples
from codec.ledger.ledger import ARCHIVE_ROWS, FILE_ROWS, Ledger
from codec.system import workers
from codec.system.workers import Report


@dataclass(frozen=True)
class _Task:
    """A block whose images are to be accounted for."""

    archive: str
    begin: int
    block: Block
    importance: int | None


def measure_archive(
    path: str | os.PathLike[str],
    *,
    importance: int | None = None,
    processes: int | None = None,
    report: Report = lambda images: None,
) -> Ledger:
    """Return the ledger of an archive, whose images are decoded for it.

    Parameters
    ----------
    path : path
    importance : int, optional
        Samples of the importance-weighted bound, see `codec.measure`.
    processes : int, optional
        Processes that decode at the same time.
    report : callable
        Called with numbers of images when they are done.

    Raises
    ------
    CorruptDataError
        The archive is damaged.
    UnsupportedError
        Another version of the format, more images than the limit, or one over the pixel limit.
    ModelError
        A model is missing or has other weights.
    OSError
        The file cannot be read.
    ValueError
        ``importance`` is out of range.
    """
    check_samples(importance)
    with Archive(path) as archive:
        tasks = [_Task(os.fspath(path), begin, block, importance) for begin, block in archive.blocks()]
        parts = archive.part_bits()
        file_bits = 8 * archive.file_bytes
    with closing(workers.run(_account_block, tasks, lambda task: len(task.block.images), processes, report)) as done:
        contents = reduce(add, done, Ledger({}))
    message_bits = parts.pop("message_bits")
    return contents.whole(ARCHIVE_ROWS, parts, message_bits, file_bits)


def image_ledger(opened: Opened) -> Ledger:
    """Return what one image of an archive asks of its block: of the messages, and for what only it needs.

    What images share is in no such ledger: the index, and words and heads of the messages.
    """
    file, raster = opened.file, opened.raster
    if file.coding is None or raster is None:
        asked = replace(account.stored(file.header), rows={"stored_bits": 8.0 * len(file.payload)})
    else:
        asked = account.coded(file.header, file.coding, raster)
    own = {name: 8.0 * len(getattr(file, name)) for name in ("metadata", "adaptation", "alpha")}
    rows = {**asked.rows, **{f"{name}_bits": bits for name, bits in own.items()}}
    return replace(asked, rows={name: rows.get(name, 0.0) for name in FILE_ROWS})


def _account_block(task: _Task, threads: int | None, report: Report) -> Ledger:
    """Return what a block's images ask of its messages, in the order in which they are decoded."""
    reader = open_block(task.archive, task.begin, task.block, threads)
    ledgers = []
    for index, entry in enumerate(task.block.images):
        header, coding = entry.header, entry.coding
        ledgers.append(
            account.stored(header)
            if coding is None
            else account.coded(header, coding, reader.raster(index), importance=task.importance, threads=threads)
        )
        report(1)
    return reduce(add, ledgers, Ledger({}))
