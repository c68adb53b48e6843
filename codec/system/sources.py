"""Checks of arguments: sources of bytes (a path, bytes, or a binary file), and numbers."""

from __future__ import annotations

import os
from numbers import Integral, Real
from pathlib import Path
from typing import BinaryIO

from codec.errors import RequestError

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""Type of a source of bytes. A str is a path."""


def data_of(source: Source, what: str, expected: str = "") -> bytes:
    """Return the bytes of a source. A binary file is read from its position to its end.

    Parameters
    ----------
    source : path, bytes, bytearray, memoryview or binary file
    what : str
        Name of the argument, with which error messages begin.
    expected : str
        Further types that the caller accepts, for the message.

    Raises
    ------
    TypeError
        The source has another type, or is a file of text.
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
    try:
        data = source.read()
    except UnicodeDecodeError as error:
        raise TypeError(f"{what}: expected a binary file, got one of text") from error
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"{what}: expected a binary file, got one that reads {type(data).__name__}")
    return bytes(data)


def whole(name: str, value: object, least: int | None = None) -> int:
    """Return an argument as int; TypeError if it is no integer of Python or numpy, ValueError if below ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if least is not None and value < least:
        raise RequestError(f"{name}: expected at least {least}, got {value}")
    return int(value)


def number(name: str, value: object) -> float:
    """Return an argument as float. TypeError if it is no number of Python or numpy."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    return float(value)
