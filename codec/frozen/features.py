"""The networks around z of models whose latents become a map of features, which gives each pixel further inputs.

Posterior and map are residual networks over patches of p x p pixels, made of `codec.networks.convolutions`:

    posterior:   s = input(patches of x);   blocks;   raw = out(max(s, 0) of a cell's patches)
    features:    s = dense(z of a cell);    blocks;   map = output(max(s, 0)), p x p pixels a patch

A cell is k x k patches. The blocks are those of the transforms. Outside the band all inputs are zero.
See FORMAT.md, "Maps of features".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.constants import RAW_LIMIT
from codec.entropy.mixtures import Grid, latent_parameters
from codec.frozen.layout import Layout
from codec.frozen.likelihood import Raster
from codec.networks.convolutions import Layer, blank_plane, run_layer
from codec.networks.products import I16

I64 = NDArray[np.int64]
Blocks = tuple[tuple[Layer, Layer], ...]


class Limits(NamedTuple):
    """Largest magnitudes of the residual streams, of hidden layers, and of features."""

    stream: int
    hidden: int
    feature: int


def centred(values: Raster, layout: Layout) -> I16:
    """Return the inputs of the posterior for values: samples less 128, bits as -64 and 64; an int16 array."""
    wide = values.astype(np.int16)
    return 128 * wide - 64 if layout.high == 1 else wide - 128


def largest_centred(layout: Layout) -> int:
    """Return the largest magnitude of a result of `centred`."""
    ends = centred(np.array([layout.low, layout.high]), layout)
    return int(np.abs(ends).max())


@dataclass(frozen=True)
class SpatialNetworks:
    """The posterior and the map of features. It is a `codec.frozen.model.LatentNetworks`.

    Attributes
    ----------
    patch, cell : int
        p and k: side of a patch in pixels, and side of a cell in patches.
    bias_count : int
        Number of the likelihood's biases. The latents do not change them.
    input, blocks, out : Layer, pairs of Layer, Layer
        The posterior.
    dense, feature_blocks, output : Layer, pairs of Layer, Layer
        The map of features.
    """

    layout: Layout
    patch: int
    cell: int
    latents: int
    grid: Grid
    bias_count: int
    limits: Limits
    input: Layer
    blocks: Blocks
    out: Layer
    dense: Layer
    feature_blocks: Blocks
    output: Layer

    def posterior(self, area: Raster, condition: int) -> I64:
        """Return the raw parameters (cells * latents, 3) of q(z|x) for a band (rows, columns, channels)."""
        p, k = self.patch, self.cell
        h, w = area.shape[0] // p, area.shape[1] // p
        plane, inner = blank_plane((h, w), area.shape[2] * p * p)
        cut = centred(area, self.layout).reshape(h, p, w, p, -1).transpose(0, 2, 4, 1, 3)
        inner[...] = cut.reshape(h, w, -1)
        stream = self._run(self.input, plane, (h, w), self.limits.stream)
        stream = self._blocks(self.blocks, stream, (h, w))
        units = len(self.input.shift)
        cells = _within(stream, (h, w), units).reshape(h // k, k, w // k, k, units).swapaxes(1, 2)
        plane, inner = blank_plane((h // k, w // k), k * k * units)
        inner[...] = cells.reshape(h // k, w // k, -1)
        results = _within(self._run(self.out, plane, (h // k, w // k), RAW_LIMIT), (h // k, w // k), 2 * self.latents)
        return latent_parameters(results.reshape(-1, 2 * self.latents), self.grid)

    def moved(self, z: I64 | None, tiles: int) -> I64:
        """Return zeros (tiles, bias count): in these models z acts by the features alone."""
        return np.zeros((tiles, self.bias_count), dtype=np.int64)

    def features(self, z: I64 | None, down: int, across: int) -> I16:
        """Return the map (rows, columns, F) of a band's latents z (down * across, latents); zeros if z is None."""
        p, k = self.patch, self.cell
        h, w = down * k, across * k
        count = len(self.output.shift) // p**2
        if z is None:
            return np.zeros((h * p, w * p, count), dtype=np.int16)
        plane, inner = blank_plane((down, across), self.latents)
        inner[...] = z.reshape(down, across, -1)
        units = len(self.dense.shift) // k**2
        made = _within(self._run(self.dense, plane, (down, across), self.limits.stream), (down, across), k * k * units)
        stream, inner = blank_plane((h, w), units)
        inner[...] = made.reshape(down, across, k, k, units).swapaxes(1, 2).reshape(h, w, units)
        stream = self._blocks(self.feature_blocks, stream, (h, w))
        results = _within(self._run(self.output, stream, (h, w), self.limits.feature), (h, w), count * p * p)
        cut = results.reshape(h, w, count, p, p).transpose(0, 3, 1, 4, 2)
        return np.ascontiguousarray(cut.reshape(h * p, w * p, count))

    def _blocks(self, blocks: Blocks, stream: I16, shape: tuple[int, int]) -> I16:
        """Return max(s, 0) of a stream after residual blocks, which change it."""
        between = np.zeros_like(stream)
        for hidden, residual in blocks:
            run_layer(0, 1, shape, stream, hidden, 0, self.limits.hidden, False, between)
            run_layer(0, 1, shape, between, residual, 0, self.limits.stream, True, stream)
        return np.maximum(stream, 0, out=stream)

    @staticmethod
    def _run(layer: Layer, x: I16, shape: tuple[int, int], limit: int) -> I16:
        """Return the plane of a layer's results within -limit..limit."""
        out, _ = blank_plane(shape, len(layer.shift))
        run_layer(0, 1, shape, x, layer, 0, limit, True, out)
        return out


def _within(plane: I16, shape: tuple[int, int], channels: int) -> I16:
    """Return the inner part (h, w, channels) of a plane, without its border of zeros; a view."""
    return plane.reshape(shape[0] + 2, shape[1] + 2, channels)[1:-1, 1:-1]
