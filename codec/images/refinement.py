"""The refinement of y by gradients: how the highest effort searches for the integers that cost least.

    cost = bits of the tensor + price * pixels * distortion of the decoded samples

The search has two parts. First y, which the analysis made, moves along the gradient of this cost (Adam; Kingma and Ba
2015), a few steps, seen through a staircase whose steps get steeper, so that y learns what rounding will do to it. Then
y is rounded, and integers change by one, many at a time: those whose change should pay, by what their own bits change
by and by the gradient of all else. A change that does not lower the cost is taken back, and the search becomes more
careful. So the cost only falls.

No decoder depends on the search. Still its result is the same on every machine and for any number of threads: all parts
of the cost are (`codec.encoder.backward`, `codec.images.distortion`).

Memory: an image is worked in strips of up to `STRIP_POSITIONS` patches, one after the other, each as an image of its
own. With the shipped model a strip takes about 320 bytes for each of its pixels, a third of a gigabyte in all.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.constants import VALUE_BITS, VALUE_LIMIT, Y_BITS
from codec.encoder import masking
from codec.encoder.bits_gradient import bits_gradient
from codec.encoder.neighbours import Neighbours, neighbours
from codec.encoder.synthesis_gradient import Backward
from codec.entropy.rate_distortion import FINE, PRICE_UNIT, WORTH_UNIT
from codec.frozen.model import Model
from codec.images.distortion import distortion
from codec.images.lossy_decoder import transforms_of
from codec.networks.products import I16, I32
from codec.networks.quantisation import dequantise
from codec.networks.transform import PATCH, synthesise
from codec.vlae.pipeline import Progress

STRIP_POSITIONS = 1 << 14
"""Most patches in a strip: a megapixel. Images of few rows and many columns may have more."""
SQUARED, STRUCTURE = 0.95, 450.0
"""The weights of mean squared error and of 1 - MS-SSIM in the distortion. On validation images they make files shorter
at equal PSNR by as much as possible while MS-SSIM does not fall."""

STEPS = 5
"""Steps along the gradient. With more, y learns to use slopes of the staircase that rounding then takes away."""
RATE, LAST_RATE = 0.1, 0.01
"""Size of the first and of the last step, in steps of y."""
MOMENTUM, SQUARES = 0.9, 0.999
"""Decay of the means of gradients and of their squares."""
STEEPNESS = 1.3, 8.0
"""Slope of the staircase in the middle of its first and of its last shape."""

ROUNDS = 40
"""Rounds in which integers change."""
SHARE, LEAST_SHARE = 0.4, 0.1
"""Share of the promising changes that are made at once, first and at least. Changes disturb each other."""
CURVATURE = 1.3
"""Factor of the distortion's curvature with which changes are judged, for what they do to each other."""
LESS_CURVATURE, MORE_CURVATURE, LESS_SHARE = 0.97, 1.4, 0.8
"""Factors after a round that lowered the cost, and, of curvature and share, after one that did not."""
FEW = 50_000
"""If less than one value in this many changes, curvature and share are again those of the first round."""

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]


def price(quality: int, qualities: int) -> float:
    """Return what a distortion of 1 is worth, in bits a pixel, at a quality 1 to ``qualities``."""
    low, high = map(Decimal, masking.PRICES)
    return float(low * (high / low) ** (Decimal(quality - 1) / (qualities - 1)))


class _State(NamedTuple):
    """Integers, and what their neighbours would cost.

    Attributes
    ----------
    q : int16 array (h, w, C)
    cost : float
        Bits, and the priced distortion.
    own : Neighbours
    slope : float32 array (h, w, C)
        The gradient of all costs but the values' own bits, in bits for a step.
    """

    q: I16
    cost: float
    own: Neighbours
    slope: F32


@dataclass
class _Strip:
    """The costs of one strip.

    Attributes
    ----------
    model : Model
    samples : uint8 array (H, W, 3)
    level : int
        Quality - 1.
    pool : Executor
    workers : int
    price : float
        What a distortion of 1 is worth, in bits of the whole strip.
    unit : float32 array (C,)
        A step of y, in 1/16 sample.
    curvature : float32 array (h, w, C)
        About what a change by one step adds to the priced distortion, in bits, besides what the gradient says.
    """

    model: Model
    samples: U8
    level: int
    pool: Executor
    workers: int

    def __post_init__(self) -> None:
        transforms = self.transforms = transforms_of(self.model)
        self.steps = transforms.steps[self.level]
        height, width, _ = self.samples.shape
        self.price = price(self.level + 1, len(transforms.steps)) * height * width
        self.back = Backward(transforms, self.level, self.pool, self.workers)
        self.unit = (self.steps * 2.0 ** (VALUE_BITS - 16)).astype(np.float32)
        squared, alike = masking.prices(transforms, self.level) / PRICE_UNIT
        places = masking.structure(self.samples) / WORTH_UNIT
        curvature = SQUARED / masking.SQUARED * squared + STRUCTURE / masking.TRAINED * places[..., None] * alike
        self.curvature = curvature.astype(np.float32)

    def distorted(self, values: I16) -> tuple[float, F32]:
        """Return the priced distortion of dequantised y, in bits, and its gradient by samples."""
        height, width, _ = self.samples.shape
        restored = synthesise(values, self.transforms, self.level, height, width, self.pool, self.workers)
        lost, gradient = distortion(restored, self.samples, SQUARED, STRUCTURE, self.pool, self.workers)
        gradient *= np.float32(self.price)
        return self.price * lost, gradient

    def gradient(self, y: F64) -> F32:
        """Return the gradient of the cost by y (h, w, C) in steps, in bits for a step."""
        values = np.clip(np.rint(y * self.unit), -VALUE_LIMIT, VALUE_LIMIT).astype(np.int16)
        _, by_samples = self.distorted(values)
        found: F32 = self.back.gradient(values, by_samples) * self.unit
        fine = np.rint(FINE * y).astype(np.int16)
        for part in bits_gradient(self.model, fine, self.level, self.pool, self.workers):
            found += part
        return found

    def state(self, q: I16, before: _State | None = None) -> _State | None:
        """Return the state of integers, or None if their cost is not below that of the state before."""
        values = dequantise(q, self.steps)
        lost, by_samples = self.distorted(values)
        own = neighbours(self.model, q, self.level, self.pool, self.workers)
        cost = own.bits + lost
        if before is not None and cost >= before.cost:
            return None
        slope = self.back.gradient(values, by_samples) * self.unit
        slope += bits_gradient(self.model, FINE * q, self.level, self.pool, self.workers).others
        return _State(q, cost, own, slope)


