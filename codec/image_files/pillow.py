"""Images from and to Pillow: which images can be coded, their samples, and image files.

An image that must come back exactly is coded, stored, or refused with a message. It is never changed in silence.
"""

from __future__ import annotations

import os
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

from codec.errors import DamagedImageError, ImageError, RequestError, UnsupportedImageError
from codec.format import metadata
from codec.format.headers import BITS_MODE, CODED_MODES, COLOURED_MODES, MODES, PIXEL_LIMIT, SAMPLES_CRC_BITS
from codec.image_files import dropped, source_depth, tiff
from codec.image_files.file_parts import whole
from codec.system.outputs import write_file
from codec.system.sources import Source, data_of

U8 = NDArray[np.uint8]

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

PROFILE_LIMIT_BYTES = PngImagePlugin.MAX_TEXT_CHUNK
"""Pillow refuses a PNG with a longer ICC profile."""

_NAMES = {"icc_profile": "ICC profile", "exif": "EXIF", "xmp": "XMP"}
_limit_lock = threading.Lock()


@dataclass(frozen=True)
class Pixels:
    """The samples of an image, with its alpha apart from its colours.

    Attributes
    ----------
    mode : str
        One of `codec.format.headers.MODES`.
    samples : uint8 array (H, W, C)
        C is 3 for RGB and RGBA, unless their three colours are equal everywhere; else it is 1. They are palette indices
        for mode P, and 0 or 255 for mode 1.
    alpha : uint8 array (H, W) or None
    metadata : bytes
        The metadata chunk, see `codec.format.metadata`.
    codable : bool
        Whether the samples are intensities and describe the image completely. If not, an exact file is stored.
    keyed : bool
        Whether one of the colours means transparent. Only a stored PNG can say that.
    """

    mode: str
    samples: U8
    alpha: U8 | None
    metadata: bytes
    codable: bool
    keyed: bool = False


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
    UnsupportedImageError
        The source is not an image, is over the limit or animated, has an unsupported mode, or holds more than Pillow
        returns (see `codec.image_files.source_depth`).
    DamagedImageError
        It is damaged or truncated.
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
            raise UnsupportedImageError(f"{name}: over the limit of {max_pixels or PIXEL_LIMIT} pixels") from error
        except UnidentifiedImageError as error:
            raise UnsupportedImageError(f"{name}: not an image that Pillow knows") from error
        except MemoryError:
            raise
        except Exception as error:
            # A damaged header can make Pillow's plugins raise any exception.
            raise DamagedImageError(f"{name}: cannot be read: {error}") from error
        image.info.update(metadata.info_of_entries(_check(image, name, max_pixels)))
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


def _check(image: Image.Image, name: str, max_pixels: int | None) -> dict[str, bytes]:
    """Load an image, and return its metadata by the keys of `metadata.TAGS`.

    Raise ImageError if loading would change or lose samples, or if the file is damaged.
    """
    limit = max_pixels or PIXEL_LIMIT
    if image.width * image.height > limit:
        raise UnsupportedImageError(f"{name}: {image.width}x{image.height} pixels are over the limit of {limit}")
    if image.width * image.height == 0:
        raise UnsupportedImageError(f"{name}: {image.width}x{image.height}: has no pixels")
    if image.mode not in MODES:
        raise UnsupportedImageError(f"{name}: expected mode {', '.join(MODES)}, got {image.mode}")
    if _is_closed(image):
        raise RequestError(f"{name}: is closed, expected an image that is open or a copy of it")
    try:
        data = _file_of(image)
        fault = source_depth.fault(image, data)
        frames = getattr(image, "n_frames", 1)
        if not fault:
            image.load()
    except MemoryError:
        raise
    except Exception as error:
        # Damaged data can make Pillow's plugins raise any exception.
        raise DamagedImageError(f"{name}: cannot be read: {error}") from error
    if fault:
        raise UnsupportedImageError(f"{name}: {fault}")
    if frames > 1:
        raise UnsupportedImageError(f"{name}: expected 1 frame, got {frames}")
    if image.mode not in MODES:  # some icons have their true mode only after loading
        raise UnsupportedImageError(f"{name}: expected mode {', '.join(MODES)}, got {image.mode}")
    # From TIFF tags, Pillow would make EXIF with text as ASCII and with guessed types. So we copy the tags ourselves.
    entries = metadata.collect(image, tiff.exif_of(data) if image.format == "TIFF" else None)
    before = image.info.get("dropped")  # it may also be a text of a PNG with this key
    names = {*(before if isinstance(before, tuple) else ()), *dropped.names(image, data, entries)}
    entries["dropped"] = metadata.pack_names(sorted(names, key=str.lower))
    return {key: value for key, value in entries.items() if value}


