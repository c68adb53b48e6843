"""The gradient of an error of samples by y: the way back through the frozen synthesis.

Given the derivatives of a distortion by samples, `Backward.gradient` returns its derivatives by dequantised y. It goes
back through the last layer, the residual blocks and the linear map. Rounding and the clipping of streams and samples
count as if they were not there; hidden units pass a gradient where they are within their limits.
`codec.encoder.backward` says why each machine finds the same.

Memory: the derivatives by samples are copied once. All else is worked in strips of `STRIP_ROWS` rows of patches. With
the shipped model a strip takes about 160 bytes for each of its pixels: 72 for hidden units, of each block a byte for
each unit, and the rest for streams and gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.constants import OUTPUT_SHIFT
from codec.encoder.backward import F32, PIECE, Rounding, Transposed, before, make_rounding, transposed
from codec.networks.depthwise import FINER, SAME, SQUARE, STEP, Block, run_block, run_dense
from codec.networks.products import I16, I32
from codec.networks.transform import FINE_PATCH, FINE_SAMPLES, SAMPLES, Transforms, cut, joined, reach

STRIP_ROWS = 128
"""Rows of patches in a strip."""


class _Dense(NamedTuple):
    """A layer for the way back: its transposed weights, and the derivatives (outputs,) of its results by its sums."""

    layer: Transposed
    scale: F32


class _Block(NamedTuple):
    """A block for the way back. ``depthwise`` (9, channels) has the derivatives of its results by its inputs."""

    depthwise: F32
    hidden: _Dense
    residual: _Dense


@njit
def _layer(count: int, layer: _Dense, gradient: F32, rounding: Rounding, result: F32) -> None:
    """Fill ``result`` with the gradients of a layer's inputs, given those of its results, which are scaled in place."""
    for i in range(count):
        row = gradient[i]
        for o in range(len(row)):
            row[o] *= layer.scale[o]
    before(count, gradient, layer.layer.weight, layer.layer.bits, rounding, result)


@kernel
def _through_dense(
    worker: int, workers: int, layer: _Dense, gradient: F32, rounding: Rounding, adds: bool, out: F32
) -> None:
    """Fill ``out`` (positions, inputs) with the gradients of a layer's inputs, or add them; ``gradient`` is scaled."""
    result = np.empty((PIECE, out.shape[1]), dtype=np.float32)
    for begin in range(worker * PIECE, len(out), workers * PIECE):
        count = min(PIECE, len(out) - begin)
        _layer(count, layer, gradient[begin : begin + count], rounding, result)
        if adds:
            out[begin : begin + count] += result[:count]
        else:
            out[begin : begin + count] = result[:count]


@kernel
def _through_block(
    worker: int, workers: int, block: _Block, gradient: F32, active: NDArray[np.bool_], rounding: Rounding, out: F32
) -> None:
    """Fill ``out`` (positions, channels) with the gradients of the results of a block's depthwise layer.

    ``gradient`` (positions, channels) is that of the stream after the block, ``active`` is as in `run_block`.
    """
    channels, units = gradient.shape[1], active.shape[1]
    scaled = np.empty((PIECE, channels), dtype=np.float32)
    hidden = np.empty((PIECE, units), dtype=np.float32)
    for begin in range(worker * PIECE, len(out), workers * PIECE):
        count = min(PIECE, len(out) - begin)
        scaled[:count] = gradient[begin : begin + count]
        _layer(count, block.residual, scaled, rounding, hidden)
        for i in range(count):
            row, on = hidden[i], active[begin + i]
            for u in range(units):
                row[u] = row[u] if on[u] else np.float32(0)
        _layer(count, block.hidden, hidden, rounding, out[begin : begin + count])