def _staircase(y: F64, steepness: float) -> tuple[F64, F64]:
    """Return y seen through a staircase, and its slopes. Arithmetic is elementary, so that all machines agree."""
    middle = np.floor(y) + 0.5
    part = 2 * (y - middle)
    down = 1 / (1 + (steepness - 1) * np.abs(part))
    return middle + 0.5 * steepness * part * down, steepness * down * down


def _descended(strip: _Strip, y: F64, limit: int, done: Callable[[], None]) -> I16:
    """Return the integers that y becomes after some steps along the gradient."""
    mean, square = np.zeros_like(y), np.zeros_like(y)
    for step in range(STEPS):
        share = step / (STEPS - 1)
        steepness = STEEPNESS[0] + (STEEPNESS[1] - STEEPNESS[0]) * share**2
        seen, slopes = _staircase(np.clip(y, -limit, limit), steepness)
        gradient = strip.gradient(np.clip(seen, -limit, limit)) * slopes
        mean += (1 - MOMENTUM) * (gradient - mean)
        square += (1 - SQUARES) * (gradient * gradient - square)
        left = 1 - MOMENTUM ** (step + 1), 1 - SQUARES ** (step + 1)
        rate = RATE + (LAST_RATE - RATE) * share
        y -= rate * (mean / left[0]) / (np.sqrt(square / left[1]) + 1e-9)
        done()
    return np.clip(np.rint(y), -limit, limit).astype(np.int16)


def _changed(strip: _Strip, q: I16, limit: int, done: Callable[[], None]) -> I16:
    """Return integers that cost no more, after some rounds of changes by one."""
    state = strip.state(q)
    assert state is not None  # noqa: S101  (there was none before)
    rng = np.random.default_rng(0)
    curvature, share = CURVATURE, SHARE
    for _ in range(ROUNDS):
        worth = np.float32(curvature) * strip.curvature
        more = state.own.more * np.float32(1 / PRICE_UNIT) + (worth + state.slope)
        less = state.own.less * np.float32(1 / PRICE_UNIT) + (worth - state.slope)
        step = np.where(more < less, np.int16(1), np.int16(-1))
        chosen = rng.integers(0, 256, q.shape, dtype=np.uint8) < 256 * share
        chosen &= np.minimum(more, less) < 0
        found = strip.state(np.clip(state.q + step * chosen, -limit, limit), state)
        if found is not None:
            state, curvature = found, curvature * LESS_CURVATURE
        else:
            curvature, share = curvature * MORE_CURVATURE, max(share * LESS_SHARE, LEAST_SHARE)
        if np.count_nonzero(chosen) * FEW < chosen.size:
            curvature, share = CURVATURE, SHARE
        done()
    return state.q


def refine(
    model: Model, samples: U8, y: I32, level: int, pool: Executor, workers: int, progress: Progress | None = None
) -> I16:
    """Return the integers, int16 array (h, w, C), that a search finds to cost least in bits and distortion.

    Parameters
    ----------
    model : Model
        A model of tensors, with transforms.
    samples : uint8 array (H, W, 3)
    y : int32 array (h, w, C), in 1/256 sample
        What analysis makes of the samples.
    level : int
        Quality - 1.
    pool : Executor
        Takes ``workers`` pieces at once. Their number changes no result.
    workers : int
    progress : callable or None
        Called with the rounds done and the rounds in all.
    """
    limit, steps = model.layout.high, transforms_of(model).steps[level]
    h, w, _ = y.shape
    rows = max(STRIP_POSITIONS // w, 1)
    found = np.empty(y.shape, dtype=np.int16)
    rounds, finished = -(-h // rows) * (STEPS + ROUNDS), 0

    def done() -> None:
        nonlocal finished
        finished += 1
        if progress is not None:
            progress(finished, rounds)

    for begin in range(0, h, rows):
        part = slice(begin, min(begin + rows, h))
        strip = _Strip(model, samples[PATCH * part.start : PATCH * part.stop], level, pool, workers)
        in_steps = y[part] * (2.0 ** (16 - Y_BITS) / steps)
        found[part] = _changed(strip, _descended(strip, in_steps, limit, done), limit, done)
    return found
