"""Tasks that are done by this process, or by several at the same time; results come in the order of the tasks."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Protocol, TypeVar

Task = TypeVar("Task", contravariant=True)
Result = TypeVar("Result", covariant=True)
Report = Callable[[int], None]
"""Called with a number of images, when they are done."""

AHEAD = 2
"""Tasks for each process that are begun or done before the results of earlier ones are taken: this bounds memory."""


class Work(Protocol[Task, Result]):
    """A function of a module, so that another process finds it."""

    def __call__(self, task: Task, threads: int | None, report: Report) -> Result:
        """Do a task with so many threads, all of the machine's if None."""


def run(
    work: Work[Task, Result],
    tasks: Sequence[Task],
    count: Callable[[Task], int],
    processes: int | None,
    report: Report,
) -> Iterator[Result]:
    """Yield the results of tasks.

    Parameters
    ----------
    count : callable
        Returns the images of a task.
    processes : int, optional
        By default as many as the machine has processors.

    Raises
    ------
    ChildProcessError
        A process was killed.
    Exception
        What a task raised; those that were not begun are left out then.
    """
    processes = min(processes or os.cpu_count() or 1, len(tasks))
    if processes <= 1:
        for task in tasks:
            yield work(task, None, report)
        return
    # A forked process would inherit locks that threads of this one hold.
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    waiting: deque[tuple[Task, Future[Result]]] = deque()
    try:
        for task in tasks:
            waiting.append((task, pool.submit(work, task, 1, _silent)))
            if len(waiting) > AHEAD * processes:
                yield _next(waiting, count, report)
        while waiting:
            yield _next(waiting, count, report)
    except BrokenProcessPool as error:
        raise ChildProcessError("a process that coded images was killed") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _next(waiting: deque[tuple[Task, Future[Result]]], count: Callable[[Task], int], report: Report) -> Result:
    task, future = waiting.popleft()
    result = future.result()
    report(count(task))
    return result


def _silent(images: int) -> None:
    """Report nothing: another process has no progress bar."""
