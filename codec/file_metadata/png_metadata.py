"""The chunks of a PNG that hold metadata."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping

from PIL import PngImagePlugin

from codec.file_metadata.kept import CENTIMETRE, INCH, METRE
from codec.format import metadata
from codec.format.bare_png import SIGNATURE, chunk
from codec.format.metadata import LATIN, SIZES

PROFILE_LIMIT_BYTES = PngImagePlugin.MAX_TEXT_CHUNK
"""Pillow refuses a PNG with a longer ICC profile, or a longer text that is compressed."""
SHORT_TEXT_BYTES = 1 << 10
"""Texts up to this length are not compressed."""

_HEAD_END = len(SIGNATURE) + 25
"""Byte of a PNG behind its header."""
_PROFILE_NAME = b"ICC Profile\0\0"


def with_metadata(png: bytes, entries: Mapping[str, bytes]) -> bytes:
    """Return a PNG with the chunks of entries, whose keys are those of `codec.format.metadata.TAGS`.

    `writable` says which entries a PNG can hold.
    """
    return png[:_HEAD_END] + b"".join(chunk(*each) for each in _chunks(entries)) + png[_HEAD_END:]


def writable(entries: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the entries that a PNG can hold and Pillow can read again. XMP is in UTF-8."""
    kept = dict(entries)
    for key in ("photoshop", "xmp_extended"):
        kept.pop(key, None)
    if len(kept.get("icc_profile", b"")) > PROFILE_LIMIT_BYTES:
        del kept["icc_profile"]
    if "xmp" in kept:
        kept["xmp"] = utf8(kept["xmp"])
    if any(b"\0" in comment for comment in metadata.unpack_comments(kept.get("comments", b""))):
        del kept["comments"]
    return {key: value for key, value in kept.items() if value}


def _chunks(entries: Mapping[str, bytes]) -> Iterator[tuple[bytes, bytes]]:
    for key in SIZES:
        if key in entries:
            yield key.encode(), entries[key]
    if "icc_profile" in entries:
        yield b"iCCP", _PROFILE_NAME + zlib.compress(entries["icc_profile"], 9)
    if "resolution" in entries:
        yield b"pHYs", _density(entries["resolution"])
    if "exif" in entries:
        yield b"eXIf", re.sub(rb"^(Exif\0\0){1,2}", b"", entries["exif"])
    if "xmp" in entries:
        yield b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + entries["xmp"]
    for comment in metadata.unpack_comments(entries.get("comments", b"")):
        yield _text(LATIN, b"Comment\0" + comment)
    for way, body in metadata.unpack_texts(entries.get("texts", b"")):
        yield _text(way, body)


def _density(entry: bytes) -> bytes:
    unit, *density = metadata.unpack_resolution(entry)
    factor = {INCH: 1 / 0.0254, CENTIMETRE: 100}.get(unit, 1)
    x, y = (min(round(value * factor), (1 << 31) - 1) for value in density)
    return struct.pack(">IIB", x, y, METRE if unit else 0)


def _text(way: int, body: bytes) -> tuple[bytes, bytes]:
    parts = body.split(b"\0", 1 if way == LATIN else 3)
    compressed = SHORT_TEXT_BYTES < len(parts[-1]) <= PROFILE_LIMIT_BYTES
    text = zlib.compress(parts[-1], 9) if compressed else parts[-1]
    if way == LATIN:
        return (b"zTXt", parts[0] + b"\0\0" + text) if compressed else (b"tEXt", parts[0] + b"\0" + text)
    return b"iTXt", b"\0".join([parts[0], bytes([compressed]) + b"\0" + parts[1], parts[2], text])


def utf8(xmp: bytes) -> bytes:
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
