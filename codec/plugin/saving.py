"""What ``Image.save`` calls to write our files."""

from __future__ import annotations

from typing import IO, Any

from PIL import Image

from codec.errors import CodecError
from codec.file_metadata import kept
from codec.format import metadata
from codec.format.headers import MODES

OPTIONS = ("lossless", "max_error", "quality", "target_bpp", "target_size", "min_psnr", "effort")
"""Options of ``Image.save`` that are parameters of `codec.compress`."""
_OTHER_PLACES = ("XML:com.adobe.xmp", "Raw profile type exif")
"""Further keys of ``info`` at which Pillow's plugins keep metadata."""


def save(image: Image.Image, file: IO[bytes], _: str | bytes) -> None:
    """Write an image as a file of ours.

    Parameters
    ----------
    image : PIL.Image.Image
        A loaded image. Its ``encoderinfo`` has the options: those of `OPTIONS`, and ``icc_profile``, ``exif`` (bytes or
        `PIL.Image.Exif`) and ``xmp`` (bytes or str). Where metadata is not given, that of the image is kept. None and
        b"" drop it.
    file : binary file

    Raises
    ------
    OSError
        The image has another mode than those of `codec.format.headers.MODES`, I;16 and CMYK, or cannot be coded.
    ValueError, TypeError
        An option is out of range or has a wrong type, or options contradict each other.
    """
    from codec.api import compress  # loads numpy

    if image.mode not in (*MODES, "I;16", "CMYK"):
        raise OSError(f"cannot write mode {image.mode} as VLAE")
    options = getattr(image, "encoderinfo", {})
    try:
        data = compress(_described(image, options), **{name: options[name] for name in OPTIONS if name in options})
    except CodecError as error:
        raise OSError(f"cannot write image as VLAE: {error}") from error
    file.write(data)


def _described(image: Image.Image, options: dict[str, Any]) -> Image.Image:
    """Return a copy of an image, whose ``info`` has the metadata of the file to write. A copy has one frame."""
    entries: dict[str, Any] = kept.collect(image)
    entries |= {key: options[key] for key in metadata.KEPT if key in options}
    if isinstance(entries.get("exif"), Image.Exif):
        entries["exif"] = entries["exif"].tobytes()
    copy = image.copy()
    for key in (*metadata.KEPT, *_OTHER_PLACES):
        copy.info.pop(key, None)
    copy.info |= {key: entry for key, entry in entries.items() if entry}
    return copy
