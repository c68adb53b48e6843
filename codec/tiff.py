"""TIFF files of images: strips compressed with deflate, with EXIF's own directories.

Pillow writes compressed TIFF by way of libtiff, which takes no directories within EXIF.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping
from io import BytesIO
from itertools import accumulate
from typing import Any

from PIL import ExifTags, Image, TiffImagePlugin

from codec.metadata import LAYOUT_TAGS

STRIP_BYTES = 1 << 20
"""A strip has about so many samples: readers decompress it whole."""
DEFLATE = 8
BYTE, UNDEFINED, LONG = 1, 7, 4
XMP, ICC_PROFILE = 700, 34675
EXIF, GPS, INTEROP = 34665, 34853, 40965

_LAYOUTS = {"1": (1, 1), "L": (1, 8), "P": (3, 8), "LA": (1, 8), "RGB": (2, 8), "RGBA": (2, 8)}
"""Photometric interpretation and bits a sample."""


def tiff_bytes(image: Image.Image, metadata: Mapping[str, bytes]) -> bytes:
    """Return the TIFF file of an image of any of `codec.headers.MODES`.

    Parameters
    ----------
    image : PIL.Image.Image
    metadata : mapping
        Any of "icc_profile", "exif" and "xmp"; of EXIF what `takes` allows.
    """
    channels = len(image.getbands())
    photometric, bits = _LAYOUTS[image.mode]
    row = (image.width * channels * bits + 7) // 8
    rows = min(image.height, max(1, STRIP_BYTES // row))
    samples = image.tobytes()
    strips = [zlib.compress(samples[begin : begin + rows * row]) for begin in range(0, len(samples), rows * row)]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in _exif_tags(metadata.get("exif", b"")).items():
        tags[tag] = value
    tags[256], tags[257] = image.size
    tags[258] = (bits,) * channels
    tags[259], tags[262], tags[277], tags[278] = DEFLATE, photometric, channels, rows
    if image.mode in ("LA", "RGBA"):
        tags[338] = 2
    if image.mode == "P":
        colours = (image.getpalette() or [])[:768]
        padded = colours + [0] * (768 - len(colours))
        tags[320] = [257 * value for channel in range(3) for value in padded[channel::3]]
    for tag, key, kind in ((ICC_PROFILE, "icc_profile", UNDEFINED), (XMP, "xmp", BYTE)):
        if key in metadata:
            tags.tagtype[tag] = kind
            tags[tag] = metadata[key]
    tags.tagtype[273] = tags.tagtype[279] = LONG
    lengths = [len(strip) for strip in strips]
    tags[279] = lengths
    tags[273] = list(accumulate(lengths[:-1], initial=0))  # the writer adds where the tags end
    buffer = BytesIO()
    tags.save(buffer)
    return buffer.getvalue() + b"".join(strips)


def takes(exif: bytes) -> bool:
    """Return whether EXIF can be written as tags of a TIFF file: it may be damaged."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow warns of tags that it leaves out
        try:
            for tag, value in _exif_tags(exif).items():
                tags[tag] = value
            tags.tobytes()
        except Exception:
            # Pillow's reader and writer of tags raise whatever damaged tags lead to.
            return False
    return True


def has_thumbnail(exif: bytes) -> bool:
    """Return whether EXIF, of which `takes` is true, has a second image, which is not written."""
    found = Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.load(exif)
        return bool(found.get_ifd(ExifTags.IFD.IFD1))


def _exif_tags(data: bytes) -> dict[int, Any]:
    """Return the tags of EXIF that do not describe a layout, those of its own directories as dictionaries."""
    exif = Image.Exif()
    exif.load(data)
    tags = {tag: exif[tag] for tag in exif if tag not in LAYOUT_TAGS}
    for tag in {EXIF, GPS} & set(tags):
        tags[tag] = dict(exif.get_ifd(tag))
    if INTEROP in tags.get(EXIF, {}):
        tags[EXIF][INTEROP] = exif.get_ifd(INTEROP)
    return tags
