"""The payload of a file: the messages of its lanes, laid flat one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from codec.constants import LOWER
from codec.entropy.rans import Message, is_empty, unflatten
from codec.entropy.stack import Stack
from codec.errors import CorruptDataError


def write_lanes(messages: Sequence[Stack]) -> bytes:
    """Return the payload: the bytes of each message, one after the other. The inverse of `read_lanes`."""
    return b"".join(message.flatten() for message in messages)


def lane_table(messages: Sequence[Stack]) -> tuple[int, ...]:
    """Return the number of bytes of each message."""
    return tuple(message.flat_bytes for message in messages)


def read_lanes(payload: bytes, lane_table: Sequence[int]) -> list[Message]:
    """Return the messages of a payload. The inverse of `write_lanes`.

    Parameters
    ----------
    payload : bytes
    lane_table : sequence of int
        Bytes of each message.

    Raises
    ------
    CorruptDataError
        A message is cut.
    """
    messages = []
    begin = 0
    for length in lane_table:
        end = begin + length
        messages.append(unflatten(payload[begin:end]))
        begin = end
    return messages


def sealed(samples_crc: int) -> Stack:
    """Return the message on which a file's first lane begins: an empty one, whose head holds a checksum of 31 bits.

    The head of an empty message has 31 bits that say nothing. `unseal` is the inverse.
    """
    return Stack(LOWER + samples_crc)


def unseal(messages: Sequence[Message]) -> int:
    """Return the checksum that the first message of a file holds when all bands are popped.

    Raises
    ------
    CorruptDataError
        A message still holds something else.
    """
    first = messages[0]
    crc = int(first.head[0]) - LOWER
    if first.size[0] or crc >= LOWER:
        raise CorruptDataError("message: lane 0 holds more than the image")
    first.head[0] = LOWER
    check_all_popped(messages)
    return crc


def check_all_popped(messages: Sequence[Message]) -> None:
    """Raise CorruptDataError if a message still holds something after the last image was popped."""
    for number, message in enumerate(messages):
        if not is_empty(message):
            raise CorruptDataError(f"message: lane {number} holds more than the image")
