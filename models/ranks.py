"""Several processes train one model together. Each takes a share of a batch's crops.

torchrun starts them, on one machine or on several, and tells each its rank by environment variables. Gradients are
averaged over all processes, and so are values of the whole batch that a loss needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from codec.errors import CodecError
from models.errors import RecipeError

Made = TypeVar("Made")


@dataclass(frozen=True)
class Ranks:
    """The place of this process: it is number ``rank``, from 0 on, of ``count``."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """Return the number of crops of a batch that each process takes.

        Raises
        ------
        RecipeError
            The crops cannot be shared equally.
        """
        if batch % self.count:
            raise RecipeError(f"train.batch: {self.count} processes cannot share {batch} crops equally")
        return batch // self.count

    def mean(self, value: Tensor) -> Tensor:
        """Return a tensor's mean over all processes, without a gradient."""
        if self.count == 1:
            return value.detach()
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.count

    def shared(self, make: Callable[[], Made]) -> Made:
        """Return what ``make`` returns in the first process, or raise what it raises there; others do not call it."""
        if self.count == 1:
            return make()
        made: list[Made | CodecError | None] = [None]
        if self.first:
            try:
                made = [make()]
            except CodecError as error:
                made = [error]
        distributed.broadcast_object_list(made, device=torch.device("cpu"))
        if isinstance(made[0], CodecError):
            raise made[0]
        return cast("Made", made[0])  # what the first process sent

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set in any of the processes."""
        if self.count == 1:
            return flag
        found = torch.tensor(int(flag))  # on the host, so that nothing waits for the device
        distributed.all_reduce(found)
        return bool(found)

    def average_gradients(self, model: nn.Module) -> None:
        """Replace the gradients of all parameters by their means over all processes."""
        if self.count == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        flat /= self.count
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


ALONE = Ranks()


@contextmanager
def connected() -> Iterator[Ranks]:
    """Yield this process's `Ranks`, connected to the other processes if torchrun started several."""
    if "RANK" not in os.environ:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
