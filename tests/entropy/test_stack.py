"""Stacks behave like messages, never change, and copy no more words than are lifted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import constants
from codec.entropy import rans
from codec.entropy.stack import Stack

SLOT = 1 << 10


def changed(message, pops, pushes):
    """Return a message after pops of equal intervals, and pushes."""
    for _ in range(pops):
        rans.drop(message, rans.peek(message) // SLOT * SLOT, SLOT)
    rans.check_not_dry(message)
    message = rans.reserve(message, len(pushes))
    for number in pushes:
        rans.push(message, number * SLOT, SLOT)
    return message


numbers = st.lists(st.integers(0, (1 << constants.PRECISION) // SLOT - 1), max_size=30)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), numbers, st.integers(0, 3)), max_size=8))
def test_a_stack_goes_on_as_a_message(steps):
    message, stack = rans.random_message(200, seed=0), Stack().lay(rans.random_message(200, seed=0))
    seen = [(stack, rans.flatten(message))]
    for pops, pushes, more in steps:
        message = changed(message, pops, pushes)
        top, rest = stack.lift(pops + more)
        stack = rest.lay(changed(top, pops, pushes))
        seen.append((stack, rans.flatten(message)))
    for stack, data in seen:  # also those that others were made of
        assert stack.flatten() == data
        assert len(data) == stack.flat_bytes


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=6), st.integers(0, 40))
def test_lay_undoes_lift(layers, words):
    stack = Stack()
    for seed, size in enumerate(layers):
        stack = stack.lay(rans.random_message(size, seed))
    before = stack.flatten()
    message, rest = stack.lift(words)
    assert message.size[0] == min(words, sum(layers))
    assert rest.lay(message).flatten() == before
    message.tail[:] = 0
    assert stack.flatten() == before


def test_an_empty_stack_is_an_empty_message():
    assert Stack().flatten() == rans.flatten(rans.empty_message())
    message, rest = Stack().lift(10)
    assert rans.is_empty(message)
    assert rest.size == 0


def test_what_lies_deeper_is_neither_copied_nor_walked():
    stack = Stack().lay(rans.random_message(1 << 20, seed=0))
    base = stack._top.words
    for number in range(50_000):  # more than calls can be nested
        message, rest = stack.lift(3)
        assert len(message.tail) == 4
        stack = rest.lay(changed(message, 0, [number % 1000]))
    layer, depth = stack._top, 0
    while layer.below is not None:
        layer, depth = layer.below, depth + 1
    assert depth > 10_000
    assert np.shares_memory(layer.words, base)
    assert len(stack.flatten()) == stack.flat_bytes
    del stack, rest, layer


@pytest.mark.parametrize("words", [0, 1, 1000])
def test_lifted_words_are_a_copy(words):
    stack = Stack().lay(rans.random_message(500, seed=1))
    message, _ = stack.lift(words)
    assert not np.shares_memory(message.tail, stack._top.words)
