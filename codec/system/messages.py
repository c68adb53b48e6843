"""Errors as lines of text."""

from __future__ import annotations

from pathlib import Path

from codec.errors import CodecError, RequestError


def text_of(error: BaseException, source: Path | None = None) -> str:
    """Return an error in one line. What no caller has to expect is told with its type.

    The line does not begin with the name of the source, if that is given, because the caller names it.
    """
    if isinstance(error, MemoryError):
        return "not enough memory"
    expected = isinstance(error, CodecError | RequestError | OSError)
    text = f"{'' if expected else f'{type(error).__name__}: '}{error}"
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    for name in () if source is None else (str(source), source.name):
        text = text.removeprefix(f"{name}: ")
    return " ".join(text.split())
