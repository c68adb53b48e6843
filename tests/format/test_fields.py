"""Numbers of several bytes: both directions, and each number has one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.errors import CorruptDataError
from codec.format.fields import Reader, varint


@given(st.lists(st.integers(0, 2**35 - 1)))
def test_numbers_come_back(numbers):
    data = b"".join(map(varint, numbers))
    reader = Reader(data)
    assert [reader.number() for _ in numbers] == numbers
    assert reader.at == len(data)


@pytest.mark.parametrize(
    ("number", "data"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**14, "808001"), (2**35 - 1, "ffffffff7f")],
)
def test_bytes_of_numbers_are_fixed(number, data):
    assert varint(number).hex() == data
    assert Reader(bytes.fromhex(data)).number() == number


@pytest.mark.parametrize("number", [-1, 2**35])
def test_other_numbers_are_not_written(number):
    with pytest.raises(ValueError, match="expected 0 to 2\\^35 - 1"):
        varint(number)


@given(st.binary(max_size=8))
def test_a_number_has_one_form(data):
    reader = Reader(data)
    try:
        number = reader.number()
    except CorruptDataError:
        return
    assert varint(number) == data[: reader.at]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "^thing: expected at least 1 bytes, got 0$"),
        (b"\x80", "^thing: expected at least 2 bytes, got 1$"),
        (b"\x80\0", "^thing: a number has more bytes than it needs$"),
        (b"\x80\x80\x80\x80\0", "^thing: a number has more bytes than it needs$"),
        (b"\xff\xff\xff\xff\xff\x01", "^thing: a number has more than 5 bytes$"),
    ],
)
def test_damaged_numbers_are_refused(data, message):
    with pytest.raises(CorruptDataError, match=message):
        Reader(data, what="thing").number()


def test_bytes_are_read_in_their_order():
    reader = Reader(b"abc\0de", 1)
    assert reader.byte() == ord("b")
    assert reader.take_to(b"\0") == b"c"
    assert (reader.at, reader.take(2)) == (4, b"de")
    with pytest.raises(CorruptDataError, match="file: expected at least 7 bytes, got 6"):
        reader.take(1)
    with pytest.raises(CorruptDataError, match=r"file: expected .* after byte 6"):
        reader.take_to(b"\0")
