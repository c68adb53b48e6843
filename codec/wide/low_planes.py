"""The low bits of samples of 9 to 16 bits, coded after the 8 high ones of the whole image are known.

The bits of a sample are coded one after the other, the highest first, by a binary arithmetic coder with chances that
learn. What a chance depends on is where the guess of the sample lies relative to the middle of the range that is left,
and how much the samples around differ, both in steps of the bit. See FORMAT.md, "Low planes".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.errors import CorruptDataError

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]

HIGH_BITS = 8
PLACES = 8
"""Largest distance of a guess from the middle of a range, in halves of the bit."""
SPREADS = 8
LEVELS = 2
"""The first bit has chances of its own; all others share theirs."""
EVEN, LEAST = 1 << 15, 1 << 5
"""Chances in 1/65536: that of a bit that was not seen yet, and the smallest."""
MEMORY = 1 << 10
"""Bits after which a chance no longer learns more slowly."""
_LONGEST = 11
"""Most bits that a bit costs, at the least chance."""


class _Coder(NamedTuple):
    """The state of coding. All arrays are changed.

    Attributes
    ----------
    ends : int64 array (3,)
        First and last number of the interval, and the number of the stream within it (a decoder's).
    at : int64 array (1,)
        Byte of ``data`` that comes next.
    data : uint8 array
        Bytes that an encoder has written of one row, or all bytes that a decoder reads.
    chances, seen : int64 arrays (LEVELS, 2 PLACES + 1, SPREADS)
        The chance of a 1 in 1/65536, and how many bits it has learnt from.
    """

    ends: NDArray[np.int64]
    at: NDArray[np.int64]
    data: U8
    chances: NDArray[np.int64]
    seen: NDArray[np.int64]


def _start(data: U8) -> _Coder:
    shape = LEVELS, 2 * PLACES + 1, SPREADS
    ends = np.array([0, (1 << 32) - 1, 0])
    return _Coder(ends, np.zeros(1, np.int64), data, np.full(shape, EVEN, np.int64), np.zeros(shape, np.int64))


def encode(values: U16, low_bits: int) -> bytes:
    """Return the low bits of samples. The inverse of `decode`.

    Parameters
    ----------
    values : uint16 array (H, W, C)
    low_bits : int
        Number of low bits, 1 to 8. The others of each value are at most 8.
    """
    height, width, channels = values.shape
    work = values.astype(np.int32)
    coder = _start(np.zeros(width * channels * low_bits * _LONGEST // 8 + 8, np.uint8))
    rows = []
    for y in range(height):
        coder.at[0] = 0
        _code_row(coder, work, y, low_bits, False)
        rows.append(coder.data[: coder.at[0]].tobytes())
    # The interval's ends differ in the highest byte. So this number, with zeros behind it, lies within.
    return b"".join([*rows, bytes([(int(coder.ends[0]) >> 24) + 1])])


def decode(high: U8, low_bits: int, chunk: bytes) -> U16:
    """Return samples, uint16 array (H, W, C). The inverse of `encode`.

    Parameters
    ----------
    high : uint8 array (H, W, C)
        The high bits of the samples.
    low_bits : int
        Number of low bits, 1 to 8.
    chunk : bytes

    Raises
    ------
    CorruptDataError
        The chunk has another length than its samples need.
    """
    values = high.astype(np.int32) << low_bits
    coder = _start(np.frombuffer(bytearray(chunk), np.uint8))
    for _ in range(4):
        coder.ends[2] = coder.ends[2] << 8 | _byte(coder.data, coder.at[0])
        coder.at[0] += 1
    for y in range(len(high)):
        _code_row(coder, values, y, low_bits, True)
    if coder.at[0] - 3 != len(chunk):
        raise CorruptDataError(f"low planes: expected {coder.at[0] - 3} bytes, got {len(chunk)}")
    return values.astype(np.uint16)


@njit
def _byte(data: U8, at: int) -> int:
    return data[at] if at < len(data) else 0


@njit
def _code_bit(coder: _Coder, bit: int, chance: int, decoding: bool) -> int:
    """Code a bit, and return it. When decoding, it is read."""
    ends, at, data = coder.ends, coder.at, coder.data
    middle = ends[0] + ((ends[1] - ends[0]) * chance >> 16)
    if decoding:
        bit = 1 if ends[2] <= middle else 0
    if bit:
        ends[1] = middle
    else:
        ends[0] = middle + 1
    while (ends[0] ^ ends[1]) >> 24 == 0:
        if decoding:
            ends[2] = (ends[2] << 8 & 0xFFFFFFFF) | _byte(data, at[0])
        else:
            data[at[0]] = ends[1] >> 24
        at[0] += 1
        ends[0] = ends[0] << 8 & 0xFFFFFFFF
        ends[1] = (ends[1] << 8 & 0xFFFFFFFF) | 255
    return bit


@kernel
def _code_row(coder: _Coder, values: NDArray[np.int32], y: int, low_bits: int, decoding: bool) -> None:
    """Code the low bits of a row of samples. When decoding, they are added to ``values``, where they were 0."""
    height, width, channels = values.shape
    half = 1 << (low_bits - 1)
    for x in range(width):
        carry = 0
        for c in range(channels):
            value = values[y, x, c]
            low_end = value >> low_bits << low_bits
            left = values[y, x - 1, c] if x > 0 else (values[y - 1, x, c] if y > 0 else low_end + half)
            above = values[y - 1, x, c] if y > 0 else left
            corner = values[y - 1, x - 1, c] if x > 0 and y > 0 else above
            other = values[y - 1, x + 1, c] if y > 0 and x + 1 < width else above
            right = (values[y, x + 1, c] >> low_bits << low_bits) + half if x + 1 < width else left
            below = (values[y + 1, x, c] >> low_bits << low_bits) + half if y + 1 < height else above
            plain = (3 * left + 3 * above + 2 * right + 2 * below - corner + other) // 10
            spread = abs(left - corner) + abs(above - corner) + abs(above - other) + abs(plain - low_end - half)
            guess = plain + carry
            for b in range(low_bits - 1, -1, -1):
                place = min(max((2 * (guess - low_end - (1 << b))) >> b, -PLACES), PLACES) + PLACES
                steps = (2 * spread) >> b
                width_class = 0
                while steps > 1 and width_class < SPREADS - 1:
                    steps >>= 1
                    width_class += 1
                level = min(low_bits - 1 - b, LEVELS - 1)
                chance = coder.chances[level, place, width_class]
                bit = _code_bit(coder, value >> b & 1, chance, decoding)
                seen = coder.seen[level, place, width_class]
                chance += (65536 - chance) // (seen + 2) if bit else -(chance // (seen + 2))
                coder.chances[level, place, width_class] = min(max(chance, LEAST), 65536 - LEAST)
                coder.seen[level, place, width_class] = min(seen + 1, MEMORY)
                low_end += bit << b
            values[y, x, c] = low_end
            carry = low_end - plain
