"""The learned transforms of the lossy mode, in integers: analysis from samples to y, synthesis back.

docs/FORMAT.md, "Transforms", has what a decoder needs of them.

Both work at an eighth of the image's resolution. The image less 128, its last row and column repeated
up to multiples of 8, is cut into 8 x 8 patches u (h, w, 192), channel 64 c + 8 dy + dx. A transform is a
linear map of each position, and a network whose residual stream s a few blocks add to:

    s = clip(input(x) >> shift, -stream_limit, stream_limit)
    for every block:
        t = clip(hidden(s) >> shift, 0, hidden_limit)
        s = clip(s + (residual(t) >> shift), -stream_limit, stream_limit)
    result = (linear(x) l + output(max(s, 0)) m + 2**31) >> 32

where x is u or y, and the result is clipped to y or, with 128 added, to samples. Input, hidden, residual
and output are convolutions with biases; those of hidden depend on the quality. Each output has shifts
and multipliers l and m of its own. Analysis' input and synthesis' output are 1 x 1, the others 3 x 3 with
zeros outside. `codec.networks.convolutions` says why all of it is exact, `codec.networks.quantisation` in which units y
is.

Memory: an image is worked in strips of `STRIP_ROWS` rows of patches. Beside image and y, which are held
whole (3, and 4 C / 64 or 2 C / 64 bytes a pixel), planes of a strip take, for each of its pixels,
(4 W + 384) / 64 bytes in analysis and (4 W + 2 C + 192) / 64 in synthesis, with W units in the stream and
C channels of y: 18 and 19 at W = 192, C = 128. That grows with the image's width alone.
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
"""Samples of a patch."""
CENTRE = 128
"""Taken from samples: inputs of analysis are -128..127."""

STRIP_ROWS = 128
"""Rows of patches worked at once: many beside those that neighbouring strips both compute, one or two a layer."""
PROJECTED_ROWS = 16
"""Rows of patches projected at once, in eight bytes a number."""

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
        What a squared error of one step is worth, in 1/256 bit: for encoders that choose among steps.
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
    """Return (h, w), the patches that an image has down and across."""
    return -(-height // PATCH), -(-width // PATCH)


class _Strip(NamedTuple):
    """Rows ``begin`` to ``end`` of the ``down`` rows of patches that an image has."""

    begin: int
    end: int
    down: int

    def rows(self, more: int) -> tuple[int, int]:
        """Return the strip with so many rows more on either side, as far as the image goes."""
        return max(self.begin - more, 0), min(self.end + more, self.down)


def _strips(down: int) -> Iterator[_Strip]:
    return (_Strip(begin, min(begin + STRIP_ROWS, down), down) for begin in range(0, down, STRIP_ROWS))


def _reach(transform: Transform) -> int:
    """Return how many rows of ``x`` above and below a row its result depends on."""
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

    ``x`` has `_reach` rows more on either side, and each layer is computed for the rows that those after
    it see. So a plane's border of zeros is read only where the image ends.
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
    """Return the patches (h, w, 3, 8, 8) of whole ones (8 h, 8 w, 3), a view."""
    h, w = positions(*full.shape[:2])
    return full.reshape(h, PATCH, w, PATCH, 3).transpose(0, 2, 4, 1, 3)


def patches(samples: U8) -> U8:
    """Return the patches (h, w, 3, 8, 8) of samples (H, W, 3); the last row and column are repeated."""
    h, w = positions(*samples.shape[:2])
    more = (PATCH * h - samples.shape[0], PATCH * w - samples.shape[1])
    return _cut(np.pad(samples, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge"))


def _inputs(samples: U8) -> I16:
    """Return the plane of patches less `CENTRE`."""
    h, w = shape = positions(*samples.shape[:2])
    plane, inner = blank_plane(shape, SAMPLES)
    inner.reshape(h, w, 3, PATCH, PATCH)[...] = patches(samples)
    inner -= CENTRE
    return plane


def analyse(samples: U8, transforms: Transforms, level: int, pool: Executor, workers: int) -> I32:
    """Return y, int32 array (h, w, C) in 1/256 sample within `Y_LIMIT`; `synthesise` goes back.

    Parameters
    ----------
    samples : uint8 array (H, W, 3)
    level : int
        Of quality: a row of ``steps``.
    pool : Executor
        Takes ``workers`` pieces at once; their number changes nothing.

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
    """Return what `analyse`'s linear map alone makes of samples less restored ones, int32 array (h, w, C) in 1/256.

    Parameters
    ----------
    samples, restored : uint8 arrays (H, W, 3)
        Beyond the last row and column their difference is zero.

    Notes
    -----
    The linear maps are nearly orthonormal, each about the transpose of the other: to first order it is the
    change of y that takes the difference away. Its sums stay below 2**31: 192 differences within 255 times weights
    of 16 bits.
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
    """Return samples, uint8 array (H, W, 3), of dequantised y; the inverse direction of `analyse`.

    Parameters
    ----------
    values : int16 array (h, w, C), in 1/16 sample, within `codec.constants.VALUE_LIMIT`
        From `codec.networks.quantisation.dequantise`.
    height, width : int
        H and W.
    level, pool, workers
        As of `analyse`.

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
