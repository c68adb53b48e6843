"""Writing TIFF files: samples in strips that are compressed with deflate, and EXIF copied tag by tag.

EXIF is a TIFF file without pixels. Its values are copied as bytes, with their byte order and their directories.
(Pillow writes compressed TIFF through libtiff, which takes no directories within EXIF.)
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from PIL import Image

from codec.file_metadata.exif_tags import LAYOUT_TAGS, ORIENTATION
from codec.file_metadata.kept import METRE
from codec.format.headers import CHANNELS
from codec.format.metadata import unpack_resolution
from codec.image_files.wide_image import Picture, WideImage

STRIP_BYTES = 1 << 20
"""About the number of bytes in a strip, uncompressed. A reader decompresses a strip as a whole."""
DEFLATE = 8
BYTE, SHORT, LONG, RATIONAL, UNDEFINED = 1, 3, 4, 5, 7
STRIP_OFFSETS, STRIP_LENGTHS, XMP, PHOTOSHOP, ICC_PROFILE = 273, 279, 700, 34377, 34675
EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
POINTERS = {EXIF: (INTEROPERABILITY,), GPS: (), INTEROPERABILITY: ()}
"""The tags that point at directories, and for each the tags within it that point at further directories."""

_RESOLUTION = {282, 283}
RESOLUTION_UNIT = 296
_UNITS = (1, 3, 2, 3)
"""TIFF's units of a resolution, by those of an entry: a metre is 100 centimetres."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value, by its type."""
_FORMATS = {BYTE: "B", SHORT: "H", LONG: "I", UNDEFINED: "B"}
_LAYOUTS = {
    "1": (1, 1),
    "L": (1, 8),
    "P": (3, 8),
    "LA": (1, 8),
    "RGB": (2, 8),
    "RGBA": (2, 8),
    "I;16": (1, 16),
    "LA;16": (1, 16),
    "RGB;16": (2, 16),
    "RGBA;16": (2, 16),
    "CMYK": (5, 8),
}
"""Photometric interpretation and bits a sample, by Pillow's mode."""


@dataclass
class _Directory:
    """A directory of TIFF.

    Attributes
    ----------
    order : str
        Byte order, as in `struct`.
    values : dict
        Type, number of values and bytes, by tag.
    inner : dict
        Directories within this one, by the tag that points at each.
    """

    order: str
    values: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    inner: dict[int, _Directory] = field(default_factory=dict)
    following: int = 0
    """Byte at which the next directory begins, 0 if there is none."""

    def put(self, tag: int, kind: int, *values: int) -> None:
        self.values[tag] = kind, len(values), struct.pack(f"{self.order}{len(values)}{_FORMATS[kind]}", *values)

    def put_ratio(self, tag: int, numerator: int, denominator: int) -> None:
        self.values[tag] = RATIONAL, 1, struct.pack(f"{self.order}II", numerator, denominator)

    def pack(self, offset: int) -> bytes:
        """Return the bytes of the directory and of what it points at; ``offset``, their place in the file, is even."""
        tags = sorted({*self.values, *self.inner})
        entries = [struct.pack(f"{self.order}H", len(tags))]
        end = offset + 2 + 12 * len(tags) + 4
        more = []
        for tag in tags:
            if tag in self.inner:
                kind, count, data = LONG, 1, struct.pack(f"{self.order}I", end)
                body = self.inner[tag].pack(end)
            else:
                kind, count, data = self.values[tag]
                body = data + bytes(len(data) % 2)
                data = data if len(data) <= 4 else struct.pack(f"{self.order}I", end)
                body = body if len(body) > 4 else b""
            entries.append(struct.pack(f"{self.order}HHI", tag, kind, count) + data.ljust(4, b"\0"))
            more.append(body)
            end += len(body)
        return b"".join([*entries, bytes(4), *more])


def tiff_bytes(image: Picture, metadata: Mapping[str, bytes]) -> bytes:
    """Return the TIFF file of an image of any of the modes of `codec.format.headers`.

    Parameters
    ----------
    image : PIL.Image.Image or WideImage
    metadata : mapping
        Any of "icc_profile", "exif", "xmp", "photoshop" and "resolution". For the EXIF, `takes` must be true.
    """
    tags = _read(metadata["exif"]) if "exif" in metadata else _Directory("<")
    for tag in LAYOUT_TAGS & set(tags.values):
        del tags.values[tag]
    strips = _put_layout(tags, image)
    for tag, key, kind in (
        (ICC_PROFILE, "icc_profile", UNDEFINED),
        (XMP, "xmp", BYTE),
        (PHOTOSHOP, "photoshop", UNDEFINED),
    ):
        if key in metadata:
            tags.put(tag, kind, *metadata[key])
    if "resolution" in metadata and not _RESOLUTION & set(tags.values):
        unit, x, y = unpack_resolution(metadata["resolution"])
        for tag, value in zip(sorted(_RESOLUTION), (x, y), strict=True):
            tags.put_ratio(tag, value, 100 if unit == METRE else 1)
        tags.put(RESOLUTION_UNIT, SHORT, _UNITS[unit])
    lengths = [len(strip) for strip in strips]
    tags.put(STRIP_LENGTHS, LONG, *lengths)
    tags.put(STRIP_OFFSETS, LONG, *lengths)  # placeholders: the length of the tags must be known for the true offsets
    begin = 8 + len(tags.pack(8))
    tags.put(STRIP_OFFSETS, LONG, *accumulate(lengths[:-1], initial=begin))
    return _head(tags.order) + tags.pack(8) + b"".join(strips)


