"""Pillow in and out: which images can be coded, their samples, and files of images.

An image is coded exactly, stored exactly, or refused in one line; it is never changed in silence.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from codec import metadata
from codec.errors import ImageError
from codec.files import write_file
from codec.headers import BITS_MODE, CODED_MODES, MODES, PIXEL_LIMIT

U8 = NDArray[np.uint8]
Source = str | os.PathLike[str] | bytes | BinaryIO

OUTPUTS = {
    ".png": ("PNG", MODES),
    ".webp": ("WEBP", ("RGB", "RGBA")),
    ".tif": ("TIFF", MODES),
    ".tiff": ("TIFF", MODES),
    ".bmp": ("BMP", ("L", "RGB", "P", "1")),
    ".ppm": ("PPM", ("RGB",)),
    ".pgm": ("PPM", ("L",)),
    ".pbm": ("PPM", ("1",)),
}
"""Suffix, Pillow's name of the format, and the modes that the format keeps exactly."""

_DEEP = re.compile(r";(12|16[BLNS])")
"""Raw modes of more than 8 bits; ``BGR;16`` packs a pixel in 16 bits."""
_limit_lock = threading.Lock()


WHITE = np.uint8(255)
"""Sample of the bit 1."""


@dataclass(frozen=True)
class Pixels:
    """The samples of an image, its colour apart from its alpha.

    Attributes
    ----------
    mode : str
        One of `codec.headers.MODES`.
    samples : uint8 array (H, W, C)
        C = 3 for RGB and RGBA, else 1; palette indices for P, 0 and 255 for 1.
    alpha : uint8 array (H, W) or None
    metadata : bytes
        See `codec.metadata`.
    codable : bool
        Whether the samples are intensities and say all there is; if not, the image is stored.
    """

    mode: str
    samples: U8
    alpha: U8 | None
    metadata: bytes
    codable: bool


def load_image(source: Source, max_pixels: int | None = None) -> Image.Image:
    """Return an image, fully loaded.

    Parameters
    ----------
    source : path, binary file or bytes
    max_pixels : int, optional
        Limit on width times height instead of `PIXEL_LIMIT`; checked before anything is decoded.

    Raises
    ------
    ImageError
        Not an image, truncated, over the limit, animated, or of a mode that is not supported.
    OSError
        The file cannot be opened.
    """
    if isinstance(source, bytes):
        return _load(BytesIO(source), "image", max_pixels)
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            return _load(file, Path(source).name, max_pixels)
    return _load(source, "image", max_pixels)


def _load(file: BinaryIO, name: str, max_pixels: int | None) -> Image.Image:
    with _pixel_limit(max_pixels or PIXEL_LIMIT):
        try:
            image = Image.open(file)
        except Image.DecompressionBombError as error:
            raise ImageError(f"{name}: over the limit of {max_pixels or PIXEL_LIMIT} pixels") from error
        except UnidentifiedImageError as error:
            raise ImageError(f"{name}: not an image that Pillow knows") from error
        except Exception as error:
            # A damaged header leads Pillow's plugins to any exception.
            raise ImageError(f"{name}: cannot be read: {error}") from error
        _check(image, name, max_pixels)
        return image


@contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Replace Pillow's global limit, which would warn below ours and refuse at an override."""
    with _limit_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _check(image: Image.Image, name: str, max_pixels: int | None) -> None:
    """Load an image, refusing what would be changed by it."""
    limit = max_pixels or PIXEL_LIMIT
    if image.width * image.height > limit:
        raise ImageError(f"{name}: {image.width}x{image.height} pixels are over the limit of {limit}")
    if image.width * image.height == 0:
        raise ImageError(f"{name}: {image.width}x{image.height}: has no pixels")
    if image.mode not in MODES:
        raise ImageError(f"{name}: expected mode {', '.join(MODES)}, got {image.mode}")
    if _is_deep(image):
        raise ImageError(f"{name}: expected 8 bits a sample, got more, which Pillow would cut")
    try:
        frames = getattr(image, "n_frames", 1)
        image.load()
    except Exception as error:
        # Damaged data leads Pillow's plugins to any exception.
        raise ImageError(f"{name}: cannot be read: {error}") from error
    if frames != 1:
        raise ImageError(f"{name}: expected 1 frame, got {frames}")


def _is_deep(image: Image.Image) -> bool:
    """Return whether Pillow reduces the file's samples to 8 bits when it loads them."""
    for tile in getattr(image, "tile", []):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(isinstance(a, str) and _DEEP.search(a) for a in arguments):
            return True
        if tile[0].startswith("ppm") and isinstance(arguments[-1], int) and arguments[-1] > 255:
            return True
    return False


