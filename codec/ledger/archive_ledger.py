"""The ledger of an archive: where every bit of it went, and how many the models had promised for its images.

Rows are those of `codec.ledger.ledger`, here of all coded images in sum, as they lie in the chains of their blocks:
what an image borrows from those after it is no initial bits. Words and heads of the messages are in the row ``rans``,
once for each lane of a chain. ``header`` is that of the archive, and the rows of its index come besides:

    name, image_header, block_header, lane_table, trailer
    checksum      of samples, blocks, indexes and trailers
    ignored       what an addition left that did not end
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any

from codec.archive.reader import Archive, open_block
from codec.format.archive_index import Block
from codec.ledger.accounts import ARCHIVE_ROWS, NOTHING, PROMISES, Account, account, importance_line
from codec.ledger.evidence import check_samples
from codec.system import workers
from codec.system.workers import Report


@dataclass(frozen=True)
class ArchiveReport:
    """Measurement of an archive.

    Attributes
    ----------
    file : str
    images, stored : int
        All, and those that are stored as PNG.
    samples : int
        Sub-pixels of all images, alpha counted.
    file_bits : int
    bpsp : float
        Bits of the archive per sample.
    message_bits : int
        Of the chains' messages.
    promises : dict of str to float or None
        ``elbo_bits``, ``elbo_stderr_bits``, ``coded_path_bits``, and those of the importance-weighted bound, of all
        coded images in sum, as in `codec.ledger.ledger.Report`.
    overhead_percent : float or None
        Messages and adaptations against ``elbo_bits``; None if all images are stored.
    rows : dict of str to float
        `codec.ledger.accounts.ARCHIVE_ROWS`; they sum to ``file_bits``.
    """

    file: str
    images: int
    stored: int
    samples: int
    file_bits: int
    bpsp: float
    message_bits: int
    promises: Mapping[str, float | None]
    overhead_percent: float | None
    rows: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, rows and promises by name, for JSON."""
        fields = asdict(self)
        rows, promises = fields.pop("rows"), fields.pop("promises")
        return {**fields, **promises, **rows}


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
) -> ArchiveReport:
    """Return the ledger of an archive, whose images are decoded for it.

    Parameters
    ----------
    path : path
    importance : int, optional
        As of `codec.measure`.
    processes : int, optional
        At the same time.
    report : callable
        Called with numbers of images when they are done.

    Raises
    ------
    CorruptDataError, UnsupportedError, ModelError, OSError
        As of `codec.Archive`, and of reading its images.
    ValueError
        ``importance`` is out of range.
    """
    check_samples(importance)
    with Archive(path) as archive:
        tasks = [_Task(os.fspath(path), begin, block, importance) for begin, block in archive.blocks()]
        parts: dict[str, Any] = archive.part_bits()
        entries = archive.entries.values()
        file_bits = 8 * archive.file_bytes
    with closing(workers.run(_account_block, tasks, lambda task: len(task.block.images), processes, report)) as done:
        total = reduce(add, done, NOTHING)
    message_bits = parts.pop("message_bits")
    rows = total.all_rows(message_bits) | parts
    stored = sum(entry.coding is None for entry in entries)
    samples = sum(e.header.width * e.header.height * e.header.image_channels for e in entries)
    promises: dict[str, float | None] = dict.fromkeys(PROMISES)
    overhead = None
    if stored < len(entries):
        promises = total.promises(importance, samples)
        overhead = 100 * ((message_bits + rows["adaptation_bits"]) / total.elbo.bits - 1)
    return ArchiveReport(
        file=str(path),
        images=len(entries),
        stored=stored,
        samples=samples,
        file_bits=file_bits,
        bpsp=file_bits / samples,
        message_bits=message_bits,
        promises=promises,
        overhead_percent=overhead,
        rows={name: rows[name] for name in ARCHIVE_ROWS},
    )


def _account_block(task: _Task, threads: int | None, report: Report) -> Account:
    """Return the account of a block's coded images, in the order in which they are decoded."""
    reader = open_block(task.archive, task.begin, task.block, threads)
    total = NOTHING
    for index, entry in enumerate(task.block.images):
        if entry.coding is not None:
            raster = reader.raster(index)
            seed, latents = entry.header.samples_crc, entry.coding.latents
            total += account(raster, latents, seed, importance=task.importance, threads=threads)
        report(1)
    return total


def table(report: ArchiveReport) -> list[str]:
    """Return the lines of an archive's ledger for people."""
    lines = [
        f"{report.file}: {report.images} images, {report.stored} of them stored, {report.samples:,} samples",
        f"  {'':<16} {'bits':>14} {'bpsp':>10}",
    ]
    for name, bits in (*report.rows.items(), ("archive_bits", report.file_bits)):
        if bits:
            lines.append(f"  {name[:-5]:<16} {bits:>14,.1f} {bits / report.samples:>10.5f}")
    elbo, stderr = report.promises["elbo_bits"], report.promises["elbo_stderr_bits"]
    if elbo is not None:
        lines.append(
            f"  {'promised (ELBO)':<16} {elbo:>14,.1f} {elbo / report.samples:>10.5f}"
            f"   standard error {stderr:,.1f}; messages and adaptations are {report.overhead_percent:+.3f} % longer"
        )
    return lines + importance_line(report.promises)