def _is_closed(image: Image.Image) -> bool:
    """Return whether an image was closed, so that its samples are gone or were never read."""
    if getattr(image, "tile", None) and getattr(image, "fp", image) is None:
        return True
    try:
        image.im  # noqa: B018
    except ValueError:
        return True
    except AssertionError:  # it is not loaded yet
        return False
    return False


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


def from_pillow(image: Image.Image, max_pixels: int | None = None) -> Pixels:
    """Return the samples and metadata of an image. If they are codable, `to_pillow` is the inverse.

    Parameters
    ----------
    image : PIL.Image.Image
        It is loaded if it was not.
    max_pixels : int, optional
        Limit on width times height, in place of `PIXEL_LIMIT`.

    Raises
    ------
    UnsupportedImageError
        The image is over the limit or animated, has an unsupported mode, or holds more than Pillow returns.
    DamagedImageError
        Its file is damaged or truncated.
    ValueError
        The image is closed.
    """
    entries = _check(image, "image", max_pixels)
    samples, alpha = planes(image)
    keyed = image.mode in ("1", "L", "RGB") and "transparency" in image.info
    codable = image.mode in CODED_MODES and not keyed
    return Pixels(image.mode, without_equal(samples), alpha, metadata.pack(entries), codable, keyed)


def without_palette(image: Image.Image) -> Image.Image:
    """Return an image without palette or transparent colour, of one of `CODED_MODES`, that looks the same.

    The mode L becomes LA, and RGB becomes RGBA. P becomes RGB, or RGBA if some colours are transparent.
    """
    if image.mode == "L":
        return image.convert("LA")
    colours = image.convert("RGBA")
    opaque = image.mode == "P" and colours.getchannel("A").getextrema() == (255, 255)
    return colours.convert("RGB") if opaque else colours


def planes(image: Image.Image) -> tuple[U8, U8 | None]:
    """Return the samples, uint8 (H, W, C), and the alpha, uint8 (H, W) or None, of an image of one of `MODES`."""
    if image.mode == "1":
        return np.asarray(image.convert("L"))[:, :, None], None
    array = np.asarray(image)
    if image.mode in ("LA", "RGBA"):
        return np.ascontiguousarray(array[:, :, :-1]), np.ascontiguousarray(array[:, :, -1])
    return array.reshape(image.height, image.width, -1), None


def without_equal(samples: U8) -> U8:
    """Return samples (H, W, C), or only one channel (H, W, 1) if all channels are equal everywhere."""
    first = samples[:, :, :1]
    for channel in range(1, samples.shape[2]):
        if not np.array_equal(samples[:, :, channel : channel + 1], first):
            return samples
    return np.ascontiguousarray(first)


def is_black_and_white(samples: U8) -> bool:
    """Return whether samples (H, W, C) have one channel, and all are 0 or 255."""
    return samples.shape[2] == 1 and bool(((samples == 0) | (samples == 255)).all())


def to_pillow(pixels: Pixels) -> Image.Image:
    """Return the image of coded pixels, with its metadata in ``info``. The inverse of `from_pillow`.

    Raises
    ------
    CorruptDataError
        The metadata is damaged.
    """
    entries = metadata.info_of(pixels.metadata)
    array = pixels.samples
    if pixels.mode in COLOURED_MODES and array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    if pixels.alpha is not None:
        array = np.concatenate([array, pixels.alpha[:, :, None]], axis=2)
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    if pixels.mode == BITS_MODE:
        image = image.convert("1", dither=Image.Dither.NONE)
    image.info.update(entries)
    return image


def samples_crc(samples: U8, alpha: U8 | None) -> int:
    """Return the format's ``samples_crc``: the CRC-32 of the samples in raster order and of alpha, modulo 2^31.

    Parameters
    ----------
    samples : uint8 array (H, W, C)
    alpha : uint8 array (H, W) or None
    """
    crc = zlib.crc32(np.ascontiguousarray(samples).data)
    if alpha is not None:
        crc = zlib.crc32(np.ascontiguousarray(alpha).data, crc)
    return crc % (1 << SAMPLES_CRC_BITS)


