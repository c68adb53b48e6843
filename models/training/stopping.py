"""Stopping by signals: Ctrl-C and SIGTERM ask a run to finish its step, to save and to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

Result = TypeVar("Result")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Stopped(BaseException):
    """What was being done is given up."""


class Stop:
    """Whether this process was asked to stop.

    Attributes
    ----------
    received : signal.Signals or None
        The signal that asked.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._breaks = False

    def __call__(self) -> bool:
        """Return whether it was."""
        return self.received is not None

    def attempt(self, work: Callable[[], Result]) -> Result | None:
        """Return what work returns, None if a signal came before its end, which it does not reach then.

        For what takes minutes and changes nothing until its end.
        """
        self._breaks = True
        try:
            return None if self() else work()
        except _Stopped:
            return None
        finally:
            self._breaks = False

    def receive(self, number: int, _: FrameType | None) -> None:
        """Take a signal; the second one ends the process at once."""
        if self():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = signal.Signals(number)
        if self._breaks:
            raise _Stopped


@contextmanager
def stop_by_signals() -> Iterator[Stop]:
    """Yield what tells whether a signal came; afterwards signals do what they did before."""
    stop = Stop()
    before = {number: signal.signal(number, stop.receive) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
