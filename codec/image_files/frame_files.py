"""Reading files of several frames, as GIF, APNG, WebP and TIFF may be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image

from codec.format import metadata
from codec.format.headers import PIXEL_LIMIT
from codec.image_files import loading
from codec.image_files.frames import Frame, frame_count
from codec.image_files.wide_image import Picture, WideImage


def frames_of(source: str | os.PathLike[str] | bytes) -> list[Frame]:
    """Return the frames of an image's file if it has several, else an empty list. No frame is decoded."""
    count = loading.looked_at(source, partial(frame_count, takes_all=True)) or 1
    return [Frame(source, number) for number in range(count)] if count > 1 else []


def load_frames(frames: Sequence[Frame]) -> Iterator[Picture]:
    """Yield the pictures of a file's frames, each with its ``info["duration"]`` in milliseconds where it has one.

    The metadata of the file is that of its first frame; the others have its ICC profile only.

    Parameters
    ----------
    frames : sequence of Frame
        Frames of one file, in ascending order.

    Raises
    ------
    ImageError, OSError
        See `load_image`.
    """
    source = frames[0].source
    name = "image" if isinstance(source, bytes) else Path(source).name
    with BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
        with loading.pixel_limit(PIXEL_LIMIT):
            image = loading.opened(file, name, PIXEL_LIMIT)
        numbers = {frame.number for frame in frames}
        for number in range(max(numbers) + 1):
            wanted = number in numbers
            with loading.pixel_limit(PIXEL_LIMIT):
                picture = _frame(image, number, f"{name}: frame {number + 1}", wanted)
            if picture is not None:
                yield picture


def _frame(image: Image.Image, number: int, name: str, wanted: bool) -> Picture | None:
    """Go to the next frame of an image, and return it if it is wanted."""
    with loading.telling(name):
        image.seek(number)
        if not wanted and image.format != "TIFF":
            image.load()  # else the frames after it may lack what it leaves
    return _frame_of(image, name) if wanted else None


def _frame_of(image: Image.Image, name: str) -> Picture:
    """Return the frame at which an image stands."""
    deep = loading.deep_of(image, name, None)
    entries = loading.check(image, name, None) if deep is None else metadata.entries_of_info(deep.info)
    if image.tell() and image.format != "TIFF":
        entries = {key: entry for key, entry in entries.items() if key == "icc_profile"}
    info = metadata.info_of_entries(entries)
    duration = image.info.get("duration")
    if isinstance(duration, int | float) and duration >= 0.5:
        info["duration"] = round(duration)
    if deep is not None:
        return WideImage(deep.samples, info)
    copy = image.copy()
    copy.info = {key: value for key, value in image.info.items() if key == "transparency"}
    copy.info.update(info)
    return copy
