"""Writing image files: samples exactly, and the metadata that a format can hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from codec.errors import ImageError, RequestError
from codec.file_metadata import png_metadata
from codec.file_metadata.exif_tags import orientation
from codec.format import metadata
from codec.format.headers import MODES, WIDE_MODES
from codec.format.wide_png import QUICK, wide_png_bytes
from codec.image_files import tiff
from codec.image_files.wide_image import DEEP_MODES, INKS_MODE, Picture, public_of
from codec.system.outputs import write_file

OUTPUTS = {
    ".png": ("PNG", (*MODES, *DEEP_MODES)),
    ".webp": ("WEBP", ("RGB", "RGBA")),
    ".tif": ("TIFF", (*MODES, *WIDE_MODES)),
    ".tiff": ("TIFF", (*MODES, *WIDE_MODES)),
    ".bmp": ("BMP", ("L", "RGB", "P", "1")),
    ".ppm": ("PPM", ("RGB",)),
    ".pgm": ("PPM", ("L",)),
    ".pbm": ("PPM", ("1",)),
}
"""Suffix, Pillow's name of the format, and the modes that the format keeps exactly."""


def suffix_for(mode: str) -> str:
    """Return the suffix of the format in which images of a mode are written by default."""
    return ".tif" if mode == INKS_MODE else ".png"


def check_output(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if the path's suffix is not that of a format that keeps images exactly."""
    suffix = Path(path).suffix.lower()
    if suffix not in OUTPUTS:
        raise RequestError(
            f"output {Path(path).name}: expected a lossless format ({', '.join(OUTPUTS)}), got {suffix or 'no suffix'}"
        )


def save_image(
    image: Picture, path: str | os.PathLike[str], *, force: bool = False, like: os.stat_result | None = None
) -> None:
    """Write an image exactly, in the format of the path's suffix, with the metadata that the format can hold.

    Parameters
    ----------
    image : PIL.Image.Image or WideImage
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
        best = suffix_for(image.mode)
        raise RequestError(f"output {Path(path).name}: {suffix} does not keep this image exactly, {best} does")
    write_file(path, image_bytes(image, kind), force=force, like=like)


def image_bytes(image: Picture, kind: str | None = None) -> bytes:
    """Return the file of an image in a lossless format, with the metadata that the format can hold.

    Parameters
    ----------
    image : PIL.Image.Image or WideImage
    kind : str, optional
        Pillow's name of the format, one of those in `OUTPUTS`. By default that of `suffix_for`.

    Raises
    ------
    ImageError
        The format cannot hold the image.
    """
    kind = kind or OUTPUTS[suffix_for(image.mode)][0]
    entries = _writable(image.info, kind)
    try:
        if kind == "TIFF":
            return tiff.tiff_bytes(image, entries)
        if kind == "PNG":
            return png_metadata.with_metadata(_png(image), entries)
        return _saved(public_of(image), kind, **_options(entries, kind))
    except Exception as error:
        # For sizes that do not fit, Pillow's plugins raise OSError, ValueError or struct.error.
        raise ImageError(f"image: cannot be written as {kind}: {error}") from error


def _png(image: Picture) -> bytes:
    if isinstance(image, Image.Image):
        return _saved(image, "PNG", icc_profile=None, exif=b"")
    return wide_png_bytes(image.samples, filters=QUICK, level=6)


def _saved(image: Any, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def left_out(image: Picture, path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names of an image's metadata that a file at a path cannot hold. Without a known suffix it is a PNG."""
    kind, _ = OUTPUTS.get(Path(path).suffix.lower(), OUTPUTS[suffix_for(image.mode)])
    written = _writable(image.info, kind)
    names = [metadata.NAMES[key] for key in metadata.KEPT if image.info.get(key) and key not in written]
    exif = image.info.get("exif", b"")
    if "exif" not in written and orientation(exif) > 1:
        names.append("orientation: the image is not upright")
    if kind == "TIFF" and "exif" in written and tiff.has_thumbnail(exif):
        names.append("thumbnail of EXIF")
    return tuple(names)


def _writable(info: Mapping[Any, Any], kind: str) -> dict[str, bytes]:
    """Return the metadata of an image that a format can hold and Pillow can read again."""
    entries: dict[str, bytes] = {key: info[key] for key in metadata.KEPT if info.get(key)}
    if kind == "PNG":
        return png_metadata.writable(entries)
    keys: dict[str, tuple[str, ...]] = {
        "TIFF": ("icc_profile", "exif", "xmp", "photoshop", "resolution"),
        "WEBP": ("icc_profile", "exif", "xmp"),
        "BMP": ("resolution",),
    }
    if kind == "TIFF" and "exif" in entries and not tiff.takes(entries["exif"]):
        del entries["exif"]
    return {key: value for key, value in entries.items() if key in keys.get(kind, ())}


def _options(entries: Mapping[str, bytes], kind: str) -> dict[str, Any]:
    if kind == "WEBP":
        # Pillow takes metadata from `info` unless the options are given. Without `exact`, WebP clears the colours under
        # alpha 0.
        own = {key: entries.get(key, b"") for key in ("icc_profile", "exif", "xmp")}
        return own | {"lossless": True, "exact": True}
    if kind == "BMP":
        return {"dpi": metadata.info_of_entries(entries).get("dpi", (0, 0))}
    return {}