def from_pillow(image: Image.Image, max_pixels: int | None = None) -> Pixels:
    """Return the samples and metadata of an image; the inverse of `to_pillow` if codable.

    Raises
    ------
    ImageError
        As `load_image`.
    """
    _check(image, "image", max_pixels)
    samples, alpha = planes(image)
    # An L or RGB with a transparent colour would lose it: only PNG says it.
    codable = image.mode in CODED_MODES and not (image.mode in ("L", "RGB") and "transparency" in image.info)
    return Pixels(image.mode, samples, alpha, metadata.pack(metadata.collect(image)), codable)


def planes(image: Image.Image) -> tuple[U8, U8 | None]:
    """Return the samples (H, W, C) and alpha (H, W) or None of an image of any of `MODES`."""
    if image.mode == "1":
        return np.asarray(image.convert("L"))[:, :, None], None
    array = np.asarray(image)
    if image.mode in ("LA", "RGBA"):
        return np.ascontiguousarray(array[:, :, :-1]), np.ascontiguousarray(array[:, :, -1])
    return array.reshape(image.height, image.width, -1), None


def to_pillow(pixels: Pixels) -> Image.Image:
    """Return the image of coded pixels, with its metadata in ``info``; the inverse of `from_pillow`.

    Raises
    ------
    CorruptDataError
        The metadata is damaged.
    """
    entries = metadata.unpack(pixels.metadata)
    array = pixels.samples
    if pixels.alpha is not None:
        array = np.concatenate([array, pixels.alpha[:, :, None]], axis=2)
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    if pixels.mode == BITS_MODE:
        image = image.convert("1", dither=Image.Dither.NONE)
    image.info.update(entries)
    return image


def samples_crc(samples: U8, alpha: U8 | None) -> int:
    """Return the CRC-32 of the samples in raster order, then of alpha: ``samples_crc`` of the header.

    Parameters
    ----------
    samples : uint8 array (H, W, C)
    alpha : uint8 array (H, W) or None
    """
    crc = zlib.crc32(np.ascontiguousarray(samples).data)
    return crc if alpha is None else zlib.crc32(np.ascontiguousarray(alpha).data, crc)


def check_output(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if the suffix is not that of a format that keeps images exactly."""
    suffix = Path(path).suffix.lower()
    if suffix not in OUTPUTS:
        raise ValueError(
            f"output {Path(path).name}: expected a lossless format ({', '.join(OUTPUTS)}), got {suffix or 'no suffix'}"
        )


def save_image(image: Image.Image, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write an image exactly, in the format of the suffix, with the metadata that the format takes.

    Raises
    ------
    ValueError
        The format is not lossless, or does not keep images of this mode; or, without ``force``, the file exists.
    ImageError
        The format cannot hold the image, for example its size.
    OSError
        The file cannot be written; an old file is then as it was.
    """
    check_output(path)
    suffix = Path(path).suffix.lower()
    kind, modes = OUTPUTS[suffix]
    if image.mode not in modes or ("transparency" in image.info and kind != "PNG"):
        raise ValueError(f"output {Path(path).name}: {suffix} does not keep this image exactly, .png does")
    write_file(path, image_bytes(image, kind), force=force)


def image_bytes(image: Image.Image, kind: str = "PNG") -> bytes:
    """Return the file of an image in one of Pillow's lossless formats, with its metadata.

    Raises
    ------
    ImageError
        The format cannot hold the image.
    """
    buffer = BytesIO()
    try:
        image.save(buffer, kind, **_options(image, kind))
    except Exception as error:
        # Pillow raises by plugin: OSError, ValueError, struct.error for sizes that do not fit.
        raise ImageError(f"image: cannot be written as {kind}: {error}") from error
    return buffer.getvalue()


def _options(image: Image.Image, kind: str) -> dict[str, Any]:
    entries = {key: image.info[key] for key in metadata.TAGS if image.info.get(key)}
    xmp = entries.pop("xmp", None)
    if kind == "PNG" and xmp:
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        return {**entries, "pnginfo": text}
    if kind == "WEBP":
        # Without `exact` WebP clears the colour under alpha 0.
        return {**entries, "xmp": xmp or b"", "lossless": True, "exact": True}
    if kind == "TIFF":
        exif = Image.Exif()
        exif.load(entries.pop("exif", b""))
        for tag in metadata.LAYOUT_TAGS & set(exif):
            del exif[tag]
        if xmp:
            exif[700] = xmp
        return {**entries, "exif": exif, "compression": "tiff_adobe_deflate"}
    return entries if kind == "PNG" else {}
