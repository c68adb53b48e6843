"""Fields of bytes: numbers of one byte or more, and a reader that takes field after field.

A number is written in groups of seven bits, one byte a group, the lowest bits first. The high bit of a byte says that
another byte follows (LEB128). See FORMAT.md, "Conventions".
"""

from __future__ import annotations

from codec.errors import CorruptDataError

MAX_NUMBER_BYTES = 5
"""Most bytes of a number. Lengths up to 32 GiB fit."""


def varint(number: int) -> bytes:
    """Return the bytes of a number, 0 to 2**35 - 1, the fewest that hold it. `Reader.number` is the inverse.

    Raises
    ------
    ValueError
        The number is negative or too large.
    """
    if not 0 <= number < 1 << 7 * MAX_NUMBER_BYTES:
        raise ValueError(f"number: expected 0 to 2^{7 * MAX_NUMBER_BYTES} - 1, got {number}")
    groups = []
    while number >> 7:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


class Reader:
    """Reads fields from bytes, one after the other.

    Parameters
    ----------
    data : bytes
    at : int
        Byte at which the first field begins.
    what : str
        What the bytes are, for messages.

    Attributes
    ----------
    at : int
        Byte at which the next field begins.
    """

    def __init__(self, data: bytes, at: int = 0, what: str = "file") -> None:
        self._data = data
        self._what = what
        self.at = at

    def take(self, length: int) -> bytes:
        """Return the next bytes.

        Raises
        ------
        CorruptDataError
            There are fewer.
        """
        end = self.at + length
        if end > len(self._data):
            got = len(self._data)
            raise CorruptDataError(f"{self._what}: expected at least {end} bytes, got {got}", got)
        taken = self._data[self.at : end]
        self.at = end
        return bytes(taken)

    def take_to(self, end: bytes) -> bytes:
        """Return the bytes up to the next ``end``, and pass over that, too; CorruptDataError if there is none."""
        place = self._data.find(end, self.at)
        if place < 0:
            raise CorruptDataError(f"{self._what}: expected {end!r} after byte {self.at}", self.at)
        taken = self.take(place - self.at)
        self.at += len(end)
        return taken

    def byte(self) -> int:
        """Return the next byte as a number; CorruptDataError if there is none."""
        return self.take(1)[0]

    def number(self) -> int:
        """Return the next number, 0 to 2**35 - 1. The inverse of `varint`.

        Raises
        ------
        CorruptDataError
            It has more bytes than it needs, or more than `MAX_NUMBER_BYTES`, or the data ends within it.
        """
        begin, number = self.at, 0
        for group in range(MAX_NUMBER_BYTES):
            byte = self.byte()
            number |= (byte & 127) << 7 * group
            if byte < 128:
                if byte == 0 and group:
                    raise CorruptDataError(f"{self._what}: a number has more bytes than it needs", begin)
                return number
        raise CorruptDataError(f"{self._what}: a number has more than {MAX_NUMBER_BYTES} bytes", begin)
