"""Signals that end the command: at once, whatever its threads do, and without leaving a file.

Python calls its handlers when the main thread comes back from compiled code, which may take seconds. Here a thread
waits for the byte that the interpreter writes as soon as a signal arrives, undoes what is unfinished, and ends the
process; its workers end with it (`codec.system.workers`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress

from codec.system.outputs import undo_all

ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE")
EXIT_SIGNAL = 128
"""Added to the number of a signal, this is what shells report for a process that it ended."""

_before: dict[int, object] = {}


def end_on_signals() -> None:
    """Let the signals end this process, except those that its caller has it ignore; on Windows Ctrl-C does already."""
    if sys.platform == "win32":
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    for name in ENDING:
        number = signal.Signals[name]
        # nohup and a shell's & have signals ignored. Python ignores SIGPIPE by itself.
        if signal.getsignal(number) != signal.SIG_IGN or name == "SIGPIPE":
            _before[number] = signal.signal(number, lambda number, frame: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(read,), daemon=True).start()


def leave_to_python() -> None:
    """Take back `end_on_signals`, for a command that handles Ctrl-C in its own way."""
    if _before:
        signal.set_wakeup_fd(-1)
    while _before:
        number, handler = _before.popitem()
        signal.signal(number, handler)  # type: ignore[arg-type]


def _wait(read: int) -> None:
    number = os.read(read, 1)[0]
    undo_all()
    if number != signal.Signals["SIGPIPE"]:  # of which those know who closed the pipe
        line = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        with suppress(OSError):
            os.write(2, f"vlae: {line}\n".encode())
    os._exit(EXIT_SIGNAL + number)
