"""Batches of crops for a run. They are made ahead of the steps that learn from them.

`Ordered` gives each step its own batch, which depends only on the recipe's seed and on the step. So a run that was
stopped goes on to the same bits. `Pool` is for devices that learn faster than processes make crops with pasts: it holds
crops on the device, draws from all of them, and replaces the oldest as fast as new ones come.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.noise import CPU
from models.ranks import Ranks
from models.tasks.interface import AnyBatch, BatchT, Material, ModelT, Task

AHEAD = 2
"""Batches that may wait for the steps, besides those that each process makes ahead."""
POOLED = 32
"""Number of batches that a pool holds."""
PATIENCE_S = 0.1
"""Seconds after which the thread that fetches batches looks again whether it should end."""


def each(function: Callable[..., Tensor], *batches: BatchT) -> BatchT:
    """Return a batch whose tensors are ``function`` of the corresponding tensors of batches.

    Batches are tensors, or named tuples of tensors.
    """
    first: AnyBatch = batches[0]
    if isinstance(first, Tensor):
        return cast("BatchT", function(*batches))
    made = (function(*parts) for parts in zip(*batches, strict=True))
    return cast("BatchT", type(first)(*made))  # named tuples take their parts one by one


def join(batches: Sequence[BatchT]) -> BatchT:
    """Return one batch that joins several along the first axis."""
    return each(lambda *parts: torch.cat(parts), *batches)


BatchT_co = TypeVar("BatchT_co", bound=AnyBatch, covariant=True)


class Batches(Protocol[BatchT_co]):
    """Gives steps their batches.

    Attributes
    ----------
    waited : float
        Seconds that steps have waited for their batches.
    """

    waited: float

    @property
    def made(self) -> int:
        """Batches that were made."""

    def batch(self, step: int) -> BatchT_co:
        """Return the batch of a step."""

    def close(self) -> None:
        """End what makes batches."""


class Items(Dataset[BatchT]):
    """Batches of one crop each, by the numbers of the crops."""

    def __init__(self, task: Task[ModelT, BatchT], material: Material) -> None:
        self.task = task
        self.material = material

    def __getitem__(self, number: int) -> BatchT:
        """Return the batch of one crop. It depends only on the material's seed and on the number."""
        rng = np.random.default_rng((self.material.seed, number, 2))
        return self.task.batch(self.material.crop(number)[None], rng)


class Numbers:
    """The numbers of this process's crops in each batch, from batch ``first`` on."""

    def __init__(self, first: int, batches: int, batch: int, ranks: Ranks) -> None:
        self.range = range(first, batches)
        self.batch = batch
        self.share = ranks.share(batch)
        self.begin = ranks.rank * self.share

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.range)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the numbers of each batch."""
        for index in self.range:
            start = index * self.batch + self.begin
            yield list(range(start, start + self.share))


def _leave_signals(_: int) -> None:
    # Ctrl-C reaches all processes of a terminal. But the run decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def make_batches(task: Task[ModelT, BatchT], material: Material, numbers: Numbers, workers: int) -> Iterator[BatchT]:
    """Yield the batches of numbers in order. ``workers`` processes make them, or the caller if that is 0."""
    fork = "fork" if workers and "fork" in multiprocessing.get_all_start_methods() else None
    loader: DataLoader[BatchT] = DataLoader(
        Items(task, material),
        batch_sampler=numbers,
        num_workers=workers,
        collate_fn=join,
        worker_init_fn=_leave_signals,
        # Forked processes share the images; they use neither torch's threads nor the device.
        multiprocessing_context=fork,
        pin_memory=task.device.type == "cuda",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        return iter(loader)


class Ahead(Generic[BatchT]):
    """A thread that fetches batches before they are asked for.

    Attributes
    ----------
    made : int
        Number of batches that were fetched.
    """

    def __init__(self, batches: Iterator[BatchT]) -> None:
        self.made = 0
        self._queue: queue.Queue[BatchT | BaseException] = queue.Queue(AHEAD)
        self._batches = batches
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._fetch, daemon=True)
        self._thread.start()

    def _fetch(self) -> None:
        try:
            for batch in self._batches:
                self.made += 1
                self._put(batch)
                if self._ended.is_set():
                    return
        except BaseException as error:
            self._put(error)

    def _put(self, item: BatchT | BaseException) -> None:
        while not self._ended.is_set():
            try:
                self._queue.put(item, timeout=PATIENCE_S)
            except queue.Full:
                continue
            return

    def take(self) -> BatchT:
        """Return the next batch. Wait for it if there is none yet."""
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def take_made(self) -> BatchT | None:
        """Return the next batch, or None if there is none yet."""
        return None if self._queue.empty() else self.take()

    def close(self) -> None:
        """End the thread, and the processes that make batches."""
        self._ended.set()
        self._thread.join()
        self._batches = iter(())


class Ordered(Generic[BatchT]):
    """Batches in order. Each is used by ``uses`` steps.

    Attributes
    ----------
    waited : float
        Seconds that steps waited for their batches.
    """

    def __init__(self, batches: Iterator[BatchT], uses: int, device: torch.device = CPU) -> None:
        self.waited = 0.0
        self.device = device
        self._uses = uses
        self._ahead = Ahead(batches)
        self._current: BatchT | None = None

    @property
    def made(self) -> int:
        """Batches that were made."""
        return self._ahead.made

    def batch(self, step: int) -> BatchT:
        """Return the batch of a step. Steps must follow each other."""
        if self._current is None or step % self._uses == 0:
            begin = time.perf_counter()
            self._current = each(lambda t: t.to(self.device, non_blocking=True), self._ahead.take())
            self.waited += time.perf_counter() - begin
        return self._current

    def close(self) -> None:
        """End what makes batches."""
        self._ahead.close()


class Pool(Generic[BatchT]):
    """Batches of crops that are drawn from all crops on the device.

    A crop is drawn ``uses`` times on average, or less often if new crops come faster. Then steps never wait.
    """

    def __init__(self, batches: Iterator[BatchT], uses: int, device: torch.device, pooled: int = POOLED) -> None:
        self.waited = 0.0
        self.device = device
        self._uses = uses
        self._pooled = pooled
        self._ahead = Ahead(batches)
        self._held: list[BatchT] = []
        self._taken = self._drawn = 0

    @property
    def made(self) -> int:
        """Batches that were made."""
        return self._ahead.made

    def batch(self, step: int) -> BatchT:
        """Return a batch of random crops from the pool."""
        begin = time.perf_counter()
        for _ in range(AHEAD):
            must_wait = self._drawn >= self._taken * self._uses
            item = self._ahead.take() if must_wait else self._ahead.take_made()
            if item is None:
                break
            batch = each(lambda t: t.to(self.device, non_blocking=True), item)
            if len(self._held) < self._pooled:
                self._held.append(batch)
            else:
                self._held[self._taken % self._pooled] = batch
            self._taken += 1
        self.waited += time.perf_counter() - begin
        self._drawn += 1
        held: AnyBatch = self._held[0]
        first = held if isinstance(held, Tensor) else held[0]
        chosen = np.random.default_rng((step, 3)).integers(len(self._held), size=len(first)).tolist()
        # The host knows the places of the slices, so that no index is copied to the device.
        return each(lambda *parts: torch.stack([parts[k][place] for place, k in enumerate(chosen)]), *self._held)

    def close(self) -> None:
        """End what makes batches."""
        self._ahead.close()
