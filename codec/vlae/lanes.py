"""The payload of a file: the messages of its lanes, laid flat one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from codec.entropy.rans import Message, is_empty, unflatten
from codec.entropy.stack import Stack
from codec.errors import CorruptDataError


def write_lanes(messages: Sequence[Stack]) -> bytes:
    """Return the payload: the bytes of each message, one after the other. The inverse of `read_lanes`."""
    return b"".join(message.flatten() for message in messages)


def lane_table(messages: Sequence[Stack]) -> tuple[int, ...]:
    """Return the number of words of each message, its head not counted."""
    return tuple(message.size for message in messages)


def read_lanes(payload: bytes, lane_table: Sequence[int]) -> list[Message]:
    """Return the messages of a payload. The inverse of `write_lanes`.

    Parameters
    ----------
    payload : bytes
    lane_table : sequence of int
        Words of each message, its head not counted.

    Raises
    ------
    CorruptDataError
        A message is cut, or its head is out of range.
    """
    messages = []
    begin = 0
    for words in lane_table:
        end = begin + 8 + 4 * words
        messages.append(unflatten(payload[begin:end]))
        begin = end
    return messages


def check_all_popped(messages: Sequence[Message]) -> None:
    """Raise CorruptDataError if a message still holds something after the last image was popped."""
    for number, message in enumerate(messages):
        if not is_empty(message):
            raise CorruptDataError(f"message: lane {number} holds more than the image")
