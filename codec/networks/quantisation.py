"""Quantisation of y, the latents between the transforms: steps, units, and the way there and back.

See FORMAT.md, "Transforms".

Units are binary fractions of a sample. Analysis returns y in 1/256, of which the finest step of use, 1/4,
has 64. Steps are in 1/65536, so that 1/4 is known within 3e-5 of itself.
Dequantised y is in 1/16, since synthesis takes int16: rows of norm 1 reach 128 sqrt(192) < 1774 samples,
28378 of 32767. It is off by at most 1/32, and not at all where a step is a multiple of 1/16.
"""

from __future__ import annotations

import numpy as np

from codec.compiled import kernel
from codec.constants import STEP_BITS, VALUE_BITS, VALUE_LIMIT, Y_BITS
from codec.networks.products import I16, I32

NEAREST = 128
"""The ``rounding`` of `quantise` that takes the nearest step."""


@kernel
def _quantise(y: I32, steps: I32, limit: int, rounding: int, out: I16) -> None:
    for i in range(len(y)):
        for c in range(len(steps)):
            step = np.int64(steps[c])
            # |y| / step + rounding / 256, all in 2**-24 sample
            scaled = abs(np.int64(y[i, c])) << (STEP_BITS - Y_BITS + 8)
            magnitude = min(int((scaled + rounding * step) // (step << 8)), limit)
            out[i, c] = -magnitude if y[i, c] < 0 else magnitude


@kernel
def _dequantise(q: I16, steps: I32, out: I16) -> None:
    down = STEP_BITS - VALUE_BITS
    for i in range(len(q)):
        for c in range(len(steps)):
            magnitude = (abs(np.int64(q[i, c])) * steps[c] + (1 << (down - 1))) >> down
            magnitude = min(magnitude, VALUE_LIMIT)
            out[i, c] = -magnitude if q[i, c] < 0 else magnitude


def quantise(y: I32, steps: I32, limit: int, rounding: int = NEAREST) -> I16:
    """Return q = sign(y) min(floor(abs(y) / step + rounding / 256), limit), int16 array (h, w, C).

    Parameters
    ----------
    y : int32 array (h, w, C), from `codec.networks.transform.analyse`
    steps : int32 array (C,)
        Row of `codec.networks.transform.Transforms.steps`.
    limit : int, 1 to 32767
    rounding : int, 0 to 128
        The encoder's affair: below 128, more become zero than with the nearest step.
    """
    q = np.empty(y.shape, dtype=np.int16)
    _quantise(y.reshape(-1, len(steps)), steps, limit, rounding, q.reshape(-1, len(steps)))
    return q


def dequantise(q: I16, steps: I32) -> I16:
    """Return sign(q) min((abs(q) step + 2**11) >> 12, 32767), int16 array (h, w, C) in 1/16 sample; undoes `quantise`.

    Parameters
    ----------
    q : int16 array (h, w, C)
    steps : int32 array (C,)
        Row of `codec.networks.transform.Transforms.steps`.
    """
    values = np.empty(q.shape, dtype=np.int16)
    _dequantise(q.reshape(-1, len(steps)), steps, values.reshape(-1, len(steps)))
    return values
