"""Tasks that are done by this process, or by several at the same time; results come in the order of the tasks.

A worker is a Python of its own that runs `serve`: it loads no module of the program that uses us, so that a script
needs no ``if __name__ == "__main__"``, and it may be started from anywhere. Tasks go to its standard input and
results come from its standard output, each as a length and a pickle: both ends are ours, no file leads there. When
that input ends, because the process that asked has ended in whatever way, the worker ends at once.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import IO, Any, Protocol, TypeVar, cast

Task = TypeVar("Task", contravariant=True)
Result = TypeVar("Result", covariant=True)
Report = Callable[[int], None]
"""Called with a number of images, when they are done."""

AHEAD = 2
"""Tasks for each process that are begun or done before the results of earlier ones are taken: this bounds memory."""

_LENGTH = struct.Struct("<Q")
_PROGRAM = "import sys; sys.path[:] = {path!r}; from codec.system.workers import serve; serve()"


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
) -> Generator[Result, None, None]:
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
    if processes <= 1 or not sys.executable:  # a program that embeds Python may have none to start
        for task in tasks:
            yield work(task, None, report)
        return
    workers: list[_Worker] = []
    idle: SimpleQueue[_Worker] = SimpleQueue()

    def do(task: Task) -> Result:
        worker = idle.get()
        try:
            return worker.do(work, task)  # type: ignore[no-any-return]
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(processes, initializer=_ignore_broken_pipes)
    waiting: deque[tuple[Task, Future[Result]]] = deque()
    try:
        for _ in range(processes):
            workers.append(_Worker())
            idle.put(workers[-1])
        for task in tasks:
            waiting.append((task, pool.submit(do, task)))
            if len(waiting) > AHEAD * processes:
                yield _next(waiting, count, report)
        while waiting:
            yield _next(waiting, count, report)
    finally:
        # Killed workers let the threads go that wait for them: nobody waits for the ends of their tasks.
        for worker in workers:
            worker.process.kill()
        pool.shutdown(cancel_futures=True)
        for worker in workers:
            worker.close()


def _next(waiting: deque[tuple[Task, Future[Result]]], count: Callable[[Task], int], report: Report) -> Result:
    task, future = waiting.popleft()
    result = future.result()
    report(count(task))
    return result


def _ignore_broken_pipes() -> None:
    """Let a write to a worker that was killed be an error of this thread, never a signal that ends the process."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])


class _Worker:
    """A process that does one task after the other."""

    def __init__(self) -> None:
        # A session of its own: Ctrl-C reaches this process alone, which then ends its workers.
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", _PROGRAM.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if sys.stderr else subprocess.DEVNULL,
            start_new_session=True,
        )

    def do(self, work: Work[Any, Any], task: object) -> Any:
        """Return the result of a task, or raise its error."""
        message = pickle.dumps((work, task))
        try:
            _send(cast("IO[bytes]", self.process.stdin), message)
            answer = _receive(cast("IO[bytes]", self.process.stdout))
        except (OSError, EOFError) as error:
            raise ChildProcessError("a process that coded images was killed") from error
        done, result = pickle.loads(answer)  # noqa: S301
        if done:
            return result
        raise result

    def close(self) -> None:
        """Wait until the process, which was killed, has ended."""
        self.process.communicate()


def _send(stream: IO[bytes], message: bytes) -> None:
    # By no buffer: what a broken pipe left in one would break it again when it is closed.
    rest = memoryview(_LENGTH.pack(len(message)) + message)
    while rest:
        rest = rest[os.write(stream.fileno(), rest) :]


def _receive(stream: IO[bytes]) -> bytes:
    """Return the next message.

    Raises
    ------
    EOFError
        The other process has ended.
    """
    head = stream.read(_LENGTH.size)
    if len(head) == _LENGTH.size:
        message = stream.read(_LENGTH.unpack(head)[0])
        if len(message) == _LENGTH.unpack(head)[0]:
            return message
    raise EOFError


def serve() -> None:
    """Do the tasks that come on standard input, until it ends: what a worker runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where a session of its own does not keep it away
    source, results = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between results
    messages: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(source, messages), daemon=True).start()
    while True:
        try:
            work, task = pickle.loads(messages.get())  # noqa: S301
            answer = pickle.dumps((True, work(task, 1, _silent)))
        except Exception as error:
            answer = pickle.dumps((False, _portable(error)))
        _send(results, answer)


def _listen(source: IO[bytes], messages: SimpleQueue[bytes]) -> None:
    """Take messages, and end the process with its input, whatever it is doing."""
    try:
        while True:
            messages.put(_receive(source))
    finally:
        os._exit(0)


def _portable(error: Exception) -> Exception:
    """Return an error that another process can load."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _silent(images: int) -> None:
    """Report nothing: another process has no progress bar."""