@kernel
def _through_depthwise(worker: int, workers: int, shape: tuple[int, int], weight: F32, gradient: F32, out: F32) -> None:
    """Add to ``out`` (positions, channels) the gradients of a depthwise layer's inputs, given those of its results."""
    down, across = shape
    channels = out.shape[1]
    for y in range(worker, down, workers):
        # Each place is read by three rows of results. At an end the row itself takes the place of the missing one.
        rows = (max(y - 1, 0), y, min(y + 1, down - 1))
        row_taps = (2 if y > 0 else 0, 1, 0 if y < down - 1 else 2)
        for x in range(across):
            columns = (max(x - 1, 0), x, min(x + 1, across - 1))
            column_taps = (2 if x > 0 else 0, 1, 0 if x < across - 1 else 2)
            place = out[y * across + x]
            for r in range(3):
                for c in range(3):
                    tap = weight[3 * row_taps[r] + column_taps[c]]
                    seen = gradient[rows[r] * across + columns[c]]
                    for o in range(channels):
                        place[o] += tap[o] * seen[o]


def _dense(weight: I16, inputs: int, scale: NDArray[Any]) -> _Dense:
    """Return a layer for the way back; ``scale`` (outputs,) has the derivatives of its results by its sums."""
    return _Dense(transposed(weight, inputs, len(scale)), scale.astype(np.float32))


def _shifted(shift: I32) -> NDArray[np.float64]:
    return np.ldexp(1.0, -shift)


def _block(block: Block) -> _Block:
    hidden, residual = block.hidden, block.residual
    depthwise = block.depthwise * _shifted(block.depthwise_shift)
    return _Block(
        depthwise.astype(np.float32),
        _dense(hidden.weight, len(residual.shift), _shifted(hidden.shift)),
        _dense(residual.weight, len(hidden.shift), _shifted(residual.shift)),
    )


def _by_patch(lost: F32, down: int, across: int) -> F32:
    """Return derivatives by the samples of fine patches (down, across, `FINE_SAMPLES`), of those by samples (H, W, 3).

    Samples beyond the image have none.
    """
    full = np.zeros((FINE_PATCH * down, FINE_PATCH * across, 3), dtype=np.float32)
    full[: lost.shape[0], : lost.shape[1]] = lost
    return cut(full, FINE_PATCH).reshape(down, across, FINE_SAMPLES)


