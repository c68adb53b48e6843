"""Codecs and how they compose, after craystack: a codec is a push and a pop that undo each other.

    pop(push(message, x)) = (message, x)        what was coded comes back
    push(pop(message))    = message             what was sampled can be returned: bits-back needs it

`bits_back` is the heart of the project: with a prior p(z), a likelihood p(x|z) and a posterior
q(z|x) it codes x in log q(z|x) - log p(x|z) - log p(z) bits, in expectation minus the ELBO
(Hinton and van Camp 1993; Frey 1997; Townsend, Bird and Barber 2019, equation 6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from codec.compiled import kernel
from codec.constants import COMPONENTS, PRECISION
from codec.entropy.mixtures import Grid, Tables, ideal_bits, interval, load_tables, pop, prepare
from codec.entropy.rans import Message, check_not_dry, drop, peek, push, reserve

I64 = NDArray[np.int64]
X = TypeVar("X")
"""Type of the coded value."""
Z = TypeVar("Z")
"""Type of the latents."""


@dataclass(frozen=True)
class Codec(Generic[X]):
    """A push and a pop of values of one type, which undo each other. Both may reuse the arrays of the given message."""

    push: Callable[[Message, X], Message]
    pop: Callable[[Message], tuple[Message, X]]


class Intervals(NamedTuple):
    """The intervals that a codec of symbols would push: starts and frequencies, and the sum of their ideal bits."""

    starts: NDArray[np.uint32]
    freqs: NDArray[np.uint32]
    ideal_bits: float

    @property
    def coded_bits(self) -> float:
        """Bits that the intervals cost: the sum of ``24 - log2(freq)``."""
        return float(PRECISION * self.freqs.size - np.log2(self.freqs, dtype=np.float64).sum())


@kernel
def push_intervals(message: Message, starts: NDArray[np.uint32], freqs: NDArray[np.uint32]) -> None:
    """Push symbols from the last to the first, so that they pop from the first to the last."""
    for i in range(len(starts) - 1, -1, -1):
        push(message, starts[i], freqs[i])


@kernel
def _mixture_intervals(
    symbols: I64,
    raw: I64,
    mixtures: int,
    grid: Grid,
    table: Tables,
    starts: NDArray[np.uint32],
    freqs: NDArray[np.uint32],
) -> float:
    prepared = np.zeros(3 * COMPONENTS, dtype=np.int64)
    bits = 0.0
    for i in range(len(symbols)):
        prepare(raw[i], mixtures, 0, prepared, table)
        starts[i], freqs[i] = interval(symbols[i], grid, prepared, table)
        bits += ideal_bits(symbols[i], grid, mixtures, raw[i], 0, table.normal)
    return bits


@kernel
def _mixture_pop(message: Message, raw: I64, mixtures: int, grid: Grid, table: Tables, symbols: I64) -> None:
    prepared = np.zeros(3 * COMPONENTS, dtype=np.int64)
    for i in range(len(symbols)):
        prepare(raw[i], mixtures, 0, prepared, table)
        symbols[i] = pop(message, grid, prepared, table)


def mixture_intervals(symbols: I64, raw: I64, grid: Grid, table: Tables | None = None) -> Intervals:
    """Return the intervals of symbols, int64 array (N,). ``raw`` and ``table`` are those of `mixture`."""
    starts = np.zeros(len(symbols), dtype=np.uint32)
    freqs = np.zeros(len(symbols), dtype=np.uint32)
    bits = _mixture_intervals(symbols, raw, raw.shape[1] // 3, grid, table or load_tables(), starts, freqs)
    return Intervals(starts, freqs, bits)


def mixture(raw: I64, grid: Grid, table: Tables | None = None) -> Codec[I64]:
    """Return the codec of symbols (N,), int64 in 0..grid.count - 1, each with its own mixture.

    Parameters
    ----------
    raw : int64 array (N, 3 M)
        Logits, means and scales; see `codec.entropy.mixtures`.
    table : Tables or None
        Tables of the components' distribution. None stands for logistics.
    """

    def push_symbols(message: Message, symbols: I64) -> Message:
        intervals = mixture_intervals(symbols, raw, grid, table)
        message = reserve(message, len(symbols))
        push_intervals(message, intervals.starts, intervals.freqs)
        return message

    def pop_symbols(message: Message) -> tuple[Message, I64]:
        symbols = np.zeros(len(raw), dtype=np.int64)
        message = reserve(message, 0)
        _mixture_pop(message, raw, raw.shape[1] // 3, grid, table or load_tables(), symbols)
        check_not_dry(message)
        return message, symbols

    return Codec(push_symbols, pop_symbols)


def uniform(count: int, bits: int) -> Codec[I64]:
    """Return the codec of int64 arrays (count,) of numbers in 0..2**bits - 1, all equally likely; 1 <= bits <= 24."""
    freq = 1 << (PRECISION - bits)

    def push_numbers(message: Message, numbers: I64) -> Message:
        message = reserve(message, count)
        starts = (numbers * freq).astype(np.uint32)
        push_intervals(message, starts, np.full(count, freq, dtype=np.uint32))
        return message

    def pop_numbers(message: Message) -> tuple[Message, I64]:
        numbers = np.zeros(count, dtype=np.int64)
        _uniform_pop(message, freq, numbers)
        check_not_dry(message)
        return message, numbers

    return Codec(push_numbers, pop_numbers)


@kernel
def _uniform_pop(message: Message, freq: int, numbers: I64) -> None:
    for i in range(len(numbers)):
        numbers[i] = peek(message) // freq
        drop(message, numbers[i] * freq, freq)


def chain(codecs: Sequence[Codec[X]]) -> Codec[Sequence[X]]:
    """Return the codec of a list that has one value for each codec. The values pop in the order of the codecs."""

    def push_all(message: Message, values: Sequence[X]) -> Message:
        for codec, value in zip(reversed(codecs), reversed(values), strict=True):
            message = codec.push(message, value)
        return message

    def pop_all(message: Message) -> tuple[Message, Sequence[X]]:
        values = []
        for codec in codecs:
            message, value = codec.pop(message)
            values.append(value)
        return message, values

    return Codec(push_all, pop_all)


def bits_back(prior: Codec[Z], likelihood: Callable[[Z], Codec[X]], posterior: Callable[[X], Codec[Z]]) -> Codec[X]:
    """Return the codec of x under a model with latents z, which cost log q(z|x) - log p(z) bits only.

    Parameters
    ----------
    prior : Codec of z
    likelihood : from z to the Codec of x
    posterior : from x to the Codec of z
        The encoder pops z under the posterior. So bits that the message already holds choose z, and the decoder pushes
        them back. A `certain` posterior borrows nothing, and makes a two-part code.
    """

    def push_both(message: Message, x: X) -> Message:
        message, z = posterior(x).pop(message)
        message = likelihood(z).push(message, x)
        return prior.push(message, z)

    def pop_both(message: Message) -> tuple[Message, X]:
        message, z = prior.pop(message)
        message, x = likelihood(z).pop(message)
        return posterior(x).push(message, z), x

    return Codec(push_both, pop_both)


def certain(choose: Callable[[], X]) -> Codec[X]:
    """Return the codec of a known value. A push leaves the message as it is, and a pop returns ``choose()``.

    As the posterior of `bits_back` it makes a two-part code: the z that ``choose`` picks is sent for -log p(z) bits,
    and x for -log p(x|z) bits. ``choose`` is called when the value is popped, because only the encoder needs it.
    """

    def push_known(message: Message, _: X) -> Message:
        return message

    def pop_known(message: Message) -> tuple[Message, X]:
        return message, choose()

    return Codec(push_known, pop_known)


NOTHING = certain(lambda: None)
"""The codec of None, which stands for the latents of a model without latents."""
