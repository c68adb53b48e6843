"""Work several bands at the same time, wave by wave, each band behind the one above it.

A band's contexts reach into the band above. So a band may begin a wave only when the band above is
`codec.vlae.wavefront.lag` waves ahead. Threads take the bands in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

from codec.errors import CorruptDataError
from codec.system.threads import pool_of

CHUNK = 32
"""Waves that a band works before it looks again how far the band above is."""

Progress = Callable[[int, int], None]
Ready = Callable[[int], None]
"""A callable. A band calls it with a number of waves, and it returns when the band's waves up to that can be worked."""


class _AboveError(CorruptDataError):
    """A band had to stop because a band above it failed. The error of that band says why."""


class _Waves:
    """The number of finished waves of each band. The thread of the band below waits for it."""

    def __init__(self, counts: list[int], lag: int) -> None:
        self.counts = counts
        self.lag = lag
        self.done = [0] * len(counts)
        self.failed = False
        self.changed = Condition()

    def wait(self, band: int, waves: int) -> None:
        """Wait until the first ``waves`` waves of a band can be worked.

        The call also reports that the earlier chunks of the band are done.
        """
        needed = min(self.counts[band - 1], waves + self.lag) if band else 0
        with self.changed:
            self.done[band] = (waves - 1) // CHUNK * CHUNK
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.failed or needed == 0 or self.done[band - 1] >= needed)
            if self.failed:
                raise _AboveError("message: a band above could not be decoded")

    def finish(self, band: int) -> None:
        """Report that a band is done."""
        with self.changed:
            self.done[band] = self.counts[band]
            self.changed.notify_all()

    def fail(self) -> None:
        """Make all waits, present and future, raise `_AboveError`."""
        with self.changed:
            self.failed = True
            self.changed.notify_all()


def run(
    counts: list[int], lag: int, work: Callable[[int, Ready], None], workers: int, progress: Progress | None
) -> None:
    """Work all bands, from the first to the last, ``workers`` bands at the same time.

    Parameters
    ----------
    counts : list of int
        Number of waves of each band.
    lag : int
        Number of waves by which a band stays behind the one above it.
    work : callable
        Called with a band's index and a `Ready`. It must call the `Ready` before every `CHUNK` waves.
    workers : int
        Number of threads. Thread i works the bands i, i + workers, and so on.
    progress : callable or None
        Called with the bands done and the bands in all.

    Raises
    ------
    Exception
        What ``work`` raised. The bands below then end, too.
    """
    waves = _Waves(counts, lag)
    done: list[int] = []

    def worker(first: int) -> None:
        try:
            for index in range(first, len(counts), workers):
                work(index, lambda count, index=index: waves.wait(index, count))  # type: ignore[misc]
                waves.finish(index)
                done.append(index)
                if progress is not None:
                    progress(len(done), len(counts))
        except BaseException:
            waves.fail()
            raise

    with pool_of(workers) as pool:
        futures = [pool.submit(worker, first) for first in range(workers)]
    errors = [e for e in (f.exception() for f in futures) if e is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, _AboveError)):
        raise error
