"""The metadata chunk: what a file says of its image besides the samples, and the names of what was dropped.

It can be read without decoding a pixel. The chunk is a sequence of entries in the order of their tags, at most one of
each:

    tag u8 | length number | ``length`` bytes, which are deflated where that is shorter

See FORMAT.md, "Metadata".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from codec.errors import CorruptDataError, RequestError
from codec.format.deflate import deflate, inflate
from codec.format.fields import Reader, varint

TAGS = {
    "icc_profile": 1,
    "exif": 2,
    "xmp": 3,
    "dropped": 4,
    "xmp_extended": 5,
    "photoshop": 6,
    "comments": 7,
    "texts": 8,
    "resolution": 9,
    "gAMA": 10,
    "cHRM": 11,
    "sRGB": 12,
    "cICP": 13,
    "duration": 14,
}
"""Tags of the entries, by their keys. A decoded image has them in Pillow's ``info`` under these keys. "dropped" has the
names of what the original's file said and the codec dropped, and "duration" the milliseconds of a frame."""
KINDS = {
    "icc": ("icc_profile",),
    "exif": ("exif",),
    "xmp": ("xmp", "xmp_extended"),
    "iptc": ("photoshop",),
    "comments": ("comments",),
    "text": ("texts",),
    "resolution": ("resolution",),
    "colour": ("gAMA", "cHRM", "sRGB", "cICP"),
}
"""The kinds of metadata among which a caller may choose, and the entries of each."""
NAMES = {
    "icc_profile": "ICC profile",
    "exif": "EXIF",
    "xmp": "XMP",
    "xmp_extended": "extended XMP",
    "photoshop": "IPTC",
    "comments": "comment",
    "texts": "text",
    "resolution": "resolution",
    "gAMA": "gamma",
    "cHRM": "chromaticities",
    "sRGB": "sRGB",
    "cICP": "cICP",
}
"""Names of entries for people."""
KEPT = tuple(NAMES)
SIZES = {"gAMA": 4, "cHRM": 32, "sRGB": 1, "cICP": 4}
"""Bytes of the entries that are bodies of PNG's chunks of that name."""
UNITS = (None, 0.0254, 1.0, 2.54)
"""Inches have this many of each unit of a resolution: none, where only the ratio counts, metre, inch, centimetre."""
NAMES_LIMIT_BYTES = 1 << 10
"""Most bytes of the entry "dropped"."""
LIMIT_BYTES = 1 << 24
"""Most bytes of another entry. Profiles and EXIF are far smaller, but deflate can expand 1,000 times."""
LATIN, UNICODE = 0, 1
"""How a text is written: as in PNG's tEXt, or as in its iTXt."""

_DEFLATED = 128
_KEYS = {tag: key for key, tag in TAGS.items()}


def kept_keys(kinds: Collection[str] | None) -> tuple[str, ...]:
    """Return the keys of the entries that a caller wants to keep.

    Parameters
    ----------
    kinds : collection of str or None
        Some of `KINDS`. None keeps all, and the names of what was dropped, too.

    Raises
    ------
    RequestError
        There is no such kind.
    """
    if kinds is None:
        return (*KEPT, "dropped")
    for kind in kinds:
        if kind not in KINDS:
            raise RequestError(f"keep: expected some of {', '.join(KINDS)}, got {kind}")
    return tuple(key for kind in kinds for key in KINDS[kind])


def pack_names(names: Sequence[str]) -> bytes:
    """Return the entry "dropped": the names with ", " between them, cut if they are long. `unpack_names` reads it."""
    entry = re.sub(rb"[^ -~]", b"?", ", ".join(names).encode("ascii", "replace"))
    return entry if len(entry) <= NAMES_LIMIT_BYTES else entry[: NAMES_LIMIT_BYTES - 4].rsplit(b", ", 1)[0] + b", ..."


def unpack_names(entry: bytes) -> tuple[str, ...]:
    """Return the names in an entry "dropped". The inverse of `pack_names`."""
    return tuple(entry.decode("ascii").split(", ")) if entry else ()


def pack_comments(comments: Iterable[bytes]) -> bytes:
    """Return the entry of comments; the inverse of `unpack_comments`."""
    return b"".join(varint(len(comment)) + comment for comment in comments)


def unpack_comments(entry: bytes) -> list[bytes]:
    """Return the comments in an entry; CorruptDataError if it is damaged."""
    reader, comments = Reader(entry, what="metadata: comments"), []
    while reader.at < len(entry):
        comments.append(reader.take(reader.number()))
    return comments


