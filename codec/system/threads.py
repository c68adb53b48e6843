"""Threads that work the pieces of an image, and numpy's own, of which one is enough then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
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


_users_lock = threading.Lock()
_users: list[Any] = []
"""What undoes the limit, as often as there are contexts of `one_blas_thread` at the time."""


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Return a context in which numpy's products take one thread: pieces of an image have theirs.

    The limit is one of the whole process. Contexts may overlap, in one thread or several: the first of them sets the
    limit, and the last restores what was before.
    """
    with _users_lock:
        if not _users:
            _take_control()
        _users.append(_users[0] if _users else _libraries().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _users_lock:
            limit = _users.pop()
            if not _users:
                _take_control()
                limit.restore_original_limits()


def _take_control() -> None:
    """Let this thread set a limit: from version 3.8 on only the thread that once did may do it again."""
    for library in _libraries().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)
