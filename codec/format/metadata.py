"""The metadata chunk: ICC profile, EXIF, XMP, and the names of metadata that was dropped.

It can be read without decoding a pixel. The chunk is a sequence of compressed entries in the order of their tags, at
most one of each:

    tag u8 | length u32 | zlib stream of ``length`` bytes

See FORMAT.md, "Metadata".
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image

from codec.errors import CorruptDataError, ImageError

TAGS = {"icc_profile": 1, "exif": 2, "xmp": 3, "dropped": 4}
"""Tags of the entries. The keys are those of Pillow's ``Image.info``. The last key is ours: its entry has the names of
what the original's file said and the codec dropped."""
KEPT = ("icc_profile", "exif", "xmp")
NAMES_LIMIT_BYTES = 1 << 10
"""Most bytes of the entry "dropped", uncompressed."""
LIMIT_BYTES = 1 << 24
"""Most bytes of another entry, uncompressed. Profiles and EXIF are far smaller, but zlib can expand 1,000 times."""

_ORIENTATION = 274
_XMP_KEYS = ("xmp", "XML:com.adobe.xmp")
_ENTRY = struct.Struct("<BI")
_KEYS = {tag: key for key, tag in TAGS.items()}

LAYOUT_TAGS = frozenset({
    254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 317, 320, 322, 323, 324, 325,
    330, 338, 339, 340, 341, 347, 512, 513, 514, 519, 520, 521, 530, 531, 532, 700, 34675,
})  # fmt: skip
"""TIFF tags that describe how a file stores its pixels (or XMP and ICC), and so not the picture."""


def collect(image: Image.Image, exif: bytes | None = None) -> dict[str, bytes]:
    """Return the metadata of an image that is kept, by the keys of `KEPT`.

    Parameters
    ----------
    image : PIL.Image.Image
        A loaded image.
    exif : bytes, optional
        The image's EXIF, where the caller knows it better than Pillow.

    Raises
    ------
    ImageError
        An entry is over the limit, or the EXIF cannot be read.
    """
    info = image.info
    found = {
        "icc_profile": info.get("icc_profile"),
        "exif": info.get("exif") or _exif(image) if exif is None else exif,
        "xmp": info.get("xmp") or info.get("XML:com.adobe.xmp"),
    }
    entries = {}
    for key, value in found.items():
        if isinstance(value, str) and key != "xmp":  # PNG's text of that name
            continue
        data = value.encode() if isinstance(value, str) else value
        if not data:
            continue
        if not isinstance(data, bytes):
            raise ImageError(f"image: {key}: expected bytes, got {type(data).__name__}")
        if len(data) > LIMIT_BYTES:
            raise ImageError(f"image: {key}: expected at most {LIMIT_BYTES} bytes, got {len(data)}")
        entries[key] = data
    return entries


def _exif(image: Image.Image) -> bytes:
    """Return the EXIF of an image that has it outside of ``info``: in TIFF tags or in a text of PNG."""
    try:
        if profile := image.info.get("Raw profile type exif"):
            return bytes.fromhex("".join(profile.split("\n")[3:]))  # after two lines that say what it is
        exif = image.getexif()
        made_up = {_ORIENTATION} if _is_made_up(image) else set()
        for tag in (LAYOUT_TAGS | made_up) & set(exif):
            del exif[tag]
        return exif.tobytes() if len(exif) else b""
    except Exception as error:
        # Damaged tags make Pillow's reader raise many kinds of errors.
        raise ImageError(f"image: exif: cannot be read: {error}") from error


def _is_made_up(image: Image.Image) -> bool:
    """Return whether an orientation in the image's EXIF would be Pillow's copy of that in XMP."""
    says = any("tiff:Orientation" in str(image.info.get(key, "")) for key in _XMP_KEYS)
    return says and _ORIENTATION not in getattr(image, "tag_v2", {})


def pack_names(names: Sequence[str]) -> bytes:
    """Return the entry "dropped": the names with ", " between them, cut if they are long. `unpack_names` reads it."""
    entry = re.sub(rb"[^ -~]", b"?", ", ".join(names).encode("ascii", "replace"))
    return entry if len(entry) <= NAMES_LIMIT_BYTES else entry[: NAMES_LIMIT_BYTES - 4].rsplit(b", ", 1)[0] + b", ..."


def unpack_names(entry: bytes) -> tuple[str, ...]:
    """Return the names in an entry "dropped". The inverse of `pack_names`."""
    return tuple(entry.decode("ascii").split(", ")) if entry else ()


def info_of(chunk: bytes) -> dict[str, Any]:
    """Return the entries of a metadata chunk for Pillow's ``info``: bytes, and for "dropped" a tuple of names.

    Raises
    ------
    CorruptDataError
        The chunk is damaged, see `unpack`.
    """
    return info_of_entries(unpack(chunk))


def info_of_entries(entries: dict[str, bytes]) -> dict[str, Any]:
    """Return unpacked entries for Pillow's ``info``: bytes, and for "dropped" a tuple of names."""
    return {key: unpack_names(entry) if key == "dropped" else entry for key, entry in entries.items()}


def pack(entries: dict[str, bytes]) -> bytes:
    """Return the metadata chunk of entries, whose keys are those of `TAGS`. The inverse of `unpack`."""
    parts = []
    for key, tag in TAGS.items():
        if key in entries:
            stream = zlib.compress(entries[key], 9)
            parts += [_ENTRY.pack(tag, len(stream)), stream]
    return b"".join(parts)


def unpack(chunk: bytes) -> dict[str, bytes]:
    """Return the entries of a metadata chunk; the inverse of `pack`.

    Raises
    ------
    CorruptDataError
        The chunk is cut, its entries are out of order, a tag is unknown, a zlib stream is damaged, an entry is over its
        limit, or the dropped names are not printable ASCII.
    """
    entries: dict[str, bytes] = {}
    offset = last = 0
    while offset < len(chunk):
        if len(chunk) - offset < _ENTRY.size:
            raise CorruptDataError(f"metadata: entry cut after {len(chunk) - offset} bytes")
        tag, length = _ENTRY.unpack_from(chunk, offset)
        offset += _ENTRY.size
        if tag not in _KEYS or tag <= last:
            raise CorruptDataError(f"metadata: expected a tag of {last + 1} to {max(_KEYS)}, got {tag}")
        if length > len(chunk) - offset:
            raise CorruptDataError(f"metadata: {_KEYS[tag]}: expected {length} bytes, got {len(chunk) - offset}")
        entries[_KEYS[tag]] = _inflate(chunk[offset : offset + length], _KEYS[tag])
        offset += length
        last = tag
    if not all(0x20 <= byte < 0x7F for byte in entries.get("dropped", b"")):
        raise CorruptDataError("metadata: dropped: expected printable ASCII")
    return entries


def _inflate(stream: bytes, key: str) -> bytes:
    inflater = zlib.decompressobj()
    limit = NAMES_LIMIT_BYTES if key == "dropped" else LIMIT_BYTES
    try:
        data = inflater.decompress(stream, limit + 1)
    except zlib.error as error:
        raise CorruptDataError(f"metadata: {key}: {error}") from error
    if len(data) > limit:
        raise CorruptDataError(f"metadata: {key}: expands to more than {limit} bytes")
    if not inflater.eof or inflater.unused_data:
        raise CorruptDataError(f"metadata: {key}: zlib stream does not end where the entry does")
    return data
