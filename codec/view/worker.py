"""The thread that does the work of all pages, one piece after the other: the processor has no more to give."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any, TypeVar

from codec.errors import CodecError

EXPECTED = (CodecError, ValueError, OSError, MemoryError)
"""What files and requests can be wrong by: a page shows the message."""
BEAT_S = 0.1
"""Seconds after which an empty line is sent: it is lost if the page does not listen any more."""

Found = TypeVar("Found")
Report = Callable[[dict[str, Any]], None]
"""A callable that sends a line to the page. It raises if the page has gone, which ends the work."""


class _GoneError(Exception):
    """The page that asked does not listen any more."""


def message_of(error: BaseException) -> str:
    """Return the one line that a page shows of an error."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


class Worker:
    """Does pieces of work in the order in which they are asked for."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)

    def start(self, work: Callable[[], None]) -> None:
        """Do a piece of work when those before it are done, and do not wait for it."""
        self._pool.submit(work)

    def do(self, work: Callable[[], Found]) -> Found:
        """Do a piece of work when those before it are done, and return what it returns."""
        return self._pool.submit(work).result()

    def lines(self, work: Callable[[Report], None]) -> Iterator[str]:
        """Do a piece of work, and yield what it reports, a JSON object a line.

        Lines are empty while nothing is reported. If the iterator is closed, the work is not begun, or ends at its
        next report. The last line has the key ``error`` if a file or the request was wrong.
        """
        lines: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        gone = Event()

        def report(line: dict[str, Any]) -> None:
            if gone.is_set():
                raise _GoneError
            lines.put(line)

        def run() -> None:
            try:
                if not gone.is_set():
                    work(report)
            except _GoneError:
                pass
            except EXPECTED as error:
                lines.put({"error": message_of(error)})
            finally:
                lines.put(None)

        done = self._pool.submit(run)
        try:
            while True:
                try:
                    line = lines.get(timeout=BEAT_S)
                except Empty:
                    yield "\n"
                    continue
                if line is None:
                    break
                yield f"{json.dumps(line)}\n"
        finally:
            gone.set()
        done.result()
