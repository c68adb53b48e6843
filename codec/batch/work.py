"""The work of a batch: one image is read, coded and written, and its result says what became of it.

Jobs and results can be sent to other processes and machines. A job needs nothing but the two files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from codec import api
from codec.api import Info
from codec.batch.plan import Task
from codec.image_files import loading, writing
from codec.system.messages import text_of
from codec.system.outputs import write_file

MADE, SKIPPED, FAILED = "made", "skipped", "failed"


@dataclass(frozen=True)
class FileResult:
    """What became of an image.

    Attributes
    ----------
    file, output : str
        Names of the source and of the output.
    status : str
        "made"; "skipped", if the output was there already; or "failed".
    source_bytes, output_bytes : int or None
        Lengths of the source and of the output. None if there is none.
    seconds : float
        Time that it took.
    error : str or None
        What failed, in one line without the name of the source.
    errno : int or None
        Number of the system's error, if that is what failed.
    info : Info or None
        What a compressed file says of itself, if one was made.
    mode : str
        Pillow's name of the image's mode, if one was read or made.
    lost : tuple of str
        Names of metadata of the source that the output does not have.
    """

    file: str
    output: str
    status: str
    source_bytes: int | None = None
    output_bytes: int | None = None
    seconds: float = 0.0
    error: str | None = None
    errno: int | None = None
    info: Info | None = None
    mode: str = ""
    lost: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what a line of JSON has, by name."""
        return {
            "file": self.file,
            "output": self.output,
            "status": self.status,
            "source_bytes": self.source_bytes,
            "output_bytes": self.output_bytes,
            "seconds": self.seconds,
            "error": self.error,
        }


@dataclass(frozen=True)
class Job:
    """An image to code, and how.

    Attributes
    ----------
    files : Task
    compress : bool
        Whether to compress; if not, the source is decompressed.
    force : bool
        Whether to replace an existing output.
    options : dict
        Other parameters of `codec.compress` or `codec.decompress`.
    """

    files: Task
    compress: bool
    force: bool
    options: dict[str, Any] = field(default_factory=dict)


def do(task: Job, threads: int | None, report: Callable[[int], None]) -> FileResult:
    """Return what became of a job's image; no error is raised. This function is a `codec.system.workers.Work`.

    The output has the permissions and the time of change of the source.
    """
    begin = time.perf_counter()
    source, target = task.files.source, task.files.target
    try:
        status = source.stat()
        target.parent.mkdir(parents=True, exist_ok=True)
        made = (_compress if task.compress else _decompress)(task, threads, status)
        length = target.stat().st_size
    except Exception as error:  # a batch goes on after any error of one image
        return failed(task.files, error, time.perf_counter() - begin)
    report(1)
    return FileResult(str(source), str(target), MADE, status.st_size, length, time.perf_counter() - begin, **made)


def failed(task: Task, error: BaseException, seconds: float = 0.0) -> FileResult:
    """Return the result of a task that failed."""
    source = task.source
    size = source.stat().st_size if source.is_file() else None
    number = error.errno if isinstance(error, OSError) else None
    text = text_of(error, source)
    return FileResult(str(source), str(task.target), FAILED, size, seconds=seconds, error=text, errno=number)


def skipped(task: Task) -> FileResult:
    """Return the result of a task whose output is there already."""
    source, target = str(task.source), str(task.target)
    return FileResult(source, target, SKIPPED, os.path.getsize(source), os.path.getsize(target))


def _compress(job: Job, threads: int | None, status: os.stat_result) -> dict[str, Any]:
    limit = job.options.get("max_pixels")
    image = loading.load_image(job.files.source, limit)
    data = api.compress(image, threads=threads, **job.options)
    write_file(job.files.target, data, force=job.force, like=status)
    info = api.info(data, max_pixels=limit)
    return {"info": info, "mode": image.mode, "lost": info.dropped}


def _decompress(job: Job, threads: int | None, status: os.stat_result) -> dict[str, Any]:
    data = job.files.source.read_bytes()
    image = api.decoded(data, threads=threads, **job.options)
    writing.save_image(image, job.files.target, force=job.force, like=status)
    return {"mode": image.mode, "lost": writing.left_out(image, job.files.target)}
