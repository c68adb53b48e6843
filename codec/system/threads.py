"""Threads that work pieces of an image at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


class _AtOnce(Executor):
    """An executor that does each task at once, in the calling thread.

    A small image is coded in the time that a thread takes to start.
    """

    def submit(self, function: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Do a task, and return a future that is done."""
        future: Future[Result] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def pool_of(workers: int) -> Executor:
    """Return an executor that works ``workers`` pieces at the same time. One worker is the calling thread itself."""
    return ThreadPoolExecutor(workers) if workers > 1 else _AtOnce()
