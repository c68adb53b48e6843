"""The networks around z of models whose latents modulate the likelihood: the latents of a tile set the biases there.

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
    """The posterior and the modulation. It is a `codec.frozen.model.LatentNetworks`.

    Attributes
    ----------
    of_samples : bool
        Whether the posterior sees samples of an image; if not, values of a tensor.
    posterior_limit, activation_limit : int
        Largest activation of the convolutions, and of dense layers.
    planes : int
        Number of the posterior's input planes.
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
        """Return the raw parameters (tiles * latents, 3) of q(z|x) for a row of tiles (T, tiles * T, channels)."""
        pooled = np.stack([self._pooled(tile) for tile in np.split(area, area.shape[1] // self.tile, axis=1)])
        h = dense(pooled, self.dense, condition, self.activation_limit)
        return latent_parameters(output(h, self.posterior_out), self.grid)

    def _pooled(self, tile: Raster) -> I64:
        """Return the mean and the largest activation, (2 C3,), of each output of the convolutions over a tile."""
        side = self.tile
        plane, inner = blank_plane((side, side), self.planes)
        self._fill_planes(tile, inner)
        for layer in self.convolutions:
            side //= 2
            out, inner = blank_plane((side, side), len(layer.shift))
            run_layer(0, 1, (side, side), plane, layer, 0, self.posterior_limit, False, out)
            plane = out
        # Means are in quarters. Four times the largest activation has 16 bits.
        quarters = side**2 // 4
        return np.concatenate([inner.sum((0, 1), dtype=np.int64) // quarters, inner.max((0, 1))])

    def _fill_planes(self, tile: Raster, planes: I16) -> None:
        """Fill the posterior's input planes (T, T, planes), which are zero, with those of a tile (T, T, channels)."""
        compress, zero = self.layout.compress, self.layout.high - self.layout.low
        if not self.of_samples:
            planes[...] = compress[tile[..., : self.planes].astype(np.int64) + zero]
            return
        # Each channel has three planes: the difference from the left, the difference from above, and the level.
        x = tile.astype(np.int64)
        planes[:, 1:, 0:3] = compress[x[:, 1:] - x[:, :-1] + zero]
        planes[1:, :, 3:6] = compress[x[1:] - x[:-1] + zero]
        planes[..., 6:9] = (x - self.layout.missing) >> self.layout.level_shift

    def moved(self, z: I64 | None, tiles: int) -> I64:
        """Return what z (tiles, latents), or its absence, adds to the likelihood's biases: (tiles, bias count)."""
        if z is None:
            return np.repeat(self.off_biases[None], tiles, 0)
        return output(dense(z, self.modulate_hidden, 0, self.activation_limit), self.modulate_out)

    def features(self, z: I64 | None, down: int, across: int) -> I16:
        """Return an array of no features: in these models z acts by the biases alone."""
        return _NO_FEATURES


_NO_FEATURES = np.zeros((1, 1, 0), dtype=np.int16)
