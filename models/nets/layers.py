"""Layers that several networks share: residual blocks, and biases that depend on a condition.

torch's types do not say which modules a list holds, or that a layer has biases. The helpers here say so for mypy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Generic, TypeVar, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LayerT_co = TypeVar("LayerT_co", bound=nn.Module, covariant=True)


class Layers(nn.ModuleList, Generic[LayerT_co]):
    """A list of modules of one type."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[LayerT_co]:
            """Iterate over the modules."""

        @overload
        def __getitem__(self, index: slice) -> Layers[LayerT_co]: ...
        @overload
        def __getitem__(self, index: int) -> LayerT_co: ...
        def __getitem__(self, index: int | slice) -> LayerT_co | Layers[LayerT_co]:
            """Return a module, or some of them."""


class Condition(nn.Module):
    """What a condition adds to biases: a row for each error d, or a mixture of rows for a quality between levels."""

    def __init__(self, rows: int, units: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, units))

    def forward(self, condition: Tensor) -> Tensor:
        """Return biases (..., units).

        ``condition`` has indices of rows, an int64 tensor (...), or shares of all rows, a float tensor (..., rows).
        """
        return condition @ self.weight if condition.is_floating_point() else self.weight[condition]


class Residual(nn.Module):
    """A residual block: s + conv2(relu(conv1(s)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        begin_at_zero(self.conv2)

    def forward(self, s: Tensor, level: Tensor | None = None) -> Tensor:
        """Return the stream (B, width, H, W) after the block. The level has no effect."""
        moved: Tensor = s + self.conv2(F.relu(self.conv1(s)))
        return moved


class Stack(Layers[LayerT_co]):
    """A sequence of blocks that a stream goes through."""

    def forward(self, s: Tensor, level: Tensor | None = None) -> Tensor:
        """Return the stream after all blocks. Each block gets the level."""
        for block in self:
            s = block(s, level)
        return s


def begin_at_zero(layer: nn.Conv2d) -> None:
    """Set the weight and the biases of a layer to zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(bias_of(layer))


def bias_of(layer: nn.Conv2d | nn.Linear) -> Tensor:
    """Return the biases of a layer that has them.

    Raises
    ------
    ValueError
        The layer has none.
    """
    bias: Tensor | None = layer.bias
    if bias is None:
        raise ValueError(f"expected a layer with biases, got {layer}")
    return bias


def lowered(x: Tensor, on: bool) -> AbstractContextManager[object]:
    """Return a context in which layers on the tensor's device multiply in bfloat16 if ``on`` is true."""
    return torch.autocast(x.device.type, torch.bfloat16) if on else nullcontext()
