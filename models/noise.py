"""Random numbers of a step, drawn on the device. They depend only on the recipe's seed and on the step.

If several processes share a batch, each draws the numbers of all crops and takes those of its own. So what is learned
does not depend on the number of processes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.ranks import ALONE, Ranks

CPU = torch.device("cpu")


class Noise:
    """A source of random numbers.

    Attributes
    ----------
    host : numpy.random.Generator
        A generator for choices that all crops of a batch share.
    """

    def __init__(self, seed: int = 0, device: torch.device = CPU, ranks: Ranks = ALONE) -> None:
        self.device = device
        self.ranks = ranks
        self.generator: torch.Generator | None = torch.Generator(device)
        self.begin(seed)

    def begin(self, seed: int) -> None:
        """Begin a new sequence of numbers with a seed."""
        self.host = np.random.default_rng(seed)
        if self.generator is not None:
            self.generator.manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        """Return uniform random numbers in 0..1, a float tensor. The first axis has this process's crops."""
        return self._own(torch.rand(self._all(shape), generator=self.generator, device=self.device))

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers, a float tensor. The first axis has this process's crops."""
        return self._own(torch.randn(self._all(shape), generator=self.generator, device=self.device))

    def logistic(self, *shape: int) -> Tensor:
        """Return logistic numbers of mean 0 and scale 1, a float tensor. The first axis has this process's crops."""
        return torch.logit(self.uniform(*shape).clamp(1e-6, 1 - 1e-6))

    def integers(self, below: int, *shape: int) -> Tensor:
        """Return random integers 0..below - 1, an int64 tensor. The first axis has this process's crops."""
        return self._own(torch.randint(below, self._all(shape), generator=self.generator, device=self.device))

    def _all(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.ranks.count * shape[0], *shape[1:])

    def _own(self, numbers: Tensor) -> Tensor:
        return numbers.chunk(self.ranks.count)[self.ranks.rank]
