"""Bands that are worked wave by wave at the same time, each staying behind the one above it.

A band's contexts reach into the band above, so it may begin a wave when that band is `codec.vlae.wavefront.lag`
waves ahead. Threads take the bands in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

from codec.errors import CorruptDataError
from codec.system.threads import pool_of

CHUNK = 32
"""Waves between two looks at the band above."""

Progress = Callable[[int, int], None]
Ready = Callable[[int], None]
"""Called with a number of waves before a band's waves up to it are worked; waits until they can be."""


class _AboveError(CorruptDataError):
    """A band could not go on, since one above it failed: that one's error says why."""


class _Waves:
    """How many waves of each band are done: what the thread of the band below waits for."""

    def __init__(self, counts: list[int], lag: int) -> None:
        self.counts = counts
        self.lag = lag
        self.done = [0] * len(counts)
        self.failed = False
        self.changed = Condition()

    def wait(self, band: int, waves: int) -> None:
        """Wait until so many waves of a band can be worked; say so of the band's earlier waves."""
        needed = min(self.counts[band - 1], waves + self.lag) if band else 0
        with self.changed:
            self.done[band] = (waves - 1) // CHUNK * CHUNK
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.failed or needed == 0 or self.done[band - 1] >= needed)
            if self.failed:
                raise _AboveError("message: a band above could not be decoded")

    def finish(self, band: int) -> None:
        """Say that a band is done."""
        with self.changed:
            self.done[band] = self.counts[band]
            self.changed.notify_all()

    def fail(self) -> None:
        """Let nobody wait any longer."""
        with self.changed:
            self.failed = True
            self.changed.notify_all()


def run(
    counts: list[int], lag: int, work: Callable[[int, Ready], None], workers: int, progress: Progress | None
) -> None:
    """Work all bands, from the first to the last, ``workers`` of them at once.

    Parameters
    ----------
    counts : list of int
        Waves of each band.
    lag : int
        Waves by which a band stays behind the one above it.
    work : callable
        Called with a band's index and a `Ready`, which it calls before every `CHUNK` waves.
    progress : callable or None
        Called with the bands done and the bands in all.

    Raises
    ------
    Exception
        What ``work`` raised; the other bands end then.
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