class Backward:
    """The way back through the synthesis of one quality.

    Parameters
    ----------
    transforms : Transforms
    level : int
        Quality - 1.
    pool : Executor
        Takes ``workers`` pieces at once. Their number changes no result.
    workers : int
    """

    def __init__(self, transforms: Transforms, level: int, pool: Executor, workers: int) -> None:
        synthesis = self.synthesis = transforms.synthesis
        self.limits, self.level = (transforms.stream_limit, transforms.hidden_limit), level
        self.pool, self.workers = pool, workers
        channels = transforms.steps.shape[1]
        self.coarse, self.fine = len(synthesis.input.shift), len(synthesis.between.shift) // SQUARE
        last = synthesis.last
        self.output = _dense(last.weight, self.fine, np.ldexp(last.multiplier.astype(np.float64), -OUTPUT_SHIFT))
        self.linear = _dense(last.linear, channels, np.ldexp(last.linear_multiplier.astype(np.float64), -OUTPUT_SHIFT))
        self.after = [_block(block) for block in synthesis.after]
        self.between = _dense(synthesis.between.weight, self.coarse, _shifted(synthesis.between.shift))
        self.before = [_block(block) for block in synthesis.before]
        self.input = _dense(synthesis.input.weight, channels, _shifted(synthesis.input.shift))
        self.reach = reach(synthesis.before, synthesis.after)
        widest = max(len(block.hidden.shift) for block in (*synthesis.before, *synthesis.after))
        columns = max(widest, SAMPLES, self.coarse, SQUARE * self.fine, channels)
        self.rounding = [make_rounding(columns) for _ in range(workers)]

    def gradient(self, values: I16, lost: F32) -> F32:
        """Return the derivatives of a distortion by dequantised y, float32 array (h, w, C), for a change of 1/16.

        Parameters
        ----------
        values : int16 array (h, w, C), in 1/16 sample
            As `codec.networks.transform.synthesise` takes them.
        lost : float32 array (H, W, 3)
            The distortion's derivatives by samples.
        """
        h, w, _ = values.shape
        by_patch = _by_patch(lost, STEP * h, STEP * w)
        found = np.empty(values.shape, dtype=np.float32)
        for begin in range(0, h, STRIP_ROWS):
            end = min(begin + STRIP_ROWS, h)
            # Rows whose samples depend on the strip's y, and the rows on which their hidden units depend.
            first, last = max(begin - 2 * self.reach, 0), min(end + 2 * self.reach, h)
            part = self._strip(values[first:last], by_patch[STEP * first : STEP * last])
            found[begin:end] = part[begin - first : end - first]
        return found

    def _share(self, work: Callable[..., None], *arguments: Any) -> None:
        list(self.pool.map(lambda worker: work(worker, self.workers, *arguments), range(self.workers)))

    def _share_rounding(self, work: Callable[..., None], before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
        def run(worker: int) -> None:
            work(worker, self.workers, *before, self.rounding[worker], *after)

        list(self.pool.map(run, range(self.workers)))

    def _forward(self, x: I16, blocks: Sequence[Block], shape: tuple[int, int]) -> tuple[I16, list[NDArray[np.bool_]]]:
        """Return the stream after some blocks, and which hidden units of each pass a gradient."""
        kept = []
        for block in blocks:
            active = np.empty((shape[0] * shape[1], len(block.hidden.shift)), dtype=np.bool_)
            out = np.empty_like(x)
            self._share(run_block, (0, shape[0]), shape[1], x, block, self.level, self.limits, out, active)
            kept.append(active)
            x = out
        return x, kept

    def _back(
        self,
        gradient: F32,
        blocks: Sequence[_Block],
        kept: Sequence[NDArray[np.bool_]],
        shape: tuple[int, int],
    ) -> None:
        """Turn the gradient of the stream after some blocks into that of the stream before them, in place."""
        by_mixed = np.empty_like(gradient)
        for block, active in zip(reversed(blocks), reversed(kept), strict=True):
            self._share_rounding(_through_block, (block, gradient, active), (by_mixed,))
            self._share(_through_depthwise, shape, block.depthwise, by_mixed, gradient)

    def _dense_back(self, layer: _Dense, gradient: F32, out: F32, *, adds: bool = False) -> None:
        self._share_rounding(_through_dense, (layer, np.ascontiguousarray(gradient)), (adds, out))

    def _strip(self, values: I16, by_patch: F32) -> F32:
        h, w, channels = values.shape
        synthesis, fine = self.synthesis, (STEP * h, STEP * w)
        plane = np.ascontiguousarray(values).reshape(h, w * channels)
        stream = np.empty((h, w * self.coarse), dtype=np.int16)
        self._share(run_dense, (0, h), w, plane, synthesis.input, self.limits[0], SAME, stream)
        stream, kept_before = self._forward(stream, synthesis.before, (h, w))
        finer = np.empty((fine[0], fine[1] * self.fine), dtype=np.int16)
        self._share(run_dense, (0, h), w, stream, synthesis.between, self.limits[0], FINER, finer)
        finer, kept_after = self._forward(finer, synthesis.after, fine)

        by_sample = by_patch.reshape(-1, FINE_SAMPLES)
        gradient = np.empty((len(by_sample), self.fine), dtype=np.float32)
        self._dense_back(self.output, by_sample.copy(), gradient)
        gradient *= finer.reshape(gradient.shape) > 0
        self._back(gradient, self.after, kept_after, fine)
        coarse = np.empty((h * w, self.coarse), dtype=np.float32)
        self._dense_back(self.between, joined(gradient, h, w), coarse)
        self._back(coarse, self.before, kept_before, (h, w))
        found = np.empty((h * w, channels), dtype=np.float32)
        self._dense_back(self.input, coarse, found)
        self._dense_back(self.linear, joined(by_sample, h, w), found, adds=True)
        return found.reshape(values.shape)
