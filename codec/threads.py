"""Threads that work the pieces of an image, and numpy's own, of which one is enough then."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, TypeVar

import threadpoolctl

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


@lru_cache(maxsize=1)
def _libraries() -> threadpoolctl.ThreadpoolController:
    """Return the libraries that have threads, numpy's among them: to look for them takes a millisecond or more."""
    return threadpoolctl.ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Return a context in which numpy's products take one thread: pieces of an image have theirs."""
    limited: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return limited
