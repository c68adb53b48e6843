"""The networks of the lossy mode's transforms, in float: depthwise residual blocks at two resolutions.

In a block a depthwise convolution mixes places, with nine weights for each channel, and 1 x 1 layers mix channels. So
the same number of multiply-adds allows more and wider layers than dense convolutions. Outside the image its border is
repeated.

Some blocks work at an eighth of the image's resolution and some at a quarter: pixels are shuffled in two steps, each
followed or preceded by a learned map. `codec.networks.depthwise` executes the blocks in integers. Tensors are B C H W.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.networks.depthwise import SQUARE, STEP
from codec.networks.transform import FINE_PATCH, PATCH
from models.nets.layers import Condition, begin_at_zero
from models.nets.transforms import INPUT_UNIT, Y_UNIT, Transform, linear_rows


@dataclass(frozen=True)
class Shape:
    """Shape of a transform.

    Attributes
    ----------
    width, blocks : int
        Channels of the stream at an eighth of the resolution, and its blocks.
    expansion : int
        Hidden units of a block for each of its channels.
    fine_width, fine_blocks : int
        Channels of the stream at a quarter of the resolution, and its blocks. Both are 0 if there is no such stream;
        then the transform cannot be frozen.
    """

    width: int = 256
    blocks: int = 8
    expansion: int = 2
    fine_width: int = 0
    fine_blocks: int = 0

    @property
    def patch(self) -> int:
        """Side, in pixels, of the patch for which the finest stream has a position."""
        return FINE_PATCH if self.fine_width else PATCH


class DepthwiseBlock(nn.Module):
    """A residual block: s + conv2(relu(conv1(depthwise(s)) + biases of the level))."""

    def __init__(self, width: int, expansion: int, levels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate", groups=width, bias=False)
        self.conv1 = nn.Conv2d(width, expansion * width, 1)
        self.conv2 = nn.Conv2d(expansion * width, width, 1)
        self.levels = Condition(levels, expansion * width)
        with torch.no_grad():
            self.depthwise.weight[:, :, 1, 1] += 1.0  # at first a unit sees mostly its own place
        begin_at_zero(self.conv2)

    def forward(self, s: Tensor, level: Tensor) -> Tensor:
        """Return the stream (B, width, H, W) after the block; ``level`` is as `Condition` takes it."""
        moved = self.levels(level)[:, :, None, None]
        after: Tensor = s + self.conv2(F.relu(self.conv1(self.depthwise(s)) + moved))
        return after


class Refine(nn.Module):
    """A map to a stream of `STEP` times the resolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after * SQUARE, 1)

    def forward(self, s: Tensor, level: Tensor) -> Tensor:
        """Return the stream (B, after, 2 H, 2 W). The level has no effect."""
        return F.pixel_shuffle(self.conv1(s), STEP)


class Coarsen(nn.Module):
    """A map to a stream of 1 / `STEP` of the resolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before * SQUARE, after, 1)

    def forward(self, s: Tensor, level: Tensor) -> Tensor:
        """Return the stream (B, after, H / 2, W / 2). The level has no effect."""
        coarse: Tensor = self.conv1(F.pixel_unshuffle(s, STEP))
        return coarse


class Parts(NamedTuple):
    """The blocks of a transform: those before the map between the resolutions, the map, and those after it."""

    before: list[DepthwiseBlock]
    between: Refine | Coarsen
    after: list[DepthwiseBlock]


def parts(transform: Transform[nn.Module]) -> Parts:
    """Return the blocks of a transform.

    Raises
    ------
    ValueError
        It has no map between two resolutions.
    """
    found: tuple[list[DepthwiseBlock], list[DepthwiseBlock]] = ([], [])
    between: Refine | Coarsen | None = None
    for block in transform.blocks:
        if isinstance(block, DepthwiseBlock):
            found[between is not None].append(block)
        elif isinstance(block, Refine | Coarsen):
            between = block
    if between is None:
        raise ValueError("expected a transform with a stream at a quarter of the resolution")
    return Parts(found[0], between, found[1])


def blocks(shape: Shape, levels: int) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the blocks at an eighth of the resolution, and those at a quarter."""
    coarse = [DepthwiseBlock(shape.width, shape.expansion, levels) for _ in range(shape.blocks)]
    fine = [DepthwiseBlock(shape.fine_width, shape.expansion, levels) for _ in range(shape.fine_blocks)]
    return list(coarse), list(fine)


class DepthwiseAnalysis(Transform[nn.Module]):
    """Analysis by depthwise blocks: from samples minus 128 to y."""

    def __init__(self, channels: int, shape: Shape, levels: int) -> None:
        coarse, fine = blocks(shape, levels)
        first = nn.Conv2d(3 * shape.patch**2, shape.fine_width or shape.width, 1)
        last = nn.Conv2d(shape.width, channels, 1)
        between = [Coarsen(shape.fine_width, shape.width)] if shape.fine_width else []
        super().__init__(linear_rows(channels), first, last, [*fine, *between, *coarse], (INPUT_UNIT, Y_UNIT))
        self.patch = shape.patch

    def forward(self, image: Tensor, level: Tensor) -> Tensor:
        """Return y (B, channels, H/8, W/8) of samples minus 128 (B, 3, H, W)."""
        linear = self.mapped(F.pixel_unshuffle(image, PATCH))
        return linear + self.learned(F.pixel_unshuffle(image, self.patch), level)


class DepthwiseSynthesis(Transform[nn.Module]):
    """Synthesis by depthwise blocks: from y to samples minus 128."""

    def __init__(self, channels: int, shape: Shape, levels: int) -> None:
        coarse, fine = blocks(shape, levels)
        first = nn.Conv2d(channels, shape.width, 1)
        last = nn.Conv2d(shape.fine_width or shape.width, 3 * shape.patch**2, 1)
        between = [Refine(shape.width, shape.fine_width)] if shape.fine_width else []
        # The unit of samples is the patch's side, as in the mean of an orthonormally transformed patch.
        super().__init__(linear_rows(channels).T.copy(), first, last, [*coarse, *between, *fine], (Y_UNIT, PATCH))
        self.patch = shape.patch

    def forward(self, y: Tensor, level: Tensor) -> Tensor:
        """Return samples minus 128 (B, 3, H, W) of y (B, channels, H/8, W/8)."""
        linear = F.pixel_shuffle(self.mapped(y), PATCH)
        return linear + F.pixel_shuffle(self.learned(y, level), self.patch)
