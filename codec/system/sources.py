"""Where bytes come from: a path, bytes of any kind, or a binary file; and the numbers that callers give."""

from __future__ import annotations

import os
from numbers import Integral, Real
from pathlib import Path
from typing import BinaryIO

from codec.errors import RequestError

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""A text is a path."""


def data_of(source: Source, what: str, expected: str = "") -> bytes:
    """Return the bytes of a source: of a binary file those from its position on.

    Parameters
    ----------
    source : path, bytes, bytearray, memoryview or binary file
    what : str
        Begins the message of an error.
    expected : str
        What else could be there, for the message.

    Raises
    ------
    TypeError
        It is of another type, or a file of text.
    ValueError
        The file is closed.
    OSError
        The file cannot be read.
    """
    if isinstance(source, bytes):
        return source
    if isinstance(source, bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        return Path(source).read_bytes()
    if not callable(getattr(source, "read", None)):
        kinds = f"{expected}a path, bytes or a binary file"
        raise TypeError(f"{what}: expected {kinds}, got {type(source).__name__}")
    if getattr(source, "closed", False):
        raise RequestError(f"{what}: the file is closed")
    data = source.read()
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"{what}: expected a binary file, got one that reads {type(data).__name__}")
    return bytes(data)


def whole(name: str, value: object, least: int | None = None) -> int:
    """Return a whole number, of numpy or Python; TypeError or ValueError if it is none, or below ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if least is not None and value < least:
        raise RequestError(f"{name}: expected at least {least}, got {value}")
    return int(value)


def number(name: str, value: object) -> float:
    """Return a number, of numpy or Python; TypeError if it is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    return float(value)
