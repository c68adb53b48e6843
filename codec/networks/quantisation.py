"""Quantisation and dequantisation of y, the latents between the transforms.

See FORMAT.md, "Transforms".

All units are binary fractions of a sample:

- y from analysis is in 1/256. The finest useful step, 1/4, has 64 of them.
- Steps are in 1/65536, so that a step of 1/4 is exact within a factor of 1 + 3e-5.
- Dequantised y is in 1/16, because synthesis takes int16. Rows of norm 1 reach 128 sqrt(192) < 1774 samples, which is
  28378 of 32767. The rounding is at most 1/32, and zero where a step is a multiple of 1/16.
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
            # |y| + rounding / 256 of a step, in 2**-24 sample, is divided by the step.
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
        128 takes the nearest step. With less, more values become zero. An encoder may choose it freely.
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
