"""Errors that the codec raises; no file leads to any other exception.

    CodecError
    +-- CorruptDataError   (also ValueError) the bytes are not what an encoder wrote
    +-- UnsupportedError   version, flag, model or limit that this build does not serve
    +-- ModelError         a model's weights are missing, or not those the file was coded with
    +-- ImageError         an image that cannot be coded
        +-- DamagedImageError      (also CorruptDataError) its file is damaged or cut
        +-- UnsupportedImageError  (also UnsupportedError) its mode, its size, or no image at all

A caller's mistake is no `CodecError`. If a caller asks for something impossible, such as a fidelity out of range or an
output that exists, a `RequestError` is raised, which is a ValueError. A wrong type is a TypeError.
"""

from __future__ import annotations


class CodecError(Exception):
    """Base of all errors of this package."""


class CorruptDataError(CodecError, ValueError):
    """The data is damaged or was not written by this codec.

    Attributes
    ----------
    offset : int or None
        Byte of the file at which the damage was noticed; None if it is not known.
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


class DamagedImageError(ImageError, CorruptDataError):
    """An image's file is damaged or cut."""


class UnsupportedImageError(ImageError, UnsupportedError):
    """An image has a mode, a size or contents that no file holds, or is none that Pillow knows."""


class RequestError(ValueError):
    """The caller asks for something impossible: a parameter out of range, too short a file, an output that exists."""
