"""Frames of files that hold several images."""

from __future__ import annotations

import os
from typing import NamedTuple

from PIL import Image

LAYERED = frozenset({"PSD"})
"""Formats whose frames are layers of one picture, which Pillow gives merged."""
WITH_OTHERS = frozenset({"MPO"})
"""Formats of photographs whose further frames are other views, smaller copies or gain maps."""


class Frame(NamedTuple):
    """One frame of an image's file.

    Attributes
    ----------
    source : path or bytes
        The file.
    number : int
        Number of the frame, from 0.
    """

    source: str | os.PathLike[str] | bytes
    number: int


def frame_count(image: Image.Image, *, takes_all: bool = False) -> int:
    """Return the number of frames of an image.

    Parameters
    ----------
    image : PIL.Image.Image
    takes_all : bool
        Whether the further frames of photographs count, too.
    """
    kind = image.format or ""
    if kind in LAYERED or (kind in WITH_OTHERS and not takes_all):
        return 1
    return int(getattr(image, "n_frames", 1))


def frame_name(name: str, number: int) -> str:
    """Return the name of a frame in an archive: that of its file, and below it the number, from 1."""
    return f"{name}/{number + 1:04}"
