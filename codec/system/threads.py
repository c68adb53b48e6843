"""Threads that work the pieces of an image."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


class _AtOnce(Executor):
    """Does what it is given before it returns: a small image is coded in the time that a thread takes to start."""

    def submit(self, function: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Future[Result]:
        """Return a future that is done."""
        future: Future[Result] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def pool_of(workers: int) -> Executor:
    """Return what works so many pieces at once; one worker is the thread that asks."""
    return ThreadPoolExecutor(workers) if workers > 1 else _AtOnce()