def _put_layout(tags: _Directory, image: Picture) -> list[bytes]:
    """Put the tags that say how pixels are stored, except the places of strips, and return the strips."""
    channels, (photometric, bits) = CHANNELS[image.mode], _LAYOUTS[image.mode]
    width, height = image.size
    row = (width * channels * bits + 7) // 8
    rows = min(height, max(1, STRIP_BYTES // row))
    if isinstance(image, WideImage):
        samples = image.samples.astype(f"{tags.order}u{image.samples.itemsize}").tobytes()
    else:
        samples = image.tobytes()
    for tag, value in {256: width, 257: height, 278: rows}.items():
        tags.put(tag, LONG, value)
    tags.put(258, SHORT, *(bits,) * channels)
    for tag, value in {259: DEFLATE, 262: photometric, 277: channels}.items():
        tags.put(tag, SHORT, value)
    if image.mode.removesuffix(";16") in ("LA", "RGBA"):
        tags.put(338, SHORT, 2)
    if isinstance(image, Image.Image) and image.mode == "P":
        colours = (image.getpalette() or [])[:768]
        colours += [0] * (768 - len(colours))
        tags.put(320, SHORT, *(257 * value for channel in range(3) for value in colours[channel::3]))
    return [zlib.compress(samples[begin : begin + rows * row]) for begin in range(0, len(samples), rows * row)]


def _head(order: str) -> bytes:
    return (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)


def exif_of(data: bytes, page: int = 0) -> bytes | None:
    """Return the tags of a TIFF file's page that do not describe its layout, as EXIF. None if they are damaged.

    The result is b"" if there are no such tags. The orientation is left out, because Pillow turns the samples of TIFF.
    """
    try:
        tags = _read(data, page)
    except ValueError:
        return None
    for tag in (LAYOUT_TAGS | {ORIENTATION}) & set(tags.values):
        del tags.values[tag]
    return b"Exif\0\0" + _head(tags.order) + tags.pack(8) if tags.values or tags.inner else b""


def profiles_of(data: bytes) -> dict[str, bytes]:
    """Return the ICC profile and the XMP of a TIFF file, by the keys of our entries; an empty dict if it is damaged."""
    try:
        values = _read(data).values
    except ValueError:
        return {}
    return {key: values[tag][2] for key, tag in (("icc_profile", ICC_PROFILE), ("xmp", XMP)) if tag in values}


def takes(exif: bytes) -> bool:
    """Return whether EXIF can be written as tags of a TIFF file. If it is damaged, it cannot."""
    try:
        _read(exif)
    except ValueError:
        return False
    return True


def has_thumbnail(exif: bytes) -> bool:
    """Return whether EXIF has a thumbnail, which is not written into TIFF. `takes` must be true."""
    return _read(exif).following != 0


def _read(exif: bytes, page: int = 0) -> _Directory:
    """Return the directories of EXIF, or of a page of a TIFF file; ValueError if they are damaged."""
    data = re.sub(rb"^(Exif\0\0){1,2}", b"", exif)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise ValueError("exif: expected a TIFF header")
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        for _ in range(page):
            (count,) = struct.unpack_from(f"{order}H", data, start)
            (start,) = struct.unpack_from(f"{order}I", data, start + 2 + 12 * count)
        return _directory(data, order, start, (EXIF, GPS))
    except struct.error as error:
        raise ValueError(f"exif: cut: {error}") from error


def _directory(data: bytes, order: str, offset: int, pointers: tuple[int, ...]) -> _Directory:
    found = _Directory(order)
    left = len(data)
    (count,) = struct.unpack_from(f"{order}H", data, offset)
    for at in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", data, at)
        if kind not in _SIZES:
            raise ValueError(f"exif: tag {tag}: unknown type {kind}")
        length = _SIZES[kind] * values
        left -= length
        if left < 0 or tag in found.values or tag in found.inner:  # this bounds memory and time
            raise ValueError(f"exif: tag {tag}: is there twice, or its values are those of others")
        place = at + 8 if length <= 4 else struct.unpack_from(f"{order}I", data, at + 8)[0]
        body = data[place : place + length]
        if len(body) < length:
            raise ValueError(f"exif: tag {tag}: expected {length} bytes, got {len(body)}")
        if tag in pointers:
            (start,) = struct.unpack_from(f"{order}I", data, at + 8)
            found.inner[tag] = _directory(data, order, start, POINTERS[tag])
        else:
            found.values[tag] = kind, values, body
    (found.following,) = struct.unpack_from(f"{order}I", data, offset + 2 + 12 * count)
    return found
