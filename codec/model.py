"""Frozen models: what one is, and what its networks around z compute.

`codec.model_weights` makes one of a weights file, `codec.shipped` loads those that ship.
See FORMAT.md, "Models" and "Exact networks".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec import exact
from codec.distributions import Grid
from codec.exact import BIAS_LIMIT, Hidden, Output
from codec.layout import Layout
from codec.likelihood import Network, Raster
from codec.prior import Prior
from codec.products import I32
from codec.transform import Transforms

ADAPTATION_STEP = 4
"""A unit of adaptation changes an activation by this much."""

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Model:
    """A frozen model: what `codec.vlae` needs of it.

    Attributes
    ----------
    number, name : identity
    hash : bytes
        First 4 bytes of the SHA-256 of the weights file.
    kind : str
        What it codes: "samples" of images or a "tensor".
    tile : int
        Pixels of a tile's side, also the height of a band.
    latents : int
        Latents of a tile.
    planes : int
        Of the posterior's input.
    conditions : int
        Rows of biases it has: one for each d of samples, for each quality of a tensor.
    transforms : Transforms or None
        Between samples and the tensor that is coded, if the model has them.
    """

    number: int
    name: str
    hash: bytes
    kind: str
    tile: int
    latents: int
    planes: int
    conditions: int
    grid: Grid
    network: Network
    fixed_biases: I64
    off_biases: I64
    convolutions: tuple[Hidden, Hidden, Hidden]
    dense: Hidden
    dense_biases: F32
    posterior_out: Output
    modulate_hidden: Hidden
    modulate_out: Output
    prior_weights: Prior
    prior_biases: I64
    transforms: Transforms | None

    @property
    def layout(self) -> Layout:
        """What is coded."""
        return self.network.layout

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what is coded."""
        return np.dtype(np.uint8 if self.kind == "samples" else np.int16)

    def biases(self, z: I64 | None, condition: int, tiles: int, adaptation: I64 | None) -> I32:
        """Return the likelihood's biases (tiles, bias count).

        Parameters
        ----------
        z : int64 array (tiles, latents), or None: latents off
        adaptation : int64 array (bias count,) or None
            What the file's adaptation adds, in units of `adaptation_units`.
        """
        fixed = self.fixed_biases[condition]
        if z is None:
            moved = np.repeat(self.off_biases[None], tiles, 0)
        else:
            moved = exact.output(exact.hidden(z.astype(np.float32), self.modulate_hidden), self.modulate_out)
        if adaptation is not None:
            moved = moved + adaptation * self.adaptation_units
        biases: I32 = np.clip(fixed + moved, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)
        return biases

    @property
    def adaptation_units(self) -> I64:
        """Return by how much a unit of the adaptation moves each bias, (bias count,)."""
        net = self.network
        shifts = np.concatenate([net.shift1, net.shift2, net.shift3, net.shift_heads])
        return ADAPTATION_STEP << shifts.astype(np.int64)

    def posterior(self, tiles: Raster, condition: int) -> I64:
        """Return the raw parameters (B latents, 3) of q(z|x) for decoded tiles (B, T, T, channels)."""
        parts = [self._posterior(tiles[i : i + 32], condition) for i in range(0, len(tiles), 32)]
        return np.concatenate(parts)

    def _posterior(self, tiles: Raster, condition: int) -> I64:
        x = self._planes(tiles)
        for layer in self.convolutions:
            x = exact.hidden(exact.patches(x).reshape(-1, layer.weight.shape[0]), layer).reshape(
                len(x), x.shape[1] // 2, x.shape[2] // 2, -1
            )
        flat = x.reshape(len(x), -1, x.shape[-1])
        # The sum of T/8 x T/8 activations, in quarters of their mean: exact, and it fits.
        quarters = flat.shape[1] // 4
        pooled = np.concatenate([np.floor(flat.sum(1) / quarters), flat.max(1)], 1).astype(np.float32)
        accumulated = exact.accumulate(pooled, self.dense.weight, self.dense_biases[condition])
        h = exact.activate(accumulated, self.dense.scale, self.dense.limit)
        out = exact.output(h, self.posterior_out).reshape(len(x), 2, self.latents)
        limit = 256 * (self.grid.count // 2)
        raw = np.zeros((len(x), self.latents, 3), dtype=np.int64)
        raw[..., 1] = np.clip(out[:, 0], -limit, limit)
        raw[..., 2] = np.clip(out[:, 1], -32, 128)
        return raw.reshape(-1, 3)

    def _planes(self, tiles: Raster) -> F32:
        """Return the posterior's input planes (B, T, T, planes), integers."""
        compress, zero = self.layout.compress, self.layout.high - self.layout.low
        if self.kind == "tensor":
            return compress[tiles[..., : self.planes].astype(np.int64) + zero].astype(np.float32)
        # Of each channel the steps from the left and from above, and its level.
        x = tiles.astype(np.int64)
        planes = np.zeros((*tiles.shape[:3], self.planes), dtype=np.float32)
        planes[:, :, 1:, 0:3] = compress[x[:, :, 1:] - x[:, :, :-1] + zero]
        planes[:, 1:, :, 3:6] = compress[x[:, 1:] - x[:, :-1] + zero]
        planes[..., 6:9] = (x - self.layout.missing) >> self.layout.level_shift
        return planes

    def prior(self, condition: int) -> Prior:
        """Return the prior's weights for one condition."""
        return self.prior_weights._replace(bias=self.prior_biases[condition])
