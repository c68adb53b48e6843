"""What a worker process does: it takes tasks from its standard input, and writes results to its standard output.

`codec.system.workers` starts workers. A message is a length and a pickle. Both ends of these pipes are ours, and no
data of a file is unpickled. When the input ends, because the calling process has ended in any way, the worker undoes
what is unfinished and ends at once.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import threading
from queue import SimpleQueue
from typing import IO

from codec.system.outputs import undo_all
from codec.system.signals import end_on_signals

_LENGTH = struct.Struct("<Q")


def send(stream: IO[bytes], message: bytes) -> None:
    """Send a message."""
    # Without a buffer: after a broken pipe, bytes left in a buffer would raise a second error when it is closed.
    rest = memoryview(_LENGTH.pack(len(message)) + message)
    while rest:
        rest = rest[os.write(stream.fileno(), rest) :]


def receive(stream: IO[bytes]) -> bytes:
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
            answer = pickle.dumps((True, work(task, threads, silent)))
        except Exception as error:
            answer = pickle.dumps((False, _portable(error)))
        send(results, answer)


def _listen(source: IO[bytes], messages: SimpleQueue[bytes]) -> None:
    """Receive messages. When the input ends, undo what is unfinished and end the process, whatever it is doing."""
    try:
        while True:
            messages.put(receive(source))
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


def silent(images: int) -> None:
    """Do nothing: no images are counted within a task."""
