"""The parts of image files, found without decoding: chunks, segments, boxes.

Lengths in files may be wrong. A part that goes beyond the end of the file ends the walk.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG2000_MAGICS = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
END_OF_JPEG, START_OF_SCAN = 0xD9, 0xDA

_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
"""A marker within entropy-coded data, where FF 00 is a byte and FF D0 to FF D7 restart the coder."""
_BARE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
"""Markers of JPEG without a length."""


def whole(file: BinaryIO) -> bytes:
    """Return all bytes of a file that can seek. Its position stays as it was."""
    if isinstance(file, BytesIO):
        return file.getvalue()
    place = file.tell()
    try:
        file.seek(0)
        return file.read()
    finally:
        file.seek(place)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the types and bodies of a PNG's chunks. If bytes follow IEND, they come last, with the type b""."""
    at = len(PNG_MAGIC)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IEND":
            if at < len(data):
                yield b"", data[at:]
            return


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the markers and bodies of a JPEG's segments. The body of the end marker is what follows it."""
    at = 2
    while found := _MARKER.search(data, at):
        marker = found[1][0]
        at = found.end()
        if marker == END_OF_JPEG:
            yield marker, data[at:]
            return
        if marker in _BARE or at + 2 > len(data):
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        yield marker, data[at + 2 : at + length]
        at += max(length, 2)


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the types and bodies of the boxes of an ISO file: AVIF or JPEG 2000."""
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= len(data):
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if length == 0:
            length = len(data) - at
        if length < head:
            return
        yield kind, data[at + head : at + length]
        at += length


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the types and bodies of a RIFF file's (WebP) chunks. If bytes follow, they come last, with the type b""."""
    end = 8 + int.from_bytes(data[4:8], "little")
    at = 12
    while at + 8 <= min(end, len(data)):
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)
    if len(data) > end + (end & 1):
        yield b"", data[end:]


def psd_sections(data: bytes) -> list[bytes]:
    """Return the colour data, the resources, and the layers and masks of a Photoshop file."""
    at, sections = 26, []
    for _ in range(3):
        length = int.from_bytes(data[at : at + 4], "big")
        sections.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return sections
