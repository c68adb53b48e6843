"""Worker processes: tasks are done by this process or by several processes, and results keep the order of the tasks.

A worker is a Python process that runs `serve`. It loads no module of the calling program, so that a script needs no
``if __name__ == "__main__"`` and may be started from anywhere. Tasks go to its standard input, and results come from
its standard output, each as a length and a pickle. Both ends of these pipes are ours, and no data of a file is
unpickled. When the input ends, because the calling process has ended in any way, the worker ends at once.
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
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from queue import SimpleQueue
from typing import IO, Any, Protocol, TypeVar, cast

from codec.system.outputs import undo_all
from codec.system.signals import end_on_signals

Task = TypeVar("Task", contravariant=True)
Result = TypeVar("Result", covariant=True)
Report = Callable[[int], None]
"""A callable. It is called with the number of images that have been done since the last call."""

AHEAD = 2
"""Tasks for each process that may be begun or done before an earlier result is taken. It bounds the memory."""

END_SECONDS = 5
"""Seconds that a worker has to end after it was told to."""

_LENGTH = struct.Struct("<Q")
_PROGRAM = "import sys; sys.path[:] = {path!r}; from codec.system.workers import serve; serve()"


class Work(Protocol[Task, Result]):
    """The type of a task's function. It must be a function of a module, so that another process can import it."""

    def __call__(self, task: Task, threads: int | None, report: Report) -> Result:
        """Do a task with at most ``threads`` threads; None allows all of the machine's."""


def cores() -> int:
    """Return the number of processors that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # not every system has it
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def run(
    work: Work[Task, Result],
    tasks: Sequence[Task],
    count: Callable[[Task], int],
    processes: int | None,
    report: Report,
) -> Generator[Result, None, None]:
    """Yield the results of tasks, in the order of the tasks.

    Parameters
    ----------
    work : Work
        The function that does a task.
    tasks : sequence
    count : callable
        Returns the number of images of a task.
    processes : int or None
        Number of processes; None takes as many as there are processors.
    report : Report
        Called when images are done.

    Raises
    ------
    ChildProcessError
        A process was killed.
    Exception
        What a task raised. Tasks that were not begun are then left out.
    """
    processes = min(processes or cores(), len(tasks))
    if _in_this_process(processes):
        for task in tasks:
            yield work(task, None, report)
        return
    waiting: deque[tuple[Task, Future[Result]]] = deque()
    with _pool_of(processes) as pool:
        for task in tasks:
            waiting.append((task, pool.submit(work, task, 1)))
            if len(waiting) > AHEAD * processes:
                yield _next(waiting, count, report)
        while waiting:
            yield _next(waiting, count, report)


def _next(waiting: deque[tuple[Task, Future[Result]]], count: Callable[[Task], int], report: Report) -> Result:
    task, future = waiting.popleft()
    result = future.result()
    report(count(task))
    return result


def run_each(
    work: Work[Task, Result],
    tasks: Sequence[Task],
    processes: int,
    threads: int | None,
    killed: Callable[[Task, ChildProcessError], Result],
) -> Generator[Result, None, None]:
    """Yield the results of tasks, in the order in which they are done.

    Parameters
    ----------
    work : Work
        The function that does a task. What it raises ends all.
    tasks : sequence
        Any number of results may wait, so they should be small.
    processes : int
        Number of processes.
    threads : int or None
        Most threads of a task; None allows one for each processor to a single process, and one to each of several.
    killed : callable
        Returns the result of a task whose process was killed. Another process takes the place of that one.
    """
    if _in_this_process(processes):
        for task in tasks:
            yield work(task, threads, _silent)
        return
    with _pool_of(processes) as pool:
        futures = {pool.submit(work, task, threads or 1): task for task in tasks}
        for future in as_completed(list(futures)):
            task, error = futures.pop(future), future.exception()
            yield killed(task, error) if isinstance(error, ChildProcessError) else future.result()


def _in_this_process(processes: int) -> bool:
    # A program that embeds Python may have no executable to start.
    return processes <= 1 or not sys.executable


@contextmanager
def _pool_of(processes: int) -> Iterator[_Pool]:
    """Yield a pool of worker processes, which end with the block."""
    pool = _Pool(processes)
    try:
        yield pool
    finally:
        pool.end()


class _Pool:
    """Worker processes, and a thread for each of them that waits for its results."""

    def __init__(self, processes: int) -> None:
        self._ending = False
        self._threads = ThreadPoolExecutor(processes, initializer=_ignore_broken_pipes)
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._workers: list[_Worker] = []
        try:
            for _ in range(processes):
                self._start()
        except BaseException:
            self.end()
            raise

    def _start(self) -> None:
        worker = _Worker()
        self._workers.append(worker)
        self._idle.put(worker)

    def submit(self, work: Work[Task, Result], task: Task, threads: int) -> Future[Result]:
        """Return the future result of a task that a worker does with at most some threads."""
        return self._threads.submit(self._do, work, task, threads)

    def _do(self, work: Work[Task, Result], task: Task, threads: int) -> Result:
        worker, gone = self._idle.get(), False
        try:
            return worker.do(work, task, threads)  # type: ignore[no-any-return]
        except ChildProcessError:
            gone = not self._ending
            raise
        finally:
            if gone:
                self._start()
            else:  # at the end also one that was ended, so that no thread waits for one in vain
                self._idle.put(worker)

    def end(self) -> None:
        """End the workers, whatever they do, and wait for them."""
        self._ending = True
        # Threads wait for the workers' results. To end the workers frees the threads at once.
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.wait()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()


def _ignore_broken_pipes() -> None:
    """Ignore SIGPIPE in this thread. A write to a killed worker then raises an error and does not end the process."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGPIPE])


