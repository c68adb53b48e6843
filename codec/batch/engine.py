"""Batches: many images are compressed or decompressed, each to a file of its own, by several processes."""

from __future__ import annotations

import errno
import inspect
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from codec import api
from codec.batch import work
from codec.batch.finished import Standing, standing
from codec.batch.plan import COMPRESS, DECOMPRESS, Task, Way, plan
from codec.batch.work import FileResult, Job, failed, skipped
from codec.errors import RequestError
from codec.images.goals import DEFAULT_EFFORT, Kind, checked_effort, goal_of
from codec.system import workers
from codec.system.sources import whole
from codec.system.targets import check_folder

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""Errors of an output after which no other can be written either."""

AnyPath = str | os.PathLike[str]


def compress_files(
    sources: Iterable[AnyPath],
    to: AnyPath,
    *,
    force: bool = False,
    jobs: int | None = None,
    threads: int | None = None,
    **options: Any,
) -> Iterator[FileResult]:
    """Return what becomes of many images, each compressed to a file of its own, in the order in which they are done.

    The work begins when the first result is asked for. An image that fails does not stop the others. An output that is
    whole and not older than its source is skipped; one that is cut or older is made again. So the same call goes on
    with what an earlier one has left.

    Parameters
    ----------
    sources : iterable of path
        Files, folders, whose images are taken with those of all folders in them, and patterns such as
        ``photos/*.png``.
    to : path
        Folder of the outputs, which is made if it is missing. That of ``photos/a/b.png`` is ``a/b.vlae`` in it if
        ``photos`` is given, and ``b.vlae`` if the file itself is.
    force : bool
        Whether to make all outputs again, and to replace whatever is there.
    jobs : int, optional
        Number of processes. By default one for each processor, or for each of ``threads``.
    threads : int, optional
        Number of threads of all processes together, by default one for each processor. The outputs are the same for
        any number of processes and threads.
    options
        Other parameters of `codec.compress`.

    Returns
    -------
    iterator of FileResult

    Raises
    ------
    ValueError
        There is no image, two would have the same output, a pattern fits no file, or a parameter is out of range.
    TypeError
        A parameter has a wrong type.
    OSError
        The disk of the outputs is full. This may be raised later, after the results of the files that were made.
    """
    return _planned(COMPRESS, sources, to, force, jobs, threads, options)


def decompress_files(
    sources: Iterable[AnyPath],
    to: AnyPath,
    *,
    force: bool = False,
    jobs: int | None = None,
    threads: int | None = None,
    **options: Any,
) -> Iterator[FileResult]:
    """Return what becomes of many files, each decompressed to a PNG, in the order in which they are done.

    An output that is whole and not older than its source is skipped. Anything else that is there is replaced only with
    ``force``, since it might be an original. The rest is as in `compress_files`, with the other parameters of
    `codec.decompress` as options.
    """
    return _planned(DECOMPRESS, sources, to, force, jobs, threads, options)


def _planned(
    way: Way,
    sources: Iterable[AnyPath],
    to: AnyPath,
    force: bool,
    jobs: int | None,
    threads: int | None,
    options: dict[str, Any],
) -> Iterator[FileResult]:
    if isinstance(sources, str | os.PathLike):
        raise TypeError(f"sources: expected several paths, got one, {os.fspath(sources)}")
    check_options(way, options)
    for name, value in (("jobs", jobs), ("threads", threads)):
        if value is not None:
            whole(name, value, 1)
    tasks = plan(way, [os.fspath(source) for source in sources], Path(to)).tasks
    check_folder(to)
    return _all(way, tasks, force, jobs, threads, options)


def check_options(way: Way, options: dict[str, Any]) -> None:
    """Check what can be checked of the parameters of `codec.compress` or `codec.decompress` without an image.

    Raises
    ------
    ValueError
        A parameter is out of range, or excludes another one.
    TypeError
        A parameter has a wrong type, or there is none of its name.
    """
    inspect.signature(api.compress if way is COMPRESS else api.decompress).bind_partial(**options)
    if way is COMPRESS:
        names = "lossless", *(kind.value for kind in Kind)
        goal = goal_of(**{name: options[name] for name in names if name in options})
        checked_effort(options.get("effort", DEFAULT_EFFORT))
        if options.get("model") is not None:
            from codec.images.fidelities import check_model

            check_model(options["model"], goal)


def _all(
    way: Way, tasks: list[Task], force: bool, jobs: int | None, threads: int | None, options: dict[str, Any]
) -> Iterator[FileResult]:
    ready, todo = sort_out(way, tasks, force, options)
    yield from ready
    yield from run(todo, jobs, threads)


def sort_out(
    way: Way, tasks: Iterable[Task], force: bool, options: dict[str, Any]
) -> tuple[list[FileResult], list[Job]]:
    """Return the results of tasks for which nothing has to be done or can be, and the jobs that are left to do.

    Parameters
    ----------
    way : Way
    tasks : iterable of Task
    force : bool
        Whether to make outputs that are there already.
    options : dict
        Other parameters of `codec.compress` or `codec.decompress`.
    """
    sorted_out = [_ready(way, task, force, options) for task in tasks]
    return [r for r in sorted_out if isinstance(r, FileResult)], [j for j in sorted_out if isinstance(j, Job)]


def run(todo: Sequence[Job], jobs: int | None = None, threads: int | None = None) -> Generator[FileResult, None, None]:
    """Yield the results of jobs as they are done. The numbers of processes and threads are those of `compress_files`.

    Raises
    ------
    OSError
        An output could not be written, and no other can be. Its result was yielded before.
    """
    share = threads or workers.cores()
    processes = max(1, min(jobs or share, len(todo)))
    each = threads if processes == 1 else max(1, share // processes)
    with closing(workers.run_each(work.do, todo, processes, each, lambda job, error: failed(job.files, error))) as done:
        for result in done:
            yield result
            if result.errno is not None and result.errno in NO_ROOM:
                raise OSError(result.errno, f"{os.strerror(result.errno)}, the other images are left", result.output)


def _ready(way: Way, task: Task, force: bool, options: dict[str, Any]) -> Job | FileResult:
    """Return the job of a task, or its result if nothing has to be done or can be."""
    try:
        found = Standing.OUTDATED if force else standing(way, task, options.get("max_pixels"))
    except OSError as error:
        return failed(task, error)
    if found is Standing.FINISHED:
        return skipped(task)
    if found is Standing.ALIEN:
        text = "exists and is no finished output of this file, expected --force"
        return failed(task, RequestError(f"output {task.target}: {text}"))
    return Job(task, way is COMPRESS, found is Standing.OUTDATED, options)
