"""Writing image files: samples exactly, and the metadata that a format can hold."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from codec.errors import ImageError, RequestError
from codec.format import metadata
from codec.format.headers import MODES
from codec.image_files import tiff
from codec.system.outputs import write_file

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


def check_output(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if the path's suffix is not that of a format that keeps images exactly."""
    suffix = Path(path).suffix.lower()
    if suffix not in OUTPUTS:
        raise RequestError(
            f"output {Path(path).name}: expected a lossless format ({', '.join(OUTPUTS)}), got {suffix or 'no suffix'}"
        )


def save_image(image: Image.Image, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write an image exactly, in the format of the path's suffix, with the metadata that the format can hold.

    Parameters
    ----------
    image : PIL.Image.Image
    path : path
    force : bool
        Whether to replace an existing file.

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
    write_file(path, image_bytes(image, kind), force=force)


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
