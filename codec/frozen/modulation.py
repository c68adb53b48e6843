"""The networks around z of models whose latents modulate the likelihood: they set its biases, tile by tile.

See FORMAT.md, "Posterior" and "Modulation".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec.entropy.mixtures import Grid, latent_parameters
from codec.frozen.layout import Layout
from codec.frozen.likelihood import Raster
from codec.networks import layers
from codec.networks.layers import Hidden, Output
from codec.networks.products import I16

AT_ONCE = 32
"""Tiles of which the posterior is computed at once."""

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class ModulationNetworks:
    """Posterior and modulation; a `codec.frozen.model.LatentNetworks`.

    Attributes
    ----------
    of_samples : bool
        Whether the posterior sees samples of an image, or values of a tensor.
    planes : int
        Of the posterior's input.
    """

    layout: Layout
    of_samples: bool
    tile: int
    planes: int
    grid: Grid
    off_biases: I64
    convolutions: tuple[Hidden, Hidden, Hidden]
    dense: Hidden
    dense_biases: F32
    posterior_out: Output
    modulate_hidden: Hidden
    modulate_out: Output

    def posterior(self, area: Raster, condition: int) -> I64:
        """Return the raw parameters (tiles * latents, 3) of q(z|x) for a row of tiles (T, tiles T, channels)."""
        tiles = np.ascontiguousarray(area.reshape(self.tile, -1, self.tile, area.shape[2]).swapaxes(0, 1))
        parts = [self._posterior(tiles[i : i + AT_ONCE], condition) for i in range(0, len(tiles), AT_ONCE)]
        return np.concatenate(parts)

    def _posterior(self, tiles: Raster, condition: int) -> I64:
        x = self._planes(tiles)
        for layer in self.convolutions:
            x = layers.hidden(layers.patches(x).reshape(-1, layer.weight.shape[0]), layer).reshape(
                len(x), x.shape[1] // 2, x.shape[2] // 2, -1
            )
        flat = x.reshape(len(x), -1, x.shape[-1])
        # The sum of T/8 x T/8 activations, in quarters of their mean: exact, and it fits.
        quarters = flat.shape[1] // 4
        pooled = np.concatenate([np.floor(flat.sum(1) / quarters), flat.max(1)], 1).astype(np.float32)
        accumulated = layers.accumulate(pooled, self.dense.weight, self.dense_biases[condition])
        h = layers.activate(accumulated, self.dense.scale, self.dense.limit)
        return latent_parameters(layers.output(h, self.posterior_out), self.grid)

    def _planes(self, tiles: Raster) -> F32:
        """Return the posterior's input planes (B, T, T, planes), integers."""
        compress, zero = self.layout.compress, self.layout.high - self.layout.low
        if not self.of_samples:
            return compress[tiles[..., : self.planes].astype(np.int64) + zero].astype(np.float32)
        # Of each channel the steps from the left and from above, and its level.
        x = tiles.astype(np.int64)
        planes = np.zeros((*tiles.shape[:3], self.planes), dtype=np.float32)
        planes[:, :, 1:, 0:3] = compress[x[:, :, 1:] - x[:, :, :-1] + zero]
        planes[:, 1:, :, 3:6] = compress[x[:, 1:] - x[:, :-1] + zero]
        planes[..., 6:9] = (x - self.layout.missing) >> self.layout.level_shift
        return planes

    def moved(self, z: I64 | None, tiles: int) -> I64:
        """Return what latents z (tiles, latents), or their absence, add to the likelihood's biases (tiles, count)."""
        if z is None:
            return np.repeat(self.off_biases[None], tiles, 0)
        return layers.output(layers.hidden(z.astype(np.float32), self.modulate_hidden), self.modulate_out)

    def features(self, z: I64 | None, down: int, across: int) -> I16:
        """Return no features: z says what it has to say by the biases."""
        return _NO_FEATURES


_NO_FEATURES = np.zeros((1, 1, 0), dtype=np.int16)