def pack_texts(texts: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the entry of texts; the inverse of `unpack_texts`."""
    return b"".join(bytes([way]) + varint(len(body)) + body for way, body in texts)


def unpack_texts(entry: bytes) -> list[tuple[int, bytes]]:
    """Return how each text in an entry is written, `LATIN` or `UNICODE`, and its bytes.

    Raises
    ------
    CorruptDataError
        The entry is damaged.
    """
    reader, texts = Reader(entry, what="metadata: texts"), []
    while reader.at < len(entry):
        way, body = reader.byte(), reader.take(reader.number())
        if way not in (LATIN, UNICODE) or body.count(b"\0") < (3 if way == UNICODE else 1):
            raise CorruptDataError("metadata: texts: expected the body of a tEXt or of an iTXt")
        texts.append((way, body))
    return texts


def pack_resolution(unit: int, x: int, y: int) -> bytes:
    """Return the entry of a resolution, whose unit is an index of `UNITS`; the inverse of `unpack_resolution`."""
    return bytes([unit]) + varint(x) + varint(y)


def unpack_resolution(entry: bytes) -> tuple[int, int, int]:
    """Return the unit and the pixels for each unit across and down; CorruptDataError if the entry is damaged."""
    reader = Reader(entry, what="metadata: resolution")
    unit, x, y = reader.byte(), reader.number(), reader.number()
    if unit >= len(UNITS) or reader.at != len(entry):
        raise CorruptDataError("metadata: resolution: expected a unit and two numbers")
    return unit, x, y


def unpack_duration(entry: bytes) -> int:
    """Return the milliseconds that a frame is shown; CorruptDataError if the entry is damaged."""
    reader = Reader(entry, what="metadata: duration")
    duration = reader.number()
    if reader.at != len(entry):
        raise CorruptDataError("metadata: duration: expected one number")
    return duration


def info_of(chunk: bytes) -> dict[str, Any]:
    """Return the entries of a metadata chunk for Pillow's ``info``, see `info_of_entries`.

    Raises
    ------
    CorruptDataError
        The chunk is damaged, see `unpack`.
    """
    return info_of_entries(unpack(chunk))


def info_of_entries(entries: Mapping[str, bytes]) -> dict[str, Any]:
    """Return unpacked entries for Pillow's ``info``: bytes, for "dropped" a tuple of names, for "duration" a number.

    A resolution of a known unit is there as Pillow's "dpi", too. `entries_of_info` is the inverse.
    """
    info: dict[str, Any] = dict(entries)
    if "dropped" in entries:
        info["dropped"] = unpack_names(entries["dropped"])
    if "duration" in entries:
        info["duration"] = unpack_duration(entries["duration"])
    if "resolution" in entries:
        unit, *density = unpack_resolution(entries["resolution"])
        factor = UNITS[unit]
        if factor is not None:
            info["dpi"] = tuple(value * factor for value in density)
    return info


def entries_of_info(info: Mapping[Any, Any]) -> dict[str, bytes]:
    """Return the entries that stand in an ``info`` under our keys. The inverse of `info_of_entries`."""
    entries = {key: info[key] for key in KEPT if isinstance(info.get(key), bytes)}
    duration = info.get("duration")
    if isinstance(duration, int) and duration > 0:
        entries["duration"] = varint(duration)
    names = info.get("dropped")  # it may also be a text of a PNG with this key
    if isinstance(names, tuple):
        entries["dropped"] = pack_names(names)
    return {key: entry for key, entry in entries.items() if entry}


def pack(entries: Mapping[str, bytes]) -> bytes:
    """Return the metadata chunk of entries, whose keys are those of `TAGS`. The inverse of `unpack`."""
    parts = []
    for key, tag in TAGS.items():
        if key in entries:
            entry, stream = entries[key], deflate(entries[key])
            deflated = len(stream) < len(entry)
            body = stream if deflated else entry
            parts += [bytes([tag + _DEFLATED * deflated]), varint(len(body)), body]
    return b"".join(parts)


def unpack(chunk: bytes) -> dict[str, bytes]:
    """Return the entries of a metadata chunk; the inverse of `pack`.

    Raises
    ------
    CorruptDataError
        The chunk is cut, its entries are out of order, a tag is unknown, a stream is damaged, an entry is over its
        limit, or its contents are not those that its tag says.
    """
    entries: dict[str, bytes] = {}
    reader, last = Reader(chunk, what="metadata"), 0
    while reader.at < len(chunk):
        byte = reader.byte()
        tag = byte % _DEFLATED
        if tag not in _KEYS or tag <= last:
            raise CorruptDataError(f"metadata: expected a tag of {last + 1} to {max(_KEYS)}, got {tag}")
        key, body = _KEYS[tag], reader.take(reader.number())
        limit = NAMES_LIMIT_BYTES if key == "dropped" else LIMIT_BYTES
        if byte >= _DEFLATED:
            body = inflate(body, limit, f"metadata: {key}")
        if len(body) > limit:
            raise CorruptDataError(f"metadata: {key}: expected at most {limit} bytes, got {len(body)}")
        _check(key, body)
        entries[key] = body
        last = tag
    return entries


def _check(key: str, entry: bytes) -> None:
    if key == "dropped" and not all(0x20 <= byte < 0x7F for byte in entry):
        raise CorruptDataError("metadata: dropped: expected printable ASCII")
    if len(entry) != SIZES.get(key, len(entry)):
        raise CorruptDataError(f"metadata: {key}: expected {SIZES[key]} bytes, got {len(entry)}")
    if key in _READERS:
        _READERS[key](entry)


_READERS: dict[str, Callable[[bytes], object]] = {
    "comments": unpack_comments,
    "texts": unpack_texts,
    "resolution": unpack_resolution,
    "duration": unpack_duration,
}
