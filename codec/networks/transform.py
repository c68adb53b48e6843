"""The learned transforms of the lossy mode, in integers: analysis from samples to y, and synthesis back.

See FORMAT.md, "Transforms", for what a decoder needs.

y has a position for each 8 x 8 patch of the image. 128 is taken from the samples, and the last row and column are
repeated up to multiples of 8. A transform is the sum of a linear map of each patch and of a network with a residual
stream s. Some of the network's blocks work at an eighth of the image's resolution, the *coarse* ones, and some at a
quarter, the *fine* ones:

    analysis:   s = input(u);  fine blocks;    s = between(four fine s);  coarse blocks;  y = linear(u) + output(s)
    synthesis:  s = input(y);  coarse blocks;  four fine s = between(s);  fine blocks;    u = linear(y) + output(s)

u (2 h, 2 w, 48) are patches of 4 x 4 pixels, channel 16 c + 4 dy + dx. The linear map takes the four patches of a
position of y together, and output takes max(s, 0). A block is

    d = clip(depthwise(s) >> shift, -stream_limit, stream_limit)
    t = clip(hidden(d) >> shift, 0, hidden_limit)
    s = clip(s + (residual(t) >> shift), -stream_limit, stream_limit)

where depthwise sees the 3 x 3 positions around, each channel by itself, and the biases of hidden depend on the quality.
The other layers are 1 x 1. Beyond the image its nearest positions are seen. Each result has multipliers l and m of its
own: (linear l + output m + 2**31) >> 32, clipped to the range of y or, with 128 added, of samples.
`codec.networks.convolutions` says why all of it is exact, and `codec.networks.quantisation` has the units of y.

Memory: an image is worked in strips of `STRIP_ROWS` rows of patches. The image takes 3 bytes a pixel, and y takes
4 C / 64 in analysis and 2 C / 64 in synthesis, where C is its number of channels. The planes of a strip take, for each
of its pixels, at most (4 n + 16 f) / 64 bytes and what u or y take, with n and f channels in the coarse and in the fine
stream. At n = 256, f = 96 and C = 128 that is 46 bytes in analysis and 44 in synthesis. It grows with the width of the
image, but not with its height.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.constants import LARGEST_SAMPLE, OUTPUT_SHIFT, Y_LIMIT
from codec.networks.convolutions import Output, output
from codec.networks.depthwise import (
    COARSER,
    FINER,
    NOT_KEPT,
    SAME,
    SQUARE,
    STEP,
    Block,
    Dense,
    Last,
    run_block,
    run_dense,
    run_last,
)
from codec.networks.products import I16, I32

PATCH = 8
SAMPLES = 3 * PATCH**2
"""Number of samples in a patch."""
FINE_PATCH = PATCH // STEP
FINE_SAMPLES = 3 * FINE_PATCH**2
"""Side of a patch of the finer resolution, and the number of samples in it."""
CENTRE = 128
"""Subtracted from samples, so that the inputs of analysis are -128..127."""

STRIP_ROWS = 128
"""Rows of patches in a strip. They are many, because neighbouring strips both compute one row a coarse block."""
PROJECTED_ROWS = 16
"""Rows of patches that are projected at once. They are few, because the results take eight bytes each."""

U8 = NDArray[np.uint8]


class Transform(NamedTuple):
    """Analysis or synthesis. ``before`` and ``after`` are the blocks before and after the layer between resolutions."""

    input: Dense
    before: tuple[Block, ...]
    between: Dense
    after: tuple[Block, ...]
    last: Last


class Transforms(NamedTuple):
    """Both transforms, and the steps of y between them.

    Attributes
    ----------
    steps : int32 array (levels, C), in 1/65536 sample
    prices : int32 array (levels, C)
        What a squared error of one step is worth, in 1/256 bit. Only encoders use it, to choose q.
    shares : int32 array (C,), in 1/256
        How much structure counts in each channel. Only encoders use it.
    stream_limit, hidden_limit : int
        Largest magnitudes in the residual streams and in hidden layers.
    """

    analysis: Transform
    synthesis: Transform
    steps: I32
    prices: I32
    shares: I32
    stream_limit: int
    hidden_limit: int


def positions(height: int, width: int) -> tuple[int, int]:
    """Return (h, w), the numbers of patches that an image has down and across."""
    return -(-height // PATCH), -(-width // PATCH)


class _Strip(NamedTuple):
    """Rows ``begin`` to ``end`` of the ``down`` rows of patches that an image has, and ``more`` rows on either side.

    Planes of the strip begin at the first of all these rows.
    """

    begin: int
    end: int
    down: int
    more: int

    @property
    def image_rows(self) -> slice:
        """The rows of patches that the strip's planes hold."""
        return slice(max(self.begin - self.more, 0), min(self.end + self.more, self.down))

    def rows(self, more: int, step: int) -> tuple[int, int]:
        """Return a range of a plane's rows: those of the strip, and up to ``more`` on either side.

        A row of patches is ``step`` rows of the plane.
        """
        first = step * self.image_rows.start
        return max(step * self.begin - more, 0) - first, min(step * self.end + more, step * self.down) - first


