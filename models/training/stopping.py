"""Stopping by signals: Ctrl-C or SIGTERM asks a run to finish its step, to save, and to end."""

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
    """A signal has broken off `Stop.attempt`."""


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
        """Return whether a signal asked this process to stop."""
        return self.received is not None

    def attempt(self, work: Callable[[], Result]) -> Result | None:
        """Return what ``work`` returns, or None if a signal breaks it off.

        Use it for work that takes minutes and has no effect before its end.
        """
        self._breaks = True
        try:
            return None if self() else work()
        except _Stopped:
            return None
        finally:
            self._breaks = False

    def receive(self, number: int, _: FrameType | None) -> None:
        """Handle a signal. The second signal ends the process at once."""
        if self():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = signal.Signals(number)
        if self._breaks:
            raise _Stopped


@contextmanager
def stop_by_signals() -> Iterator[Stop]:
    """Yield a `Stop` that receives signals. After the block, signals have their former handlers again."""
    stop = Stop()
    before = {number: signal.signal(number, stop.receive) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