class _Worker:
    """A worker process, which does one task after the other."""

    def __init__(self) -> None:
        # The worker has a session of its own. So Ctrl-C reaches only this process, which then ends its workers.
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", _PROGRAM.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if sys.stderr else subprocess.DEVNULL,
            start_new_session=True,
        )

    def do(self, work: Work[Any, Any], task: object, threads: int) -> Any:
        """Return the result of a task, or raise its error."""
        message = pickle.dumps((work, task, threads))
        try:
            _send(cast("IO[bytes]", self.process.stdin), message)
            answer = _receive(cast("IO[bytes]", self.process.stdout))
        except (OSError, EOFError) as error:
            raise ChildProcessError("a process that coded images was killed") from error
        done, result = pickle.loads(answer)  # noqa: S301
        if done:
            return result
        raise result

    def wait(self) -> None:
        """Wait until the process has ended, which was told to, and kill it if it does not."""
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def close(self) -> None:
        """Kill the process, if it has not ended, and close its pipes."""
        self.process.kill()
        self.process.communicate()


def _send(stream: IO[bytes], message: bytes) -> None:
    # Without a buffer: after a broken pipe, bytes left in a buffer would raise a second error when it is closed.
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
    """Do the tasks that come on standard input, until it ends. A worker runs this function."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for systems where the worker has no session of its own
    end_on_signals(silent=True)
    source, results = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # lines that a library prints must not get between results
    messages: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(source, messages), daemon=True).start()
    while True:
        try:
            work, task, threads = pickle.loads(messages.get())  # noqa: S301
            answer = pickle.dumps((True, work(task, threads, _silent)))
        except Exception as error:
            answer = pickle.dumps((False, _portable(error)))
        _send(results, answer)


def _listen(source: IO[bytes], messages: SimpleQueue[bytes]) -> None:
    """Receive messages. When the input ends, undo what is unfinished and end the process, whatever it is doing."""
    try:
        while True:
            messages.put(_receive(source))
    finally:
        undo_all()
        os._exit(0)


def _portable(error: Exception) -> Exception:
    """Return the error, or a RuntimeError with its text if another process could not load it."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _silent(images: int) -> None:
    """Do nothing: no images are counted within a task."""
