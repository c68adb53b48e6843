"""Errors that the codec raises; no file leads to any other exception.

    CodecError
    +-- CorruptDataError   (also ValueError) the bytes are not what an encoder wrote
    +-- UnsupportedError   version, flag, model or limit that this build does not serve
    +-- ModelError         a model's weights are missing, or not those the file was coded with
    +-- ImageError         an image that cannot be coded: mode, size, or no image at all

A caller's mistake is no `CodecError`. What a caller asks for and cannot have, a fidelity out of range or an output that
exists, is a `RequestError`, which is a ValueError; a wrong type is a TypeError.
"""

from __future__ import annotations


class CodecError(Exception):
    """Base of all errors of this package."""


class CorruptDataError(CodecError, ValueError):
    """The data is damaged or was not written by this codec.

    Attributes
    ----------
    offset : int or None
        Byte of the file at which that showed, where known.
    """

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class UnsupportedError(CodecError):
    """The data asks for something that this build does not serve."""


class ModelError(CodecError):
    """A model is missing, or is not the one that the data was coded with."""


class ImageError(CodecError):
    """An image cannot be coded."""


class RequestError(ValueError):
    """The caller asks for what cannot be: a parameter out of range, too short a file, an output that exists."""
