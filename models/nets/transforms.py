"""The transforms of the lossy mode, in float: from an image to latents y and back.

y has a position for each 8 x 8 patch of the image. A transform is the sum of a linear map and of a residual network. At
first the linear map is the discrete cosine transform of three opponent colours, and the network is zero, so that
training begins with a classical block transform. Most of the gain, and all deblocking, comes from the network, whose
convolutions see the patches around. The biases of its blocks depend on quality. `models.nets.depthwise` has the blocks.

`codec.networks.transform` executes them in integers. Tensors are B C H W.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from codec.networks.transform import PATCH
from models.nets.layers import LayerT_co, Stack, begin_at_zero, lowered

INPUT_UNIT = 64.0
"""Samples that make 1 in the analysis network's inputs."""
Y_UNIT = 16.0
"""Units of y that make 1 in the analysis network's results and in the synthesis network's inputs."""
OPPONENTS = ((1.0, 1.0, 1.0), (1.0, -2.0, 1.0), (1.0, 0.0, -1.0))
"""Orthogonal colours: brightness, green against magenta, red against blue."""
CHROMA_WEIGHT = 2.5
"""Factor by which frequencies of colour count as higher than those of brightness, in the order of y's channels."""


def cosine_rows() -> NDArray[np.float64]:
    """Return the orthonormal discrete cosine transform of `PATCH` samples, as a matrix (frequency, place)."""
    k, n = np.arange(PATCH)[:, None], np.arange(PATCH)[None]
    rows: NDArray[np.float64] = np.sqrt(2 / PATCH) * np.cos((2 * n + 1) * k * np.pi / (2 * PATCH))
    rows[0] /= np.sqrt(2)
    return rows


def linear_rows(channels: int) -> NDArray[np.float64]:
    """Return the initial linear map to y: orthonormal rows (channels, `SAMPLES`), low frequencies first."""
    rows = cosine_rows()
    found = []
    for colour, mixed in enumerate(OPPONENTS):
        unit = np.array(mixed) / np.linalg.norm(mixed)
        for u in range(PATCH):
            for v in range(PATCH):
                late = (u * u + v * v) * (CHROMA_WEIGHT if colour else 1.0)
                found.append((late, colour, u, v, np.einsum("c,y,x->cyx", unit, rows[u], rows[v]).reshape(-1)))
    found.sort(key=lambda entry: entry[:4])
    return np.stack([entry[4] for entry in found[:channels]])


class Transform(nn.Module, Generic[LayerT_co]):
    """A transform: linear(x) + unit * output(relu(s)), where the stream s begins as input(x / input_unit).

    Attributes
    ----------
    in_bfloat16 : bool
        Whether the residual network multiplies in bfloat16. Only training uses it.
    """

    def __init__(
        self,
        rows: NDArray[np.float64],
        first: nn.Conv2d,
        last: nn.Conv2d,
        blocks: Iterable[LayerT_co],
        units: tuple[float, float],
    ) -> None:
        super().__init__()
        self.input_unit, self.unit = units
        self.in_bfloat16 = False
        self.linear = nn.Conv2d(rows.shape[1], rows.shape[0], 1, bias=False)
        self.input = first
        self.blocks: Stack[LayerT_co] = Stack(blocks)
        self.output = last
        with torch.no_grad():
            self.linear.weight[:, :, 0, 0] = torch.from_numpy(rows)
        begin_at_zero(last)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Return the transform of x (B, channels, H, W); ``level`` is the input of a `Condition`."""
        return self.mapped(x) + self.learned(x, level)

    def mapped(self, x: Tensor) -> Tensor:
        """Return the linear part of the transform of x. It is computed in float32, because its errors would remain."""
        linear: Tensor = self.linear(x)
        return linear

    def learned(self, x: Tensor, level: Tensor) -> Tensor:
        """Return the network's part of the transform of x, in float32; ``level`` is the input of a `Condition`."""
        with lowered(x, self.in_bfloat16):
            s = self.blocks(self.input(x / self.input_unit), level)
            corrected: Tensor = self.output(F.relu(s))
        return self.unit * corrected.float()


def multiply_adds(transform: Transform[nn.Module], x: Tensor, level: Tensor, pixels: int) -> float:
    """Return a transform's multiply-adds for each pixel; the input x (1, C, H, W) stands for ``pixels`` pixels."""
    total = 0

    def count(layer: nn.Module, _inputs: object, out: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)  # noqa: S101  (only those are watched)
        total += layer.weight.numel() * out.shape[2] * out.shape[3]

    handles = [m.register_forward_hook(count) for m in transform.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        transform(x, level)
    for handle in handles:
        handle.remove()
    return total / pixels
