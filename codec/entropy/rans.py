"""The rANS message: a stack of 32-bit words under a 64-bit head.

Last in, first out: symbols are popped in the reverse order of their pushes. A symbol owns the
interval [start, start + freq) of [0, 2**PRECISION):

    0        start        start + freq        2**24
    |----------|----------------|---------------|
               ^ freq >= 1      ^ <= 2**24

An empty message has the head 2**31 and no words. To pop more than was pushed is an error: the message is marked `DRY`,
and no words are invented. The words are those of craystack with one head. See FORMAT.md, "Message".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from codec.constants import LOWER, PRECISION
from codec.errors import CorruptDataError

DRY = -1
"""Size of a message from which more was popped than was pushed."""

_MASK = np.uint64((1 << PRECISION) - 1)
_PRECISION = np.uint64(PRECISION)
_LOWER = np.uint64(LOWER)
_FULL = np.uint64(63 - PRECISION)
_WORD = np.uint64(32)

U64 = NDArray[np.uint64]


class DryMessageError(CorruptDataError):
    """More was popped from a message than was pushed onto it."""


class Message(NamedTuple):
    """The state of a message. Functions that return a message may reuse the arrays of the given one.

    Attributes
    ----------
    head : uint64 array (1,)
    tail : uint32 array (capacity,)
        The last word pushed stands at ``size[0] - 1``.
    size : int64 array (1,)
    """

    head: U64
    tail: NDArray[np.uint32]
    size: NDArray[np.int64]


def empty_message(capacity: int = 1024) -> Message:
    """Return a message without symbols. Its array has room for ``capacity`` words."""
    head = np.full(1, LOWER, dtype=np.uint64)
    return Message(head, np.zeros(capacity, dtype=np.uint32), np.zeros(1, dtype=np.int64))


def random_message(words: int, seed: int) -> Message:
    """Return a message of random words. To pop a value from it draws a sample of the codec's distribution.

    The words are those of numpy's PCG64 with this seed, which are the same on every machine.
    """
    rng = np.random.default_rng(seed)
    tail = rng.integers(0, 1 << 32, words, dtype=np.uint32)
    head = rng.integers(LOWER, 1 << 63, 1, dtype=np.uint64)
    return Message(head, tail, np.array([words]))


def reserve(message: Message, symbols: int) -> Message:
    """Return the message with room for ``symbols`` more pushes, of 24 bits each at most."""
    needed = int(message.size[0]) + symbols * PRECISION // 32 + 2
    if needed <= len(message.tail):
        return message
    tail = np.zeros(needed + needed // 2, dtype=np.uint32)
    tail[: len(message.tail)] = message.tail
    return message._replace(tail=tail)


def flatten(message: Message) -> bytes:
    """Return a message's bytes: the words from the first pushed to the last, then the bytes of the head that count.

    They are one number of as few bytes as possible, so their length tells the number of words.
    """
    return message.tail[: message.size[0]].astype("<u4").tobytes() + head_bytes(int(message.head[0]))


def head_bytes(head: int) -> bytes:
    """Return the bytes of a head without the zeros at its end, 4 to 8."""
    return head.to_bytes(8, "little").rstrip(b"\0")


def unflatten(data: bytes) -> Message:
    """Return the message that `flatten` wrote.

    Raises
    ------
    CorruptDataError
        There are fewer than 32 bits, or the last byte is 0.
    """
    if not data or data[-1] == 0:
        raise CorruptDataError(f"message: expected bytes of which the last is not 0, got {data[-1:]!r}")
    bits = 8 * (len(data) - 1) + data[-1].bit_length()
    size = bits // 32 - 1
    if size < 0:
        raise CorruptDataError(f"message: expected at least 32 bits, got {bits}")
    head = int.from_bytes(data[4 * size :], "little")
    # One word more than needed, so that the array is never empty.
    tail = np.append(np.frombuffer(data[: 4 * size], "<u4").astype(np.uint32), np.uint32(0))
    return Message(np.array([head], dtype=np.uint64), tail, np.array([size]))


def check_not_dry(message: Message) -> None:
    """Raise DryMessageError if more was popped than was pushed."""
    if message.size[0] < 0:
        raise DryMessageError("message: exhausted before all symbols were decoded")


def is_empty(message: Message) -> bool:
    """Return whether a message has the head and the words of an empty one."""
    return bool(message.size[0] == 0 and message.head[0] == LOWER)


@njit
def push(message: Message, start: int, freq: int) -> None:
    """Push the symbol with the interval [start, start + freq). There must be room for it (`reserve`)."""
    size = message.size
    head = message.head[0]
    f = np.uint64(freq)
    # The new head must stay below 2**63. (head // freq) * 2**24 does, if head < freq * 2**39.
    if head >= (f << _FULL):
        message.tail[size[0]] = np.uint32(head & np.uint64(0xFFFFFFFF))
        size[0] += 1
        head >>= _WORD
    quotient = head // f
    message.head[0] = (quotient << _PRECISION) + (head - quotient * f) + np.uint64(start)


@njit
def peek(message: Message) -> int:
    """Return the number in [0, 2**24) whose interval names the symbol on top."""
    return np.int64(message.head[0] & _MASK)  # type: ignore[return-value]  # compiled code has no other int


@njit
def drop(message: Message, start: int, freq: int) -> None:
    """Remove the symbol on top, whose interval is [start, start + freq). `peek` and `drop` undo `push`."""
    size = message.size
    head = message.head[0]
    head = np.uint64(freq) * (head >> _PRECISION) + (head & _MASK) - np.uint64(start)
    if head < _LOWER:
        if size[0] <= 0:
            size[0] = DRY
            head = _LOWER
        else:
            size[0] -= 1
            head = (head << _WORD) | np.uint64(message.tail[size[0]])
    message.head[0] = head
