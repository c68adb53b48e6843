"""Contexts of chosen pixels, gathered where the images are: on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec import constants
from codec.frozen import contexts
from models.nets.vlae import CONTEXT_UNIT, compress_table
from models.noise import CPU


@dataclass
class Pixels:
    """Pixels chosen for the likelihood, as many from each tile: int64 tensors (B, T, N), positions of B images."""

    y: Tensor
    x: Tensor


def neighbour(y: Tensor, x: Tensor, k: Tensor, j: Tensor, width: int) -> Tensor:
    """Return where context (k, j) of pixel (y, x) is read; `codec.frozen.contexts.neighbour` does it for arrays."""
    k_eff = torch.minimum(k, y)
    j_eff = torch.where(k_eff == k, j, torch.minimum(j, constants.SLOPE * k_eff - 1))
    row = y - k_eff
    column = (x + j_eff).clamp(0, width - 1)
    own = k_eff == 0
    column = torch.where(own, torch.minimum(column, x - 1), column)
    above = own & (column < 0)
    row = torch.where(above, y - 1, row)
    return torch.where(row < 0, -1, row * width + column.masked_fill(above, 0))


class Inputs:
    """Gathers the likelihood's inputs of chosen pixels: it sees ``offsets`` (P, 2), or of them ``grey`` alone."""

    def __init__(self, offsets: NDArray[np.int64], *, grey: bool = False, device: torch.device = CPU) -> None:
        self.grey = grey
        self.table = compress_table().to(device)
        self.k, self.j = torch.from_numpy(offsets.T.copy()).to(device)
        rows, columns = offsets.T
        self.reference = [
            (int(np.flatnonzero((rows == row) & (columns == column))[0]), weight)
            for row, column, weight in contexts.REFERENCE
        ]

    def __call__(self, images: Tensor, pixels: Pixels) -> tuple[Tensor, Tensor, Tensor]:
        """Return samples (B, T, N, 3), references (B, T, N, 3) and network inputs (B, T, N, 3 P + 3).

        ``images`` is a uint8 tensor (B, H, W, 3) of decoded values.
        """
        _, h, w, _ = images.shape
        words = self._words(images)
        where = neighbour(pixels.y[..., None], pixels.x[..., None], self.k, self.j, w)
        where = torch.where(where < 0, h * w, where)
        start = self._starts(images)
        around = self._samples(words, where + start[..., None])  # (B, T, N, P, 3)
        values = self._samples(words, pixels.y * w + pixels.x + start)
        if self.grey:
            around = (around[..., :1] + 2 * around[..., 1:2] + around[..., 2:] + 2) >> 2
        reference = sum(weight * around[..., place, :] for place, weight in self.reference)
        reference = ((reference + 2) >> 2).clamp(0, 255)
        steps = self.table[around - reference[..., None, :] + 255]
        level = torch.floor((reference - constants.NO_PIXEL) / 2)
        return values, reference.expand_as(values), torch.cat([steps.flatten(-2), level], -1) / CONTEXT_UNIT

    def samples(self, images: Tensor, pixels: Pixels) -> Tensor:
        """Return the samples (B, T, N, 3) of the chosen pixels."""
        where = pixels.y * images.shape[2] + pixels.x + self._starts(images)
        return self._samples(self._words(images), where)

    @staticmethod
    def _starts(images: Tensor) -> Tensor:
        """Return the word (B, 1, 1) at which each image begins."""
        b, h, w, _ = images.shape
        return torch.arange(0, b * (h * w + 1), h * w + 1, device=images.device)[:, None, None]

    @staticmethod
    def _words(images: Tensor) -> Tensor:
        """Return images as 32-bit words, a missing pixel after each: gathered three times faster than bytes."""
        b, h, w, _ = images.shape
        flat = torch.full((b, h * w + 1, 4), constants.NO_PIXEL, dtype=torch.uint8, device=images.device)
        flat[:, :-1, :3] = images.reshape(b, h * w, 3)
        return flat.view(torch.int32)[..., 0].reshape(-1)

    @staticmethod
    def _samples(words: Tensor, where: Tensor) -> Tensor:
        return words[where][..., None].view(torch.uint8)[..., :3].int()
