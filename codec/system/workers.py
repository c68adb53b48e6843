"""Worker processes: tasks are done by this process or by several processes, and results keep the order of the tasks.

A worker is a Python process that runs `codec.system.serving.serve`. It loads no module of the calling program, so that
a script needs no ``if __name__ == "__main__"`` and may be started from anywhere.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from queue import SimpleQueue
from typing import IO, Any, Protocol, TypeVar, cast

from codec.system.serving import receive, send, silent

Task = TypeVar("Task", contravariant=True)
Result = TypeVar("Result", covariant=True)
Report = Callable[[int], None]
"""A callable. It is called with the number of images that have been done since the last call."""

AHEAD = 2
"""Tasks for each process that may be begun or done before an earlier result is taken. It bounds the memory."""

END_SECONDS = 5
"""Seconds that a worker has to end after it was told to."""

_PROGRAM = "import sys; sys.path[:] = {path!r}; from codec.system.serving import serve; serve()"


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
            yield work(task, threads, silent)
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
            send(cast("IO[bytes]", self.process.stdin), message)
            answer = receive(cast("IO[bytes]", self.process.stdout))
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