def check_output(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if the path's suffix is not that of a format that keeps images exactly."""
    suffix = Path(path).suffix.lower()
    if suffix not in OUTPUTS:
        raise RequestError(
            f"output {Path(path).name}: expected a lossless format ({', '.join(OUTPUTS)}), got {suffix or 'no suffix'}"
        )


def save_image(
    image: Image.Image, path: str | os.PathLike[str], *, force: bool = False, like: os.stat_result | None = None
) -> None:
    """Write an image exactly, in the format of the path's suffix, with the metadata that the format can hold.

    Parameters
    ----------
    image : PIL.Image.Image
    path : path
    force : bool
        Whether to replace an existing file.
    like : os.stat_result, optional
        Status of the source, whose permissions and time of change the file gets.

    Raises
    ------
    ValueError
        The format is not lossless or does not keep images of this mode; or the file exists and ``force`` is false.
    ImageError
        The format cannot hold the image, for example its size.
    OSError
        The file cannot be written. An old file then stays as it was.
    """
    check_output(path)
    suffix = Path(path).suffix.lower()
    kind, modes = OUTPUTS[suffix]
    if image.mode not in modes or ("transparency" in image.info and kind != "PNG"):
        raise RequestError(f"output {Path(path).name}: {suffix} does not keep this image exactly, .png does")
    write_file(path, image_bytes(image, kind), force=force, like=like)


def image_bytes(image: Image.Image, kind: str = "PNG") -> bytes:
    """Return the file of an image in a lossless format, with the metadata that the format can hold.

    Parameters
    ----------
    image : PIL.Image.Image
    kind : str
        Pillow's name of the format, one of those in `OUTPUTS`.

    Raises
    ------
    ImageError
        The format cannot hold the image.
    """
    buffer = BytesIO()
    try:
        if kind == "TIFF":
            return tiff.tiff_bytes(image, _writable(image, kind))
        image.save(buffer, kind, **_options(image, kind))
    except Exception as error:
        # For sizes that do not fit, Pillow's plugins raise OSError, ValueError or struct.error.
        raise ImageError(f"image: cannot be written as {kind}: {error}") from error
    return buffer.getvalue()


def left_out(image: Image.Image, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names of an image's metadata that a file at a path cannot hold. Without a known suffix it is a PNG."""
    kind, _ = OUTPUTS.get(Path(path).suffix.lower(), OUTPUTS[".png"])
    written = _writable(image, kind)
    names = [_NAMES[key] for key in metadata.KEPT if image.info.get(key) and key not in written]
    if kind == "TIFF" and "exif" in written and tiff.has_thumbnail(written["exif"]):
        names.append("thumbnail of EXIF")
    return tuple(names)


def _writable(image: Image.Image, kind: str) -> dict[str, bytes]:
    """Return the metadata of an image that a format can hold and Pillow can read again."""
    entries: dict[str, bytes] = {key: image.info[key] for key in metadata.KEPT if image.info.get(key)}
    if kind == "PNG":
        if len(entries.get("icc_profile", b"")) > PROFILE_LIMIT_BYTES:
            del entries["icc_profile"]
        if "xmp" in entries:
            entries["xmp"] = _utf8(entries["xmp"])
    if kind == "TIFF" and "exif" in entries and not tiff.takes(entries["exif"]):
        del entries["exif"]
    return {key: value for key, value in entries.items() if value} if kind in ("PNG", "WEBP", "TIFF") else {}


def _utf8(xmp: bytes) -> bytes:
    """Return an XMP packet in UTF-8; b"" if its encoding is none that XMP may have, or not the one that it names."""
    for encoding in ("utf-8", "utf-32", "utf-16", "utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        try:
            text = xmp.decode(encoding)
        except UnicodeDecodeError:
            continue
        start = text.lstrip("\ufeff")
        if "\0" not in text and (encoding == "utf-8" or (start.startswith("<") and not start.startswith("<?xml "))):
            return text.encode()
    return b""


def _options(image: Image.Image, kind: str) -> dict[str, Any]:
    entries: dict[str, Any] = _writable(image, kind)
    xmp = entries.pop("xmp", None)
    # Pillow takes a profile from `info` unless the option is given.
    options = {"icc_profile": None} | entries
    if kind == "PNG" and xmp:
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return options | {"pnginfo": text}
    if kind == "WEBP":
        # Without `exact`, WebP clears the colours under alpha 0.
        return options | {"xmp": xmp or b"", "lossless": True, "exact": True}
    return options if kind == "PNG" else {}
