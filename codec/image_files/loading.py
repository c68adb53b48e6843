"""Reading image files with Pillow: what is no image, and what Pillow would change or lose, is refused."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from codec.errors import ImageError, RequestError
from codec.format import metadata
from codec.format.headers import MODES, PIXEL_LIMIT
from codec.image_files import dropped, source_depth, tiff
from codec.image_files.file_parts import whole
from codec.system.sources import Source, data_of

_limit_lock = threading.Lock()


def load_image(source: Source, max_pixels: int | None = None) -> Image.Image:
    """Return a loaded image. ``info["dropped"]`` has the names of the file's metadata that the codec drops.

    Parameters
    ----------
    source : path, bytes, bytearray, memoryview or binary file
        The image's file. A str is a path.
    max_pixels : int, optional
        Limit on width times height, in place of `PIXEL_LIMIT`. It is checked before anything is decoded.

    Raises
    ------
    ImageError
        The source is not an image, is truncated, over the limit or animated, has an unsupported mode, or holds more
        than Pillow returns (see `codec.image_files.source_depth`).
    OSError
        The file cannot be opened.
    TypeError
        The source has another type.
    ValueError
        The source is a closed file.
    """
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            return _load(file, Path(source).name, max_pixels)
    return _load(BytesIO(data_of(source, "image", "a Pillow image, ")), "image", max_pixels)


def _load(file: BinaryIO, name: str, max_pixels: int | None) -> Image.Image:
    with _pixel_limit(max_pixels or PIXEL_LIMIT):
        try:
            image = Image.open(file)
        except Image.DecompressionBombError as error:
            raise ImageError(f"{name}: over the limit of {max_pixels or PIXEL_LIMIT} pixels") from error
        except UnidentifiedImageError as error:
            raise ImageError(f"{name}: not an image that Pillow knows") from error
        except Exception as error:
            # A damaged header can make Pillow's plugins raise any exception.
            raise ImageError(f"{name}: cannot be read: {error}") from error
        image.info.update(metadata.info_of_entries(check(image, name, max_pixels)))
        return image


@contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Replace Pillow's global limit, which would warn below our limit and refuse images that ``max_pixels`` allows."""
    with _limit_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def check(image: Image.Image, name: str, max_pixels: int | None) -> dict[str, bytes]:
    """Load an image, and return its metadata by the keys of `metadata.TAGS`.

    Raise ImageError if loading would change or lose samples.
    """
    limit = max_pixels or PIXEL_LIMIT
    if image.width * image.height > limit:
        raise ImageError(f"{name}: {image.width}x{image.height} pixels are over the limit of {limit}")
    if image.width * image.height == 0:
        raise ImageError(f"{name}: {image.width}x{image.height}: has no pixels")
    if image.mode not in MODES:
        raise ImageError(f"{name}: expected mode {', '.join(MODES)}, got {image.mode}")
    if getattr(image, "tile", None) and getattr(image, "fp", image) is None:
        raise RequestError(f"{name}: is closed, and was not loaded before")
    try:
        data = _file_of(image)
        fault = source_depth.fault(image, data)
        frames = getattr(image, "n_frames", 1)
        if not fault:
            image.load()
    except Exception as error:
        # Damaged data can make Pillow's plugins raise any exception.
        raise ImageError(f"{name}: cannot be read: {error}") from error
    if fault:
        raise ImageError(f"{name}: {fault}")
    if frames > 1:
        raise ImageError(f"{name}: expected 1 frame, got {frames}")
    if image.mode not in MODES:  # some icons have their true mode only after loading
        raise ImageError(f"{name}: expected mode {', '.join(MODES)}, got {image.mode}")
    # From TIFF tags, Pillow would make EXIF with text as ASCII and with guessed types. So we copy the tags ourselves.
    entries = metadata.collect(image, tiff.exif_of(data) if image.format == "TIFF" else None)
    before = image.info.get("dropped")  # it may also be a text of a PNG with this key
    names = {*(before if isinstance(before, tuple) else ()), *dropped.names(image, data, entries)}
    entries["dropped"] = metadata.pack_names(sorted(names, key=str.lower))
    return {key: value for key, value in entries.items() if value}


def _file_of(image: Image.Image) -> bytes:
    """Return the file that an image was opened from; b"" if the file is closed or the image was made in memory."""
    file = getattr(image, "fp", None)
    if file is None or getattr(file, "closed", False):
        return b""
    data = whole(file)
    # Some plugins replace the file by samples that they decoded.
    _, accepts = Image.OPEN.get(image.format or "", (None, None))
    return b"" if accepts and not accepts(data[:16]) else data


def pixel_count(source: Image.Image | str | os.PathLike[str] | bytes) -> int | None:
    """Return width times height of an image or of an image's file, of which only the header is read.

    It is None for what is no file or no image. To load that raises the right error.
    """
    if isinstance(source, Image.Image):
        return source.width * source.height
    if not isinstance(source, bytes) and not Path(source).is_file():  # from a pipe the bytes would be gone
        return None
    try:
        with _pixel_limit(PIXEL_LIMIT), Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            return image.width * image.height
    except Exception:  # a damaged header can make Pillow's plugins raise any exception
        return None
