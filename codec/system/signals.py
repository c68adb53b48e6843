"""Signals end the command at once, whatever its threads do, and without leaving an unfinished file.

Python calls signal handlers only when the main thread returns from compiled code, which may take seconds. So a thread
waits here for the byte that the interpreter writes as soon as a signal arrives. It undoes what is unfinished and ends
the process. The workers end with it (`codec.system.workers`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from codec.system.outputs import undo_all

ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE")
EXIT_SIGNAL = 128
"""The exit code of a process that a signal ended is this plus the number of the signal, as in shells."""

_before: dict[int, object] = {}
_advice: list[str] = []


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Add a word on how to go on to what is said when a signal ends the process within the block."""
    _advice.append(f"; {advice}")
    try:
        yield
    finally:
        _advice.pop()


def end_on_signals(silent: bool = False) -> None:
    """Let signals end this process at once, except those that its caller made it ignore.

    On Windows nothing is changed: there Ctrl-C ends the process at once anyway.

    Parameters
    ----------
    silent : bool
        Whether to end without a message.
    """
    if sys.platform == "win32":
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    for name in ENDING:
        number = signal.Signals[name]
        # nohup, and & in a shell, make a process ignore signals. SIGPIPE is ignored by Python itself.
        if signal.getsignal(number) != signal.SIG_IGN or name == "SIGPIPE":
            _before[number] = signal.signal(number, lambda number, frame: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(read, silent), daemon=True).start()


def leave_to_python() -> None:
    """Undo `end_on_signals`, for a command that handles Ctrl-C in its own way."""
    if _before:
        signal.set_wakeup_fd(-1)
    while _before:
        number, handler = _before.popitem()
        signal.signal(number, handler)  # type: ignore[arg-type]


def ignore_closed_pipes() -> None:
    """Let a write to a connection that its reader closed raise an error, and not end this process."""
    if sys.platform != "win32":
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _wait(read: int, silent: bool) -> None:
    number = os.read(read, 1)[0]
    undo_all()
    if not silent and number != signal.Signals["SIGPIPE"]:  # whoever closed the pipe needs no message
        line = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
        with suppress(OSError):
            os.write(2, f"vlae: {line}{''.join(_advice)}\n".encode())
    os._exit(EXIT_SIGNAL + number)
