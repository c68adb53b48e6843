"""The message: both directions, its bytes, its limits, and words that another program wrote."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec import constants
from codec.entropy import rans
from codec.errors import CorruptDataError

TOTAL = 1 << constants.PRECISION


@st.composite
def intervals(draw):
    """Return (start, freq), with frequencies of every magnitude."""
    freq = draw(st.one_of(st.integers(1, TOTAL), st.integers(1, 300), st.integers(TOTAL - 300, TOTAL)))
    return draw(st.integers(0, TOTAL - freq)), freq


@st.composite
def slotted(draw):
    """Return the width of the equal intervals that a symbol is popped from."""
    return draw(st.sampled_from([1 << draw(st.integers(0, 24)), 3, 1000, TOTAL - 1]))


def state(message):
    """Return all that a message holds, as values that compare."""
    size = int(message.size[0])
    return int(message.head[0]), size, message.tail[: max(size, 0)].tolist()


def interval_at(target, width):
    start = target // width * width
    return start, min(width, TOTAL - start)


def in_range(message):
    return constants.LOWER <= int(message.head[0]) < 1 << 63


@settings(deadline=None)
@given(st.lists(intervals(), max_size=60), st.integers(0, 40), st.integers(0, 2**32))
def test_pop_undoes_push(symbols, words, seed):
    message = rans.random_message(words, seed)
    before = state(message)
    message = rans.reserve(message, len(symbols))
    for start, freq in symbols:
        rans.push(message, start, freq)
        assert in_range(message)
        assert message.size[0] <= len(message.tail)
    for start, freq in reversed(symbols):
        assert start <= rans.peek(message) < start + freq
        rans.drop(message, start, freq)
        assert in_range(message)
    assert state(message) == before


@settings(deadline=None)
@given(st.lists(slotted(), max_size=60), st.integers(0, 2**32))
def test_push_undoes_pop(widths, seed):
    message = rans.random_message(60, seed)
    before = state(message)
    popped = []
    for width in widths:
        start, freq = interval_at(rans.peek(message), width)
        rans.drop(message, start, freq)
        assert in_range(message)
        popped.append((start, freq))
    for start, freq in reversed(popped):
        rans.push(message, start, freq)
    assert state(message) == before


@settings(deadline=None)
@given(st.lists(intervals(), min_size=1, max_size=200))
def test_a_message_grows_by_the_information_in_it(symbols):
    message = rans.reserve(rans.empty_message(), len(symbols))
    for start, freq in symbols:
        rans.push(message, start, freq)
    bits = 32 * int(message.size[0]) + np.log2(float(message.head[0])) - 31
    information = sum(24 - np.log2(freq) for _, freq in symbols)
    # A push rounds the head, by 2**24 of 2**31 at most.
    assert abs(bits - information) < 0.012 * len(symbols)


def test_symbols_of_all_bits_fill_what_was_reserved_and_no_more():
    message = rans.reserve(rans.empty_message(0), 1000)
    for _ in range(1000):
        rans.push(message, TOTAL - 1, 1)
    assert 750 <= message.size[0] <= len(message.tail)


def test_reserve_keeps_the_message():
    message = rans.random_message(5, seed=1)
    before = state(message)
    assert state(rans.reserve(message, 10_000)) == before
    assert len(rans.reserve(message, 10_000).tail) >= 5 + 7500


@given(st.integers(0, 30), st.integers(0, 2**32), st.integers(0, 31))
def test_unflatten_undoes_flatten(words, seed, zeros):
    message = rans.random_message(words, seed)
    message.head[0] = max(int(message.head[0]) >> zeros, constants.LOWER)
    data = rans.flatten(message)
    assert len(data) == 4 * words + -(-int(message.head[0]).bit_length() // 8)
    again = rans.unflatten(data)
    assert state(again) == state(message)
    assert rans.flatten(again) == data


@pytest.mark.parametrize(
    "head", [1 << 31, (1 << 32) - 1, 1 << 32, (1 << 40) - 1, 1 << 40, (1 << 56) - 1, (1 << 63) - 1]
)
@pytest.mark.parametrize("words", [0, 1, 2])
def test_the_length_tells_head_and_words_apart(head, words):
    message = rans.random_message(words, 0)._replace(head=np.array([head], np.uint64))
    assert state(rans.unflatten(rans.flatten(message))) == state(message)


def test_bytes_of_a_message():
    message = rans.Message(np.array([0x8000000000 + 5], np.uint64), np.array([1, 2, 9], np.uint32), np.array([2]))
    assert rans.flatten(message).hex() == "01000000" + "02000000" + "0500000080"
    assert rans.flatten(rans.empty_message()).hex() == "00000080"


@given(st.binary(max_size=30))
def test_a_message_has_one_form(data):
    try:
        message = rans.unflatten(data)
    except CorruptDataError:
        assert len(data) < 4 or data[-1] == 0 or (len(data) == 4 and data[-1] < 128)
        return
    assert in_range(message)
    assert rans.flatten(message) == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the last is not 0, got b''"),
        (bytes(4), "the last is not 0"),
        (bytes([0, 0, 0, 0x80, 0]), "the last is not 0"),
        (bytes([255, 255, 255, 127]), "expected at least 32 bits, got 31"),
        (b"abc", "expected at least 32 bits, got 23"),
    ],
)
def test_bytes_that_are_no_message_are_refused(data, message):
    with pytest.raises(CorruptDataError, match=message):
        rans.unflatten(data)


def test_an_empty_message():
    message = rans.empty_message()
    assert rans.is_empty(message)
    assert rans.is_empty(rans.unflatten(rans.flatten(message)))
    rans.push(message, 3, 7)
    assert not rans.is_empty(message)
    assert not rans.is_empty(rans.random_message(0, seed=0))
    rans.drop(message, 3, 7)
    assert rans.is_empty(message)


def test_an_exhausted_message_invents_nothing():
    message = rans.random_message(2, seed=3)
    for _ in range(3 * 63 // 24 + 1):
        rans.drop(message, rans.peek(message), 1)
    assert message.size[0] == rans.DRY
    # It stays dry, whatever is popped next.
    rans.drop(message, rans.peek(message), 1)
    assert message.size[0] == rans.DRY
    with pytest.raises(CorruptDataError, match="exhausted"):
        rans.check_not_dry(message)


def test_the_last_bits_pop_before_it_is_exhausted():
    message = rans.empty_message()
    rans.push(message, 5, 1)
    rans.drop(message, 5, 1)
    rans.check_not_dry(message)
    rans.drop(message, rans.peek(message), 1)
    with pytest.raises(CorruptDataError):
        rans.check_not_dry(message)


def test_random_messages_are_the_same_on_every_machine():
    message = rans.random_message(2, seed=1)
    assert state(message) == (RANDOM_HEAD, 2, RANDOM_WORDS)
    assert state(rans.random_message(2, seed=2)) != state(message)


RANDOM_HEAD = 0x79A8CB5DE70088D5
RANDOM_WORDS = [0x7922E4FF, 0x8306BDF3]

# Made by craystack (github.com/j-towns/craystack, commit 287c733c, craystack/rans.py): `push` of
# `symbols_of_craystack` with precision 24 onto a message of shape (1,) that `base_message` made.
CRAYSTACK_HEAD = 0x4E42D142F610
CRAYSTACK_WORDS = [
    0x0027B0FA, 0x0004F182, 0x07D06A61, 0xA71A8BF2, 0x8E711845, 0x3D29F503, 0x511DD4AB, 0xEDD3974C,
    0xAAE48268, 0xF7180E3E, 0xB4374DA5, 0x414DBFE4, 0x67C413AA, 0xC14B1739, 0x75D99220, 0x747A5BA4,
    0x1A48A9B6, 0x41823EA7, 0xA0C1D4B8, 0x056BA6F0, 0x5030D6C7, 0x8F82DE9C, 0xBE0872E2, 0x68DE6EB9,
    0x317AA170, 0xF86EC1BB, 0x702DB673,
]  # fmt: skip


def symbols_of_craystack():
    """Return 60 intervals with frequencies from 1 to 2**23, by a formula in integers."""
    number = 1
    symbols = []
    for i in range(60):
        number = (number * 1103515245 + 12345) % (1 << 31)
        freq = 1 + number % (1 << (i % 25))
        symbols.append((number * 7919 % (TOTAL - freq + 1), freq))
    return symbols


def test_pushes_the_words_of_craystack():
    message = rans.empty_message()
    for start, freq in symbols_of_craystack():
        rans.push(message, start, freq)
    assert state(message) == (CRAYSTACK_HEAD, len(CRAYSTACK_WORDS), CRAYSTACK_WORDS)


def test_decodes_the_words_of_craystack():
    head = np.array([CRAYSTACK_HEAD], dtype=np.uint64)
    message = rans.Message(head, np.array(CRAYSTACK_WORDS, dtype=np.uint32), np.array([len(CRAYSTACK_WORDS)]))
    for start, freq in reversed(symbols_of_craystack()):
        assert start <= rans.peek(message) < start + freq
        rans.drop(message, start, freq)
    assert rans.is_empty(message)


def craystack_words(message):
    """Return a message's words in the order in which craystack flattens it: the head's upper half comes first."""
    head = int(message.head[0])
    words = message.tail[: message.size[0]][::-1]
    return np.concatenate([np.array([head >> 32, head & 0xFFFFFFFF], np.uint32), words])


def test_messages_are_exchanged_with_craystack():
    """Runs only where craystack can be imported, which no package index provides; the words above are its result."""
    theirs = pytest.importorskip("craystack.rans", exc_type=ImportError)
    symbols = symbols_of_craystack()
    message, other = rans.empty_message(), theirs.base_message((1,))
    for start, freq in symbols:
        rans.push(message, start, freq)
        other = theirs.push(other, *(np.array([x], dtype=np.uint64) for x in (start, freq)), rans.PRECISION)
    np.testing.assert_array_equal(craystack_words(message), theirs.flatten(other))
    # What we pushed, craystack pops.
    other = theirs.unflatten(craystack_words(message), (1,))
    for start, freq in reversed(symbols):
        point, drop = theirs.pop(other, rans.PRECISION)
        assert start <= point[0] < start + freq
        other = drop(*(np.array([x], dtype=np.uint64) for x in (start, freq)))
    assert other[0][0] == rans.LOWER
