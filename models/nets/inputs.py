"""The likelihood's inputs at chosen positions, gathered on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec import constants
from codec.frozen import contexts
from models.nets.likelihood import CONTEXT_UNIT
from models.nets.vlae import compress_table
from models.noise import CPU


@dataclass
class Places:
    """Pixels chosen for the likelihood, N from each tile: int64 tensors (B, T, N) of their rows and columns.

    If the first axis has length 1, the same pixels of all images are chosen.
    """

    y: Tensor
    x: Tensor


def neighbour(y: Tensor, x: Tensor, k: Tensor, j: Tensor, width: int) -> Tensor:
    """Return the place at which context (k, j) of pixel (y, x) is read, as `codec.frozen.contexts.neighbour` does."""
    k_eff = torch.minimum(k, y)
    j_eff = torch.where(k_eff == k, j, torch.minimum(j, constants.SLOPE * k_eff - 1))
    row = y - k_eff
    column = (x + j_eff).clamp(0, width - 1)
    own = k_eff == 0
    column = torch.where(own, torch.minimum(column, x - 1), column)
    above = own & (column < 0)
    row = torch.where(above, y - 1, row)
    return torch.where(row < 0, -1, row * width + column.masked_fill(above, 0))


def read_at(y: Tensor, x: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    """Return the places at which the contexts of positions (...) are read, an int64 tensor (..., P).

    ``offsets`` is an int64 tensor (P, 2) of rows up and columns to the right. A context that does not exist gets
    ``height * width``, which is past the end of the image.
    """
    where = neighbour(y[..., None], x[..., None], offsets[:, 0], offsets[:, 1], width)
    return torch.where(where < 0, height * width, where)


@lru_cache(maxsize=16)
def _read_at_all(height: int, width: int, offsets: bytes, device: torch.device) -> Tensor:
    y, x = (torch.from_numpy(a.reshape(-1)).to(device) for a in np.mgrid[0:height, 0:width])
    pairs = torch.from_numpy(np.frombuffer(offsets, dtype=np.int64).reshape(-1, 2).copy()).to(device)
    return read_at(y, x, pairs, height, width)


def read_at_all(height: int, width: int, offsets: NDArray[np.int64], device: torch.device) -> Tensor:
    """Return `read_at` of all positions in raster order, (H W, P). The result is cached on the device."""
    return _read_at_all(height, width, offsets.tobytes(), device)


def reference_terms(offsets: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the contexts of a reference: pairs of an index into ``offsets`` (P, 2) and a weight. Weights sum to 4."""
    rows, columns = offsets.T
    return [
        (int(np.flatnonzero((rows == row) & (columns == column))[0]), weight)
        for row, column, weight in contexts.REFERENCE
    ]


class Inputs:
    """Gathers the likelihood's inputs of chosen pixels: the contexts at ``offsets`` (P, 2), or only their grey."""

    def __init__(self, offsets: NDArray[np.int64], *, grey: bool = False, device: torch.device = CPU) -> None:
        self.grey = grey
        self.table = compress_table().to(device)
        self.offsets = torch.from_numpy(offsets.copy()).to(device)
        self.reference = reference_terms(offsets)

    def __call__(self, images: Tensor, places: Places) -> tuple[Tensor, Tensor, Tensor]:
        """Return float tensors: samples (B, T, N, 3), references (B, T, N, 3) and network inputs (B, T, N, 3 P + 3).

        ``images`` is a uint8 tensor (B, H, W, 3) of decoded values.
        """
        _, h, w, _ = images.shape
        words, start = self._words(images), self._starts(images)
        where = read_at(places.y, places.x, self.offsets, h, w)
        around = self._samples(words, where + start[..., None])  # (B, T, N, P, 3)
        values = self._samples(words, places.y * w + places.x + start)
        if self.grey:
            around = (around[..., :1] + 2 * around[..., 1:2] + around[..., 2:] + 2) >> 2
        total = torch.zeros_like(around[..., 0, :])
        for place, weight in self.reference:
            total += weight * around[..., place, :]
        reference = ((total + 2) >> 2).clamp(0, 255)
        steps = self.table[around - reference[..., None, :] + 255]
        level = torch.floor((reference - constants.NO_PIXEL) / 2)
        return values, reference.expand_as(values), torch.cat([steps.flatten(-2), level], -1) / CONTEXT_UNIT

    def samples(self, images: Tensor, places: Places) -> Tensor:
        """Return the samples (B, T, N, 3) of the chosen pixels."""
        where = places.y * images.shape[2] + places.x + self._starts(images)
        return self._samples(self._words(images), where)

    @staticmethod
    def _starts(images: Tensor) -> Tensor:
        """Return the word (B, 1, 1) at which each image begins."""
        b, h, w, _ = images.shape
        return torch.arange(0, b * (h * w + 1), h * w + 1, device=images.device)[:, None, None]

    @staticmethod
    def _words(images: Tensor) -> Tensor:
        """Return images as 32-bit words, which are gathered faster than bytes. A missing pixel follows each image."""
        b, h, w, _ = images.shape
        flat = torch.full((b, h * w + 1, 4), constants.NO_PIXEL, dtype=torch.uint8, device=images.device)
        flat[:, :-1, :3] = images.reshape(b, h * w, 3)
        return flat.view(torch.int32)[..., 0].reshape(-1)

    @staticmethod
    def _samples(words: Tensor, where: Tensor) -> Tensor:
        return words[where][..., None].view(torch.uint8)[..., :3].int()