def _strips(down: int, more: int) -> Iterator[_Strip]:
    return (_Strip(begin, min(begin + STRIP_ROWS, down), down, more) for begin in range(0, down, STRIP_ROWS))


def reach(coarse: Sequence[Block], fine: Sequence[Block]) -> int:
    """Return the number of rows of patches above a row, and below it, on which the row's result depends."""
    return len(coarse) + -(-len(fine) // STEP)


class _Run:
    """Runs the layers of a transform on a strip. Each layer is computed for all rows that later layers read.

    ``more`` counts these rows, in the plane's own rows. So a plane's first and last row stand in for rows beyond it
    only where the image ends.
    """

    def __init__(
        self, transforms: Transforms, level: int, strip: _Strip, across: int, pool: Executor, workers: int
    ) -> None:
        if not 0 <= level < len(transforms.steps):
            raise ValueError(f"level: expected 0 to {len(transforms.steps) - 1}, got {level}")
        self.limits = transforms.stream_limit, transforms.hidden_limit
        self.level, self.strip, self.across = level, strip, across
        self.more = strip.more
        self.down = strip.image_rows.stop - strip.image_rows.start
        self.pool, self.workers = pool, workers

    def share(self, work: Callable[..., None], *arguments: Any) -> None:
        """Call a kernel once for each worker."""
        list(self.pool.map(lambda worker: work(worker, self.workers, *arguments), range(self.workers)))

    def plane(self, step: int, channels: int) -> I16:
        """Return an empty plane with ``step`` rows and columns for each patch."""
        return np.empty((step * self.down, step * self.across * channels), dtype=np.int16)

    def dense(self, x: I16, layer: Dense, how: int, step: int) -> I16:
        """Return the plane of a dense layer's results, which has ``step`` rows for each patch."""
        outputs = len(layer.shift) // (SQUARE if how == FINER else 1)
        out = self.plane(step, outputs)
        positions = 1 if how == FINER else step
        rows = self.strip.rows(self.more // (STEP if how == FINER else 1), positions)
        self.share(run_dense, rows, positions * self.across, x, layer, self.limits[0], how, out)
        return out

    def blocks(self, stream: I16, blocks: Sequence[Block], step: int) -> I16:
        """Return the plane of a stream after some blocks."""
        other = np.empty_like(stream) if blocks else stream
        for block in blocks:
            self.more -= 1
            rows = self.strip.rows(self.more, step)
            self.share(run_block, rows, step * self.across, stream, block, self.level, self.limits, other, NOT_KEPT)
            stream, other = other, stream
        return stream

    def last(self, x: I16, stream: I16, last: Last, how: int, limits: tuple[int, int, int], out: NDArray[Any]) -> None:
        """Fill ``out`` (rows of the strip, across, results)."""
        results = out.reshape(-1, out.shape[2])
        self.share(run_last, self.strip.rows(0, 1), self.across, x, stream, last, how, limits, results)

    def analysis(self, transform: Transform, u: I16, y: I32) -> None:
        """Fill the strip's rows of y from the plane of its patches."""
        self.more *= STEP
        stream = self.blocks(self.dense(u, transform.input, SAME, STEP), transform.before, STEP)
        self.more //= STEP
        stream = self.blocks(self.dense(stream, transform.between, COARSER, 1), transform.after, 1)
        self.last(u, stream, transform.last, COARSER, (0, -Y_LIMIT, Y_LIMIT), y)

    def synthesis(self, transform: Transform, values: I16, u: U8) -> None:
        """Fill the strip's patches from the plane of its dequantised y."""
        stream = self.blocks(self.dense(values, transform.input, SAME, 1), transform.before, 1)
        self.more *= STEP
        stream = self.blocks(self.dense(stream, transform.between, FINER, STEP), transform.after, STEP)
        self.last(values, stream, transform.last, FINER, (CENTRE, 0, LARGEST_SAMPLE), u)


def _filled(samples: NDArray[Any]) -> NDArray[Any]:
    """Return samples (8 h, 8 w, 3): the last row and column are repeated to fill patches."""
    h, w = positions(*samples.shape[:2])
    more = (PATCH * h - samples.shape[0], PATCH * w - samples.shape[1])
    return np.pad(samples, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")


def cut(full: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the patches (rows, columns, 3, side, side) of samples; a view."""
    height, width, _ = full.shape
    return full.reshape(height // side, side, width // side, side, 3).transpose(0, 2, 4, 1, 3)


def joined(fine: NDArray[Any], h: int, w: int) -> NDArray[Any]:
    """Return the values (h * w, 4 n) of coarse positions, of n values of each of the 2 h x 2 w fine ones."""
    return fine.reshape(h, STEP, w, STEP, -1).transpose(0, 2, 1, 3, 4).reshape(h * w, -1)


def patches(samples: U8) -> U8:
    """Return the patches (h, w, 3, 8, 8) of samples (H, W, 3). The last row and column are repeated to fill patches."""
    return cut(_filled(samples), PATCH)


def _inputs(samples: U8) -> I16:
    """Return the input plane of analysis: the fine patches of samples (H, W, 3), less `CENTRE`."""
    fine = cut(_filled(samples), FINE_PATCH)
    plane = fine.astype(np.int16, order="C").reshape(len(fine), -1)
    plane -= CENTRE
    return plane


def analyse(samples: U8, transforms: Transforms, level: int, pool: Executor, workers: int) -> I32:
    """Return y, int32 array (h, w, C) in 1/256 sample, within `Y_LIMIT`. `synthesise` is the inverse direction.

    Parameters
    ----------
    samples : uint8 array (H, W, 3)
    level : int
        Quality - 1: a row of ``transforms.steps``.
    pool : Executor
        Takes ``workers`` pieces at once. Their number changes no result.
    workers : int

    Raises
    ------
    ValueError
        There is no such level, or ``samples`` are not as described.
    """
    if samples.dtype != np.uint8 or samples.ndim != 3 or samples.shape[2] != 3 or not samples.size:
        raise ValueError(f"samples: expected uint8 (H, W, 3), got {samples.dtype} {samples.shape}")
    transform = transforms.analysis
    h, w = positions(*samples.shape[:2])
    y = np.empty((h, w, transforms.steps.shape[1]), dtype=np.int32)
    for strip in _strips(h, reach(transform.after, transform.before)):
        rows = strip.image_rows
        plane = _inputs(samples[PATCH * rows.start : PATCH * rows.stop])
        _Run(transforms, level, strip, w, pool, workers).analysis(transform, plane, y[strip.begin : strip.end])
    return y


def project(samples: U8, restored: U8, transforms: Transforms) -> I32:
    """Return the linear map of analysis, applied to ``samples - restored``: int32 array (h, w, C) in 1/256 sample.

    Parameters
    ----------
    samples, restored : uint8 arrays (H, W, 3)
        Beyond the last row and column their difference counts as zero.

    Notes
    -----
    The two linear maps are nearly orthonormal, and each is about the transpose of the other. So to first order, the
    result is the change of y that removes the difference. Its sums stay below 2**31: they have 192 differences within
    255, times weights of 16 bits.
    """
    y = np.empty((*positions(*samples.shape[:2]), transforms.steps.shape[1]), dtype=np.int32)
    for begin in range(0, len(y), PROJECTED_ROWS):
        rows = slice(PATCH * begin, PATCH * (begin + PROJECTED_ROWS))
        difference = samples[rows].astype(np.int16) - restored[rows]
        y[begin : begin + PROJECTED_ROWS] = _project(difference, transforms)
    return y


def _project(difference: I16, transforms: Transforms) -> I32:
    h, w = positions(*difference.shape[:2])
    full = np.zeros((h * PATCH, w * PATCH, 3), dtype=np.int16)
    full[: difference.shape[0], : difference.shape[1]] = difference
    last = transforms.analysis.last
    linear = Output(last.linear, np.zeros_like(last.linear_multiplier), last.linear_multiplier, OUTPUT_SHIFT)
    return output(joined(cut(full, FINE_PATCH), h, w), linear).astype(np.int32).reshape(h, w, -1)


def synthesise(
    values: I16, transforms: Transforms, level: int, height: int, width: int, pool: Executor, workers: int
) -> U8:
    """Return the samples of dequantised y, uint8 array (H, W, 3). `analyse` is the inverse direction.

    Parameters
    ----------
    values : int16 array (h, w, C), in 1/16 sample, within `codec.constants.VALUE_LIMIT`
        From `codec.networks.quantisation.dequantise`.
    height, width : int
        H and W.
    level : int
        Quality - 1: a row of ``transforms.steps``.
    pool : Executor
        Takes ``workers`` pieces at once. Their number changes no result.
    workers : int

    Raises
    ------
    ValueError
        There is no such level, or ``values`` are not as described.
    """
    transform = transforms.synthesis
    h, w = positions(height, width)
    expected = (h, w, transforms.steps.shape[1])
    if values.dtype != np.int16 or values.shape != expected:
        raise ValueError(f"values: expected int16 {expected}, got {values.dtype} {values.shape}")
    samples = np.empty((height, width, 3), dtype=np.uint8)
    for strip in _strips(h, reach(transform.before, transform.after)):
        plane = np.ascontiguousarray(values[strip.image_rows]).reshape(-1, w * values.shape[2])
        u = np.empty((strip.end - strip.begin, w, SAMPLES), dtype=np.uint8)
        _Run(transforms, level, strip, w, pool, workers).synthesis(transform, plane, u)
        fine = u.reshape(-1, w, STEP, STEP, 3, FINE_PATCH, FINE_PATCH)
        rows = fine.transpose(0, 2, 5, 1, 3, 6, 4).reshape(-1, PATCH * w, 3)
        place = samples[PATCH * strip.begin : PATCH * strip.end]
        place[...] = rows[: len(place), :width]
    return samples
