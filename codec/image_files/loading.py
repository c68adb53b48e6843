"""Reading image files with Pillow: what is no image, and what Pillow would change or lose, is refused."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from codec.errors import DamagedImageError, ImageError, RequestError, UnsupportedImageError
from codec.file_metadata import dropped, kept
from codec.file_metadata.file_parts import whole
from codec.format import metadata
from codec.format.headers import MODES, PIXEL_LIMIT, WIDE_MODES
from codec.image_files import deep_files, source_depth, tiff
from codec.image_files.frames import WITH_OTHERS, Frame, frame_count
from codec.image_files.wide_image import INKS_MODE, Picture, WideImage, from_array
from codec.system.sources import Source, data_of

_limit_lock = threading.Lock()


class UnknownImageError(UnsupportedImageError):
    """A file is no image that Pillow knows."""


def load_image(source: Source, max_pixels: int | None = None) -> Picture:
    """Return a loaded image, with 16 bits a sample if its file has more than 8.

    ``info["dropped"]`` has the names of the file's metadata that the codec drops.

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
    return _load(BytesIO(data_of(source, "image", "a Pillow image, a uint16 array, ")), "image", max_pixels)


def opened(file: BinaryIO, name: str, limit: int) -> Image.Image:
    """Return an image that is opened but not loaded; ImageError if it is none, damaged, or over a limit of pixels."""
    try:
        return Image.open(file)
    except Image.DecompressionBombError as error:
        raise UnsupportedImageError(f"{name}: over the limit of {limit} pixels") from error
    except UnidentifiedImageError as error:
        raise UnknownImageError(f"{name}: not an image that Pillow knows") from error
    except MemoryError:
        raise
    except Exception as error:
        # A damaged header can make Pillow's plugins raise any exception.
        raise DamagedImageError(f"{name}: cannot be read: {error}") from error


def _load(file: BinaryIO, name: str, max_pixels: int | None) -> Picture:
    with pixel_limit(max_pixels or PIXEL_LIMIT):
        try:
            image = opened(file, name, max_pixels or PIXEL_LIMIT)
        except UnknownImageError:
            if found := _unknown_tiff(file, name, max_pixels):
                return found
            raise
        check_frames(image, name)
        deep = deep_of(image, name, max_pixels)
        if deep is None:
            entries = check(image, name, max_pixels)
            image.info.pop("dropped", None)  # a text of a PNG with this key
            image.info.update(metadata.info_of_entries(entries))
        return deep or image


def _unknown_tiff(file: BinaryIO, name: str, max_pixels: int | None) -> WideImage | None:
    """Return the image of a TIFF file that Pillow does not know, of 16 bits a sample; None if it is no such file."""
    data = whole(file)
    with telling(name):
        samples = deep_files.read_tiff(data, 0, max_pixels or PIXEL_LIMIT)
    if samples is None:
        return None
    entries = {"exif": tiff.exif_of(data) or b"", **tiff.profiles_of(data)}
    return WideImage(samples, {key: entry for key, entry in entries.items() if entry})


def picture_of(image: Source | Picture | NDArray[Any], max_pixels: int | None = None) -> Picture:
    """Return an image that may also be an array, see `codec.image_files.wide_image.from_array`, or a source of a file.

    The errors are those of `load_image`.
    """
    if isinstance(image, Picture):
        return image
    if isinstance(image, np.ndarray) and image.dtype == np.uint16:
        return from_array(image)
    return load_image(cast("Source", image), max_pixels)  # which refuses other arrays


def with_kept(image: Picture, kinds: Collection[str] | None, max_pixels: int | None = None) -> Picture:
    """Return an image with only some kinds of its metadata.

    Parameters
    ----------
    image : PIL.Image.Image or WideImage
    kinds : collection of str or None
        Some of `codec.format.metadata.KINDS`. None keeps all.
    max_pixels : int, optional
        As in `load_image`.

    Raises
    ------
    RequestError
        There is no such kind.
    ImageError
        See `check`.
    """
    keys = metadata.kept_keys(kinds)
    if kinds is None:
        return image
    wide = wide_of(image, max_pixels)
    if wide is not None:
        return WideImage(wide.samples, {key: value for key, value in wide.info.items() if key in keys})
    if isinstance(image, WideImage):
        raise TypeError("image: expected a Pillow image")
    entries = check(image, "image", max_pixels)
    copy = image.copy()  # a copy knows no file whose metadata could be read again
    copy.info = {key: value for key, value in copy.info.items() if key == "transparency"}
    copy.info.update(metadata.info_of_entries({key: entry for key, entry in entries.items() if key in keys}))
    return copy


def wide_of(image: Picture, max_pixels: int | None = None) -> WideImage | None:
    """Return an image as a wide one, or None if it has 8 bits a sample and no inks.

    Samples of more than 8 bits, which Pillow would cut, are read from the image's file if it is not loaded yet. The
    other parameter and the errors are those of `check`.
    """
    if isinstance(image, WideImage):
        return image
    check_frames(image)
    deep = deep_of(image, "image", max_pixels)
    if deep is None and (image.mode == INKS_MODE or image.mode.startswith("I;16")):
        entries = check(image, "image", max_pixels)
        samples = np.asarray(image)
        samples = samples if image.mode == INKS_MODE else samples.astype(np.uint16)[:, :, None]
        return WideImage(samples, metadata.info_of_entries(entries))
    return deep


