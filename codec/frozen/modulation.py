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
from codec.networks.convolutions import Layer, Output, blank_plane, dense, output, run_layer
from codec.networks.products import I16

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class ModulationNetworks:
    """Posterior and modulation; a `codec.frozen.model.LatentNetworks`.

    Attributes
    ----------
    of_samples : bool
        Whether the posterior sees samples of an image, or values of a tensor.
    posterior_limit, activation_limit : int
        Of the convolutions, and of dense layers.
    planes : int
        Of the posterior's input.
    """

    layout: Layout
    of_samples: bool
    tile: int
    grid: Grid
    off_biases: I64
    posterior_limit: int
    activation_limit: int
    planes: int
    convolutions: tuple[Layer, Layer, Layer]
    dense: Layer
    posterior_out: Output
    modulate_hidden: Layer
    modulate_out: Output

    def posterior(self, area: Raster, condition: int) -> I64:
        """Return the raw parameters (tiles * latents, 3) of q(z|x) for a row of tiles (T, tiles T, channels)."""
        pooled = np.stack([self._pooled(tile) for tile in np.split(area, area.shape[1] // self.tile, axis=1)])
        h = dense(pooled, self.dense, condition, self.activation_limit)
        return latent_parameters(output(h, self.posterior_out), self.grid)

    def _pooled(self, tile: Raster) -> I64:
        """Return the means and the largest activations (2 C3,) of the convolutions over a tile (T, T, channels)."""
        side = self.tile
        plane, inner = blank_plane((side, side), self.planes)
        self._fill_planes(tile, inner)
        for layer in self.convolutions:
            side //= 2
            out, inner = blank_plane((side, side), len(layer.shift))
            run_layer(0, 1, (side, side), plane, layer, 0, self.posterior_limit, False, out)
            plane = out
        # Means are in quarters: 4 Q has 16 bits.
        quarters = side**2 // 4
        return np.concatenate([inner.sum((0, 1), dtype=np.int64) // quarters, inner.max((0, 1))])

    def _fill_planes(self, tile: Raster, planes: I16) -> None:
        """Fill the posterior's input planes (T, T, planes), of zeros, for a tile (T, T, channels)."""
        compress, zero = self.layout.compress, self.layout.high - self.layout.low
        if not self.of_samples:
            planes[...] = compress[tile[..., : self.planes].astype(np.int64) + zero]
            return
        # Of each channel the steps from the left and from above, and its level.
        x = tile.astype(np.int64)
        planes[:, 1:, 0:3] = compress[x[:, 1:] - x[:, :-1] + zero]
        planes[1:, :, 3:6] = compress[x[1:] - x[:-1] + zero]
        planes[..., 6:9] = (x - self.layout.missing) >> self.layout.level_shift

    def moved(self, z: I64 | None, tiles: int) -> I64:
        """Return what latents z (tiles, latents), or their absence, add to the likelihood's biases (tiles, count)."""
        if z is None:
            return np.repeat(self.off_biases[None], tiles, 0)
        return output(dense(z, self.modulate_hidden, 0, self.activation_limit), self.modulate_out)

    def features(self, z: I64 | None, down: int, across: int) -> I16:
        """Return no features: z says what it has to say by the biases."""
        return _NO_FEATURES


_NO_FEATURES = np.zeros((1, 1, 0), dtype=np.int16)
