"""Codecs for tests, and the checks that all codecs must pass."""

import numpy as np

from codec import constants
from codec.entropy import rans
from codec.entropy.bits_back import Codec, push_intervals

TOTAL = 1 << constants.PRECISION


def state(message):
    size = int(message.size[0])
    return int(message.head[0]), message.tail[:size].tolist()


def copy(message):
    return rans.Message(*(part.copy() for part in message))


def information(message):
    """Return the bits in a message, fractions included."""
    return 32 * int(message.size[0]) + np.log2(float(message.head[0]))


def check_codec(codec, value, words=400, seed=0):
    """Check that pop undoes push on a value, and push undoes pop on random bits."""
    message = rans.random_message(words, seed)
    before = state(message)
    message, again = codec.pop(codec.push(message, value))
    assert_equal(again, value)
    assert state(message) == before
    message, sampled = codec.pop(message)
    assert state(message) != before
    assert state(codec.push(message, sampled)) == before


def assert_equal(a, b):
    if isinstance(b, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_equal(one, other)
    else:
        np.testing.assert_array_equal(a, b)


def table_codec(frequencies, count):
    """Return the codec of ``count`` symbols of one distribution given as frequencies."""
    edges = np.concatenate([[0], np.cumsum(frequencies)])
    assert edges[-1] == TOTAL
    assert frequencies.min() >= 1

    def push(message, symbols):
        message = rans.reserve(message, count)
        push_intervals(message, edges[symbols].astype(np.uint32), frequencies[symbols].astype(np.uint32))
        return message

    def pop(message):
        symbols = np.zeros(count, dtype=np.int64)
        for i in range(count):
            symbols[i] = np.searchsorted(edges, rans.peek(message), side="right") - 1
            rans.drop(message, edges[symbols[i]], frequencies[symbols[i]])
        rans.check_not_dry(message)
        return message, symbols

    return Codec(push, pop)


def quantised(p):
    """Return frequencies of a distribution, each at least 1."""
    frequencies = np.floor(p * (TOTAL - len(p))).astype(np.int64) + 1
    frequencies[frequencies.argmax()] += TOTAL - frequencies.sum()
    return frequencies