def deep_of(image: Image.Image, name: str, max_pixels: int | None) -> WideImage | None:
    """Return an image of more than 8 bits a sample from its file; None if it has fewer. The errors are `check`'s."""
    _check_size(image, name, max_pixels)
    with telling(name):
        data = _file_of(image)
        samples = deep_files.read(image, data)
    if samples is None:
        return None
    with telling(name):
        image.load()  # reads texts that stand behind the samples
    return WideImage(samples, metadata.info_of_entries(_entries_of(image, data)))


@contextmanager
def pixel_limit(max_pixels: int) -> Iterator[None]:
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

    Raises
    ------
    ImageError
        The image is over the limit, cannot be read, has an unsupported mode, or loading would change or lose samples.
    RequestError
        The image is closed, and was not loaded before.
    """
    _check_size(image, name, max_pixels)
    _check_mode(image, name)
    with telling(name):
        data = _file_of(image)
        fault = source_depth.fault(image, data)
    if fault:
        raise UnsupportedImageError(f"{name}: {fault}")
    with telling(name):
        image.load()
        _scale_key(image, data)
    _check_mode(image, name)  # some icons have their true mode only after loading
    return _entries_of(image, data)


def _scale_key(image: Image.Image, data: bytes) -> None:
    """Scale the transparent grey of a PNG of 2 or 4 bits, as Pillow scales its samples but not this one."""
    key = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(key, int) and data[24:25] in (b"\2", b"\4"):
        largest = (1 << data[24]) - 1
        image.info["transparency"] = min(key, largest) * 255 // largest


def _check_size(image: Image.Image, name: str, max_pixels: int | None) -> None:
    limit = max_pixels or PIXEL_LIMIT
    if image.width * image.height > limit:
        raise UnsupportedImageError(f"{name}: {image.width}x{image.height} pixels are over the limit of {limit}")
    if image.width * image.height == 0:
        raise UnsupportedImageError(f"{name}: {image.width}x{image.height}: has no pixels")
    if _is_closed(image):
        raise RequestError(f"{name}: is closed, expected an image that is open or a copy of it")


def _is_closed(image: Image.Image) -> bool:
    """Return whether an image was closed, so that its samples are gone or were never read."""
    decodes = getattr(image, "_decoder", None) is not None  # plugins of whole animations need the file no longer
    if getattr(image, "tile", None) and getattr(image, "fp", image) is None and not decodes:
        return True
    try:
        image.im  # noqa: B018
    except ValueError:
        return True
    except AssertionError:  # it is not loaded yet
        return False
    return False


def _check_mode(image: Image.Image, name: str) -> None:
    if image.mode == "F":
        raise UnsupportedImageError(f"{name}: expected whole numbers, got samples of floating point")
    if image.mode not in (*MODES, INKS_MODE) and not image.mode.startswith("I;16"):
        raise UnsupportedImageError(f"{name}: expected mode {', '.join((*MODES, *WIDE_MODES))}, got {image.mode}")


def check_frames(image: Image.Image, name: str = "image") -> None:
    """Raise ImageError if an image has several frames of which none is the image."""
    with telling(name):
        frames = frame_count(image)
    if frames > 1:
        raise UnsupportedImageError(f"{name}: expected 1 frame, got {frames}, which vlae archive create takes")


@contextmanager
def telling(name: str) -> Iterator[None]:
    """Name the image in an ImageError, and make one of any exception that damaged data makes the readers raise."""
    try:
        yield
    except MemoryError:
        raise
    except ImageError as error:
        raise type(error)(f"{name}: {error}") from error
    except Exception as error:
        raise DamagedImageError(f"{name}: cannot be read: {error}") from error


def _entries_of(image: Image.Image, data: bytes) -> dict[str, bytes]:
    """Return the metadata of a loaded image whose file is ``data``, by the keys of `metadata.TAGS`."""
    # From TIFF tags, Pillow would make EXIF with text as ASCII and with guessed types. So we copy the tags ourselves.
    entries = kept.collect(image, data, tiff.exif_of(data, image.tell()) if image.format == "TIFF" else None)
    before = image.info.get("dropped")  # it may also be a text of a PNG with this key
    names = {*(before if isinstance(before, tuple) else ()), *dropped.names(image, data, entries)}
    if image.format in WITH_OTHERS and frame_count(image, takes_all=True) > 1:
        names.add("further pictures of the file")
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


def pixel_count(source: Picture | Frame | str | os.PathLike[str] | bytes) -> int | None:
    """Return width times height of an image or of an image's file, of which only the header is read.

    It is None for what is no file or no image. To load that raises the right error.
    """
    if isinstance(source, Picture):
        return source.size[0] * source.size[1]
    return looked_at(source.source if isinstance(source, Frame) else source, lambda image: image.width * image.height)


def looked_at(source: str | os.PathLike[str] | bytes, look: Callable[[Image.Image], int]) -> int | None:
    """Return what a function finds of an image that is opened but not loaded; None for what is no file or no image."""
    if not isinstance(source, bytes) and not Path(source).is_file():  # from a pipe the bytes would be gone
        return None
    try:
        with pixel_limit(PIXEL_LIMIT), Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            return look(image)
    except Exception:  # a damaged header can make Pillow's plugins raise any exception
        return None
