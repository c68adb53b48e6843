"""The learned transforms of the lossy mode, in integers: analysis from samples to y, and synthesis back.

See FORMAT.md, "Transforms", for what a decoder needs.

Both work at an eighth of the image's resolution. 128 is taken from the samples, and the last row and column are
repeated up to multiples of 8. Then the image is cut into 8 x 8 patches u (h, w, 192), channel 64 c + 8 dy + dx. A
transform is the sum of a linear map of each position and of a network with a residual stream s:

    s = clip(input(x) >> shift, -stream_limit, stream_limit)
    for every block:
        t = clip(hidden(s) >> shift, 0, hidden_limit)
        s = clip(s + (residual(t) >> shift), -stream_limit, stream_limit)
    result = (linear(x) l + output(max(s, 0)) m + 2**31) >> 32

x is u in analysis and y in synthesis. The result is clipped to the range of y or, with 128 added, of samples. Input,
hidden, residual and output are convolutions with biases; the biases of hidden depend on the quality. Each output has
shifts and multipliers l and m of its own. Analysis' input and synthesis' output are 1 x 1. The other convolutions are
3 x 3, with zeros outside of the image. `codec.networks.convolutions` says why all of it is exact, and
`codec.networks.quantisation` has the units of y.

Memory: an image is worked in strips of `STRIP_ROWS` rows of patches. The image takes 3 bytes a pixel, and y takes
4 C / 64 in analysis and 2 C / 64 in synthesis, where C is its number of channels. The planes of a strip take, for each
of its pixels, (4 W + 384) / 64 bytes in analysis and (4 W + 2 C + 192) / 64 in synthesis, with W units in the stream.
At W = 192 and C = 128 that is 18 and 19 bytes. It grows with the width of the image, but not with its height.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.constants import LARGEST_SAMPLE, OUTPUT_SHIFT, Y_LIMIT
from codec.networks.convolutions import Last, Layer, Output, blank_plane, output, run_last, run_layer
from codec.networks.products import I16, I32

PATCH = 8
SAMPLES = 3 * PATCH**2
"""Number of samples in a patch."""
CENTRE = 128
"""Subtracted from samples, so that the inputs of analysis are -128..127."""

STRIP_ROWS = 128
"""Rows of patches in a strip. They are many, because neighbouring strips both compute one or two rows a layer."""
PROJECTED_ROWS = 16
"""Rows of patches that are projected at once. They are few, because the results take eight bytes each."""

U8 = NDArray[np.uint8]


class Transform(NamedTuple):
    """Analysis or synthesis; ``blocks`` are pairs of a hidden and a residual layer."""

    input: Layer
    blocks: tuple[tuple[Layer, Layer], ...]
    last: Last


class Transforms(NamedTuple):
    """Both transforms, and the steps of y between them.

    Attributes
    ----------
    steps : int32 array (levels, C), in 1/65536 sample
    prices : int32 array (levels, C)
        What a squared error of one step is worth, in 1/256 bit. Only encoders use it, to choose q.
    stream_limit, hidden_limit : int
        Largest magnitudes in the residual stream and in hidden layers.
    """

    analysis: Transform
    synthesis: Transform
    steps: I32
    prices: I32
    stream_limit: int
    hidden_limit: int


def positions(height: int, width: int) -> tuple[int, int]:
    """Return (h, w), the numbers of patches that an image has down and across."""
    return -(-height // PATCH), -(-width // PATCH)


class _Strip(NamedTuple):
    """Rows ``begin`` to ``end`` of the ``down`` rows of patches that an image has."""

    begin: int
    end: int
    down: int

    def rows(self, more: int) -> tuple[int, int]:
        """Return the first row, and the one after the last, of the strip and up to ``more`` rows on either side."""
        return max(self.begin - more, 0), min(self.end + more, self.down)


def _strips(down: int) -> Iterator[_Strip]:
    return (_Strip(begin, min(begin + STRIP_ROWS, down), down) for begin in range(0, down, STRIP_ROWS))


def _reach(transform: Transform) -> int:
    """Return the number of rows of ``x`` above a row, and below it, on which the row's result depends."""
    sides = [transform.input.side, *(layer.side for block in transform.blocks for layer in block), transform.last.side]
    return sum(side // 2 for side in sides)


def _run(
    transform: Transform,
    transforms: Transforms,
    level: int,
    strip: _Strip,
    x: I16,
    out: NDArray[Any],
    limits: tuple[int, int, int],
    pool: Executor,
    workers: int,
) -> None:
    """Fill ``out`` (rows of the strip, w, outputs) from a plane; ``limits`` are `run_last`'s centre, least and most.

    ``x`` has `_reach` rows more on either side. Each layer is computed for all rows that later layers read. So a
    plane's border of zeros is read only where the image ends.
    """
    if not 0 <= level < len(transforms.steps):
        raise ValueError(f"level: expected 0 to {len(transforms.steps) - 1}, got {level}")
    more = _reach(transform)
    first, last = strip.rows(more)
    across, width = out.shape[1], len(transform.input.shift)

    def apply(layer: Layer, x: I16, limit: int, adds: bool, out: I16) -> None:
        nonlocal more
        more -= layer.side // 2
        begin, end = strip.rows(more)
        piece = (workers, (end - begin, across), x[begin - first :], layer, level, limit, adds, out[begin - first :])
        list(pool.map(lambda worker: run_layer(worker, *piece), range(workers)))

    stream, _ = blank_plane((last - first, across), width)
    between, _ = blank_plane((last - first, across), width)
    apply(transform.input, x, transforms.stream_limit, True, stream)
    for hidden, residual in transform.blocks:
        apply(hidden, stream, transforms.hidden_limit, False, between)
        apply(residual, between, transforms.stream_limit, True, stream)
    np.maximum(stream, 0, out=stream)
    skip, results = strip.begin - first, out.reshape(-1, out.shape[2])
    finished = (workers, out.shape[:2], x[skip:], stream[skip:], transform.last, *limits, results)
    list(pool.map(lambda worker: run_last(worker, *finished), range(workers)))


def _cut(full: NDArray[Any]) -> NDArray[Any]:
    """Return the patches (h, w, 3, 8, 8) of samples (8 h, 8 w, 3); a view."""
    h, w = positions(*full.shape[:2])
    return full.reshape(h, PATCH, w, PATCH, 3).transpose(0, 2, 4, 1, 3)


def patches(samples: U8) -> U8:
    """Return the patches (h, w, 3, 8, 8) of samples (H, W, 3). The last row and column are repeated to fill patches."""
    h, w = positions(*samples.shape[:2])
    more = (PATCH * h - samples.shape[0], PATCH * w - samples.shape[1])
    return _cut(np.pad(samples, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge"))


def _inputs(samples: U8) -> I16:
    """Return the input plane of analysis: the patches of samples (H, W, 3), less `CENTRE`."""
    h, w = shape = positions(*samples.shape[:2])
    plane, inner = blank_plane(shape, SAMPLES)
    inner.reshape(h, w, 3, PATCH, PATCH)[...] = patches(samples)
    inner -= CENTRE
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
    transform, limits = transforms.analysis, (0, -Y_LIMIT, Y_LIMIT)
    h, w = positions(*samples.shape[:2])
    y = np.empty((h, w, transforms.steps.shape[1]), dtype=np.int32)
    for strip in _strips(h):
        first, last = strip.rows(_reach(transform))
        plane = _inputs(samples[PATCH * first : PATCH * last])
        _run(transform, transforms, level, strip, plane, y[strip.begin : strip.end], limits, pool, workers)
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
    return output(_cut(full).reshape(h * w, SAMPLES), linear).astype(np.int32).reshape(h, w, -1)


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
    transform, limits = transforms.synthesis, (CENTRE, 0, LARGEST_SAMPLE)
    h, w = positions(height, width)
    expected = (h, w, transforms.steps.shape[1])
    if values.dtype != np.int16 or values.shape != expected:
        raise ValueError(f"values: expected int16 {expected}, got {values.dtype} {values.shape}")
    samples = np.empty((height, width, 3), dtype=np.uint8)
    for strip in _strips(h):
        first, last = strip.rows(_reach(transform))
        plane, inner = blank_plane((last - first, w), values.shape[2])
        inner[...] = values[first:last]
        out = np.empty((strip.end - strip.begin, w, SAMPLES), dtype=np.uint8)
        _run(transform, transforms, level, strip, plane, out, limits, pool, workers)
        rows = out.reshape(-1, w, 3, PATCH, PATCH).transpose(0, 3, 1, 4, 2).reshape(-1, PATCH * w, 3)
        place = samples[PATCH * strip.begin : PATCH * strip.end]
        place[...] = rows[: len(place), :width]
    return samples
